"""What a monitor says, read from its HTTP interface into typed values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from monitoring.client import MonitorClient
from noria.errors import MonitoringError
from noria.measures.measurement import Measurement

MOST_WINDOWS: Final = 60
"""The newest windows that a plot shows: more would be narrower than a finger."""

_MOST_VERSIONS: Final = 12
T = TypeVar("T")


class FeatureResult(msgspec.Struct, frozen=True):
    """One feature in one window; ``effect`` is the distance to the reference, 0 to 1."""

    name: str
    test: str = ""
    p_value: float | None = None
    effect: float | None = None


class DetectorResult(msgspec.Struct, frozen=True):
    """One detector on one window. ``at`` is in epoch seconds."""

    kind: str
    window: int
    version: str
    threshold: float
    drift: bool
    at: float
    samples: int
    p_value: float | None = None
    effect: float | None = None
    features: tuple[FeatureResult, ...] = ()


class DriftWindow(msgspec.Struct, frozen=True):
    """What all detectors of a stream said of one window."""

    window: int
    at: float
    drift: dict[str, DetectorResult] = {}


class PerformanceWindow(msgspec.Struct, frozen=True):
    """One version on one window of labelled rows.

    ``parts`` has what a metric is the mean of: metric to target or class to value.
    """

    window: int
    at: float
    metrics: dict[str, Measurement] = {}
    parts: dict[str, dict[str, float | None]] = {}


class _Counts(msgspec.Struct, frozen=True):
    rows: int = 0
    labels: int = 0
    joined: int = 0
    dropped: dict[str, int] = {}


class _Breach(msgspec.Struct, frozen=True):
    feature: str
    rule: str
    share: float
    limit: float


class _Quality(msgspec.Struct, frozen=True):
    breaches: tuple[_Breach, ...] = ()


class _Status(msgspec.Struct, frozen=True):
    champion: str
    counts: _Counts
    expected: dict[str, float] = {}
    performance: dict[str, PerformanceWindow] = {}
    quality: _Quality | None = None
    label_lag_seconds: float = 0.0
    label_delay_seconds: float = 0.0
    last_window_age_seconds: float = 0.0
    problems: dict[str, str] = {}


class Watched(msgspec.Struct, frozen=True):
    """What the page shows of a monitor.

    Attributes:
        champion: The version that it watches.
        expected: Metric to the champion's value at training.
        drift: Stream (``features``, ``prediction``) to its windows, oldest first.
        performance: Version to its windows, oldest first.
        rows, labels, joined, dropped: Counts since the monitor's first event.
        label_lag: Seconds by which labels are behind predictions.
        label_delay: Seconds from a prediction to its label, lately.
        window_age: Seconds since the last drift window.
        breaches: Quality rules that the last window broke, in words.
        problems: What the monitor can't do.
    """

    champion: str
    expected: Mapping[str, float]
    drift: Mapping[str, tuple[DriftWindow, ...]]
    performance: Mapping[str, tuple[PerformanceWindow, ...]]
    rows: int = 0
    labels: int = 0
    joined: int = 0
    dropped: int = 0
    label_lag: float = 0.0
    label_delay: float = 0.0
    window_age: float = 0.0
    breaches: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def watch(client: MonitorClient, model: str) -> Watched:
    """Ask a monitor for all that the page of a model shows.

    Raises:
        Unavailable, MonitoringError, InvalidInput: As ``MonitorClient``.
    """
    status = _read(client.status(model), _Status)
    newest = sorted(status.performance, key=lambda v: status.performance[v].at)[-_MOST_VERSIONS:]
    drift = {
        stream: tuple(_read(client.windows(model, stream, MOST_WINDOWS), list[DriftWindow]))
        for stream in ("features", "prediction")
    }
    performance = {
        version: tuple(
            _read(
                client.windows(model, f"performance/{version}", MOST_WINDOWS),
                list[PerformanceWindow],
            )
        )
        for version in newest
    }
    quality = status.quality or _Quality()
    return Watched(
        champion=status.champion,
        expected=status.expected,
        drift=drift,
        performance=performance,
        rows=status.counts.rows,
        labels=status.counts.labels,
        joined=status.counts.joined,
        dropped=sum(status.counts.dropped.values()),
        label_lag=status.label_lag_seconds,
        label_delay=status.label_delay_seconds,
        window_age=status.last_window_age_seconds,
        breaches=tuple(
            f"{b.feature}: {b.rule} {b.share:.1%} > {b.limit:.1%}" for b in quality.breaches
        ),
        problems=tuple(f"{part}: {text}" for part, text in sorted(status.problems.items())),
    )


def _read(said: object, kind: type[T]) -> T:
    try:
        return msgspec.convert(said, kind)
    except msgspec.ValidationError as error:
        raise MonitoringError(f"the monitor's answer is not understood: {error}") from error
