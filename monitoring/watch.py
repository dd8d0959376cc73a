"""The detectors of a model, fitted on what they compare windows with.

Those of the features have the training rows of the champion's reference. Those of the prediction
learn theirs from the first rows that the champion answers: its held-out predictions are of a fit
on fewer rows, which is another model, and another model's predictions differ without any drift.
Of a model of texts nothing is known from training: what describes its exchanges is learnt from the
champion's first ones, and what it is worth from its first labelled window.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np

from monitoring.config import MonitorConfig, WatchedDetector
from monitoring.dependence import Dependence
from monitoring.detectors import (
    Detector,
    DetectorConfig,
    DetectorResult,
    Stateful,
    build_detector,
    load_detector,
)
from monitoring.detectors.deflation import deflated, is_joint, thinned
from monitoring.learnt import (
    NOTHING,
    LearntFeatures,
    learn_features,
    read_features,
    read_performance,
)
from monitoring.records import floats
from monitoring.reference import MOST_COLUMNS, Reference, prediction_table, read_kept
from monitoring.rows import Piece
from monitoring.table import FloatArray, Table
from noria.errors import InvalidInput
from noria.files import set_aside
from noria.measures.measurement import Measurement

_log = logging.getLogger(__name__)
On: TypeAlias = Literal["features", "prediction"]
LEARNT: Final = "learnt/prediction"
LEARNT_FEATURES: Final = "learnt/features"
LEARNT_PERFORMANCE: Final = "learnt/performance"
_DEPENDENCE: Final = "dependence/"
FEATURES_DEPENDENCE: Final = _DEPENDENCE + "features"
"""What is kept under these names beside the detectors' states; no detector's has a slash."""
_OURS: Final = frozenset({"weight", "minEffect"})
"""Options that every kind has: the share of the budget, and the least effect that matters."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One fitted detector and what it watches."""

    name: str
    on: On
    detector: Detector
    min_effect: float


