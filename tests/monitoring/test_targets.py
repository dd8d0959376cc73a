"""Predictions of several numbers a row: each is a target with a label of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from monitoring.config import MonitorConfig
from monitoring.exporting import export
from monitoring.exposition import Exposition
from monitoring.measures import measure
from noria.errors import InvalidInput, Unavailable
from noria.spec import load_model

METRICS = ("mae", "rmse", "r2")
LATER = "2026-03-05T09:00:00Z"


@pytest.fixture
def model_file(tmp_path: Path, wire: Any) -> Callable[..., Path]:
    """A model of values."""

    def write(**monitoring: Any) -> Path:
        document = wire.document(**monitoring)
        document["spec"]["task"]["family"] = "tabular-regression"
        path = tmp_path / "model.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    return write


@pytest.fixture
def three(bench: Callable[..., Any], world: Any, tmp_path: Path) -> Any:
    """A monitor of predictions of three steps, of which a window has 200 rows."""
    b = bench(
        detectors=[{"name": "features", "kind": "tabular", "watch": "features"}],
        performance={"metrics": list(METRICS), "window": {"rows": 200}},
    )
    b.champion("1", world.reference(tmp_path / "reference"))
    b.monitor.flush()
    return b


def steps(world: Any, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of three steps, each harder than the one before, and what came."""
    predicted = world.random.normal(10, 3, (rows, 3))
    return predicted, predicted + world.random.normal(0, [0.5, 1.0, 2.0], (rows, 3))


def measured(b: Any) -> dict[str, Any]:
    found: dict[str, Any] = b.status()["performance"]["1"]["metrics"]
    return found


def test_performance_is_the_mean_over_targets_as_scikit_learn_has_it(
    three: Any, world: Any
) -> None:
    predicted, truth = steps(world, 200)
    three.predict("r", 200, scores=predicted)
    three.label([{"id": f"r:{i}", "label": list(row)} for i, row in enumerate(truth)])
    found = measured(three)
    expected = {
        "mae": mean_absolute_error(truth, predicted),
        "rmse": root_mean_squared_error(truth, predicted),
        "r2": r2_score(truth, predicted),
    }
    for metric, value in expected.items():
        assert found[metric]["value"] == pytest.approx(value, abs=1e-9), metric
        assert found[metric]["low"] < value < found[metric]["high"]
        assert found[metric]["samples"] == 200
    parts = three.status()["performance"]["1"]["parts"]
    for metric, of in (("mae", mean_absolute_error), ("r2", r2_score)):
        raw = of(truth, predicted, multioutput="raw_values")
        assert parts[metric] == pytest.approx({str(i): value for i, value in enumerate(raw)})
    (window,) = three.monitor.windows("performance/1", 1)
    assert json.loads(bytes(window))["parts"] == parts


def test_a_row_counts_when_the_last_of_its_targets_is_known(three: Any, world: Any) -> None:
    predicted, truth = steps(world, 200)
    # The first step is known before the prediction is logged, the others come one by one.
    three.label([{"id": f"r:{i}", "label": row[0], "target": 0} for i, row in enumerate(truth)])
    three.predict("r", 200, scores=predicted)
    three.label([{"id": f"r:{i}", "label": [None, row[1], None]} for i, row in enumerate(truth)])
    assert three.status()["counts"]["joined"] == 0
    three.restart()
    last = [{"id": f"r:{i}", "label": row[2], "target": 2} for i, row in enumerate(truth)]
    three.label(last[:150])
    assert three.status()["counts"]["joined"] == 150
    three.label(last)
    # Delivered again, and another value for a target that has one: nothing changes.
    three.label([{**one, "label": 99.0} for one in last])
    assert three.status()["counts"]["joined"] == 200
    assert measured(three)["mae"]["value"] == pytest.approx(mean_absolute_error(truth, predicted))


def test_labels_by_entity_key_find_their_targets(three: Any, world: Any) -> None:
    predicted, truth = steps(world, 200)
    by_key = [{"key": str(i), "label": list(row)} for i, row in enumerate(truth)]
    three.label(by_key[:100])
    three.predict("r", 200, scores=predicted)
    three.label(by_key[100:])
    assert measured(three)["mae"]["value"] == pytest.approx(mean_absolute_error(truth, predicted))


