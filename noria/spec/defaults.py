"""Defaults that depend on other sections; filled in when the resource is read.

They can't be written on the fields, because a field does not know its family. A
key that the user wrote is never changed, not even one written as empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from noria.spec.data import Data
from noria.spec.gates import ChampionGate
from noria.spec.metrics import FAMILY_METRICS
from noria.spec.monitoring import Detector, Monitoring, PerformanceDrop
from noria.spec.retraining import Retraining, SignalKind
from noria.spec.train import FAMILY_ALGORITHMS, Train

WATCHED_BY_DEFAULT: Final = ("tabular-classification", "tabular-regression")


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
        family = filled["task"].family
        if "train" in filled:
            filled["train"] = _train(filled["train"], family, filled.get("data"))
        if "gates" in filled:
            default = (ChampionGate(metric=FAMILY_METRICS[family][0]),)
            filled["gates"] = _fill(filled["gates"], champion=default)
        if "monitoring" in filled:
            filled["monitoring"] = _monitoring(filled["monitoring"], family)
            if "retraining" in filled:
                filled["retraining"] = _retraining(filled["retraining"], filled["monitoring"])
    return filled


def _data(data: Data) -> Any:
    kind = data.split.kind if data.event_time is not None else "stratified"
    return _replace(data, split=_fill(data.split, kind=kind))


def _train(train: Train, family: str, data: Data | None) -> Any:
    folds = train.cross_validation
    return _replace(
        _fill(train, algorithm=FAMILY_ALGORITHMS[family][0]),
        search=_fill(train.search, metric=FAMILY_METRICS[family][0]),
        cross_validation=folds if data is None else _fill(folds, kind=data.split.kind),
    )


def _monitoring(monitoring: Monitoring, family: str) -> Any:
    performance = _fill(monitoring.performance, metrics=FAMILY_METRICS[family])
    measured = performance.metrics
    first = FAMILY_METRICS[family][0]
    metric = first if first in measured or not measured else measured[0]
    drop = performance.drop
    if drop is not None:
        drop = _fill(drop, metric=metric)
    elif "drop" not in performance.model_fields_set and measured:
        drop = PerformanceDrop(metric=metric)
    detectors = _default_detectors() if family in WATCHED_BY_DEFAULT else ()
    return _replace(
        _fill(monitoring, detectors=detectors), performance=_replace(performance, drop=drop)
    )


def _default_detectors() -> tuple[Detector, ...]:
    return (
        Detector(name="features", kind="tabular", watch="features"),
        Detector(name="prediction", kind="ks", watch="prediction"),
    )


def _retraining(retraining: Retraining, monitoring: Monitoring) -> Any:
    can_arise: dict[SignalKind, object] = {
        "drift": monitoring.detectors,
        "performance": monitoring.performance.drop,
    }
    return _fill(retraining, signals=tuple(kind for kind, source in can_arise.items() if source))


def _fill(section: Any, **values: object) -> Any:
    """Return the section with those of the values that the user did not write."""
    unset = {key: value for key, value in values.items() if key not in section.model_fields_set}
    return _replace(section, **unset)


def _replace(section: Any, **values: object) -> Any:
    changed = {key: value for key, value in values.items() if getattr(section, key) != value}
    return section.model_copy(update=changed) if changed else section
