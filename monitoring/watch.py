"""The detectors of a model, fitted on the champion's reference."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

from monitoring.config import MonitorConfig, WatchedDetector
from monitoring.detectors import (
    Detector,
    DetectorConfig,
    DetectorResult,
    Stateful,
    build_detector,
    load_detector,
)
from monitoring.reference import Reference, read_reference
from monitoring.table import Table
from noria.errors import NoriaError

_log = logging.getLogger(__name__)
_OURS: Final = frozenset({"weight", "minEffect"})
"""Options that every kind has: the share of the budget, and the least effect that matters."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One fitted detector and what it watches."""

    name: str
    on: Literal["features", "prediction"]
    detector: Detector
    min_effect: float


class Watch:
    """Everything that is fitted on one reference.

    A detector that can't be fitted is left out and named in ``problems``: the
    others go on.
    """

    def __init__(self, config: MonitorConfig, folder: Path, fitted: Path) -> None:
        """Read the reference and fit every detector.

        Args:
            config: what to watch.
            folder: the reference.
            fitted: where detectors that are slow to fit are kept.

        Raises:
            InvalidInput: the reference can't be read.
        """
        reference = read_reference(folder)
        names = [c.name for c in reference.features.schema if c.name in config.features]
        self.reference: Reference = replace(reference, features=reference.features.select(names))
        # What was fitted while other columns were redacted must not be read back.
        fitted /= sha256("|".join(names).encode()).hexdigest()[:16]
        self.problems: dict[str, str] = {}
        self.watched: tuple[Watched, ...] = tuple(
            found
            for watched in config.detectors
            if (found := self._fit(config, watched, fitted)) is not None
        )

    def on(self, what: Literal["features", "prediction"]) -> tuple[Watched, ...]:
        """Return the detectors that watch the features, or the prediction."""
        return tuple(watched for watched in self.watched if watched.on == what)

    def restore(self, states: Mapping[str, bytes]) -> None:
        """Put every stateful detector back to the state given by name."""
        for watched in self.watched:
            state = states.get(watched.name)
            if state is not None and isinstance(watched.detector, Stateful):
                watched.detector.restore(state)

    def _fit(self, config: MonitorConfig, watched: WatchedDetector, fitted: Path) -> Watched | None:
        table = self.reference.features if watched.on == "features" else self.reference.prediction
        try:
            detector = self._fitted(_configured(config, watched), table, fitted / watched.name)
            least = float(watched.options.get("minEffect", 0.0))
        except (NoriaError, ValueError, TypeError) as error:
            _log.warning("detector %s is not running: %s", watched.name, error)
            self.problems[watched.name] = str(error)
            return None
        return Watched(watched.name, watched.on, detector, least)

    @staticmethod
    def _fitted(config: DetectorConfig, table: Table, folder: Path) -> Detector:
        if config.backend == "native":
            return build_detector(config, table)
        if (folder / "detector.json").is_file():
            kept = load_detector(folder)
            if kept.config == config:
                return kept
        detector = build_detector(config, table)
        detector.save(folder)
        return detector


def judge(watched: Watched, window: Table) -> DetectorResult:
    """Score a window; a change smaller than the least effect that matters is no drift."""
    return minded(watched, watched.detector.score(window))


def minded(watched: Watched, result: DetectorResult) -> DetectorResult:
    """Call a change smaller than the least effect that matters no drift."""
    return replace(result, drift=result.drift and result.effect >= watched.min_effect)


def shares(config: MonitorConfig) -> dict[str, float]:
    """Return each detector's part of the false-alarm budget in each window.

    Raises:
        InvalidInput: a weight is not positive.
    """
    weights = {d.name: float(d.options.get("weight", 1.0)) for d in config.detectors}
    return config.budget.shares(weights)


def _configured(config: MonitorConfig, watched: WatchedDetector) -> DetectorConfig:
    return DetectorConfig(
        name=watched.name,
        kind=watched.kind,
        backend=watched.backend,
        columns=() if watched.on == "prediction" else watched.columns,
        alpha=shares(config)[watched.name],
        window_rows=config.window_rows,
        options={k: v for k, v in watched.options.items() if k not in _OURS},
    )
