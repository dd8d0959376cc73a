"""Rows become windows, windows become results, and results that matter become signals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from monitoring.config import MonitorConfig
from monitoring.core import (
    DriftReport,
    DropReport,
    MonitorState,
    PerformanceReport,
    StreamState,
)
from monitoring.detectors import DetectorResult, Stateful
from monitoring.log import EventLog
from monitoring.measures import Failed, by_part, of_window
from monitoring.quality import QualityResult, check_quality, told
from monitoring.records import (
    BlockRecord,
    Outcomes,
    RequestRecord,
    Requests,
    ResponseRecord,
    Told,
    beside_each_other,
    end_to_end,
    exchange_of,
    scores_of,
)
from monitoring.rows import Piece, encode
from monitoring.state import Pair, State
from monitoring.streams import Stream
from monitoring.table import FloatArray, Table
from monitoring.watch import (
    FEATURES_DEPENDENCE,
    LEARNT_PERFORMANCE,
    On,
    Watch,
    Watched,
    judge,
)
from noria.errors import traceback_tail
from noria.labels import FEEDBACK
from noria.loop.values import Signal, SignalKind, finite, to_json
from noria.measures.catalog import Metric, OwnMetric
from noria.measures.independent import drop
from noria.measures.measurement import Measurement

_log = logging.getLogger(__name__)
_KEPT: Final = 1000
_TOP: Final = 10
_SHOWN: Final = 300
_PERFORMANCE: Final = "performance/"
_ON: Final[tuple[On, ...]] = ("features", "prediction")


class Scores(NamedTuple):
    """Predictions (and, for performance, labels and arrivals) of consecutive rows.

    ``scores`` is (n,), or (n, k) where a row has several numbers, ``labels`` (n,), or (n, k) of
    several targets; ``arrivals`` is (n,). ``baseline`` is as ``scores``; None: there is none.
    """

    seq: int
    scores: FloatArray
    labels: FloatArray
    arrivals: FloatArray
    start: int
    stop: int
    baseline: FloatArray | None = None

    @property
    def beside(self) -> tuple[FloatArray, FloatArray | None]:
        """The scores of its rows, and a simple model's."""
        rows = slice(self.start, self.stop)
        return self.scores[rows], None if self.baseline is None else self.baseline[rows]


