"""A budget binds the fits that choose a threshold or an order, too, and leaves a model."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from noria.spec import ModelSpec
from noria.tasks.candidate import Made, make_candidate
from noria.tasks.tabular.family import Tabular
from noria.tasks.tabular.hyperparameters import CUMULATIVE
from tests.tabular import test_ordered, test_thresholds

BUDGET = 60.0
LOOKS = 6
"""At the clock, where the first member alone is tried: its budget is over at once."""


def latest(step: float) -> float:
    """Return the greatest clock where one fit, of two looks, goes over the budget."""
    return max(BUDGET + 2 * step, LOOKS * step)


class Ticking(Tabular):
    """Every look at its clock is so many seconds after the last."""

    def __init__(self, step: float) -> None:
        self.clock = itertools.count(0.0, step).__next__  # type: ignore[assignment]


def made(spec: ModelSpec, rows: Any, folder: Path, step: float) -> tuple[Made, float]:
    """Return what is trained, and when by its clock."""
    tasks = Ticking(step)
    found = make_candidate(tasks, spec, rows, None, folder / "run", model="timed")
    return found, tasks.clock()


@pytest.mark.parametrize("step", [60.0, 8.0])
def test_a_threshold_that_there_is_no_time_for_stays_a_half(tmp_path: Path, step: float) -> None:
    spec = test_thresholds.spec_of({"for": "f1"}, budget="1m")
    found, at = made(spec, test_thresholds.rare(1000), tmp_path, step)
    assert found.manifest.limits == ()
    assert found.evaluation.notes == (
        "spec.train.budget left no time: the threshold stays at 0.5.",
    )
    assert found.evaluation.metrics["f1"].value is not None
    assert at <= latest(step)


def test_with_time_for_it_the_threshold_is_what_it_is_without_a_budget(tmp_path: Path) -> None:
    rows = test_thresholds.rare(1000)
    spec = test_thresholds.spec_of({"for": "f1"}, budget="1m")
    found, _ = made(spec, rows, tmp_path / "one", 0.1)
    free, _ = made(test_thresholds.spec_of({"for": "f1"}), rows, tmp_path / "two", 1e6)
    assert 0.0 < found.manifest.limits[0] < 0.5
    assert found.manifest.limits == free.manifest.limits
    assert not any("budget" in note for note in found.evaluation.notes)


@pytest.mark.parametrize(("step", "tried"), [(60.0, False), (4.0, False), (0.1, True)])
def test_an_order_is_tried_where_there_is_time(tmp_path: Path, step: float, tried: bool) -> None:
    spec = test_ordered.spec_of(budget="1m")
    found, at = made(spec, test_ordered.grades(600), tmp_path, step)
    # Of proportional odds steps are better, where they are tried.
    assert (CUMULATIVE in found.manifest.parameters) == tried
    said = "spec.train.budget left no time: steps of the order are not tried"
    assert any(note.startswith(said) for note in found.evaluation.notes) != tried
    assert found.evaluation.metrics["quadratic-kappa"].value is not None
    assert at <= latest(step)
