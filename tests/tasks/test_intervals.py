"""Intervals of a regression: that they hold what they say, where they are wide, and their files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noria.errors import DataError, SpecError
from noria.spec import ModelSpec
from noria.tasks.candidate import Made, make_candidate
from noria.tasks.families import family
from noria.tasks.package import Output, load_predictor
from noria.tasks.tabular.intervals import Band, Intervals, margin_of

MakeSpec = Callable[..., ModelSpec]
BOOSTED = ("lightgbm", "hist-gradient-boosting", "xgboost")
DATA: dict[str, Any] = {
    "features": [{"name": "x", "type": "numeric"}],
    "timeFeatures": [],
    "target": "y",
    "labelTime": None,
    "split": {"kind": "stratified", "testFraction": 0.4},
}


def noisy(count: int = 5000, seed: int = 0) -> pd.DataFrame:
    """Rows whose noise is normal with a deviation of 0.2 + 2 x, for x from 0 to 1."""
    rng = np.random.default_rng(seed)
    x = rng.random(count)
    return pd.DataFrame(
        {
            "start": pd.date_range("2024-01-01", periods=count, freq="min", tz="UTC"),
            "trip": [f"t{place}" for place in range(count)],
            "x": x,
            "y": 3.0 * x + (0.2 + 2.0 * x) * rng.normal(size=count),
        }
    )


def made_of(build: MakeSpec, folder: Path, levels: list[int], **train: Any) -> Made:
    given = {"hyperparameters": {"n_estimators": 40}, "refit": False, **train}
    spec = build(
        data=DATA,
        task={"family": "tabular-regression", "options": {"levels": levels}},
        train=given,
    )
    return make_candidate(family(spec.task.family), spec, noisy(), None, folder, model="m")


def test_a_margin_is_the_value_of_its_rank() -> None:
    beyond = np.arange(1.0, 100.0)  # of 99 values, rank ceil(100 * 0.8) is the 80th
    assert margin_of(beyond, 80) == 80.0
    assert margin_of(beyond[::-1], 95) == 95.0
    assert margin_of(np.array([3.0, 1.0, 2.0, 4.0]), 80) == 4.0
    with pytest.raises(DataError, match=r"95 needs 19 rows that are held out.*, and 18 are"):
        margin_of(beyond[:18], 95)


def test_a_wider_level_holds_a_narrower_one() -> None:
    bands = (Band(95, 1.0), Band(80, 2.0))
    said = Intervals("", bands).outputs(np.zeros((1, 1)), np.array([5.0]))
    assert {name: one.tolist() for name, one in said.items()} == {
        "lower-95": [3.0], "upper-95": [7.0], "lower-80": [3.0], "upper-80": [7.0]
    }  # fmt: skip


@pytest.mark.parametrize("algorithm", BOOSTED)
def test_intervals_hold_as_often_as_they_say_and_are_wide_where_the_noise_is(
    algorithm: str, regression_spec: MakeSpec, tmp_path: Path
) -> None:
    made = made_of(regression_spec, tmp_path, [80, 50], algorithm=algorithm)
    for level in (80, 50):
        held = made.evaluation.metrics[f"coverage-{level}"]
        # 2,000 judged rows and 600 that set the margin: three deviations of both together.
        assert held.value == pytest.approx(level / 100, abs=0.057)
        assert held.low < held.value < held.high
    predictor = load_predictor(made.package)
    assert [one.name for one in made.manifest.outputs] == [
        "prediction", "lower-80", "upper-80", "lower-50", "upper-50"
    ]  # fmt: skip
    assert made.manifest.outputs[1] == Output("lower-80", "FP64")
    said = predictor.predict({"x": np.array([0.1, 0.9])})
    narrow, wide = said["upper-80"] - said["lower-80"]
    # 2 * 1.2816 deviations hold 80 % of a normal distribution.
    assert narrow == pytest.approx(2 * 1.2816 * 0.4, rel=0.35)
    assert wide == pytest.approx(2 * 1.2816 * 2.0, rel=0.35)
    for end, sign in (("lower", -1), ("upper", 1)):
        assert (sign * (said[f"{end}-80"] - said["prediction"]) >= 0).all()
        # Each is made on its own, and the wider holds the narrower one.
        assert (sign * (said[f"{end}-80"] - said[f"{end}-50"]) >= 0).all()
    test = made.test
    frame = pd.DataFrame(predictor.predict({"x": test["x"].to_numpy()}))
    assert made.held_out.model["lower-80"].tolist() == frame["lower-80"].tolist()
    width = made.evaluation.metrics["width-80"].value
    assert width == pytest.approx((frame["upper-80"] - frame["lower-80"]).mean())


@pytest.mark.parametrize(
    "train",
    [
        {"algorithm": "linear", "hyperparameters": {}},
        {"ensemble": {"kind": "stacking"}, "crossValidation": {"kind": "stratified"}},
    ],
    ids=["linear", "stacking"],
)
def test_what_fits_no_quantiles_has_intervals_of_one_width(
    train: dict[str, Any], regression_spec: MakeSpec, tmp_path: Path
) -> None:
    made = made_of(regression_spec, tmp_path, [80], **train)
    assert made.evaluation.metrics["coverage-80"].value == pytest.approx(0.8, abs=0.057)
    said = load_predictor(made.package).predict({"x": np.array([0.1, 0.9])})
    width = said["upper-80"] - said["lower-80"]
    assert width[0] == pytest.approx(width[1])
    np.testing.assert_allclose(said["upper-80"] + said["lower-80"], 2 * said["prediction"])


def test_a_model_without_levels_answers_as_ever(regression_spec: MakeSpec, tmp_path: Path) -> None:
    made = made_of(regression_spec, tmp_path, [])
    assert made.manifest.outputs == (Output("prediction", "FP64"),)
    assert "intervals.json" not in made.manifest.files
    assert set(made.evaluation.metrics) == {"r2", "rmse", "mae"}


def test_levels_are_percentages_and_there_once(regression_spec: MakeSpec) -> None:
    for levels, said in (([0], "0 is not a percentage"), ([80, 80], "80 is there twice")):
        task = {"family": "tabular-regression", "options": {"levels": levels}}
        with pytest.raises(SpecError, match=said):
            regression_spec(data=DATA, task=task)


@pytest.mark.parametrize("algorithm", BOOSTED)
def test_a_monotone_prediction_has_intervals_around_it(
    algorithm: str, regression_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = regression_spec(
        data={**DATA, "features": [{"name": "x", "type": "numeric", "monotone": "increasing"}]},
        task={"family": "tabular-regression", "options": {"levels": [80]}},
        train={"algorithm": algorithm, "hyperparameters": {"n_estimators": 20}},
    )
    tasks = family(spec.task.family)
    made = make_candidate(tasks, spec, noisy(1000), None, tmp_path, model="m")
    said = load_predictor(made.package).predict({"x": np.linspace(0.0, 1.0, 101)})
    assert np.diff(said["prediction"]).min() >= -1e-12
    assert (said["lower-80"] <= said["prediction"]).all()
    assert (said["prediction"] <= said["upper-80"]).all()