class Watch:
    """Everything that is fitted on one reference, and what is learnt of the traffic.

    A detector that can't be fitted is left out and named in ``problems``: the
    others go on.
    """

    def __init__(self, config: MonitorConfig, folder: Path, fitted: Path, streams: int = 1) -> None:
        """Read the reference and fit every detector of the features.

        Args:
            config: what to watch.
            folder: the reference.
            fitted: where detectors that are slow to fit are kept.
            streams: into how many the traffic is dealt out before it is measured.

        Raises:
            InvalidInput, IntegrityError: the reference can't be read.
        """
        reference = read_kept(folder)
        names = [c.name for c in reference.features.schema if c.name in config.features]
        self.reference: Reference = (
            NOTHING
            if config.is_of_texts
            else replace(reference, features=reference.features.select(names))
        )
        self.undescribed = tuple(name for name in config.texts.values() if name not in names)
        # What was fitted while other columns were redacted must not be read back.
        fitted /= sha256(msgspec.json.encode(names)).hexdigest()[:16]
        self.problems: dict[str, str] = {}
        self._config = config
        self._fitted_in = fitted
        self._streams = streams
        self._learnt = b""
        self._learnt_features = b""
        self._learnt_performance = b""
        self._width = 1
        self._watched: dict[On, tuple[Watched, ...]] = {"features": (), "prediction": ()}
        self.dependence: dict[On, Dependence] = {}
        if not config.is_of_texts:
            table = self.reference.features
            self._watched["features"] = self._fit_all("features", table, fitted)
            self.dependence["features"] = Dependence(table, config.window_rows, streams=streams)

    @property
    def watched(self) -> tuple[Watched, ...]:
        """All detectors that are fitted."""
        return (*self._watched["features"], *self._watched["prediction"])

    def on(self, what: On) -> tuple[Watched, ...]:
        """Return the fitted detectors that watch the features, or the prediction."""
        return self._watched[what]

    @property
    def missing_rows(self) -> int:
        """How many answered rows the detectors of the prediction have to learn from; 0: none."""
        learns = any(watched.on == "prediction" for watched in self._config.detectors)
        return self._config.learnt_rows if learns and not self._learnt else 0

    @property
    def missing_exchanges(self) -> int:
        """How many exchanges of texts the detectors of the features have to learn from; 0: none."""
        known = not self._config.is_of_texts or self._learnt_features
        return 0 if known else self._config.learnt_rows

    @property
    def misses_performance(self) -> bool:
        """Whether the next labelled window is what later ones are held to."""
        return self._config.is_of_texts and not self._learnt_performance

    def learn_exchanges(self, pieces: Sequence[Piece]) -> int:
        """Take the first exchanges of the champion as what others are held to; return how many."""
        return self._take_features(learn_features(self._config.features, pieces))

    def learn_performance(self, metrics: Mapping[str, Measurement], needed: str) -> None:
        """Take a window's metrics as what later ones are held to, once ``needed`` is surely known.

        Without an interval it is not: the next window may be.
        """
        found = metrics.get(needed)
        if found is not None and found.low is not None and found.high is not None:
            self._take_performance({needed: found})

    def learn(self, values: FloatArray) -> None:
        """Take the first predictions of the champion, in order, as what others are held to.

        Args:
            values: (n,), or (n, k) where a row has several numbers.
        """
        self._learnt = values.astype(np.float64).tobytes()
        self._width = 1 if values.ndim == 1 else values.shape[1]
        known = np.isfinite(values) if values.ndim == 1 else np.isfinite(values).all(axis=1)
        table = self.predicted(values[known])
        rows, streams = self._config.window_rows, self._streams
        self.dependence["prediction"] = Dependence(table, rows, streams=streams, live=True)
        # What was fitted on other predictions must not be read back.
        kept_in = self._fitted_in / sha256(self._learnt).hexdigest()[:16]
        self._watched["prediction"] = self._fit_all("prediction", table, kept_in)

    def predicted(self, values: FloatArray) -> Table:
        """Return predictions, (n,) or (n, k), as the table that the detectors see."""
        named = self.reference.part_names
        # Of many targets the detectors see the vector, whatever they are called.
        fits = len(named) == self._width and (self.reference.classes or self._width <= MOST_COLUMNS)
        return prediction_table(values, named if fits else ())

    def learnt(self, on: On) -> dict[str, bytes]:
        """Return what was learnt of a stream, by the name it is kept under."""
        found = {_DEPENDENCE + on: self.dependence[on].state()} if on in self.dependence else {}
        if on == "prediction" and self._learnt:
            found[LEARNT if self._width == 1 else f"{LEARNT}/{self._width}"] = self._learnt
        if on == "features" and self._learnt_features:
            found[LEARNT_FEATURES] = self._learnt_features
        return found

    def learnt_performance(self) -> dict[str, bytes]:
        """Return what was learnt of the performance, by the name it is kept under."""
        known = self._learnt_performance
        return {LEARNT_PERFORMANCE: known} if known else {}

    def restore(self, states: Mapping[str, bytes]) -> None:
        """Put back what was learnt, and every stateful detector; a damaged one is named."""
        kept = next((name for name in states if name.split("/")[:2] == LEARNT.split("/")), None)
        if kept is not None:
            if states[kept] != self._learnt:
                width = int(kept.removeprefix(LEARNT).lstrip("/") or 1)
                values = floats(states[kept])
                self.learn(values if width == 1 else values.reshape(-1, width))
        else:
            self._learnt = b""
            self._watched["prediction"] = ()
            self.dependence.pop("prediction", None)
        if self._config.is_of_texts:
            self._restore_texts(states)
        for on, dependence in self.dependence.items():
            dependence.restore(states.get(_DEPENDENCE + on))
        for watched in self.watched:
            state = states.get(watched.name)
            if state is not None and isinstance(watched.detector, Stateful):
                try:
                    watched.detector.restore(state)
                except Exception as error:  # noqa: BLE001 - a third party's: the others go on
                    _log.warning("detector %s starts afresh: %s", watched.name, error)
                    self.problems[watched.name] = f"its state is damaged, it starts afresh: {error}"

    def _restore_texts(self, states: Mapping[str, bytes]) -> None:
        """Put back what was learnt of exchanges; what is damaged is learnt anew, and named."""
        self.reference = NOTHING
        self._learnt_features = self._learnt_performance = b""
        self._watched["features"] = ()
        self.dependence.pop("features", None)
        kept: tuple[tuple[str, Callable[[bytes], object]], ...] = (
            (LEARNT_FEATURES, lambda body: self._take_features(read_features(body))),
            (LEARNT_PERFORMANCE, lambda body: self._take_performance(read_performance(body))),
        )
        for name, take in kept:
            self.problems.pop(name, None)
            try:
                if name in states:
                    take(states[name])
            except InvalidInput as error:
                _log.warning("%s is learnt anew: %s", name, error)
                self.problems[name] = f"it is damaged, and learnt anew: {error}"

    def _take_features(self, found: LearntFeatures) -> int:
        table = found.table()
        self.reference = replace(
            self.reference, features=table, missing=found.missing(), seen=found.seen()
        )
        self._learnt_features = msgspec.msgpack.encode(found)
        rows, streams = self._config.window_rows, self._streams
        self.dependence["features"] = Dependence(table, rows, streams=streams, live=True)
        kept_in = self._fitted_in / sha256(self._learnt_features).hexdigest()[:16]
        self._watched["features"] = self._fit_all("features", table, kept_in)
        return table.rows

    def _take_performance(self, found: Mapping[str, Measurement]) -> None:
        self.reference = replace(
            self.reference,
            performance={name: one.value for name, one in found.items() if one.value is not None},
            bounds={
                name: (one.low, one.high)
                for name, one in found.items()
                if one.low is not None and one.high is not None
            },
        )
        self._learnt_performance = msgspec.msgpack.encode(found)

    def _fit_all(self, on: On, table: Table, fitted: Path) -> tuple[Watched, ...]:
        chosen = [watched for watched in self._config.detectors if watched.on == on]
        found = [self._fit(watched, table, fitted) for watched in chosen]
        return tuple(one for one in found if one is not None)

    def _fit(self, watched: WatchedDetector, table: Table, fitted: Path) -> Watched | None:
        self.problems.pop(watched.name, None)
        try:
            config = _configured(self._config, watched)
            detector = self._fitted(config, table, fitted / watched.name)
            least = float(watched.options.get("minEffect", 0.0))
        except Exception as error:  # noqa: BLE001 - a third party's detector: the others go on
            _log.warning("detector %s is not running: %s", watched.name, error)
            self.problems[watched.name] = str(error)
            return None
        return Watched(watched.name, watched.on, detector, least)

    @staticmethod
    def _fitted(config: DetectorConfig, table: Table, folder: Path) -> Detector:
        if config.backend == "native":
            return build_detector(config, table)
        if (folder / "detector.json").is_file():
            try:
                kept = load_detector(folder)
                if kept.config == config:
                    return kept
            except Exception as error:  # noqa: BLE001 - whatever it is, it is fitted again
                set_aside(folder / "detector.json", str(error))
        detector = build_detector(config, table)
        detector.save(folder)
        return detector


def judge(watched: Watched, window: Table, dependence: Dependence) -> DetectorResult:
    """Score a window as rows that depend on each other; see ``apply_min_effect``."""
    if not is_joint(watched.detector):
        return apply_min_effect(watched, watched.detector.score(window), dependence)
    effect = dependence.joint(watched.detector.config.columns)
    result = watched.detector.score(thinned(window, effect))
    return apply_min_effect(
        watched, replace(result, samples=window.rows, design=effect), dependence
    )


def apply_min_effect(
    watched: Watched, result: DetectorResult, dependence: Dependence
) -> DetectorResult:
    """Allow for dependence; a change smaller than the least effect that matters is no drift."""
    found = deflated(result, dependence.reference, dependence.effects())
    return replace(found, drift=found.drift and found.effect >= watched.min_effect)


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