class Windows:
    """The open windows of a model: features (all versions), prediction (champion), performance."""

    def __init__(
        self,
        config: MonitorConfig,
        core: MonitorState,
        state: State,
        log: EventLog,
        watch: Watch | None,
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
        self._note_learning()

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
            # Without a reference, these rows are in no window.
            self._core.counts.blind_rows += pair.rows
            return
        if self._shows_features(pair):
            self._features.push(Piece(pair.seq, request, pair.first, pair.first + pair.rows))
        while (pieces := self._features.take(self._feature_rows())) is not None:
            self._features_window(self._watch, pieces, pair.at)
        if pair.version == self._core.champion and pair.prediction:
            self._prediction.push(_scores(pair))
            while (scores := self._prediction.take(self._prediction_rows())) is not None:
                self._prediction_window(self._watch, scores, pair.at)

    def outcomes(self, found: Outcomes, at: float) -> int:
        """Add rows that got their labels at ``at``; return the number they are kept under."""
        core = self._core
        seq = core.next_outcome
        core.next_outcome += 1
        rows = found.arrivals.size
        core.counts.joined += 0 if found.again else rows
        core.outcome_rows += rows
        core.last_labelled_at = max(core.last_labelled_at, min(at, float(found.arrivals.max())))
        core.label_delay = max(0.0, at - float(found.arrivals.mean()))
        measured = all(map(self._config.counts, set(found.sources) or {FEEDBACK}))
        self._state.put_outcome(seq, found, at, measured=measured)
        if not measured:
            return seq
        stream = self._performance_of(found.version)
        columns = (found.scores, found.labels, found.arrivals)
        stream.push(Scores(seq, *columns, 0, rows, found.baseline))
        while (pieces := stream.take(self._config.performance_rows)) is not None:
            self._performance_window(found.version, stream.number - 1, pieces, at)
        return seq

    def correct(self, found: Mapping[int, Mapping[int, Told]], at: float) -> None:
        """Change labels of rows that have one already: outcome to place of the label to label.

        Open windows and whatever is measured from now on see the new ones. Of closed windows
        the report says how many of its version's labels were corrected since.
        """
        del at
        core = self._core
        moved: dict[str, int] = {}
        for seq, places in found.items():
            outcome = self._state.correct_outcome(seq, places)
            if outcome is None:
                core.counts.uncorrected += len(places)
                continue
            version, targets, measured = outcome
            core.counts.corrected += len(places)
            if not measured:
                continue
            opens = self._stream_state(_PERFORMANCE + version)
            start = (opens.first, opens.row)
            closed = [p for p in places if not opens.rows or (seq, p // targets) < start]
            moved[version] = moved.get(version, 0) + len(closed)
        for version, rows in moved.items():
            # Its open window is filled again, with what is so now.
            self._performance.pop(version, None)
            self._performance_of(version)
            report = core.performance.get(version)
            if report is not None and rows:
                core.performance[version] = msgspec.structs.replace(
                    report, corrected=report.corrected + rows
                )

    def switch(self, watch: Watch | None) -> None:
        """Watch against another reference: open windows are thrown away, detectors start afresh."""
        if self._watch is None:
            # What an open window held before its reference was damaged.
            self._core.counts.lost_rows += self._stream_state("features").rows
        self._watch = watch
        self._features.clear()
        self._prediction.clear()
        # How the traffic's rows depend on each other is no champion's: that stays known.
        kept = {
            name: state
            for name, state in self._state.detector_states().items()
            if name == FEATURES_DEPENDENCE
        }
        self._state.clear_detector_states()
        for name, state in kept.items():
            self._state.put_detector_state(name, state)
        self._moved.clear()
        if watch is not None:
            watch.restore(kept)
        self._note_learning()
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
        """Write what was learnt, and the state of the detectors that have moved."""
        watch = self._watch
        for on in _ON:
            for name, state in watch.learnt(on).items() if watch and on in self._moved else ():
                self._state.put_detector_state(name, state)
        if watch is not None and LEARNT_PERFORMANCE in self._moved:
            for name, state in watch.learnt_performance().items():
                self._state.put_detector_state(name, state)
        for watched in () if watch is None else watch.watched:
            if watched.name in self._moved and isinstance(watched.detector, Stateful):
                try:
                    self._state.put_detector_state(watched.name, watched.detector.state())
                except Exception as error:  # noqa: BLE001 - a third party's: the others go on
                    _log.warning("the state of %s can't be kept: %s", watched.name, error)
                    self._core.problems[watched.name] = f"its state can't be kept: {error}"
        self._moved.clear()

    # ------------------------------------------------------------------------------------------

    def _stream_state(self, name: str) -> StreamState:
        return self._core.streams.setdefault(name, StreamState())

    def _performance_of(self, version: str) -> Stream[Scores]:
        stream = self._performance.get(version)
        if stream is None:
            stream = Stream(self._stream_state(_PERFORMANCE + version))
            first = stream.first(self._core.next_outcome)
            for seq, *columns, baseline in self._state.outcomes_from(version, first):
                scores, labels, arrivals = columns
                stream.refill(Scores(seq, scores, labels, arrivals, 0, arrivals.size, baseline))
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
            if self._needs_record(pair) and self._shows_features(pair) and not broken:
                record = self._exchange(pair)
                if record is not None:
                    self._features.refill(
                        Piece(pair.seq, record, pair.first, pair.first + pair.rows)
                    )
                else:
                    broken = True
            if pair.version == core.champion and pair.prediction:
                self._prediction.refill(_scores(pair))
        if broken:
            lost = self._stream_state("features").rows
            _log.error("the open window's %d rows are gone from the log; it starts afresh", lost)
            core.counts.lost_rows += lost
            self._features.clear()

    def _exchange(self, pair: Pair) -> Requests | None:
        """Return what the log has of a pair; None when its request is gone."""
        record = self._log.get(pair.request)
        if not isinstance(record, RequestRecord | BlockRecord):
            return None
        if not self._config.is_of_texts or isinstance(record, BlockRecord):
            return record
        seen = self._state.seen(pair.id)
        response = None if seen is None or not seen.response else self._log.get(seen.response)
        return exchange_of(record, response) if isinstance(response, ResponseRecord) else None

    def _shows_features(self, pair: Pair) -> bool:
        """Whether rows are in a window of the features: those of texts are the champion's alone.

        A version's answers are described there, too, and another version's are no drift.
        """
        return not self._config.is_of_texts or pair.version == self._core.champion

    def _feature_rows(self) -> int:
        """Return how many rows the features' next window has, or has to learn from."""
        missing = 0 if self._watch is None else self._watch.missing_exchanges
        return missing or self._config.window_rows

    def _needs_record(self, pair: Pair) -> bool:
        return pair.seq >= self._features.first(self._core.next_pair)

    def _prediction_rows(self) -> int:
        """Return how many rows the prediction's next window has, or has to learn from."""
        missing = 0 if self._watch is None else self._watch.missing_rows
        return missing or self._config.window_rows

    def _note_learning(self) -> None:
        watch = self._watch
        missing = {"features": 0, "prediction": 0}
        if watch is not None:
            missing = {"features": watch.missing_exchanges, "prediction": watch.missing_rows}
        self._core.learning = {stream: rows for stream, rows in missing.items() if rows}

    def _prediction_window(self, watch: Watch, scores: Sequence[Scores], at: float) -> None:
        self._predictions(
            watch, [s.scores[s.start : s.stop] for s in scores], self._prediction.number - 1, at
        )

    def _predictions(
        self, watch: Watch, parts: Sequence[FloatArray], number: int, at: float
    ) -> None:
        """Learn from the champion's first predictions; test those that follow."""
        (values,) = end_to_end([(part,) for part in parts])
        if watch.missing_rows:
            watch.learn(values)
            self._moved.add("prediction")
            self._core.problems |= watch.problems
            self._note_learning()
            self._keep("prediction", number, at, {"drift": {}, "learnt": values.shape[0]})
        else:
            window = watch.predicted(values)
            self._depend(watch, "prediction", window)
            self._judged(
                watch.on("prediction"),
                lambda one: judge(one, window, watch.dependence["prediction"]),
                number,
                at,
            )

    def _depend(self, watch: Watch, on: On, window: Table) -> None:
        """Learn how the rows of a window depend on each other."""
        if on in watch.dependence:
            dependence = watch.dependence[on]
            dependence.learn(dependence.measure(window))
            self._moved.add(on)

    def _features_window(self, watch: Watch, pieces: Sequence[Piece], at: float) -> None:
        number = self._features.number - 1
        if watch.missing_exchanges:
            rows = watch.learn_exchanges(pieces)
            self._moved.add("features")
            self._core.problems |= watch.problems
            self._note_learning()
            self._keep("features", number, at, {"drift": {}, "learnt": rows})
            return
        reference = watch.reference
        window = encode(reference.features.schema, pieces, reference.seen)
        quality = check_quality(window, reference.ranges, reference.missing, self._config.quality)
        self._depend(watch, "features", window)
        self._judged(
            watch.on("features"),
            lambda one: judge(one, window, watch.dependence["features"]),
            number,
            at,
            quality,
        )

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
            said = f"{told(worst)}; {len(quality.breaches)} rules broken"
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
                _log.error("detector %s failed: %s", one.name, traceback_tail(error))
                core.problems[one.name] = f"window {number}: {error}"[:_SHOWN]
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
        scores, labels = end_to_end(
            [(p.scores[p.start : p.stop], p.labels[p.start : p.stop]) for p in pieces]
        )
        baseline = beside_each_other([piece.beside for piece in pieces])
        watch = self._watch
        classes = 0 if watch is None else len(watch.reference.classes)
        limits = self._core.thresholds.get(version, ())
        # One that the family does not know is asked for by its name, and says that it is not known.
        known = {name: self._config.family.metric(name) for name in self._config.metrics}
        metrics = {
            name: of_window(
                metric or name,
                scores,
                labels,
                classes=classes,
                thresholds=limits,
                baseline=baseline,
            )
            for name, metric in known.items()
        }
        found = {metric: metrics[name] for name, metric in known.items() if metric is not None}
        self._note_failures(version, number, metrics)
        watched = version == self._core.champion
        dropped = (
            self._drop(watch, metrics, scores, labels, baseline)
            if watched and watch is not None
            else None
        )
        names = () if watch is None else watch.reference.part_names
        parts = by_part(found, scores, labels, names, limits)
        report = PerformanceReport(number, at, metrics, dropped, parts=parts)
        self._core.performance[version] = report
        said_of = {"metrics": metrics} | ({"parts": parts} if parts else {})
        self._keep(_PERFORMANCE + version, number, at, said_of)
        limit = self._config.drop
        if watched and watch is not None and limit is not None and watch.misses_performance:
            watch.learn_performance(metrics, limit.metric)
            self._moved.add(LEARNT_PERFORMANCE)
            self._core.expected = dict(watch.reference.performance)
        if (
            dropped is not None
            and limit is not None
            and dropped.least > limit.limit(dropped.expected)
        ):
            since_when = "in its first window" if self._config.is_of_texts else "at training"
            said = (
                f"{dropped.metric} is {dropped.value:.4g}, {dropped.expected:.4g} {since_when}: "
                f"worse by {dropped.least:.4g} or more with confidence {limit.confidence:g}, "
                f"{limit} allowed"
            )
            self._lost(number, at, said, version, pieces)
        elif (
            watched
            and limit is not None
            and (said := self._beyond_floor(known, scores, labels, baseline, limit.confidence))
        ):
            self._lost(number, at, said, version, pieces)

    def _lost(
        self, number: int, at: float, said: str, version: str, pieces: Sequence[Scores]
    ) -> None:
        """Signal a loss of performance in a window."""
        since = min(float(p.arrivals[p.start : p.stop].min()) for p in pieces)
        self._signal(SignalKind.PERFORMANCE, "performance", number, at, said, version, since)

    def _beyond_floor(
        self,
        metrics: Mapping[str, Metric | None],
        scores: FloatArray,
        labels: FloatArray,
        baseline: FloatArray | None,
        confidence: float,
    ) -> str:
        """Say which metric is surely worse than a model that is worth having; empty: none is.

        Each end of an interval of ``2 confidence - 1`` is a bound that holds with ``confidence``.
        """
        for metric in metrics.values():
            if not isinstance(metric, OwnMetric) or metric.floor is None:
                continue
            found = of_window(
                metric, scores, labels, confidence=2.0 * confidence - 1.0, baseline=baseline
            )
            if found.value is None or found.low is None or found.high is None:
                continue
            if metric.is_beyond_floor(found.low, found.high):
                greater = metric.greater_is_better
                bound, side = (found.high, "less") if greater else (found.low, "more")
                return (
                    f"{metric.name} is {found.value:.4g}: {bound:.4g} or {side} with confidence "
                    f"{confidence:g}, and a model that is worth having reaches {metric.floor:g}"
                )
        return ""

    def _note_failures(self, version: str, number: int, metrics: Mapping[str, Measurement]) -> None:
        """Count and name the metrics that failed on a window; the next window asks them again."""
        core = self._core
        for name, found in metrics.items():
            if isinstance(found, Failed):
                core.failed[name] = core.failed.get(name, 0) + 1
                core.failing[name] = f"window {number} of version {version}: {found.problem}"
            else:
                core.failing.pop(name, None)

    def _drop(
        self,
        watch: Watch,
        metrics: Mapping[str, Measurement],
        scores: FloatArray,
        labels: FloatArray,
        baseline: FloatArray | None,
    ) -> DropReport | None:
        """Measure the drop that is watched; None when the rows, now or at training, can't tell.

        ``metrics`` is what was measured of the window: one that failed is not asked again.
        """
        limit = self._config.drop
        expected = None if limit is None else watch.reference.performance.get(limit.metric)
        if limit is None or expected is None or isinstance(metrics.get(limit.metric), Failed):
            return None
        bounds = watch.reference.bounds.get(limit.metric)
        metric = self._config.family.named(limit.metric)
        found = of_window(
            metric,
            scores,
            labels,
            classes=len(watch.reference.classes),
            confidence=limit.confidence,
            thresholds=watch.reference.thresholds,
            baseline=baseline,
        )
        if bounds is None or found.value is None or found.low is None or found.high is None:
            return None
        greater = metric.greater_is_better
        within = (found.low, found.high)
        _, least, _ = drop(found.value, within, expected, bounds, greater_is_better=greater)
        return DropReport(limit.metric, found.value, within[greater], expected, least)

    def _signal(
        self,
        kind: SignalKind,
        source: str,
        number: int,
        at: float,
        detail: str,
        version: str,
        since: float | None = None,
    ) -> None:
        core = self._core
        identity = f"{self._config.model}/{version}/{source}/{number}"
        began = None if since is None else datetime.fromtimestamp(since, UTC)
        moment = datetime.fromtimestamp(at, UTC)
        signal = Signal(identity, kind, source, moment, detail, version, began)
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
    scores = scores_of(pair.prediction, pair.rows)
    return Scores(pair.seq, scores, scores, scores, 0, pair.rows)


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
                "design_effect": f.design,
            }
            for f in result.features[:_TOP]
        ),
        design_effect=result.design,
    )


def _drift_text(result: DetectorResult) -> str:
    said = f"statistic {result.statistic:.4g}, effect {result.effect:.3g}"
    if result.p_value is not None:
        said += f", p {result.p_value:.2g} at or under {result.threshold:.2g}"
    if result.features:
        said += "; most: " + ", ".join(f.name for f in result.features[:3])
    return said