def test_one_target_is_corrected_before_and_after_its_row_is_complete(
    three: Any, world: Any
) -> None:
    predicted, truth = steps(world, 200)
    three.predict("r", 200, scores=predicted)
    three.label([{"id": f"r:{i}", "label": [row[0], 0.0, None]} for i, row in enumerate(truth)])
    correction = [
        {"id": f"r:{i}", "label": row[1], "target": 1, "time": LATER, "correct": True}
        for i, row in enumerate(truth)
    ]
    three.label(correction[:120])
    three.label([{"id": f"r:{i}", "label": row[2], "target": 2} for i, row in enumerate(truth)])
    three.label(correction[120:])
    three.monitor.flush()
    _, found = three.monitor.measure("mae", "1", 0.0)
    assert found.value == pytest.approx(mean_absolute_error(truth, predicted))
    assert three.status()["performance"]["1"]["corrected"] == 80


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ({"label": 1.0}, r"labels\[0\].label: one value for 3 targets of a row"),
        ({"label": [1.0, 2.0]}, r"labels\[0\].label: 2 values for 3 targets of a row"),
        ({"label": []}, r"labels\[0\].label: 0 values"),
        ({"label": [1.0, "x", 2.0]}, r"labels\[0\].label\[1\]: .*not a finite number"),
        ({"label": [1.0, 2.0, 3.0], "target": 1}, "and target 1 beside them"),
        ({"label": 1.0, "target": 3}, r"labels\[0\].target: 3 is not one of 3 targets"),
        ({"label": 1.0, "target": -1}, r"labels\[0\].target: -1 is not one of"),
    ],
)
def test_a_label_that_names_no_target_is_refused_by_its_field(
    three: Any, world: Any, label: dict[str, Any], said: str
) -> None:
    three.predict("r", 1, scores=steps(world, 1)[0])
    three.monitor.flush()
    with pytest.raises(InvalidInput, match=said):
        three.label([{"id": "r:0", **label}])


NAMES = ("price", "stock", "2")


@pytest.fixture
def named(bench: Callable[..., Any], world: Any, tmp_path: Path) -> Any:
    """The same with a model that names its targets; its champion comes with the test."""
    return bench(
        detectors=[{"name": "prediction", "kind": "ks", "watch": "prediction"}],
        performance={"metrics": list(METRICS), "window": {"rows": 200}},
    )


def reference(world: Any, tmp_path: Path, *targets: str) -> Path:
    found: Path = world.reference(tmp_path / f"reference-{len(list(tmp_path.iterdir()))}")
    document = json.loads((found / "reference.json").read_text())
    document["prediction"] = {"kind": "value", "targets": targets}
    (found / "reference.json").write_text(json.dumps(document))
    return found


def test_labels_may_name_their_targets_and_reports_do(
    named: Any, world: Any, tmp_path: Path
) -> None:
    predicted, truth = steps(world, 200)
    # Which names there are is the reference's to say: none is taken, or lost, before.
    with pytest.raises(Unavailable, match="the model's targets are not known yet"):
        named.label([{"id": "r:0", "label": 1.0, "target": "price"}])
    assert named.label([{"id": "r:0", "label": truth[0][0], "target": 0}]) == (1, 1)
    named.champion("1", reference(world, tmp_path, *NAMES))
    named.monitor.flush()
    # The names say how many there are, before any prediction does.
    with pytest.raises(InvalidInput, match="2 values for 3 targets of a row"):
        named.label([{"id": "r:0", "label": [1.0, 2.0]}])
    named.restart()
    for place, name in enumerate(NAMES):
        told = [
            {"id": f"r:{i}", "label": row[place], "target": name} for i, row in enumerate(truth)
        ]
        # The first of them is known already, by its place.
        assert named.label(told) == (200 - (place == 0), 200)
        if not place:
            named.predict("r", 200, scores=predicted)
    found = named.status()
    assert found["targets"] == list(NAMES)
    parts = found["performance"]["1"]["parts"]["mae"]
    raw = mean_absolute_error(truth, predicted, multioutput="raw_values")
    assert parts == pytest.approx(dict(zip(NAMES, raw, strict=True)))
    text = Exposition(named.monitor).text().decode()
    assert 'performance_part{metric="mae",model="flights",part="price",version="1"}' in text


