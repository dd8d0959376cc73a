"""Performance is measured on the rows that have a label."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring.measures import measure, of_window
from noria.errors import InvalidInput


def test_rows_without_a_label_are_left_out() -> None:
    scores = np.array([0.9, 0.2, 0.5, 0.7])
    found = measure("accuracy", scores, np.array([1.0, 1.0, np.nan, 1.0]))
    assert found.samples == 3
    assert found.value == pytest.approx(2 / 3)


def test_an_unknown_metric_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InvalidInput, match="auc"):
        measure("aucc", np.ones(2), np.ones(2))


def test_a_window_says_what_it_can_not_measure() -> None:
    scores, labels = np.full(20, 0.5), np.zeros(20)
    assert of_window("auc", scores, labels).problem == (
        "needs 10 labelled rows of the rarer class, has 0"
    )
    assert "not measured here" in of_window("silhouette", scores, labels).problem
    assert of_window("auc", scores, labels, classes=3).problem == (
        "needs 3 numbers a row, one for each class, has 1"
    )
    assert of_window("auc", np.full((20, 3), 1 / 3), labels, classes=2).problem == (
        "needs one number a row, has 3"
    )
