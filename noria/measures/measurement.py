"""The value of a metric with its interval."""

from __future__ import annotations

import msgspec


class Measurement(msgspec.Struct, frozen=True):
    """A metric on ``samples`` rows with its two-sided confidence interval.

    ``value`` is None when the metric is not defined on the rows (an AUC of one class).
    ``low`` and ``high`` are None when the rows can't bound it; ``problem`` then says what
    they lack, with the count that is missing, as a predicate: "needs 10 labelled rows of the
    rarer class, has 1". Such a measurement decides nothing.
    ``confidence`` is that of the whole interval, 0 to 1. ``metric`` is empty where the measurement
    was kept under its metric's name alone.
    """

    metric: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    samples: int = 0
    confidence: float = 0.95
    method: str = ""
    problem: str = ""