def test_a_name_that_the_model_does_not_know_is_refused_with_those_it_does(
    three: Any, named: Any, world: Any, tmp_path: Path
) -> None:
    with pytest.raises(
        InvalidInput, match=r"\[0\]\.target: the model names no targets, and 'price'"
    ):
        three.label([{"id": "r:0", "label": 1.0, "target": "price"}])
    named.champion("1", reference(world, tmp_path, *NAMES))
    named.monitor.flush()
    for wrong in ("Price", "", "0"):
        with pytest.raises(InvalidInput, match=r"one of \['price', 'stock', '2'\]"):
            named.label([{"id": "r:0", "label": 1.0, "target": wrong}])
    # A model that answers with other numbers than it names has no names to go by.
    named.predict("r", 2, scores=np.ones((2, 2)))
    named.monitor.flush()
    with pytest.raises(InvalidInput, match="the reference names 3 targets, and a row has 2"):
        named.label([{"id": "r:0", "label": 1.0, "target": "price"}])
    assert named.label([{"id": "r:0", "label": [1.0, 2.0]}]) == (2, 2)


def test_a_champion_that_names_its_targets_otherwise_is_told(
    named: Any, world: Any, tmp_path: Path
) -> None:
    named.champion("1", reference(world, tmp_path, "a", "b"))
    named.champion("2", reference(world, tmp_path, "b", "a"))
    named.restart()
    assert "version 2 names the targets ['b', 'a']" in named.status()["problems"]["targets"]
    named.champion("3", reference(world, tmp_path, "b", "a"))
    assert "targets" not in named.status()["problems"]


@pytest.mark.parametrize("targets", [("a", "a"), ("",), (" a",), ("a\n",), ("x" * 129,)])
def test_names_that_could_not_be_told_apart_make_no_reference(
    named: Any, world: Any, tmp_path: Path, targets: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidInput, match=r"reference.json: prediction.targets\[\d\]"):
        named.champion("1", reference(world, tmp_path, *targets))


def test_a_detector_sees_the_columns_by_their_targets_names(
    named: Any, world: Any, tmp_path: Path
) -> None:
    named.champion("1", reference(world, tmp_path, *NAMES))
    for number in range(5):
        shift = 5.0 if number == 4 else 0.0
        named.predict(f"r{number}", 200, scores=steps(world, 200)[0] + [0.0, shift, 0.0])
    (drift,) = named.status()["drift"].values()
    assert (drift["drift"], drift["features"][0]["name"]) == (True, "prediction[stock]")


def test_values_in_lists_count_among_the_labels_of_a_body(three: Any) -> None:
    labels = [{"id": f"r:{row}", "label": [0.0] * 5_000} for row in range(21)]
    with pytest.raises(InvalidInput, match="labels: 105000 values, over 100000"):
        three.label(labels)


def test_rows_of_several_targets_without_names_are_kept_to_train_on_by_their_places(
    three: Any, world: Any, tmp_path: Path
) -> None:
    document = yaml.safe_load((tmp_path / "model.yaml").read_text())
    document["spec"]["data"]["served"] = {"retention": "36500d"}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(document))
    three.config = MonitorConfig.from_model(load_model(tmp_path / "model.yaml"))
    three.restart()
    predicted, truth = steps(world, 5)
    three.predict("r", 5, scores=predicted)
    three.label([{"id": f"r:{i}", "label": list(row)} for i, row in enumerate(truth)])
    counts = three.status()["counts"]
    assert (counts["joined"], counts["dropped"]["unkept"]) == (5, 0)
    (part,) = three.monitor.served().parts
    kept = pq.read_table(three.home / "served" / part).to_pylist()
    columns = [f"target[{place}]" for place in range(3)]
    assert [[row[name] for name in columns] for row in kept] == [list(row) for row in truth]


def test_the_export_has_the_labels_of_all_targets(three: Any, world: Any, tmp_path: Path) -> None:
    predicted, truth = steps(world, 3)
    three.predict("r", 3, scores=predicted)
    three.label([{"id": f"r:{i}", "label": list(row)} for i, row in enumerate(truth[:2])])
    three.monitor.flush()
    export(three.home, three.config, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "exchanges.parquet").to_pylist()
    assert [row["labels"] for row in rows[:2]] == [list(row) for row in truth[:2]]
    assert rows[2]["labels"] == [None] * 3
    labels = pq.read_table(tmp_path / "out" / "labels.parquet").to_pylist()
    assert [row["labels"] for row in labels] == [list(row) for row in truth[:2]]


def test_one_label_for_several_numbers_is_not_measured_and_said() -> None:
    found = measure("mae", np.ones((5, 3)), np.zeros(5))
    assert (found.value, found.problem) == (
        None,
        "needs a label for each of the 3 numbers a row, or one number a row",
    )
