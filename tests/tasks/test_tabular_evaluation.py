"""Metrics, their intervals, the comparison with the champion, gates, plots and the reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from noria.errors import LeakageError
from noria.spec import ChampionGate, Gates, ModelSpec
from noria.tasks.families import family
from noria.tasks.protocol import Comparison, Evaluation, MetricValue
from noria.tasks.tabular.gates import judge
from noria.tasks.tabular.intervals import auc_interval, delong, percentile, resample
from noria.tasks.tabular.measure import Truth, compare, metric_values
from noria.tasks.tabular.metrics import value_of, weighted_metrics

CLASSIFICATION = ("auc", "average-precision", "log-loss", "brier", "accuracy", "f1")
TASKS = family("tabular-classification")
MakeSpec = Callable[..., ModelSpec]
MakeRows = Callable[..., pd.DataFrame]


def scores(rows: int, seed: int, strength: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    hit = rng.random(rows) < 0.3
    raw = rng.normal(size=rows) + strength * hit
    return hit.astype(float), np.round(1 / (1 + np.exp(-raw)), 2)  # rounding makes ties


def test_metrics_equal_scikit_learns() -> None:
    from sklearn import metrics as sk

    y, p = scores(400, 0)
    expected = {
        "auc": sk.roc_auc_score(y, p),
        "average-precision": sk.average_precision_score(y, p),
        "log-loss": sk.log_loss(y, p),
        "brier": sk.brier_score_loss(y, p),
        "accuracy": sk.accuracy_score(y, p >= 0.5),
        "f1": sk.f1_score(y, p >= 0.5),
    }
    for name, value in expected.items():
        assert value_of(name, y, p, 2) == pytest.approx(value, rel=1e-12)
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 3, 300)
    many = rng.dirichlet(np.ones(3), 300)
    many[np.arange(300), codes] += 0.5
    many /= many.sum(axis=1, keepdims=True)
    assert value_of("auc", codes, many, 3) == pytest.approx(
        sk.roc_auc_score(codes, many, multi_class="ovr")
    )
    assert value_of("f1", codes, many, 3) == pytest.approx(
        sk.f1_score(codes, many.argmax(axis=1), average="macro")
    )
    assert value_of("log-loss", codes, many, 3) == pytest.approx(sk.log_loss(codes, many))
    truth = 1000.0 + rng.normal(size=300)
    said = truth + rng.normal(size=300) * 0.3
    assert value_of("r2", truth, said, 0) == pytest.approx(sk.r2_score(truth, said))
    assert value_of("mae", truth, said, 0) == pytest.approx(sk.mean_absolute_error(truth, said))
    assert value_of("rmse", truth, said, 0) == pytest.approx(
        sk.root_mean_squared_error(truth, said)
    )


def test_a_weight_of_two_is_the_row_twice() -> None:
    y, p = scores(60, 3)
    weight = np.random.default_rng(0).integers(0, 4, 60)
    places = np.repeat(np.arange(60), weight)
    functions = weighted_metrics(CLASSIFICATION, y, p, 2)
    for name, function in functions.items():
        expected = value_of(name, y[places], p[places], 2)
        assert function(weight[None, :].astype(float))[0] == pytest.approx(expected, rel=1e-12)


def brute_force(y: np.ndarray, models: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's structural components straight from their definition."""
    auc, v10, v01 = [], [], []
    for score in models:
        pairs = score[y == 1][:, None] - score[y == 0][None, :]
        psi = (pairs > 0) + 0.5 * (pairs == 0)
        auc.append(psi.mean())
        v10.append(psi.mean(axis=1))
        v01.append(psi.mean(axis=0))
    m, n = len(v10[0]), len(v01[0])
    return np.array(auc), np.cov(v10) / m + np.cov(v01) / n


@pytest.mark.parametrize("rows", [12, 50, 300])
def test_delong_equals_its_definition(rows: int) -> None:
    y, first = scores(rows, rows)
    y[:2] = [0, 1]
    models = np.vstack([first, np.random.default_rng(1).permutation(first), 1 - first])
    auc, covariance = delong(y == 1, models)
    expected_auc, expected_covariance = brute_force(y, models)
    np.testing.assert_allclose(auc, expected_auc, rtol=1e-12)
    np.testing.assert_allclose(covariance, expected_covariance, rtol=1e-9, atol=1e-15)


