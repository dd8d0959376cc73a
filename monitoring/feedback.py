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
from monitoring.records import Label, of_target
from monitoring.table import text_of
from monitoring.targets import Targets
from noria.cloudevents import MAX_ID_CHARS
from noria.errors import InvalidInput, shorten
from noria.labels import FEEDBACK, MAX_TARGETS, checked_source
from noria.predictions import MAX_TEXT_CHARS

_BINARY: Final = 2
_ROW_DIGITS: Final = 9
_UNKNOWN: Final = Targets()
_NAMED: Final[Mapping[str, float]] = {"true": 1.0, "false": 0.0}
LabelValue: TypeAlias = float | int | bool | str


class FeedbackLabel(msgspec.Struct, forbid_unknown_fields=True):
    """One label as a client sends it: ``id`` is ``<request id>:<row>``, or give ``key``.

    Where a prediction is several numbers, ``label`` is the list of their true values, null for
    those that aren't known yet, or the true value of the one that ``target`` names or, from 0,
    counts. ``source`` says who judged it: a judge's label gives way to feedback. With ``correct``
    it takes the place of an earlier one, unless that was corrected at a later ``time``.
    """

    label: LabelValue | list[LabelValue | None]
    id: str | None = None
    key: str | list[str | int | float | bool] | None = None
    time: str | int | None = None
    correct: bool = False
    target: int | str | None = None
    source: str = FEEDBACK


class Feedback(msgspec.Struct):
    """The body of ``POST /feedback``."""

    labels: list[FeedbackLabel]
    model: str = ""


def read_feedback(
    body: bytes,
    config: MonitorConfig,
    classes: Sequence[ClassName] = (),
    targets: Targets = _UNKNOWN,
) -> list[Label]:
    """Return the labels that a client sent, one for each target.

    Args:
        body: JSON, a ``Feedback``.
        config: what is watched.
        classes: of the champion, the positive one of two last; empty when they are not known.
        targets: the labels that a row of the champion has, as far as they are known.

    Raises:
        InvalidInput: a label is malformed; the message names it.
        Unavailable: a label names a target, and it is not known yet which names there are.
    """
    try:
        found = msgspec.json.decode(body, type=Feedback)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"body: {error}") from error
    if found.model and found.model != config.model:
        raise InvalidInput(
            f"model: {shorten(found.model)} is not watched here",
            fix=f"this monitor watches {config.model!r}",
        )
    count = sum(len(o.label) if isinstance(o.label, list) else 1 for o in found.labels)
    if max(count, len(found.labels)) > MAX_LABELS:
        raise InvalidInput(f"labels: {count} values, over {MAX_LABELS}", fix="send fewer")
    known = _Classes(config, classes)
    return [
        label
        for i, one in enumerate(found.labels)
        for label in _labels(one, config, known, targets, f"labels[{i}]")
    ]


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


def _labels(
    label: FeedbackLabel, config: MonitorConfig, classes: _Classes, targets: Targets, where: str
) -> list[Label]:
    values = {
        target: classes.value_of(value, path)
        for target, value, path in _by_target(label, targets, where)
    }
    time = None if label.time is None else epoch_ms(label.time, f"{where}.time")
    if label.correct and time is None:
        raise InvalidInput(
            f"{where}.time: missing", fix="say when the correction was made: the latest one counts"
        )
    if (label.id is None) == (label.key is None):
        both = f"id {shorten(label.id)} and key {shorten(label.key)} are both there"
        raise InvalidInput(
            f"{where}: {'neither id nor key is there' if label.id is None else both}",
            fix="give either id or key: id is <request id>:<row>, key the value of entityKey",
        )
    if label.key is not None:
        key = BY_KEY + read_key(label.key, config.entity_key, f"{where}.key", config.event_time)
    else:
        key = _named(label.id or "", where)
    source = checked_source(label.source, f"{where}.source")
    return [
        Label(of_target(key, target), value, time, label.correct, source)
        for target, value in values.items()
    ]


def _by_target(
    label: FeedbackLabel, targets: Targets, where: str
) -> list[tuple[int, LabelValue, str]]:
    """Return (target, value, where it was) of each value that a label has."""
    path = f"{where}.label"
    if isinstance(label.label, list):
        count = len(label.label)
        if label.target is not None or not count or count != (targets.count or count):
            beside = f", and target {shorten(label.target)} beside them"
            raise InvalidInput(
                f"{path}: {count} values for {targets}" + ("" if label.target is None else beside),
                fix="send one value for each, null for one that is not known yet",
            )
        if count > MAX_TARGETS:
            raise InvalidInput(f"{path}: {count} values, over {MAX_TARGETS}", fix="send fewer")
        found = ((i, value, f"{path}[{i}]") for i, value in enumerate(label.label))
        return [(i, value, at) for i, value, at in found if value is not None]
    if label.target is None and targets.count > 1:
        raise InvalidInput(
            f"{path}: one value for {targets}",
            fix="send a list of them, or say which one target names, or counts from 0",
        )
    return [(targets.place(label.target, f"{where}.target"), label.label, path)]


def _named(given: str, where: str) -> str:
    """Return the key of a label by prediction id."""
    identity, _, row = given.rpartition(":")
    if not identity or not row.isascii() or not row.isdigit() or len(row) > _ROW_DIGITS:
        raise InvalidInput(
            f"{where}.id: {shorten(given)} is not <request id>:<row>", fix='such as "r1:0"'
        )
    bounded_text(identity, f"{where}.id", MAX_ID_CHARS)
    return f"{BY_ID}{identity}:{int(row)}"


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
        raise InvalidInput(
            f"{where}: {shorten(label)} is not a finite number",
            fix=fix or "send the true value as a number, or null in a list for one not known yet",
        )
    return value


_LARGEST: Final = 1.7976931348623157e308
