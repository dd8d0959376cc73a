"""Weights of rows: what counts when a model is fitted, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from noria.errors import DataError, SpecError
from noria.spec import ModelSpec
from noria.tasks.candidate import fit_all, make_candidate
from noria.tasks.families import family
from noria.tasks.judging import Recipe
from noria.tasks.tabular.learn import design_of, slice_of
from noria.tasks.tabular.schema import features_of, target_of

MakeSpec = Callable[..., ModelSpec]
ALGORITHMS = ("linear", "hist-gradient-boosting", "lightgbm", "xgboost")
NUMBERS: dict[str, Any] = {
    "features": [{"name": "a", "type": "numeric"}, {"name": "b", "type": "numeric"}],
    "timeFeatures": [],
    "target": "y",
    "labelTime": None,
    "weight": "w",
}


def weighed(count: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, count))
    weight = rng.integers(0, 4, count).astype(float)
    y = 2.0 * a - b + np.where(weight > 1, 1.0, -1.0) + rng.normal(0.0, 0.3, count)
    return pd.DataFrame(
        {
            "start": pd.date_range("2024-01-01", periods=count, freq="h", tz="UTC"),
            "trip": [f"t{place}" for place in range(count)],
            "a": a,
            "b": b,
            "w": weight,
            "y": y,
            "late": (y > 0).astype(int),
        }
    )


def predictions(spec: ModelSpec, frame: pd.DataFrame, **params: Any) -> np.ndarray[Any, Any]:
    fitted = fit_all(family(spec.task.family), spec, frame, params)
    asked = {"a": frame["a"].to_numpy(), "b": frame["b"].to_numpy()}
    said: dict[str, Any] = fitted.predictor.predict(asked)
    found: np.ndarray[Any, Any] = said["probability" if "probability" in said else "prediction"]
    return found


def test_weights_count_as_in_scikit_learn(regression_spec: MakeSpec, spec_of: MakeSpec) -> None:
    frame = weighed()
    x = frame[["a", "b"]].to_numpy()
    train = {"algorithm": "linear", "hyperparameters": {}}
    found = predictions(regression_spec(data=NUMBERS, train=train), frame, alpha=1e-9, tol=1e-10)
    theirs = LinearRegression().fit(x, frame["y"], frame["w"])
    np.testing.assert_allclose(found, theirs.predict(x), atol=1e-4)
    alike = LinearRegression().fit(x, frame["y"])
    assert np.abs(found - alike.predict(x)).mean() > 0.1
    spec = spec_of(data={**NUMBERS, "target": "late"}, train=train)
    found = predictions(spec, frame, C=1e6, tol=1e-10)
    judge = LogisticRegression(C=1e6, tol=1e-10, max_iter=1000).fit(x, frame["late"], frame["w"])
    np.testing.assert_allclose(found, judge.predict_proba(x)[:, 1], atol=1e-4)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_row_that_weighs_nothing_teaches_nothing(
    algorithm: str, regression_spec: MakeSpec
) -> None:
    frame = weighed()
    spec = regression_spec(data=NUMBERS, train={"algorithm": algorithm, "hyperparameters": {}})
    rounds = {} if algorithm == "linear" else {"n_estimators": 20}
    other = frame.copy()
    other.loc[other["w"] == 0, "y"] += 1000.0
    found = predictions(spec, frame, **rounds)
    np.testing.assert_allclose(predictions(spec, other, **rounds), found, atol=1e-6)
    counted = other.copy()
    counted["w"] = 1.0
    assert np.abs(predictions(spec, counted, **rounds) - found).max() > 10.0


def test_a_recipe_weighs_beside_the_rows_own_weight(regression_spec: MakeSpec) -> None:
    spec, frame = regression_spec(data=NUMBERS), weighed()
    design = design_of(spec, frame, features_of(spec.data, frame), target_of(spec, frame))
    recency = Recipe(0.25).weights(None, 600)
    found = slice_of(spec, design, np.arange(600), recency).weight
    np.testing.assert_allclose(found, frame["w"] * recency)


def test_metrics_count_all_rows_alike(regression_spec: MakeSpec, tmp_path: Path) -> None:
    spec = regression_spec(data=NUMBERS, train={"algorithm": "linear"})
    frame = weighed()
    made = make_candidate(family("tabular-regression"), spec, frame, None, tmp_path, model="m")
    said = made.held_out.model["prediction"].to_numpy()
    error = said - made.test["y"].to_numpy()
    assert made.evaluation.metrics["rmse"].value == pytest.approx(np.sqrt((error**2).mean()))
    assert [given.name for given in made.manifest.inputs] == ["a", "b", "start", "trip"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (-1.0, r"column w: row 4: -1 is no weight"),
        (None, r"column w: row 4: missing is no weight"),
        ("much", r"column w: row 4: 'much' is not a number"),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_what_is_no_weight_is_refused_with_its_row(
    kind: str, value: Any, said: str, regression_spec: MakeSpec, tmp_path: Path
) -> None:
    source = {kind: {"paths": [f"rows.{kind}"]}}
    spec = regression_spec(data={**NUMBERS, "source": source})
    frame = weighed()
    if value == "much":
        frame["w"] = frame["w"].astype(str)
    frame.loc[3, "w"] = value
    if kind == "csv":
        frame.to_csv(tmp_path / "rows.csv", index=False)
    else:
        frame.to_parquet(tmp_path / "rows.parquet")
    if (kind, value) == ("parquet", "much"):
        said = r"column w: row 1: '\d\.0' is not a number"
    with pytest.raises(DataError, match=said):
        family(spec.task.family).ingest(spec, tmp_path, None)


def test_weights_that_are_all_zero_are_refused(regression_spec: MakeSpec) -> None:
    spec, frame = regression_spec(data=NUMBERS), weighed().assign(w=0.0)
    with pytest.raises(DataError, match=r"spec\.data\.weight: w is 0 in every row"):
        family(spec.task.family).validate(spec, frame)
    with pytest.raises(DataError, match=r"the 600 rows to fit on all weigh 0"):
        fit_all(family(spec.task.family), spec, frame, {})


def test_a_weight_is_nothing_else(regression_spec: MakeSpec) -> None:
    with pytest.raises(SpecError, match=r"spec\.data\.weight: a is a feature"):
        regression_spec(data={**NUMBERS, "weight": "a"})
    with pytest.raises(SpecError, match="rows that were served have no weight"):
        regression_spec(data={**NUMBERS, "served": {"retention": "9d"}})
