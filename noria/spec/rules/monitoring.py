"""Rules of ``spec.monitoring``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from noria.errors import Problem
from noria.exchange.moments import days_of
from noria.exchange.texts import OF_TEXTS, describing
from noria.spec.data import Data
from noria.spec.families import described
from noria.spec.monitoring import BACKENDS, Detector, DetectorKind, Monitoring
from noria.spec.rules.data import repeats
from noria.spec.rules.metric import too_wide, unfit, unfit_for_texts, unjudged, unwatched
from noria.spec.serving import Serving
from noria.spec.words import choose, meant_or_choose

_NUMBERS: Final = ("numeric", "boolean")
_POINTS: Final = (*_NUMBERS, "vector")
_ANY: Final = ("numeric", "boolean", "categorical", "text")
COLUMN_TYPES: Final[Mapping[DetectorKind, tuple[str, ...]]] = MappingProxyType(
    {
        "ks": ("numeric",),
        # A boolean is a number to the monitor, 0 or 1.
        "chi-square": ("categorical",),
        "tabular": ("numeric", "categorical", "boolean"),
        "fisher": ("boolean", "categorical"),
        "mmd": _POINTS,
        "lsdd": _POINTS,
        "learned-kernel": _POINTS,
        "classifier": _POINTS,
        "online-mmd": _POINTS,
        "online-cvm": _NUMBERS,
        "model-uncertainty": _ANY,
    }
)
"""The types of columns that a statistic is defined on."""

_TYPES: Final = {"number": "numeric", "text": "categorical"}

ON_PREDICTION: Final[tuple[DetectorKind, ...]] = (
    "ks",
    "mmd",
    "lsdd",
    "learned-kernel",
    "classifier",
    "model-uncertainty",
    "online-mmd",
    "online-cvm",
)


def detectors_exist(task: Any, monitoring: Monitoring) -> Iterator[Problem]:
    """The backend has the kind, the kind can watch what it is on, and names differ."""
    seen: dict[str, int] = {}
    for index, detector in enumerate(monitoring.detectors):
        path = f"spec.monitoring.detectors[{index}]"
        if detector.name in seen:
            yield Problem(
                f"{path}.name",
                f"{detector.name} is already detectors[{seen[detector.name]}]",
                "give each its own name",
            )
        seen.setdefault(detector.name, index)
        if detector.kind not in BACKENDS[detector.backend]:
            having = [name for name, kinds in BACKENDS.items() if detector.kind in kinds]
            yield Problem(
                f"{path}.kind",
                f"backend {detector.backend} has no {detector.kind}",
                f"{choose(BACKENDS[detector.backend])}, or write backend: {having[0]}",
            )
        if detector.watch == "prediction" and detector.kind not in ON_PREDICTION:
            yield Problem(
                f"{path}.kind",
                f"{detector.kind} can't watch the prediction, which is a number",
                choose(ON_PREDICTION),
            )
        if detector.kind == "model-uncertainty" and described(task).target != "class":
            yield Problem(
                f"{path}.kind",
                f"model-uncertainty is of a classifier, and this is {task.family}",
                "watch the prediction with ks",
            )


def detectors_have_columns(
    task: Any, data: Data, serving: Serving, monitoring: Monitoring
) -> Iterator[Problem]:
    """A detector's columns are features of types that its statistic is defined on.

    Of a feature that is a text it is the number that describes it, ``NAME.length``. A family's
    descriptors are numbers, or booleans (its flags) or categories. Of a model of texts they are the
    columns that describe an exchange.
    """
    texts = serving.answers_texts
    types: dict[str, str] = {feature.name: feature.type for feature in data.features}
    types |= {describing(name): "numeric" for name, kind in types.items() if kind == "text"}
    types |= dict.fromkeys(data.distances().values(), "numeric")
    types |= described(task).described
    if texts:
        types = {field.name: _TYPES[field.type] for field in OF_TEXTS.fields}
    for index, detector in enumerate(monitoring.detectors):
        path = f"spec.monitoring.detectors[{index}]"
        yield from repeats(f"{path}.columns", detector.columns)
        yield from repeats(f"{path}.types", detector.types)
        if detector.types and (detector.columns or detector.watch == "prediction"):
            said = "stands beside columns" if detector.columns else "is not used on the prediction"
            yield Problem(f"{path}.types", said, "remove it")
        if detector.watch == "prediction":
            if detector.columns:
                yield Problem(
                    f"{path}.columns",
                    "is not used by a detector on the prediction",
                    "remove it, or write watch: features",
                )
        elif types:
            yield from _misfits(path, detector, types, data, () if texts else data.time_features)


def _misfits(
    path: str, detector: Detector, types: Mapping[str, str], data: Data, times: Sequence[str]
) -> Iterator[Problem]:
    fitting = COLUMN_TYPES[detector.kind]
    for position, kind in enumerate(detector.types):
        here = f"{path}.types[{position}]"
        if kind not in fitting:
            said = f"{detector.kind} watches no {kind} columns"
            yield Problem(here, said, choose([one for one in fitting if one != "text"]))
        elif kind not in types.values():
            yield Problem(here, f"there is no {kind} feature", "remove it")
    if not detector.columns and not any(kind in fitting for kind in types.values()):
        yield Problem(
            f"{path}.kind",
            f"{detector.kind} needs {' or '.join(fitting)} columns, and there is none",
            "choose another kind",
        )
    for position, column in enumerate(detector.columns):
        here = f"{path}.columns[{position}]"
        if column in times:
            yield Problem(
                here,
                f"{column} is derived from the event time, and a calendar always drifts",
                "remove it",
            )
        elif column not in types:
            yield Problem(here, f"{column} is no feature", meant_or_choose(column, types))
        elif types[column] not in fitting:
            kinds = [kind for kind, fits in COLUMN_TYPES.items() if types[column] in fits]
            watched = {"text": describing(column), "timestamp": data.distances().get(column)}.get(
                types[column]
            )
            yield Problem(
                here,
                f"{column} is {types[column]}, and {detector.kind} needs {' or '.join(fitting)}",
                f"write {watched}, which is watched of it"
                if watched
                else f"remove it, or choose kind {kinds[0]}",
            )


def windows_have_a_reference(monitoring: Monitoring) -> Iterator[Problem]:
    """The reference is no smaller than the window that is compared with it."""
    if monitoring.reference_rows < monitoring.window.rows:
        yield Problem(
            "spec.monitoring.referenceRows",
            f"{monitoring.reference_rows} is under window.rows, {monitoring.window.rows}",
            "write as many at least",
        )


def performance_can_be_measured(
    task: Any, serving: Serving, monitoring: Monitoring
) -> Iterator[Problem]:
    """Metrics are of rows of this family, or of texts, and the one that signals is measured."""
    performance = monitoring.performance
    path = "spec.monitoring.performance"
    family = described(task)

    def misfits_of(where: str, name: str) -> Iterator[Problem]:
        if serving.answers_texts:
            yield from unfit_for_texts(where, name)
        else:
            yield from unfit(where, name, family)
            yield from unwatched(where, name, family)

    for index, metric in enumerate(performance.metrics):
        yield from misfits_of(f"{path}.metrics[{index}]", metric)
    yield from repeats(f"{path}.metrics", performance.metrics)
    if performance.drop is None:
        return
    metric = performance.drop.metric
    at = f"{path}.drop.metric"
    misfits = [*misfits_of(at, metric), *unjudged(at, metric, family)]
    yield from misfits
    if not misfits and metric not in performance.metrics:
        yield Problem(
            at,
            f"{metric} is not among performance.metrics",
            f"add {metric} to metrics, or watch another",
        )
    if not performance.drop.is_relative:
        yield from too_wide(f"{path}.drop.max", family.metric(metric), performance.drop.most)


def the_monitor_sees_what_it_watches(serving: Serving, monitoring: Monitoring) -> Iterator[Problem]:
    """Detectors need logged requests, and their columns in clear."""
    log = serving.payload_log
    hidden = {*log.redact, *map(describing, log.redact), *map(days_of, log.redact)}
    if not log.sample and monitoring.detectors:
        yield Problem(
            "spec.serving.payloadLog.sample",
            f"0 logs nothing, and {len(monitoring.detectors)} detectors watch the log",
            "write a share over 0, or monitoring.detectors: []",
        )
    for index, detector in enumerate(monitoring.detectors):
        for position, column in enumerate(detector.columns):
            if column in hidden:
                yield Problem(
                    f"spec.monitoring.detectors[{index}].columns[{position}]",
                    f"{column} is redacted by serving.payloadLog.redact",
                    "remove it from one of them",
                )


MONITORING_RULES: Final = (
    detectors_exist,
    detectors_have_columns,
    windows_have_a_reference,
    performance_can_be_measured,
    the_monitor_sees_what_it_watches,
)
