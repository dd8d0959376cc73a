"""From the body of ``POST /feedback`` to labels of rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from monitoring.config import MonitorConfig
from monitoring.core import ClassName
from monitoring.keys import read_key
from monitoring.labels import BY_ID, BY_KEY
from monitoring.limits import MAX_LABELS, bounded_text, epoch_ms
from monitoring.records import Label
from monitoring.table import text_of
from noria.cloudevents import MAX_ID_CHARS
from noria.errors import InvalidInput, shorten
from noria.predictions import MAX_TEXT_CHARS

_BINARY: Final = 2
_ROW_DIGITS: Final = 9
_NAMED: Final[Mapping[str, float]] = {"true": 1.0, "false": 0.0}
LabelValue: TypeAlias = float | int | bool | str


class FeedbackLabel(msgspec.Struct, forbid_unknown_fields=True):
    """One label as a client sends it: ``id`` is ``<request id>:<row>``, or give ``key``.

    With ``correct`` it takes the place of an earlier one, unless that was corrected at a later
    ``time``.
    """

    label: LabelValue
    id: str | None = None
    key: str | list[str | int | float | bool] | None = None
    time: str | int | None = None
    correct: bool = False


class Feedback(msgspec.Struct):
    """The body of ``POST /feedback``."""

    labels: list[FeedbackLabel]
    model: str = ""


def read_feedback(
    body: bytes, config: MonitorConfig, classes: Sequence[ClassName] = ()
) -> list[Label]:
    """Return the labels that a client sent.

    Args:
        body: JSON, a ``Feedback``.
        config: what is watched.
        classes: of the champion, the positive one of two last; empty when they are not known.

    Raises:
        InvalidInput: a label is malformed; the message names it.
    """
    try:
        found = msgspec.json.decode(body, type=Feedback)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"body: {error}") from error
    if found.model and found.model != config.model:
        raise InvalidInput(f"model: {shorten(found.model)} is not watched here")
    if len(found.labels) > MAX_LABELS:
        raise InvalidInput(f"labels: {len(found.labels)}, over {MAX_LABELS}", fix="send fewer")
    known = _Classes(config, classes)
    return [_label(label, config, known, f"labels[{i}]") for i, label in enumerate(found.labels)]


class _Classes:
    """What the values of labels mean: a number, or a class by its name of its own type."""

    def __init__(self, config: MonitorConfig, classes: Sequence[ClassName]) -> None:
        self._config = config
        self._classes = tuple(classes) if config.classification else ()
        self._has_booleans = set(self._classes) <= {0, 1}
        many = len(self._classes) > _BINARY
        last = len(self._classes) - 1
        self._values: dict[tuple[bool, ClassName], float] = {
            (isinstance(name, str), name): float(place if many else place == last)
            for place, name in enumerate(self._classes)
        }
        # Files have no types: the exact text of a number is that number.
        for (is_text, name), value in tuple(self._values.items()):
            if not is_text:
                self._values.setdefault((True, text_of(name)), value)

    def value_of(self, label: LabelValue, where: str) -> float:
        if not self._config.classification:
            return _number(label, where)
        if self._classes:
            found = self._values.get((isinstance(label, str), label))
            # To Python true is 1: of numbers other than 0 and 1 it names none.
            if found is not None and not (isinstance(label, bool) and not self._has_booleans):
                return found
            raise InvalidInput(
                f"{where}: {shorten(label)} is not a class of the model",
                fix=f"send one of {shorten(list(self._classes))}",
            )
        return self._unnamed(label, where)

    def _unnamed(self, label: LabelValue, where: str) -> float:
        """Return a label of two classes of which the name of one is known at most."""
        positive = self._config.positive
        if positive and text_of(label) == positive:
            return 1.0
        value = _NAMED.get(label) if isinstance(label, str) else None
        value = _number(label, where, self._fix()) if value is None else value
        if value not in (0.0, 1.0):
            raise InvalidInput(
                f"{where}: {shorten(label)} is not 0, 1, true or false", fix=self._fix()
            )
        return value

    def _fix(self) -> str:
        if self._config.positive:
            return f"send {shorten(self._config.positive)}, 0 or 1: no reference names the classes"
        return "set spec.task.options.positiveClass to send class names"


def _label(label: FeedbackLabel, config: MonitorConfig, classes: _Classes, where: str) -> Label:
    value = classes.value_of(label.label, f"{where}.label")
    time = None if label.time is None else epoch_ms(label.time, f"{where}.time")
    if label.correct and time is None:
        raise InvalidInput(
            f"{where}.time: missing", fix="say when the correction was made: the latest one counts"
        )
    if (label.id is None) == (label.key is None):
        raise InvalidInput(f"{where}: give either id or key")
    if label.key is not None:
        key = BY_KEY + read_key(label.key, config.entity_key, f"{where}.key")
        return Label(key, value, time, label.correct)
    identity, _, row = (label.id or "").rpartition(":")
    if not identity or not row.isascii() or not row.isdigit() or len(row) > _ROW_DIGITS:
        raise InvalidInput(
            f"{where}.id: {shorten(label.id)} is not <request id>:<row>", fix='such as "r1:0"'
        )
    bounded_text(identity, f"{where}.id", MAX_ID_CHARS)
    return Label(f"{BY_ID}{identity}:{int(row)}", value, time, label.correct)


def _number(label: LabelValue, where: str, fix: str = "") -> float:
    """Return a label that is a number, or the text of one."""
    value = math.nan
    if not isinstance(label, str):
        value = float(label) if -_LARGEST <= label <= _LARGEST else math.nan
    elif label.isascii() and "_" not in label and len(label) <= MAX_TEXT_CHARS:
        try:
            value = float(label)
        except ValueError:
            value = math.nan
    if not math.isfinite(value):
        raise InvalidInput(f"{where}: {shorten(label)} is not a finite number", fix=fix)
    return value


_LARGEST: Final = 1.7976931348623157e308
