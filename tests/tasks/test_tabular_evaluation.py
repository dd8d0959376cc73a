"""The comparison with the champion, gates, plots and the reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from noria.errors import LeakageError
from noria.measures.measurement import Measurement
from noria.spec import ChampionGate, Gates, ModelSpec
from noria.tasks.candidate import fit_all
from noria.tasks.encoding import Columns
from noria.tasks.families import family
from noria.tasks.gates import judge
from noria.tasks.held_out import HeldOut
from noria.tasks.measure import Truth, compare
from noria.tasks.package import Feature, Manifest
from noria.tasks.protocol import Choice, Comparison, Evaluation
from noria.tasks.tabular.evaluation import Asked
from noria.tasks.tabular.plots import draw

TASKS = family("tabular-classification")
MakeSpec = Callable[..., ModelSpec]
MakeRows = Callable[..., pd.DataFrame]


def gates(**values: Any) -> Gates:
    return Gates.model_validate({"minRows": 200, "champion": [{"metric": "auc"}], **values})


def verdict(rows: int, own: float, other: float, gate: ChampionGate) -> str:
    rng = np.random.default_rng(5)
    y = (rng.random(rows) < 0.4).astype(float)
    noise = rng.normal(size=rows)
    ours = 1 / (1 + np.exp(-(noise + own * y)))
    theirs = 1 / (1 + np.exp(-(noise + other * y + 0.3 * rng.normal(size=rows))))
    found = compare([gate], Truth(y, 2, 0), ours, theirs)
    (record,) = judge(gates(champion=[gate.model_dump(by_alias=True)]), {}, found)
    return record.verdict


@pytest.mark.parametrize(("metric", "slightly"), [("auc", 1.0), ("log-loss", 1.0), ("f1", 1.05)])
def test_a_champion_gate_passes_fails_or_holds(metric: str, slightly: float) -> None:
    even = ChampionGate(metric=metric, max_drop=0.0)
    assert verdict(3000, 1.5, 0.5, even) == "pass"
    assert verdict(3000, 0.3, 1.5, even) == "fail"
    assert verdict(300, 0.78, 0.8, even) == "inconclusive"
    assert verdict(100, 3.0, 0.0, even) == "inconclusive"
    assert verdict(3000, 1.2, 1.0, ChampionGate(metric=metric, max_drop=0.2)) == "pass"
    assert verdict(3000, 0.5, 1.5, ChampionGate(metric=metric)) == "fail"
    # Better by estimate is not enough to be shown better, but enough not to be shown worse.
    assert verdict(3000, slightly, 1.0, even) == "inconclusive"
    assert verdict(3000, slightly, 1.0, ChampionGate(metric=metric)) == "pass"
    assert verdict(3000, slightly, 1.0, ChampionGate(metric=metric, min_gain=0.1)) == "inconclusive"


@pytest.mark.parametrize(
    ("metric", "drop", "error", "allowed"),
    [
        ("auc", 0.02, 0.001, 0.02),
        ("auc", "2%", 0.001, 0.016),
        ("auc", "auto", 0.001, 0.01),
        ("auc", "auto", 0.008, 0.02),  # what 2.5 standard errors can resolve
        ("auc", "auto", 0.1, 0.08),  # and no more than eight times the floor
        ("rmse", "auto", 0.001, 0.016),
        ("rmse", "5%", 0.001, 0.04),
    ],
)
def test_the_margin_of_a_gate(metric: str, drop: Any, error: float, allowed: float) -> None:
    reach = 1.6448536 * error
    found = Comparison(metric, 500, 0.95, 0.81, 0.8, 0.01, 0.01 - reach, 0.01 + reach)
    record = judge(gates(champion=[{"metric": metric, "maxDrop": drop}]), {}, (found,))[0]
    assert record.bound == pytest.approx(-allowed, rel=1e-4)
    assert (record.low, record.high) == (found.low, found.high)
    assert record.verdict == ("pass" if 0.01 - reach >= -allowed else "inconclusive")
    assert ("such rows would tell" in record.detail) == (record.verdict == "inconclusive")


@pytest.mark.parametrize(
    ("gate", "gain", "passes"),
    [
        ({}, -0.0009, True),  # a standard error of 0.001 under no gain may well be chance
        ({}, -0.0011, False),
        ({"minGain": 0.002}, 0.0011, True),
        ({"minGain": 0.002}, 0.0009, False),
        ({"maxDrop": 0.01}, 0.0001, True),  # a margin of the user's own: a better estimate
        ({"maxDrop": 0.01}, -0.0001, False),
        ({"maxDrop": 0.01, "minGain": -0.005}, -0.0049, True),
        ({"maxDrop": 0.0}, 0.0017, True),
        ({"maxDrop": 0.0}, 0.0016, False),
    ],
)
def test_how_good_the_estimate_must_be(gate: dict[str, Any], gain: float, passes: bool) -> None:
    reach = 1.6448536 * 0.001
    found = Comparison("auc", 500, 0.95, 0.8 + gain, 0.8, gain, gain - reach, gain + reach)
    (record,) = judge(gates(champion=[{"metric": "auc", **gate}]), {}, (found,))
    assert record.verdict == ("pass" if passes else "inconclusive")


def test_the_gate_hands_on_what_more_rows_bring() -> None:
    found = Comparison("auc", 500, 0.95, 0.81, 0.8, 0.01, 0.005, 0.015)
    (record,) = judge(gates(), {}, (found,), choice=Choice("all rows alike", worth=1.25))
    assert record.worth == 1.25
    assert record.detail.endswith(
        "training rows: all rows alike; 4 times the rows brought +1.2 standard errors"
    )
    (record,) = judge(gates(), {}, (found,), choice=Choice("all rows alike"))
    assert record.worth is None


def test_a_candidate_is_not_judged_on_one_row_of_a_class() -> None:
    rng = np.random.default_rng(0)
    y = np.zeros(1000)
    y[0] = 1.0
    better, worse = rng.random(1000), rng.random(1000)
    better[0], worse[0] = 1.0, 0.0
    for gate in (ChampionGate(metric="auc"), ChampionGate(metric="log-loss", max_drop=5.0)):
        for ours, theirs in ((better, worse), (worse, better)):
            (record,) = judge(
                gates(champion=[gate.model_dump(by_alias=True)]),
                {},
                compare([gate], Truth(y, 2, 0), ours, theirs),
            )
            assert record.verdict == "inconclusive"
            assert record.detail == (
                f"{gate.metric} needs 10 labelled rows of the rarer class, has 1"
            )


def test_bounds_pass_fail_and_hold() -> None:
    bounds = gates(bounds=[{"metric": "auc", "min": 0.7}, {"metric": "brier", "max": 0.1}])
    metrics = {
        "auc": Measurement("auc", 0.8, 0.7, 0.9, 500),
        "brier": Measurement("brier", 0.2, 0.1, 0.3, 500),
    }
    assert [g.verdict for g in judge(bounds, metrics, ())] == ["pass", "fail"]
    few = {name: msgspec.structs.replace(m, samples=10) for name, m in metrics.items()}
    assert {g.verdict for g in judge(bounds, few, ())} == {"inconclusive"}
    lacks = "needs 10 labelled rows of the rarer class, has 1"
    undefined = {**metrics, "auc": Measurement("auc", 0.9, samples=500, problem=lacks)}
    assert [g.verdict for g in judge(bounds, undefined, ())] == ["inconclusive", "fail"]
    assert judge(bounds, undefined, ())[0].detail == f"auc {lacks}"
    assert [g.verdict for g in judge(bounds, {}, ())] == ["error", "error"]
    broken = judge(gates(), metrics, (), "the champion can't be asked: gone")
    assert [(g.name, g.verdict) for g in broken] == [("auc-champion", "error")]
    nothing = Comparison("auc", 500, 0.95, problem="one class")
    assert judge(gates(), metrics, (nothing,))[0].verdict == "inconclusive"


@pytest.fixture
def trained(spec_of: MakeSpec, make_rows: MakeRows, tmp_path: Path) -> tuple[ModelSpec, Any, Path]:
    spec = spec_of(train={"hyperparameters": {"n_estimators": 30}})
    split = TASKS.split(spec, TASKS.features(spec, tmp_path, make_rows(2000)), None)
    fitted = fit_all(TASKS, spec, split.train, dict(spec.train.hyperparameters))
    TASKS.save(spec, fitted, tmp_path / "package", model="trips")
    return spec, split, tmp_path


def test_a_champion_is_asked_only_about_rows_it_has_not_seen(
    trained: tuple[ModelSpec, Any, Path], evaluated: Callable[..., Evaluation]
) -> None:
    spec, split, folder = trained
    half = split.test.iloc[: len(split.test) // 2]
    later = pd.concat([split.train, half])
    TASKS.save(spec, fit_all(TASKS, spec, later, {"n_estimators": 30}), folder / "champion")
    found = evaluated(spec, folder / "package", split.test, folder / "champion")
    (comparison,) = found.comparisons
    assert comparison.samples == len(split.test) - len(half)
    assert comparison.method == "paired influence"
    refit = pd.concat([split.train, split.test])
    TASKS.save(spec, fit_all(TASKS, spec, refit, {"n_estimators": 30}), folder / "all")
    (gate,) = [
        gate
        for gate in evaluated(spec, folder / "package", split.test, folder / "all").gates
        if gate.name == "auc-champion"
    ]
    assert gate.verdict == "inconclusive"
    assert gate.samples == 0


def test_a_much_worse_champion_is_beaten_and_a_broken_one_is_an_error(
    trained: tuple[ModelSpec, Any, Path], evaluated: Callable[..., Evaluation]
) -> None:
    spec, split, folder = trained
    poor = split.train.assign(distance=0.0, rain=False)
    TASKS.save(spec, fit_all(TASKS, spec, poor, {"n_estimators": 5}), folder / "poor")
    found = evaluated(spec, folder / "package", split.test, folder / "poor")
    assert {gate.name: gate.verdict for gate in found.gates} == {
        "auc-min": "pass",
        "auc-champion": "pass",
    }
    (folder / "poor" / "noria.json").write_text("{}")
    found = evaluated(spec, folder / "package", split.test, folder / "poor")
    assert found.gates[-1].verdict == "error"
    # Without a champion there is nothing to compare with, and no such gate.
    alone = evaluated(spec, folder / "package", split.test)
    assert [gate.name for gate in alone.gates] == ["auc-min"]


def test_a_model_is_not_measured_on_rows_it_has_seen(
    trained: tuple[ModelSpec, Any, Path], evaluated: Callable[..., Evaluation]
) -> None:
    spec, split, folder = trained
    with pytest.raises(LeakageError, match="fitted on rows as late"):
        evaluated(spec, folder / "package", split.train)


def test_plots_are_drawn_and_an_evaluation_travels_as_json(
    trained: tuple[ModelSpec, Any, Path], evaluated: Callable[..., Evaluation]
) -> None:
    spec, split, folder = trained
    found = evaluated(spec, folder / "package", split.test, None, folder / "plots")
    assert set(found.plots) == {
        "confusion.png",
        "roc.png",
        "precision-recall.png",
        "calibration.png",
        "importance.png",
    }
    for name in found.plots:
        content = (folder / "plots" / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) < 60_000
    assert msgspec.json.decode(msgspec.json.encode(found), type=Evaluation) == found


def test_a_regression_is_evaluated_and_drawn(
    regression_spec: MakeSpec,
    rows: pd.DataFrame,
    evaluated: Callable[..., Evaluation],
    tmp_path: Path,
) -> None:
    spec = regression_spec(train={"hyperparameters": {"n_estimators": 30}})
    split = TASKS.split(spec, rows, None)
    tasks = family(spec.task.family)
    fitted = fit_all(tasks, spec, split.train, {"n_estimators": 30})
    tasks.save(spec, fitted, tmp_path / "package")
    found = evaluated(spec, tmp_path / "package", split.test, None, tmp_path / "plots")
    assert set(found.metrics) == {"mae", "rmse", "r2"}
    assert set(found.plots) == {"residuals.png", "predicted.png", "importance.png"}
    assert found.gates[0].verdict == "pass"


def test_the_reference_holds_what_training_saw(
    trained: tuple[ModelSpec, Any, Path],
    held_out_by: Callable[[ModelSpec, Path, pd.DataFrame], HeldOut],
) -> None:
    spec, split, folder = trained
    small = spec.model_copy(
        update={"monitoring": spec.monitoring.model_copy(update={"reference_rows": 300})}
    )
    package = folder / "package"
    held_out = held_out_by(small, package, split.test)
    TASKS.reference(small, package, split.train, split.test, held_out, folder / "reference")
    said = json.loads((folder / "reference" / "reference.json").read_text())
    assert [feature["name"] for feature in said["features"]] == ["city", "distance", "rain"]
    assert said["model"] == "trips"
    assert said["rows"] == 300
    assert said["features"][0]["categories"] == ["Ankara", "Busan", "Cairo", "Delhi"]
    assert said["features"][1]["max"] == split.train["distance"].max()
    assert said["performance"]["auc"]["low"] < said["performance"]["auc"]["value"]
    with np.load(folder / "reference" / "rows.npz", allow_pickle=False) as arrays:
        assert arrays["f0"].dtype == np.int32
        assert set(arrays["f0"].tolist()) == {-1, 0, 1, 2, 3}
        assert arrays["f1"].dtype == np.float64
        assert arrays["f1"].shape == (300,)
        assert arrays["prediction"].shape == (len(split.test),)


class OfTwenty:
    """A regression that reads its first twenty columns, each less than the one before."""

    def __init__(self, columns: int) -> None:
        self.manifest = Manifest(
            model="m",
            family="tabular-regression",
            algorithm="none",
            inputs=(),
            outputs=(),
            features=tuple(Feature(f"x{place}", "numeric") for place in range(columns)),
        )
        self.rows = 0

    def encode(self, columns: Columns) -> NDArray[np.float64]:
        raise NotImplementedError

    def predict_matrix(self, matrix: NDArray[np.float64]) -> dict[str, np.ndarray]:
        self.rows += matrix.shape[0]
        return {"prediction": matrix[:, :20] @ (1.0 / np.arange(1.0, 21.0))}


def test_of_many_columns_those_that_matter_are_shown_without_measuring_each(tmp_path: Path) -> None:
    rows = 1000
    matrix = np.random.default_rng(1).normal(size=(rows, 500))
    asked = []
    for columns in (100, 500):
        model = OfTwenty(columns)
        given = np.ascontiguousarray(matrix[:, :columns])
        said = model.predict_matrix(given)["prediction"]
        truth = Truth(said + 0.1, 0, 0)
        draw(tmp_path / str(columns), Asked(model, given, np.arange(rows), said, None), truth)
        asked.append(model.rows)

    few, many = ((tmp_path / name / "importance.png").read_bytes() for name in ("100", "500"))
    assert few == many
    assert asked[0] >= 100 * rows  # each column is measured
    assert asked[1] <= 500 * rows / 2
