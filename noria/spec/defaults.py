"""Defaults that depend on the task family; filled in when the resource is read.

They can't be written on the fields, because a field does not know its family. A
key that the user wrote is never changed, not even one written as empty.
"""

from __future__ import annotations

from typing import Any, Final

from noria.spec.data import Data
from noria.spec.gates import ChampionGate, Gates
from noria.spec.metrics import FAMILY_METRICS
from noria.spec.monitoring import Detector, Monitoring, PerformanceDrop
from noria.spec.section import Section
from noria.spec.train import FAMILY_ALGORITHMS, Train

_DETECTORS: Final = (
    Detector(name="features", kind="tabular", on="features"),
    Detector(name="prediction", kind="ks", on="prediction"),
)
WATCHED_BY_DEFAULT: Final = ("tabular-classification", "tabular-regression")


def with_family_defaults(
    family: str, *, data: Data, train: Train, gates: Gates, monitoring: Monitoring
) -> dict[str, Section]:
    """Return the four sections with what the user left out filled in for the family."""
    metrics = FAMILY_METRICS[family]
    timed = data.event_time is not None
    split = _fill(data.split, kind=data.split.kind if timed else "stratified")
    performance = monitoring.performance
    drop = performance.drop
    if drop is None and "drop" not in performance.model_fields_set:
        drop = PerformanceDrop(metric=metrics[0])
    elif drop is not None:
        drop = _fill(drop, metric=metrics[0])
    detectors = _DETECTORS if family in WATCHED_BY_DEFAULT else ()
    return {
        "data": _replace(data, split=split),
        "train": _replace(
            _fill(train, algorithm=FAMILY_ALGORITHMS[family][0]),
            search=_fill(train.search, metric=metrics[0]),
            cross_validation=_fill(train.cross_validation, kind=split.kind),
        ),
        "gates": _fill(gates, champion=(ChampionGate(metric=metrics[0]),)),
        "monitoring": _replace(
            _fill(monitoring, detectors=detectors),
            performance=_replace(_fill(performance, metrics=metrics), drop=drop),
        ),
    }


def _fill(section: Any, **values: object) -> Any:
    """Return the section with those of the values that the user did not write."""
    unset = {key: value for key, value in values.items() if key not in section.model_fields_set}
    return _replace(section, **unset)


def _replace(section: Any, **values: object) -> Any:
    changed = {key: value for key, value in values.items() if getattr(section, key) != value}
    return section.model_copy(update=changed) if changed else section