def test_intervals_hold_the_value_and_narrow_with_more_rows() -> None:
    widths = []
    for rows in (300, 4800):
        y, p = scores(rows, 2)
        values = metric_values(CLASSIFICATION, Truth(y, 2, 0), {"m": p})["m"]
        for value in values.values():
            assert value.low is not None
            assert value.high is not None
            assert value.low < value.value < value.high  # type: ignore[operator]
        widths.append(values["log-loss"].high - values["log-loss"].low)  # type: ignore[operator]
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.3)


def test_metrics_that_are_not_defined_say_why() -> None:
    values = metric_values(CLASSIFICATION, Truth(np.zeros(50), 2, 0), {"m": np.full(50, 0.2)})["m"]
    assert values["auc"].value is None
    assert "every class" in values["auc"].problem
    assert values["log-loss"].value == pytest.approx(-np.log(0.8))


@pytest.mark.slow
def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    big_y, big_p = scores(400_000, 99)
    truth = {name: value_of(name, big_y, big_p, 2) for name in ("auc", "log-loss", "f1")}
    hits = dict.fromkeys(truth, 0)
    runs = 300
    for seed in range(runs):
        y, p = scores(300, seed)
        auc, covariance = delong(y == 1, p[None, :])
        low, high = auc_interval(float(auc[0]), float(covariance[0, 0]), 0.95)
        hits["auc"] += low <= truth["auc"] <= high
        sampled = resample(weighted_metrics(["log-loss", "f1"], y, p, 2), 300, seed, 300)
        for name, values in sampled.items():
            low, high = percentile(values, 0.95) or (0.0, 0.0)
            hits[name] += low <= truth[name] <= high
    for count in hits.values():
        assert 0.91 <= count / runs <= 0.985


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


@pytest.mark.parametrize("metric", ["auc", "log-loss", "f1"])
def test_a_champion_gate_passes_fails_or_holds(metric: str) -> None:
    even = ChampionGate(metric=metric, max_drop=0.0)
    assert verdict(3000, 1.5, 0.5, even) == "pass"
    assert verdict(3000, 0.3, 1.5, even) == "fail"
    assert verdict(300, 0.78, 0.8, even) == "inconclusive"
    assert verdict(100, 3.0, 0.0, even) == "inconclusive"
    assert verdict(3000, 1.0, 1.0, ChampionGate(metric=metric, max_drop=0.2)) == "pass"


def test_bounds_pass_fail_and_hold() -> None:
    bounds = gates(bounds=[{"metric": "auc", "min": 0.7}, {"metric": "brier", "max": 0.1}])
    metrics = {
        "auc": MetricValue("auc", 0.8, 0.7, 0.9, 500),
        "brier": MetricValue("brier", 0.2, 0.1, 0.3, 500),
    }
    assert [g.verdict for g in judge(bounds, metrics, ())] == ["pass", "fail"]
    few = {name: msgspec.structs.replace(m, samples=10) for name, m in metrics.items()}
    assert {g.verdict for g in judge(bounds, few, ())} == {"inconclusive"}
    undefined = {**metrics, "auc": MetricValue("auc", None, samples=500, problem="one class")}
    assert [g.verdict for g in judge(bounds, undefined, ())] == ["inconclusive", "fail"]
    assert [g.verdict for g in judge(bounds, {}, ())] == ["error", "error"]
    broken = judge(gates(), metrics, (), "the champion can't be asked: gone")
    assert [(g.name, g.verdict) for g in broken] == [("auc-champion", "error")]
    nothing = Comparison("auc", 500, 0.95, problem="one class")
    assert judge(gates(), metrics, (nothing,))[0].verdict == "inconclusive"


