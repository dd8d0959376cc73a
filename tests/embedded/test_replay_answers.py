"""What was answered in a replay: columns, what is marked, metrics, a Parquet file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec import structs

from noria.embedded.answers import Answers
from noria.embedded.replaying import refuse_seen
from noria.errors import InvalidInput
from noria.replay import Answer, History
from noria.spec import Family, ModelSpec, OwnMetric, parse_model
from noria.tasks.package import Manifest
from noria.tasks.tabular.hand_made import outputs_of

HOUR = 3_600_000
FAMILIES = {
    "two": ("tabular-classification", ("no", "yes")),
    "three": ("tabular-classification", ("a", "b", "c")),
    "whole": ("tabular-classification", (0, 1)),
    "value": ("tabular-regression", ()),
}


def spec_of(family: str) -> ModelSpec:
    document = {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "m"},
        "spec": {
            "task": {"family": family},
            "data": {
                "source": {"csv": {"paths": ["rows.csv"]}},
                "features": [{"name": "x", "type": "numeric"}],
                "target": "y",
                "eventTime": "at",
            },
            "train": {"algorithm": "linear"},
        },
    }
    return parse_model(document).spec


def manifest(family: str, classes: tuple[Any, ...], until_hour: float | None) -> Manifest:
    return Manifest(
        model="m",
        family=family,
        algorithm="linear",
        inputs=(),
        outputs=outputs_of(classes) if classes or "regression" in family else (),
        features=(),
        classes=classes,
        trained_until=None if until_hour is None else int(until_hour * HOUR),
    )


def history(label: list[Any]) -> History:
    event = np.arange(len(label), dtype=np.int64) * HOUR
    return History({}, {}, np.array(label, dtype=object), event, event + 2 * HOUR)


def collected(label: list[Any], versions: dict[str, Manifest]) -> Answers:
    return Answers(history(label), versions.__getitem__)


def test_labels_are_measured_by_the_threshold_of_the_version_that_answered() -> None:
    family, classes = FAMILIES["two"]
    plain = manifest(family, classes, None)
    versions = {"1": structs.replace(plain, thresholds=(0.2,)), "2": plain}
    answers = collected(["yes", "no"] * 4, versions)
    said = np.tile([0.3, 0.1], 2)
    for rows, version in ((slice(0, 4), "1"), (slice(4, 8), "2")):
        label = np.array(["?"] * 4, dtype=object)
        answers.take(rows, Answer("r", version, {"probability": said, "label": label}))
    found = answers.summary(spec_of(family)).metrics
    # Version 1 calls its two positive rows so, version 2 calls none: recall 2 of 4.
    assert (found["class-recall"], found["class-precision"]) == (0.5, 1.0)
    assert found["auc"] == 1.0


def test_rows_that_the_version_that_answers_was_fitted_on_are_marked_and_not_measured() -> None:
    family, classes = FAMILIES["two"]
    versions = {"1": manifest(family, classes, 3.0), "2": manifest(family, classes, 9.0)}
    answers = collected(["no", "yes"] * 6, versions)
    score = np.array([0.9, 0.1] * 6)
    answers.take(slice(0, 8), Answer("a", "1", {"probability": score[:8]}))
    answers.take(slice(8, 12), Answer("b", "2", {"probability": score[8:]}))
    assert answers.seen.tolist() == [True] * 4 + [False] * 4 + [True] * 2 + [False] * 2
    found = answers.summary(spec_of(family))
    assert (found.rows, found.seen, found.measured) == (12, 6, 6)
    assert found.versions == {"1": 8, "2": 4}
    assert found.metrics["auc"] == 0.0


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_measured_by_its_own_metrics(name: str) -> None:
    family, classes = FAMILIES[name]
    random = np.random.default_rng(0)
    rows = 300
    if classes:
        codes = random.integers(0, len(classes), rows)
        label: list[Any] = [classes[code] for code in codes]
        right = 0.6 * np.eye(len(classes))[codes] + 0.4 / len(classes)
        outputs = {
            "probability": right[:, 1] if len(classes) == 2 else right,
            "label": np.array(label),
        }
    else:
        value = random.normal(size=rows)
        label = value.tolist()
        outputs = {"prediction": value + 0.1}
    answers = collected(label, {"1": manifest(family, classes, None)})
    answers.take(slice(0, rows), Answer("a", "1", outputs))
    found = answers.summary(spec_of(family)).metrics
    if classes:
        assert (found["accuracy"], found["auc"]) == (1.0, 1.0)
    else:
        assert found["mae"] == pytest.approx(0.1)


def test_a_metric_that_the_family_brings_is_measured_too() -> None:
    within = OwnMetric("within", True, low=0, high=1, per_sample=lambda t, p: abs(t - p) <= 0.5)

    class Bringing(ModelSpec):
        @property
        def family(self) -> Family:
            return replace(super().family, metrics=("within", "mae"), own_metrics=(within,))

    spec = spec_of("tabular-regression")
    answers = collected([0.0, 1.0, 2.0, 3.0], {"1": manifest("tabular-regression", (), None)})
    said = np.array([0.5, 1.0, 2.75, 3.0])
    answers.take(slice(0, 4), Answer("a", "1", {"prediction": said}))
    bringing = Bringing.model_construct(spec.model_fields_set, **dict(spec))
    assert answers.summary(bringing).metrics == {"within": 0.75, "mae": 0.3125}


def test_a_class_that_a_version_does_not_know_is_counted_and_not_measured() -> None:
    family, _ = FAMILIES["three"]
    versions = {
        "1": manifest(family, ("a", "b"), None),
        "2": manifest(family, ("a", "b", "c"), None),
    }
    answers = collected(["a", "b", "c", "a", "b", "c"], versions)
    answers.take(slice(0, 3), Answer("x", "1", {"probability": np.array([0.1, 0.8, 0.5])}))
    second = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    answers.take(slice(3, 6), Answer("y", "2", {"probability": second}))
    truth, score = answers.scored()
    np.testing.assert_array_equal(truth, [0, 1, np.nan, 0, 1, 2])
    np.testing.assert_allclose(score[:2], [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    np.testing.assert_allclose(score[3:], second)
    found = answers.summary(spec_of(family))
    assert (found.unknown, found.measured, found.metrics["accuracy"]) == (1, 5, 1.0)


def test_predictions_are_written_with_typed_columns_and_only_for_answered_rows(
    tmp_path: Path,
) -> None:
    family, classes = FAMILIES["three"]
    answers = collected(["a", "b", "c", "a"], {"1": manifest(family, classes, 0.5)})
    probability = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    outputs = {"probability": probability, "label": np.array(["a", "b", "c"])}
    answers.take(slice(0, 3), Answer("x", "1", outputs))
    answers.write(tmp_path / "deep" / "p.parquet")
    found = pq.read_table(tmp_path / "deep" / "p.parquet")
    assert found.column_names == [
        "event_time", "label_time", "label", "version", "probability.a", "probability.b",
        "probability.c", "model.label", "seen",
    ]  # fmt: skip
    assert found.schema.field("event_time").type == pa.timestamp("ms", tz="UTC")
    assert found.column("label").to_pylist() == ["a", "b", "c"]
    assert found.column("probability.b").to_pylist() == [0.2, 0.8, 0.2]
    assert found.column("seen").to_pylist() == [True, False, False]


def test_the_first_honest_start_is_named() -> None:
    rows = history(["no"] * 10)
    refuse_seen(rows, manifest("tabular-classification", ("no", "yes"), -1.0), "7")
    refuse_seen(rows, manifest("tabular-classification", ("no", "yes"), None), "7")
    with pytest.raises(InvalidInput) as refused:
        refuse_seen(rows, manifest("tabular-classification", ("no", "yes"), 4.0), "7")
    assert "v7 was fitted on events until 1970-01-01T04:00:00, and 5 of the 10" in str(
        refused.value
    )
    assert "--start 1970-01-01T04:00:01" in str(refused.value)
    with pytest.raises(InvalidInput, match="--rows FILE"):
        refuse_seen(rows, manifest("tabular-classification", ("no", "yes"), 20.0), "7")


def test_named_targets_are_measured_together_and_written_by_their_names(tmp_path: Path) -> None:
    named = structs.replace(manifest("tabular-regression", (), None), targets=("a", "b"))
    truth = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, np.nan], [4.0, 40.0]])
    event = np.arange(4, dtype=np.int64) * HOUR
    rows = History({}, {}, truth, event, event, ("a", "b"))
    answers = Answers(rows, {"1": named}.__getitem__)
    said = np.array([[1.5, 10.0], [2.0, 21.0], [3.0, 30.0]])
    answers.take(slice(0, 3), Answer("x", "1", {"prediction": said}))
    found = answers.summary(spec_of("tabular-regression"))
    # One row lacks a label, and one an answer.
    assert (found.rows, found.measured, found.unknown) == (3, 2, 1)
    assert found.metrics["mae"] == pytest.approx((0.5 + 0 + 0 + 1) / 4)
    answers.write(tmp_path / "p.parquet")
    written = pq.read_table(tmp_path / "p.parquet")
    assert written.column("label.b").to_pylist()[:2] == [10.0, 20.0]
    assert written.column("prediction.b").to_pylist() == [10.0, 21.0, 30.0]
