"""Rows become windows, windows become results, and results that matter become signals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from monitoring.config import MonitorConfig
from monitoring.core import (
    Core,
    DriftReport,
    DropReport,
    MetricReport,
    PerformanceReport,
    StreamState,
)
from monitoring.detectors import DetectorResult, Stateful
from monitoring.labels import Outcomes
from monitoring.log import EventLog
from monitoring.measures import GREATER_IS_BETTER, measure, unmeasured
from monitoring.quality import QualityResult, check_quality
from monitoring.records import BlockRecord, RequestRecord, Requests, floats
from monitoring.reference import prediction_table
from monitoring.rows import Piece, encode
from monitoring.state import Pair, State
from monitoring.streams import Stream
from monitoring.table import FloatArray
from monitoring.watch import Watch, Watched, judge
from noria.loop.values import Signal, SignalKind, finite, to_json

_log = logging.getLogger(__name__)
_KEPT: Final = 1000
_TOP: Final = 10
_PERFORMANCE: Final = "performance/"


class Scores(NamedTuple):
    """Predictions (and, for performance, labels) of consecutive rows."""

    seq: int
    scores: FloatArray
    labels: FloatArray
    start: int
    stop: int


class Windows:
    """The open windows of a model: features (all versions), prediction (champion), performance."""

    def __init__(
        self, config: MonitorConfig, core: Core, state: State, log: EventLog, watch: Watch | None
    ) -> None:
        """Fill the open windows again from what is stored."""
        self._config = config
        self._core = core
        self._state = state
        self._log = log
        self._watch = watch
        self._moved: set[str] = set()
        self._features: Stream[Piece] = Stream(self._stream_state("features"))
        self._prediction: Stream[Scores] = Stream(self._stream_state("prediction"))
        self._performance: dict[str, Stream[Scores]] = {}
        for name in list(core.streams):
            if name.startswith(_PERFORMANCE):
                self._performance_of(name.removeprefix(_PERFORMANCE))
        if watch is None:
            return
        self._refill()
        watch.restore(state.detector_states())

    def first_pair(self) -> int:
        """Return the first pair that an open window holds; without one, the next to come."""
        following = self._core.next_pair
        return min(self._features.first(following), self._prediction.first(following))

    def first_feature_pair(self) -> int:
        """Return the first pair whose request an open window still needs."""
        return self._features.first(self._core.next_pair)

    def first_outcome(self) -> int:
        """Return the first outcome that an open performance window holds."""
        following = self._core.next_outcome
        return min((s.first(following) for s in self._performance.values()), default=following)

    def pair(self, pair: Pair, request: Requests) -> None:
        """Add the rows of a new pair."""
        if self._watch is None:
            return
        self._features.push(Piece(pair.seq, request, pair.first, pair.first + pair.rows))
        while (pieces := self._features.take(self._config.window_rows)) is not None:
            self._features_window(self._watch, pieces, pair.at)
        if pair.version == self._core.champion:
            self._prediction.push(_scores(pair))
            while (scores := self._prediction.take(self._config.window_rows)) is not None:
                self._prediction_window(self._watch, scores, pair.at)

    def outcomes(self, found: Outcomes, at: float) -> None:
        """Add rows that got their labels at ``at``."""
        core = self._core
        seq = core.next_outcome
        core.next_outcome += 1
        core.counts.joined += found.scores.size
        core.outcome_rows += found.scores.size
        core.last_labelled_at = max(core.last_labelled_at, min(at, float(found.arrivals.max())))
        core.label_delay = max(0.0, at - float(found.arrivals.mean()))
        self._state.put_outcome(seq, found.version, at, found.scores, found.labels, found.arrivals)
        stream = self._performance_of(found.version)
        stream.push(Scores(seq, found.scores, found.labels, 0, found.scores.size))
        while (pieces := stream.take(self._config.performance_rows)) is not None:
            self._performance_window(found.version, stream.number - 1, pieces, at)

    def switch(self, watch: Watch | None) -> None:
        """Watch against another reference: open windows are thrown away, detectors start afresh."""
        self._watch = watch
        self._features.clear()
        self._prediction.clear()
        self._state.clear_detector_states()
        self._moved.clear()
        self._core.drift.clear()
        self._core.judged.clear()
        self._core.rows_at_window = self._core.counts.rows
        # A drop is about the champion: what the last one had must not stand for ever.
        self._core.performance = {
            version: msgspec.structs.replace(report, drop=None)
            for version, report in self._core.performance.items()
        }
        self._core.quality = None
        self._core.expected = {} if watch is None else dict(watch.reference.performance)

    def flush(self) -> None:
        """Write the state of the detectors that have moved."""
        for watched in () if self._watch is None else self._watch.watched:
            if watched.name in self._moved and isinstance(watched.detector, Stateful):
                self._state.put_detector_state(watched.name, watched.detector.state())
        self._moved.clear()

    # ------------------------------------------------------------------------------------------

    def _stream_state(self, name: str) -> StreamState:
        return self._core.streams.setdefault(name, StreamState())

    def _performance_of(self, version: str) -> Stream[Scores]:
        stream = self._performance.get(version)
        if stream is None:
            stream = Stream(self._stream_state(_PERFORMANCE + version))
            first = stream.first(self._core.next_outcome)
            for seq, scores, labels, _ in self._state.outcomes_from(version, first):
                stream.refill(Scores(seq, scores, labels, 0, scores.size))
            self._performance[version] = stream
        return stream

    def _refill(self) -> None:
        """Fill the open windows again.

        A features window of which the log has lost a request is thrown away whole, and
        counted: a part of it would not be the rows that came in order.
        """
        core = self._core
        broken = False
        for pair in self._state.pairs_from(self.first_pair()):
            if self._needs_record(pair) and not broken:
                record = self._log.get(pair.request)
                if isinstance(record, RequestRecord | BlockRecord):
                    self._features.refill(
                        Piece(pair.seq, record, pair.first, pair.first + pair.rows)
                    )
                else:
                    broken = True
            if pair.version == core.champion:
                self._prediction.refill(_scores(pair))
        if broken:
            lost = self._stream_state("features").rows
            _log.error("the open window's %d rows are gone from the log; it starts afresh", lost)
            core.counts.lost_rows += lost
            self._features.clear()

    def _needs_record(self, pair: Pair) -> bool:
        return pair.seq >= self._features.first(self._core.next_pair)

    def _prediction_window(self, watch: Watch, scores: Sequence[Scores], at: float) -> None:
        window = prediction_table(np.concatenate([s.scores[s.start : s.stop] for s in scores]))
        number = self._prediction.number - 1
        self._judged(watch.on("prediction"), lambda one: judge(one, window), number, at)

    def _features_window(self, watch: Watch, pieces: Sequence[Piece], at: float) -> None:
        window = encode(watch.reference.features.schema, pieces)
        number = self._features.number - 1
        quality = check_quality(window, watch.reference.ranges, self._config.quality)
        self._judged(watch.on("features"), lambda one: judge(one, window), number, at, quality)

    def _judged(
        self,
        watched: Sequence[Watched],
        verdict: Callable[[Watched], DetectorResult],
        number: int,
        at: float,
        quality: QualityResult | None = None,
    ) -> None:
        """Test a closed window (with ``quality``: of the features) and keep what was found."""
        core = self._core
        results = list(self._judge(watched, verdict, number, at))
        if quality is None:
            self._keep("prediction", number, at, {"drift": results})
            return
        core.quality, core.quality_at = quality, at
        core.counts.unseen += quality.unseen_values
        if quality.breaches:
            worst = max(quality.breaches, key=lambda breach: breach.share - breach.limit)
            said = (
                f"{worst.share:.1%} of {worst.feature} is {worst.rule}, above {worst.limit:.1%}; "
                f"{len(quality.breaches)} rules broken"
            )
            self._signal(SignalKind.QUALITY, "quality", number, at, said, core.champion)
        self._keep("features", number, at, {"drift": results, "quality": quality})

    def _judge(
        self,
        watched: Sequence[Watched],
        verdict: Callable[[Watched], DetectorResult],
        number: int,
        at: float,
    ) -> Iterator[tuple[str, DriftReport]]:
        core = self._core
        for one in watched:
            self._moved.add(one.name)
            try:
                result = verdict(one)
            except Exception as error:  # noqa: BLE001 - a third party's detector: the others go on
                _log.exception("detector %s failed", one.name)
                core.problems[one.name] = f"window {number}: {error}"
                continue
            core.problems.pop(one.name, None)
            core.judged[one.name] = core.judged.get(one.name, 0) + 1
            report = _report(one, result, number, core.champion, at)
            core.drift[one.name] = report
            yield one.name, report
            if result.drift:
                core.drifts[one.name] = core.drifts.get(one.name, 0) + 1
                self._signal(
                    SignalKind.DRIFT, one.name, number, at, _drift_text(result), core.champion
                )

    def _performance_window(
        self, version: str, number: int, pieces: Sequence[Scores], at: float
    ) -> None:
        scores = np.concatenate([p.scores[p.start : p.stop] for p in pieces])
        labels = np.concatenate([p.labels[p.start : p.stop] for p in pieces])
        watch = self._watch
        multiclass = watch is not None and watch.reference.multiclass
        metrics = {
            name: MetricReport(m.value, m.low, m.high, m.samples, m.problem)
            for name in self._config.metrics
            for m in [unmeasured(scores.size) if multiclass else measure(name, scores, labels)]
        }
        watched = version == self._core.champion and not multiclass
        dropped = self._drop(watch, scores, labels) if watched and watch is not None else None
        self._core.performance[version] = PerformanceReport(number, at, metrics, dropped)
        self._keep(_PERFORMANCE + version, number, at, {"metrics": metrics})
        limit = self._config.drop
        if dropped is not None and limit is not None and dropped.least > limit.max:
            said = (
                f"{dropped.metric} is {dropped.value:.4g}, at best {dropped.bound:.4g} with "
                f"confidence {limit.confidence:g}; {dropped.expected:.4g} at training, "
                f"{limit.max:g} allowed"
            )
            self._signal(SignalKind.PERFORMANCE, "performance", number, at, said, version)

    def _drop(self, watch: Watch, scores: FloatArray, labels: FloatArray) -> DropReport | None:
        """Measure the drop that is watched; None when the rows can't tell."""
        limit = self._config.drop
        expected = None if limit is None else watch.reference.performance.get(limit.metric)
        if limit is None or expected is None:
            return None
        found = measure(limit.metric, scores, labels, limit.confidence)
        if found.value is None or found.low is None or found.high is None:
            return None
        if limit.metric in GREATER_IS_BETTER:
            return DropReport(
                limit.metric, found.value, found.high, expected, expected - found.high
            )
        return DropReport(limit.metric, found.value, found.low, expected, found.low - expected)

    def _signal(
        self, kind: SignalKind, source: str, number: int, at: float, detail: str, version: str
    ) -> None:
        core = self._core
        identity = f"{self._config.model}/{version}/{source}/{number}"
        signal = Signal(identity, kind, source, datetime.fromtimestamp(at, UTC), detail, version)
        if self._state.put_signal(core.next_signal, identity, version, to_json(signal), _KEPT):
            core.signals[kind] = core.signals.get(kind, 0) + 1
        core.next_signal += 1

    def _keep(self, stream: str, number: int, at: float, said: dict[str, Any]) -> None:
        core = self._core
        core.counts.windows += 1
        if not stream.startswith(_PERFORMANCE):
            core.last_window_at = at
            core.rows_at_window = core.counts.rows
            said["drift"] = dict(said["drift"])
        said |= {"window": number, "at": at, "champion": core.champion}
        self._state.put_window(stream, number, msgspec.json.encode(said), _KEPT)


def _scores(pair: Pair) -> Scores:
    scores = floats(pair.prediction)
    return Scores(pair.seq, scores, scores, 0, pair.rows)


def _report(
    watched: Watched, result: DetectorResult, number: int, version: str, at: float
) -> DriftReport:
    config = watched.detector.config
    return DriftReport(
        kind=config.kind,
        backend=config.backend,
        window=number,
        version=version,
        statistic=finite(result.statistic),
        p_value=finite(result.p_value),
        threshold=result.threshold,
        drift=result.drift,
        effect=finite(result.effect),
        at=at,
        samples=result.samples,
        features=tuple(
            {
                "name": f.name,
                "test": f.test,
                "statistic": finite(f.statistic),
                "p_value": finite(f.p_value),
                "effect": finite(f.effect),
            }
            for f in result.features[:_TOP]
        ),
    )


def _drift_text(result: DetectorResult) -> str:
    said = f"statistic {result.statistic:.4g}, effect {result.effect:.3g}"
    if result.p_value is not None:
        said += f", p {result.p_value:.2g} at or under {result.threshold:.2g}"
    if result.features:
        said += "; most: " + ", ".join(f.name for f in result.features[:3])
    return said