@pytest.fixture
def trained(spec_of: MakeSpec, make_rows: MakeRows, tmp_path: Path) -> tuple[ModelSpec, Any, Path]:
    spec = spec_of(train={"hyperparameters": {"n_estimators": 30}})
    split = TASKS.split(spec, TASKS.features(spec, tmp_path, make_rows(2000)))
    fitted = TASKS.train(spec, split.train, dict(spec.train.hyperparameters))
    TASKS.save(spec, fitted, tmp_path / "package", model="trips")
    return spec, split, tmp_path


def test_a_champion_is_asked_only_about_rows_it_has_not_seen(
    trained: tuple[ModelSpec, Any, Path],
) -> None:
    spec, split, folder = trained
    half = split.test.iloc[: len(split.test) // 2]
    later = pd.concat([split.train, half])
    TASKS.save(spec, TASKS.train(spec, later, {"n_estimators": 30}), folder / "champion")
    found = TASKS.evaluate(spec, folder / "package", split.test, folder / "champion", None)
    (comparison,) = found.comparisons
    assert comparison.samples == len(split.test) - len(half)
    assert comparison.method == "paired delong"
    refit = pd.concat([split.train, split.test])
    TASKS.save(spec, TASKS.train(spec, refit, {"n_estimators": 30}), folder / "all")
    (gate,) = [
        gate
        for gate in TASKS.evaluate(spec, folder / "package", split.test, folder / "all", None).gates
        if gate.name == "auc-champion"
    ]
    assert gate.verdict == "inconclusive"
    assert gate.samples == 0


def test_a_much_worse_champion_is_beaten_and_a_broken_one_is_an_error(
    trained: tuple[ModelSpec, Any, Path],
) -> None:
    spec, split, folder = trained
    poor = split.train.assign(distance=0.0, rain=False)
    TASKS.save(spec, TASKS.train(spec, poor, {"n_estimators": 5}), folder / "poor")
    found = TASKS.evaluate(spec, folder / "package", split.test, folder / "poor", None)
    assert {gate.name: gate.verdict for gate in found.gates} == {
        "auc-min": "pass",
        "auc-champion": "pass",
    }
    (folder / "poor" / "noria.json").write_text("{}")
    found = TASKS.evaluate(spec, folder / "package", split.test, folder / "poor", None)
    assert found.gates[-1].verdict == "error"
    # Without a champion there is nothing to compare with, and no such gate.
    alone = TASKS.evaluate(spec, folder / "package", split.test, None, None)
    assert [gate.name for gate in alone.gates] == ["auc-min"]


def test_a_model_is_not_measured_on_rows_it_has_seen(
    trained: tuple[ModelSpec, Any, Path],
) -> None:
    spec, split, folder = trained
    with pytest.raises(LeakageError, match="fitted on rows as late"):
        TASKS.evaluate(spec, folder / "package", split.train, None, None)
    refit = pd.concat([split.train, split.test])
    TASKS.save(spec, TASKS.train(spec, refit, {}), folder / "refit")
    with pytest.raises(LeakageError):
        TASKS.reference(spec, folder / "refit", split.train, split.test, folder / "reference")


def test_plots_are_drawn_and_an_evaluation_travels_as_json(
    trained: tuple[ModelSpec, Any, Path],
) -> None:
    spec, split, folder = trained
    found = TASKS.evaluate(spec, folder / "package", split.test, None, folder / "plots")
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
    regression_spec: MakeSpec, rows: pd.DataFrame, tmp_path: Path
) -> None:
    spec = regression_spec(train={"hyperparameters": {"n_estimators": 30}})
    split = TASKS.split(spec, rows)
    fitted = TASKS.train(spec, split.train, {"n_estimators": 30})
    found = TASKS.evaluate(spec, fitted, split.test, None, tmp_path)
    assert set(found.metrics) == {"mae", "rmse", "r2"}
    assert set(found.plots) == {"residuals.png", "predicted.png", "importance.png"}
    assert found.gates[0].verdict == "pass"


def test_the_reference_holds_what_training_saw(trained: tuple[ModelSpec, Any, Path]) -> None:
    spec, split, folder = trained
    small = spec.model_copy(
        update={"monitoring": spec.monitoring.model_copy(update={"reference_rows": 300})}
    )
    TASKS.reference(small, folder / "package", split.train, split.test, folder / "reference")
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
