"""What the monitor needs to know of a model: a flat view of the ``Model`` resource."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal

from monitoring.budget import FalseAlarmBudget
from monitoring.served.keeping import Keeping
from monitoring.table import Kind
from noria.exchange.signature import FieldType
from noria.exchange.texts import ANSWER_ID, OF_TEXTS, describing
from noria.spec import Data, Detector, Family, Model, ModelSpec

LEARNT_WINDOWS: Final = 4
"""Windows of predictions to learn from. With two the least shift that is seen is a tenth greater;
more make it hardly smaller, and leave a new champion's predictions unwatched for longer."""


@dataclass(frozen=True, slots=True)
class WatchedDetector:
    """One detector of the spec."""

    name: str
    kind: str
    backend: str
    on: Literal["features", "prediction"]
    columns: tuple[str, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Drop:
    """The performance drop that is a signal: more than ``max`` below (above) the reference.

    With ``relative`` that is a share of the value that the metric had in training.
    """

    metric: str
    max: float
    confidence: float
    relative: bool = False

    def limit(self, expected: float) -> float:
        """Return the greatest drop from ``expected`` in the metric's unit."""
        return self.max * abs(expected) if self.relative else self.max

    def __str__(self) -> str:
        return f"{100 * self.max:g}% of that" if self.relative else f"{self.max:g}"


@dataclass(frozen=True, slots=True)
class QualityRules:
    """Shares (0 to 1) of a window's rows above which a feature's values are a signal."""

    max_missing: float
    max_unseen: float
    max_out_of_range: float


@dataclass(frozen=True, slots=True)
class MonitorConfig:
    """How one model is watched. Durations are seconds, windows are rows.

    ``features`` are the columns watched: name to kind; features derived from the
    event time are not among them, for a calendar always drifts, nor are redacted ones,
    which no payload event holds. ``inputs`` are the columns of a request that are watched, in
    order: a feature by itself, and of ``texts`` each by the feature that describes it (name to
    name). ``widths`` are those of vectors, 0 where the rows alone say. ``entity_key`` are the
    columns that name a row; the event time is written there as epoch milliseconds.
    From the champion's first ``learnt_rows`` the detectors of the prediction learn what it says
    when nothing has changed. ``logged`` are the columns that the log holds: what is watched, and
    what is kept of rows that get their label (``keeping``). The performance counts labels of
    ``sources``, of all when it names none.

    ``baseline`` is the output that is a simple model's prediction of the same row; empty: none is.

    ``family`` knows the metrics, its own with the functions that measure them; of those that can't
    be had here ``missing`` says why.

    A model ``is_of_texts`` when what is asked and answered are texts. Its features are the columns
    of ``noria.exchange.texts``, of which no training has rows: they are learnt from the champion's
    first exchanges, as its performance is from the first labelled window.
    """

    model: str
    family: Family
    classification: bool
    positive: str
    features: Mapping[str, Kind]
    inputs: tuple[str, ...]
    texts: Mapping[str, str]
    widths: Mapping[str, int]
    entity_key: tuple[str, ...]
    event_time: str | None
    detectors: tuple[WatchedDetector, ...]
    budget: FalseAlarmBudget
    window_rows: int
    learnt_rows: int
    metrics: tuple[str, ...]
    performance_rows: int
    drop: Drop | None
    quality: QualityRules
    max_label_lag: float
    logged: Mapping[str, Kind]
    keeping: Keeping | None
    is_of_texts: bool = False
    sources: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    baseline: str = ""

    def counts(self, source: str) -> bool:
        """Whether labels of a source count in the performance."""
        return not self.sources or source in self.sources

    @classmethod
    def from_model(cls, model: Model) -> MonitorConfig:
        """Take from the resource what the monitor needs."""
        spec = model.spec
        watch, performance = spec.monitoring, spec.monitoring.performance
        drop = performance.drop
        options = spec.task.options
        positive = getattr(options, "positive_class", None)
        redacted = frozenset(spec.serving.payload_log.redact)
        keeping = Keeping.of(model)
        rows = not spec.is_of_texts
        shown = [one for one in spec.data.features if one.name not in redacted]
        days = [name for column, name in spec.data.distances().items() if column not in redacted]
        # The date itself always drifts.
        shown = [one for one in shown if one.type != "timestamp"]
        texts = {one.name: describing(one.name) for one in shown if one.type == "text" and rows}
        features: dict[str, Kind] = {
            texts.get(feature.name, feature.name): _KINDS[feature.type] for feature in shown
        }
        features |= dict.fromkeys(days, "numeric")
        features |= {name: _KINDS[kind] for name, kind in spec.family.described.items()}
        if not rows:
            features = {field.name: _KINDS_OF_FIELDS[field.type] for field in OF_TEXTS.fields}
        return cls(
            model=model.name,
            family=spec.family,
            classification=spec.is_classification and rows,
            positive="" if positive is None or not rows else str(positive),
            features=features,
            inputs=tuple(feature.name for feature in shown) if rows else (),
            texts=texts,
            widths={f.name: f.width or 0 for f in spec.data.features if f.type == "vector"},
            entity_key=_key(spec) if rows else (ANSWER_ID,),
            event_time=spec.data.event_time if rows else None,
            detectors=tuple(
                WatchedDetector(
                    d.name,
                    d.kind,
                    d.backend,
                    d.watch,
                    _columns(d, spec.data, redacted),
                    dict(d.options),
                )
                for d in watch.detectors
            ),
            budget=FalseAlarmBudget(
                watch.false_alarm_budget.probability, watch.false_alarm_budget.horizon
            ),
            window_rows=watch.window.rows,
            learnt_rows=min(watch.reference_rows, LEARNT_WINDOWS * watch.window.rows),
            metrics=tuple(performance.metrics) or tuple(m.name for m in spec.watched_metrics),
            performance_rows=performance.window.rows,
            drop=None
            if drop is None
            else Drop(
                drop.metric or spec.watched_metrics[0].name,
                drop.most,
                drop.confidence,
                drop.is_relative,
            ),
            quality=QualityRules(
                watch.quality.max_missing, watch.quality.max_unseen, watch.quality.max_out_of_range
            ),
            max_label_lag=_seconds(performance.max_label_lag),
            logged=features if keeping is None else keeping.logged(features),
            keeping=keeping,
            sources=tuple(performance.sources),
            is_of_texts=spec.is_of_texts,
            baseline=spec.family.baseline if rows else "",
        )


_KINDS: Final[Mapping[str, Kind]] = {
    "numeric": "numeric",
    "boolean": "numeric",
    "categorical": "categorical",
    "text": "numeric",
    "vector": "vector",
}
"""By the type of a feature. Of a text a number is watched, its length."""
_KINDS_OF_FIELDS: Final[Mapping[FieldType, Kind]] = {"number": "numeric", "text": "categorical"}


def _key(spec: ModelSpec) -> tuple[str, ...]:
    """Return the columns that name a sample."""
    time = spec.data.event_time if spec.family.key_has_time else None
    return (*spec.data.entity_key, *((time,) if time is not None else ()))


def _columns(detector: Detector, data: Data, redacted: Collection[str]) -> tuple[str, ...]:
    """Return the columns that a detector watches by name or by type; empty: all that it can.

    Where all of a type are redacted they are named all the same: it can't be fitted, and says so.
    """
    by_type = [feature.name for feature in data.features if feature.type in detector.types]
    shown = [name for name in by_type if name not in redacted]
    return (*detector.columns, *(shown or by_type))


def _seconds(duration: timedelta) -> float:
    return duration.total_seconds()
