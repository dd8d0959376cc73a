"""Intervals hold the truth as often as they say, also on few rows of the rarer class.

The bounds leave the simulation three standard errors. The whole table is printed by
``python -m tests.bench.coverage``.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from noria.measures.estimates import CLASSIFICATION
from noria.measures.independent import drop
from noria.measures.measuring import measure
from tests.measures.coverage import (
    CLASSES,
    Cell,
    Draw,
    cell,
    constant,
    five,
    laplace,
    logistic,
    normal,
    student,
    three,
)
from tests.measures.populations import (
    KINDS,
    Kind,
    Population,
    Told,
    clustered,
    forecast,
    graded,
    holds,
    told,
)

pytestmark = pytest.mark.slow
RUNS = 400
SAMPLES = (200, 1000)


def covers(found: Cell) -> None:
    """Two-sided at least 93 %, and each side misses at most 2.5 %, but for the simulation."""
    if not found.given:
        return

    def least(share: float) -> float:
        return 3.0 * math.sqrt(share * (1 - share) / found.given)

    assert found.coverage >= 0.93 - least(0.93), found
    assert max(found.under, found.over) / found.given <= 0.025 + least(0.025), found


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("world", CLASSES)
@pytest.mark.parametrize("metric", CLASSIFICATION)
def test_an_interval_of_two_classes_covers(metric: str, world: Draw, paired: bool) -> None:
    for rows, rarer in ((200, 10), (1000, 30), (200, 100)):
        covers(cell(metric, world, rows, rarer, paired=paired, runs=RUNS))


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize(
    ("metric", "world"),
    [
        *((metric, three) for metric in CLASSIFICATION),
        *((metric, five) for metric in ("auc", "log-loss", "calibration-gap", "f1")),
    ],
)
def test_an_interval_of_more_classes_covers(metric: str, world: Draw, paired: bool) -> None:
    for rows, rarer in ((200, 15), (1000, 100)):
        covers(cell(metric, world, rows, rarer, paired=paired, runs=RUNS // 2))


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize(
    ("metric", "world"),
    [
        *((metric, world) for metric in ("mae", "rmse", "r2") for world in (normal, laplace)),
        ("mae", student),
    ],
)
def test_an_interval_of_values_covers(metric: str, world: Draw, paired: bool) -> None:
    for rows in (100, 300, 1000):
        covers(cell(metric, world, rows, 0, paired=paired, runs=RUNS))


def seldom_wrong(found: Told) -> None:
    """Each of two models that are worth the same is shown better in at most 5 % of the runs."""
    most = 0.05 + 3.0 * math.sqrt(0.05 * 0.95 / found.runs)
    assert found.given, found
    assert max(found.better, found.worse) / found.runs <= most, found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_an_interval_of_samples_that_are_no_rows_covers(kind: Kind) -> None:
    for population in kind.populations:
        for metric in kind.metrics:
            for samples, runs in zip(SAMPLES, kind.runs, strict=True):
                for paired in (False, True):
                    covers(holds(metric, population, samples, runs, paired=paired))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_of_two_models_worth_the_same_neither_is_called_better(kind: Kind) -> None:
    for population in kind.populations:
        for metric in kind.metrics:
            for samples, runs in zip(SAMPLES, kind.runs, strict=True):
                seldom_wrong(told(metric, population, samples, runs, kind.worsened))


@pytest.mark.parametrize(
    ("metric", "population"),
    [("ndcg-at-10", graded), ("span-recall", clustered), ("mae", forecast), ("r2", forecast)],
)
def test_a_real_gain_is_seen_and_never_taken_for_a_loss(
    metric: str, population: Population
) -> None:
    found = told(metric, population, 1000, 40)
    assert (found.better, found.worse) == (40, 0), found


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
def test_a_proportion_covers_from_the_first_row_on(metric: str) -> None:
    for world in (logistic, constant):
        for rarer in (1, 2, 3, 5):
            covers(cell(metric, world, 100, rarer, runs=RUNS))


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("metric", ["auc", "average-precision", "log-loss"])
def test_an_unchanged_model_seldom_signals_a_drop(metric: str, share: float) -> None:
    """The value at training is measured too, on five times as many rows."""
    random = np.random.default_rng(11)
    signals, runs = 0, 400
    for _ in range(runs):
        y, said, _ = logistic(random, 5000, share)
        trained = measure(metric, y, said)
        y, said, _ = logistic(random, 1000, share)
        now = measure(metric, y, said)
        if now.low is None or trained.low is None:
            continue
        assert now.value is not None
        assert now.high is not None
        assert trained.value is not None
        assert trained.high is not None
        _, least, _ = drop(
            now.value,
            (now.low, now.high),
            trained.value,
            (trained.low, trained.high),
            greater_is_better=metric != "log-loss",
        )
        signals += least > 0
    assert signals / runs <= 0.025 + 3.0 * math.sqrt(0.025 * 0.975 / runs)


@pytest.mark.parametrize("positives", [1, 10, 100])
def test_a_worse_candidate_seldom_passes_for_as_good(positives: int) -> None:
    """AUC 0.70 against 0.82 of other rows, at most 0.02 worse allowed."""
    random = np.random.default_rng(5)
    passed, runs = 0, 400
    for _ in range(runs):
        found = []
        for shift in (0.742, 1.295):
            y = np.repeat([1.0, 0.0], [positives, 1000 - positives])
            found.append(measure("auc", y, random.normal(size=1000) + shift * y))
        own, base = found
        if own.low is None or base.low is None:
            continue
        assert own.value is not None
        assert own.high is not None
        assert base.value is not None
        assert base.high is not None
        *_, most = drop(
            own.value,
            (own.low, own.high),
            base.value,
            (base.low, base.high),
            greater_is_better=True,
        )
        passed += most <= 0.02
    assert passed / runs <= 0.025
    assert positives >= 10 or not passed
