"""Defaults that depend on other sections; filled in when the resource is read.

They can't be written on the fields, because a field does not know its family. A
key that the user wrote is never changed, not even one written as empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from noria.measures.catalog import OF_LABELS
from noria.spec.data import Data
from noria.spec.families import described
from noria.spec.family import Family
from noria.spec.gates import ChampionGate
from noria.spec.monitoring import Detector, Monitoring, PerformanceDrop
from noria.spec.retraining import Retraining, SignalKind
from noria.spec.spaces import default_space
from noria.spec.train import Train

_OF_UNKNOWN_SCALE: Final = "10%"
_TRIALS_OF_A_BUDGET: Final = 1000


def completed(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections with what the user left out filled in.

    Args:
        sections: Sections of ``spec`` by attribute name. Those that could not be read are
            absent, and what depends on them stays as it is.
    """
    filled = dict(sections)
    if "data" in filled:
        filled["data"] = _data(filled["data"])
    if "task" in filled:
        family = described(filled["task"])
        if "train" in filled:
            filled["train"] = _train(filled["train"], family, filled.get("data"))
        if "gates" in filled:
            default = (ChampionGate(metric=family.default_metric),)
            filled["gates"] = _fill(filled["gates"], champion=default)
        if "monitoring" in filled:
            filled["monitoring"] = (
                _monitoring_of_texts(filled["monitoring"])
                if "serving" in filled and filled["serving"].answers_texts
                else _monitoring(filled["monitoring"], family, filled["task"], filled.get("data"))
            )
            if "retraining" in filled:
                filled["retraining"] = _retraining(
                    filled["retraining"],
                    filled["monitoring"],
                    filled.get("data"),
                    family,
                    family.label_lag_of(filled["task"].options),
                )
    return filled


def _data(data: Data) -> Any:
    kind = data.split.kind if data.event_time is not None else "stratified"
    return _replace(data, split=_fill(data.split, kind=kind))


def _train(train: Train, family: Family, data: Data | None) -> Any:
    folds = train.cross_validation
    train = _fill(train, algorithm=family.default_algorithm)
    search, ensemble = train.search, train.ensemble
    algorithm = family.algorithm(train.algorithm)
    plain = train.algorithm == family.default_algorithm and not train.hyperparameters
    # An average of several algorithms is fitted on one node.
    if family.stack and plain and search.kind == "none" and train.compute.nodes == 1:
        ensemble = _fill(ensemble, kind="weighted")
    if train.effort == "good" and algorithm is not None and algorithm.space:
        search = _fill(search, kind="bayesian")
    if train.budget is not None:
        search = _fill(search, trials=_TRIALS_OF_A_BUDGET)
    if search.kind != "none" and algorithm is not None:
        space, fixed = algorithm.space, train.hyperparameters
        search = _fill(search, space=default_space(space, algorithm.aliases, fixed, search.kind))
    if ensemble.kind != "none":
        beside = [name for name in family.stack if name != train.algorithm]
        if train.effort == "fast":
            beside = beside[:1]
        ensemble = _fill(ensemble, members=(train.algorithm, *beside))
    return _replace(
        train,
        search=_fill(search, metric=family.default_metric),
        ensemble=ensemble,
        cross_validation=folds if data is None else _fill(folds, kind=data.split.kind),
    )


def _monitoring(monitoring: Monitoring, family: Family, task: Any, data: Data | None) -> Any:
    known = {name: family.metric(name) for name in family.metrics}
    watched = tuple(name for name, metric in known.items() if metric and metric.is_watched)
    performance = _fill(monitoring.performance, metrics=watched)
    longer = performance.max_label_lag + family.label_lag_of(task.options)
    performance = _fill(performance, max_label_lag=longer)
    measured = performance.metrics
    # What is no metric, or has no interval, is the rules' to refuse where it was written.
    fit = [name for name in measured if (metric := known.get(name)) is None or metric.judges]
    first = family.default_metric
    metric_name = first if first in fit or not fit else fit[0]
    drop = performance.drop
    if drop is not None:
        drop = _with_limit(_fill(drop, metric=metric_name), family)
    elif "drop" not in performance.model_fields_set and fit:
        drop = _with_limit(PerformanceDrop(metric=metric_name), family)
    return _replace(
        _fill(monitoring, detectors=_detectors(family, data)),
        performance=_replace(performance, drop=drop),
    )


def _with_limit(drop: PerformanceDrop, family: Family) -> PerformanceDrop:
    """Return it with a share of the value at training, where nobody knows the metric's scale."""
    metric = family.metric(drop.metric)
    if metric is None or metric.unit in ("share", "score"):
        return drop
    if metric.low is not None and metric.high is not None and metric.high - metric.low <= 1:
        return drop
    filled: PerformanceDrop = _fill(drop, max=_OF_UNKNOWN_SCALE)
    return filled


def _monitoring_of_texts(monitoring: Monitoring) -> Any:
    """Return it for a model of texts: what they are measured by are labels, on no known scale."""
    performance = _fill(monitoring.performance, metrics=OF_LABELS)
    drop = performance.drop
    if drop is not None:
        drop = _fill(drop, metric=OF_LABELS[0], max="5%")
    elif "drop" not in performance.model_fields_set and performance.metrics:
        drop = PerformanceDrop(metric=OF_LABELS[0], max="5%")
    detectors = (Detector(name="exchanges", kind="tabular", watch="features"),)
    return _replace(
        _fill(monitoring, detectors=detectors), performance=_replace(performance, drop=drop)
    )


def _detectors(family: Family, data: Data | None) -> tuple[Detector, ...]:
    """Return the family's detectors, with one of the vectors where there are any."""
    types = {feature.type for feature in data.features} if data is not None else set()
    # Of a moment without an event time nothing is watched.
    alone = bool(types) and types <= {"vector", "timestamp"} and not (data and data.distances())
    kept = [one for one in family.detectors if not (alone and one.kind == "tabular")]
    if "vector" not in types:
        return tuple(kept)
    return (Detector(name="vectors", kind="mmd", types=("vector",)), *kept)


def _retraining(
    retraining: Retraining,
    monitoring: Monitoring,
    data: Data | None,
    family: Family,
    lag: timedelta,
) -> Any:
    """Return it with the signals that can arise, the time between two runs, a budget's time.

    ``lag``: Before so long nothing is labelled that the last run could not know of.
    """
    can_arise: dict[SignalKind, object] = {
        "drift": monitoring.detectors,
        "performance": monitoring.performance.drop,
        # Of several targets a family names the columns in options of its own.
        "new-data": data is None or data.target or family.target is not None,
    }
    signals = tuple(kind for kind, source in can_arise.items() if source)
    filled = _fill(retraining, signals=signals, cooldown=lag)
    # A lag of over a year must not make a contradiction that nobody wrote.
    return _replace(filled, budget=_fill(filled.budget, per=max(filled.budget.per, lag)))


def _fill(section: Any, **values: object) -> Any:
    """Return the section with those of the values that the user did not write."""
    unset = {key: value for key, value in values.items() if key not in section.model_fields_set}
    return _replace(section, **unset)


def _replace(section: Any, **values: object) -> Any:
    changed = {key: value for key, value in values.items() if getattr(section, key) != value}
    return section.model_copy(update=changed) if changed else section
