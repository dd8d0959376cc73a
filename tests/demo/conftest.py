"""A made-up year that looks like a real one: four predictors, drifts, retrains, a canary."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from noria.demo.figures import Drift, Figures, Gain, Retrain, Retrains, Traffic
from noria.demo.measure import Answers, measure, no_change

START = np.datetime64("2013-02-01T05:00", "ms")


def make_answers(rows: int = 12_000, seed: int = 7) -> Answers:
    """Eleven months in which the world moves away from January's model."""
    random = np.random.default_rng(seed)
    minutes = np.sort(random.integers(0, 333 * 24 * 60, rows))
    event_time = START + minutes.astype("timedelta64[m]")
    year = minutes / minutes.max()
    hidden = random.normal(0, 1, rows)
    rate = -1.3 + 0.5 * np.sin(2 * np.pi * year * 1.5)
    label = (random.random(rows) < 1 / (1 + np.exp(-(rate + 0.9 * hidden)))).astype(np.int8)

    def model(noise: np.ndarray) -> np.ndarray:
        seen = hidden + random.normal(0, 1, rows) * noise
        return 1 / (1 + np.exp(-(rate + 0.6 * seen)))

    frozen = model(0.75 + 1.1 * np.minimum(year * 2, 1))
    monthly = model(np.full(rows, 0.7))
    loop = model(0.72 + 0.1 * np.abs(np.sin(5 * np.pi * year)))
    label_time = event_time + random.integers(120, 600, rows).astype("timedelta64[m]")
    last, probability = no_change(event_time, label_time, label)
    return Answers(event_time, label, loop, frozen, monthly, last, probability)


def make_figures(answers: Answers | None = None) -> Figures:
    measured = measure(answers or make_answers())
    day = datetime(2013, 2, 1, tzinfo=UTC)

    def at(days: float) -> datetime:
        return day + timedelta(days=days)

    return Figures(
        mode="quick",
        seed=7,
        rows=measured.rows,
        auc=measured.auc,
        log_loss=measured.log_loss,
        accuracy=measured.accuracy,
        retrains=Retrains(loop=4, monthly=10),
        months=measured.months,
        weeks=measured.weeks,
        drifts=(
            Drift(at(24), "features", "flights/1/features/3", ("temp", "dewp", "minute-of-day")),
            Drift(at(31), "prediction", "flights/1/prediction/4"),
            Drift(at(38), "performance", "flights/1/auc/5"),
            Drift(at(88), "features", "flights/2/features/6", ("temp", "humid", "carrier")),
            Drift(at(143), "features", "flights/2/features/9", ("day-of-year", "temp")),
            Drift(at(212), "performance", "flights/3/auc/8"),
            Drift(at(290), "features", "flights/3/features/11", ("temp", "visib", "dest")),
        ),
        retrain_log=(
            Retrain("flights-0001", at(24), "drift: features", "2", "promoted",
                    Gain(0.041, 0.028, 0.055), at(29)),
            Retrain("flights-0002", at(88), "drift: features", "3", "promoted",
                    Gain(0.023, 0.011, 0.036), at(93)),
            Retrain("flights-0003", at(212), "performance: auc", "4", "refused",
                    Gain(-0.002, -0.011, 0.006), at(212.2)),
            Retrain("flights-0004", at(290), "drift: features", "5", "aborted",
                    Gain(0.012, 0.001, 0.022), at(294)),
        ),
        traffic=(
            Traffic(at(0), {"1": 100}),
            Traffic(at(25), {"1": 90, "2": 10}),
            Traffic(at(27), {"1": 50, "2": 50}),
            Traffic(at(29), {"2": 100}),
            Traffic(at(89), {"2": 90, "3": 10}),
            Traffic(at(91), {"2": 50, "3": 50}),
            Traffic(at(93), {"3": 100}),
            Traffic(at(291), {"3": 90, "5": 10}),
            Traffic(at(294), {"3": 100}),
        ),
        seconds=221.4,
    )  # fmt: skip


@pytest.fixture(scope="session")
def answers() -> Answers:
    return make_answers()


@pytest.fixture(scope="session")
def figures(answers: Answers) -> Figures:
    return make_figures(answers)
