"""Labels of classifiers: by name once the reference tells the classes; no nonsense of many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

from noria.errors import InvalidInput


@pytest.fixture
def watched(bench: Callable[..., Any], world: Any, tmp_path: Path) -> Callable[..., Any]:
    """A monitor that knows the classes, with predictions of 200 rows."""

    def make(*classes: Any) -> Any:
        b = bench()
        b.champion("1", world.reference(tmp_path / "reference", classes=classes))
        b.predict("r", 200)
        b.monitor.flush()
        return b

    return make


CLASSES = ("cat", "dog", "eel")
METRICS = ("log-loss", "accuracy", "f1", "auc", "calibration-gap")


@pytest.fixture
def three(bench: Callable[..., Any], world: Any, tmp_path: Path) -> Any:
    """A monitor of three classes whose champion had an accuracy of 0.8 in training."""
    drop = {"metric": "accuracy", "max": 0.05, "confidence": 0.95}
    b = bench(performance={"metrics": list(METRICS), "window": {"rows": 400}, "drop": drop})
    b.champion("1", world.reference(tmp_path / "reference", classes=CLASSES, accuracy=0.8))
    b.monitor.flush()
    return b


def answer(b: Any, world: Any, identity: str, rows: int, skill: float) -> tuple[Any, Any]:
    """Send predictions of so much skill, and their labels by class name."""
    truth, scores = world.classes(rows, skill)
    b.predict(identity, rows, scores=scores)
    b.label([{"id": f"{identity}:{i}", "label": CLASSES[k]} for i, k in enumerate(truth)])
    return truth, scores


def test_performance_of_many_classes_is_what_scikit_learn_says(three: Any, world: Any) -> None:
    truth, scores = answer(three, world, "r", 400, 1.0)
    found = three.status()["performance"]["1"]["metrics"]
    guess = scores.argmax(axis=1)
    expected = {
        "log-loss": log_loss(truth, scores),
        "accuracy": accuracy_score(truth, guess),
        "f1": f1_score(truth, guess, average="macro"),
        "auc": roc_auc_score(truth, scores, multi_class="ovr"),
        "calibration-gap": np.abs(scores.mean(axis=0) - np.bincount(truth) / 400).sum() / 2,
    }
    for metric, value in expected.items():
        assert found[metric]["value"] == pytest.approx(value, abs=1e-9), metric
        assert found[metric]["low"] < value < found[metric]["high"]
        _, asked = three.monitor.measure(metric, None, 0.0)
        assert (asked.value, asked.samples) == (found[metric]["value"], 400)
    parts = three.status()["performance"]["1"]["parts"]
    by_class = dict(zip(CLASSES, f1_score(truth, guess, average=None), strict=True))
    assert parts["f1"] == pytest.approx(by_class)
    rest = {name: roc_auc_score(truth == k, scores[:, k]) for k, name in enumerate(CLASSES)}
    assert parts["auc"] == pytest.approx(rest)
    assert set(parts) == {"f1", "auc"}


def test_a_drop_of_many_classes_is_a_signal_and_survives_a_restart(three: Any, world: Any) -> None:
    answer(three, world, "good", 400, 1.5)
    assert three.signals() == []
    answer(three, world, "bad", 300, 0.1)
    three.monitor.flush()
    three.restart()
    answer(three, world, "worse", 100, 0.1)
    (signal,) = three.signals()
    assert (signal["kind"], signal["version"]) == ("performance", "1")
    assert "accuracy is 0." in signal["detail"]


def test_a_shift_between_classes_is_drift_of_the_prediction(three: Any, world: Any) -> None:
    sent = 0

    def send(scores: Any) -> None:
        nonlocal sent
        three.predict(f"r{sent}", scores.shape[0], scores=scores)
        sent += 1

    for _ in range(6):
        send(world.classes(200)[1])
    assert three.status()["drift"]["prediction"]["drift"] is False
    # What the likeliest class's probability alone can't tell: two classes change places.
    send(world.classes(200)[1][:, [1, 0, 2]])
    found = three.status()["drift"]["prediction"]
    assert found["drift"] is True
    assert found["features"][0]["name"] in ("prediction[cat]", "prediction[dog]")


def test_an_answer_of_another_width_is_counted_and_not_compared(three: Any, world: Any) -> None:
    answer(three, world, "r", 400, 1.0)
    three.predict("narrow", 10)
    status = three.status()
    assert status["counts"]["mismatched"] == 1
    assert status["counts"]["rows"] == 400
    answer(three, world, "again", 400, 1.0)
    assert three.status()["performance"]["1"]["window"] == 1


def test_a_corrected_label_of_many_classes_counts(three: Any, world: Any) -> None:
    truth, scores = world.classes(400)
    three.predict("r", 400, scores=scores)
    wrong = [{"id": f"r:{i}", "label": CLASSES[(k + 1) % 3]} for i, k in enumerate(truth)]
    three.label(wrong)
    moment = "2026-03-05T09:00:00Z"
    three.label(
        [
            {"id": f"r:{i}", "label": CLASSES[k], "time": moment, "correct": True}
            for i, k in enumerate(truth)
        ]
    )
    three.monitor.flush()
    _, found = three.monitor.measure("accuracy", None, 0.0)
    assert found.value == pytest.approx((scores.argmax(axis=1) == truth).mean())


def test_a_model_that_answers_one_number_of_many_classes_says_what_is_missing(
    watched: Callable[..., Any],
) -> None:
    b = watched(0, 1, 2)
    b.label([{"id": f"r:{row}", "label": row % 3} for row in range(200)])
    status = b.status()
    assert status["counts"]["joined"] == 200
    for report in status["performance"]["1"]["metrics"].values():
        assert report["value"] is None
        assert report["problem"] == "needs 3 numbers a row, one for each class, has 1"
    assert b.monitor.measure("labelled-rows", None, 0.0)[1].value == 200.0


def test_a_label_that_is_no_class_of_many_is_refused(watched: Callable[..., Any]) -> None:
    with pytest.raises(InvalidInput, match=r"labels\[0\]\.label: 7 is not a class of the model"):
        watched(0, 1, 2).label([{"id": "r:0", "label": 7}])


@pytest.mark.parametrize(
    ("classes", "negative", "positive"),
    [
        (("early", "late"), "early", "late"),
        ((1, 2), 1, 2),
        ((1, 2), "1", "2"),
        ((0, 1), False, True),
        ((False, True), 0, 1),
        ((0.5, 1.5), 0.5, 1.5),
    ],
)
def test_the_reference_says_what_the_names_of_two_classes_mean(
    watched: Callable[..., Any], classes: tuple[Any, ...], negative: Any, positive: Any
) -> None:
    b = watched(*classes)
    truth = b.sent["r"] >= 0.5
    labels = [positive if late else negative for late in truth]
    b.label([{"id": f"r:{row}", "label": label} for row, label in enumerate(labels)])
    b.monitor.flush()
    assert b.monitor.measure("accuracy", None, 0.0)[1].value == 1.0


def test_a_name_that_is_neither_of_two_classes_is_refused_with_both(
    watched: Callable[..., Any],
) -> None:
    with pytest.raises(InvalidInput, match=r"early.*late"):
        watched("early", "late").label([{"id": "r:0", "label": "lost"}])
