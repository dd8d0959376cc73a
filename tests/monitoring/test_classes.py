"""Labels of classifiers: by name once the reference tells the classes; no nonsense of many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.parametrize("classes", [(0, 1, 2), ("cat", "dog", "eel")])
def test_labels_of_many_classes_are_counted_and_not_measured(
    watched: Callable[..., Any], classes: tuple[Any, ...]
) -> None:
    b = watched(*classes)
    b.label([{"id": f"r:{row}", "label": classes[row % 3]} for row in range(200)])
    status = b.status()
    assert status["counts"]["joined"] == 200
    for report in status["performance"]["1"]["metrics"].values():
        assert report["value"] is None
        assert "more than two classes" in report["problem"]
    _, found = b.monitor.measure("accuracy", None, 0.0)
    assert (found.value, found.samples) == (None, 200)
    assert "more than two classes" in found.problem
    assert b.monitor.measure("labelled-rows", None, 0.0)[1].value == 200.0
    assert status["signals"] == []


def test_a_label_that_is_no_class_of_many_is_refused(watched: Callable[..., Any]) -> None:
    with pytest.raises(InvalidInput, match=r"labels\[0\]\.label: 7 is not a class of the model"):
        watched(0, 1, 2).label([{"id": "r:0", "label": 7}])


@pytest.mark.parametrize(
    ("classes", "negative", "positive"),
    [(("early", "late"), "early", "late"), (("early", "late"), 0, 1), ((1, 2), 1, 2)],
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
