"""What is kept of a row that was served: a flat view of ``spec.data.served``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from monitoring.table import Kind
from noria.errors import shorten
from noria.seen import hash_of
from noria.served.rows import OURS
from noria.spec import Model, ModelSpec

ColumnType: TypeAlias = Literal["number", "boolean", "text", "time", "vector"]

_TYPES: Final[Mapping[str, ColumnType]] = {
    "numeric": "number",
    "boolean": "boolean",
    "categorical": "text",
    "text": "text",
    "timestamp": "time",
    "vector": "vector",
}
_KINDS: Final[Mapping[ColumnType, Kind]] = {
    "number": "numeric",
    "boolean": "numeric",
    "vector": "vector",
}
_HASHES: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Keeping:
    """How labelled rows of one model are kept. ``retention`` is in seconds.

    ``columns`` are those of a request, name to type, without redacted ones. ``target`` is the
    column of the label of a row that has one; None: that has a name as each of several has.
    ``share`` of the requests are kept.
    """

    columns: Mapping[str, ColumnType]
    target: str | None
    classification: bool
    event_time: str | None
    share: float
    retention: float

    @classmethod
    def of(cls, model: Model) -> Keeping | None:
        """Take it from the resource; None when nothing is kept."""
        spec, served = model.spec, model.spec.data.served
        if served is None or (spec.data.target is None and spec.is_classification):
            return None
        redacted = {*served.redact, *spec.serving.payload_log.redact}
        return cls(
            columns={name: kind for name, kind in _columns(spec).items() if name not in redacted},
            target=spec.data.target,
            classification=spec.is_classification,
            event_time=spec.data.event_time,
            share=served.sample,
            retention=served.retention.total_seconds(),
        )

    def takes(self, request: str) -> bool:
        """Whether a request is in the sample; the same one is always, whatever else comes."""
        return hash_of(request) % _HASHES < self.share * _HASHES

    def refusal(self, names: Sequence[str]) -> str:
        """Say why targets of these names can't be columns; empty: they can."""
        taken = [name for name in names if name in self.columns or name.startswith(OURS)]
        if not taken:
            return ""
        return (
            f"labelled rows are not kept: a column has the name of the target {shorten(taken[0])}; "
            "name the target otherwise"
        )

    def logged(self, features: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return the watched features, and the columns that are kept besides, for the log."""
        also: dict[str, Kind] = {
            name: _KINDS.get(kind, "categorical")
            for name, kind in self.columns.items()
            if name not in features
        }
        return {**features, **also}


def _columns(spec: ModelSpec) -> dict[str, ColumnType]:
    """Return the type of each column of a request."""
    data = spec.data
    types = {feature.name: _TYPES[feature.type] for feature in data.features}
    if data.event_time is not None:
        types[data.event_time] = "time"
    return {name: types.get(name, "text") for name in data.request_columns()}
