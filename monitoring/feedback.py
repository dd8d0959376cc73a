"""From the body of ``POST /feedback`` to labels of rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from monitoring.config import MonitorConfig
from monitoring.labels import BY_ID, BY_KEY
from monitoring.payload import epoch_ms
from monitoring.records import Label
from monitoring.reference import Reference
from monitoring.table import text_of
from noria.errors import InvalidInput, shorten

_MAX_KEY_CHARS: Final = 512
LabelValue: TypeAlias = float | int | bool | str


class FeedbackLabel(msgspec.Struct, forbid_unknown_fields=True):
    """One label as a client sends it: ``id`` is ``<request id>:<row>``, or give ``key``."""

    label: LabelValue
    id: str | None = None
    key: str | None = None
    time: str | int | None = None


class Feedback(msgspec.Struct):
    """The body of ``POST /feedback``."""

    labels: list[FeedbackLabel]
    model: str = ""


def read_feedback(body: bytes, config: MonitorConfig, known: Reference | None) -> list[Label]:
    """Return the labels that a client sent.

    Args:
        body: JSON, a ``Feedback``.
        config: what is watched.
        known: the champion's reference, for the names of its classes; None without classes.

    Raises:
        InvalidInput: a label is malformed; the message names it.
    """
    try:
        found = msgspec.json.decode(body, type=Feedback)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"body: {error}") from error
    if found.model and found.model != config.model:
        raise InvalidInput(f"model: {shorten(found.model)} is not watched here")
    return [_label(label, config, known, f"labels[{i}]") for i, label in enumerate(found.labels)]


def _label(
    label: FeedbackLabel, config: MonitorConfig, known: Reference | None, where: str
) -> Label:
    value = _value(label.label, config, known, f"{where}.label")
    time = None if label.time is None else epoch_ms(label.time, f"{where}.time")
    if (label.id is None) == (label.key is None):
        raise InvalidInput(f"{where}: give either id or key")
    if label.key is not None:
        if not label.key or len(label.key) > _MAX_KEY_CHARS:
            raise InvalidInput(f"{where}.key: {shorten(label.key)} is empty or too long")
        return Label(BY_KEY + label.key, value, time)
    identity, _, row = (label.id or "").rpartition(":")
    if not identity or not row.isascii() or not row.isdigit() or len(row) > 9:
        raise InvalidInput(
            f"{where}.id: {shorten(label.id)} is not <request id>:<row>", fix='such as "r1:0"'
        )
    return Label(f"{BY_ID}{identity}:{int(row)}", value, time)


def _value(
    label: LabelValue,
    config: MonitorConfig,
    known: Reference | None,
    where: str,
) -> float:
    if known is not None and known.classes:
        name = text_of(label)
        if known.multiclass and name not in known.classes:
            raise InvalidInput(
                f"{where}: {shorten(label)} is not a class of the model",
                fix=f"send one of {shorten(list(known.classes))}",
            )
        if name in known.classes:
            place = known.classes.index(name)
            return float(place if known.multiclass else place == 1)
    if config.classification and config.positive:
        return float(text_of(label) == config.positive)
    value = _as_number(label)
    if value is None or not math.isfinite(value):
        raise InvalidInput(
            f"{where}: {shorten(label)} is not a number",
            fix=f"send one of {shorten(list(known.classes))}, or 0 or 1"
            if known is not None and known.classes
            else "set spec.task.options.positiveClass to send class names"
            if config.classification
            else "",
        )
    if config.classification and value not in (0.0, 1.0):
        raise InvalidInput(f"{where}: {shorten(label)} is not 0, 1, true or false")
    return value


def _as_number(label: LabelValue) -> float | None:
    if not isinstance(label, str):
        return float(label)
    named: Mapping[str, float] = {"true": 1.0, "false": 0.0}
    try:
        return named[label] if label in named else float(label)
    except ValueError:
        return None
