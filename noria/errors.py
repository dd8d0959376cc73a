"""The one exception tree of Noria.

Every error that reaches a person says what is wrong, where, with which value,
and what to do about it. Exceptions of client libraries never leave the adapter
that called them: they are chained as the cause (``raise ... from error``).
"""

from __future__ import annotations

import reprlib
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

_MAX_VALUE_CHARS: Final = 120
_MAX_ITEMS: Final = 24
_MAX_INT_BITS: Final = 512
_MAX_FRAMES: Final = 12
_MAX_TRACEBACK_CHARS: Final = 4000


def shorten(value: object, limit: int = _MAX_VALUE_CHARS) -> str:
    """Return ``repr(value)`` cut to ``limit`` characters, at a cost that does not grow with it.

    Of what a client sent, only so much is looked at: neither its size nor its depth
    can flood a log, take time, or raise. None, True and False are null, true and false:
    what people send is JSON or YAML.
    """
    text = _Brief(limit).repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def traceback_tail(error: BaseException, limit: int = _MAX_TRACEBACK_CHARS) -> str:
    """Return the traceback of ``error`` as one bounded text: its head and its end."""
    text = "".join(traceback.format_exception(error, limit=-_MAX_FRAMES))
    if len(text) <= limit:
        return text.rstrip()
    half = limit // 2
    return f"{text[:half]}\n[…]\n{text[-half:]}".rstrip()


class _Brief(reprlib.Repr):
    """``repr`` that stops early: by length, by number of items and by depth."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxstring = self.maxother = self.maxlong = limit
        self.maxtuple = self.maxlist = self.maxarray = self.maxdict = _MAX_ITEMS
        self.maxset = self.maxfrozenset = self.maxdeque = _MAX_ITEMS

    def repr_NoneType(self, value: None, level: int) -> str:  # noqa: ARG002, N802 - its caller's form
        """Show what JSON and YAML write."""
        return "null"

    def repr_bool(self, value: bool, level: int) -> str:  # noqa: ARG002, FBT001 - its caller's form
        """Show what JSON and YAML write."""
        return "true" if value else "false"

    def repr_dict(self, value: dict[object, object], level: int) -> str:
        """Show the first items in their own order; the standard one sorts all of them."""
        if level <= 0 and value:
            return "{...}"
        items = [
            f"{self.repr1(key, level - 1)}: {self.repr1(item, level - 1)}"
            for key, item in islice(value.items(), _MAX_ITEMS)
        ]
        return f"{{{', '.join(items)}{', ...' if len(value) > _MAX_ITEMS else ''}}}"

    def repr_str(self, value: str, level: int) -> str:  # noqa: ARG002 - its caller's form
        """Show the start of a text."""
        return repr(value) if len(value) <= self.maxstring else f"{value[: self.maxstring]!r}…"

    def repr_bytes(self, value: bytes, level: int) -> str:  # noqa: ARG002 - its caller's form
        """Show the start of bytes."""
        return repr(value) if len(value) <= self.maxstring else f"{value[: self.maxstring]!r}…"

    def repr_int(self, value: int, level: int) -> str:  # noqa: ARG002 - its caller's form
        """Show an integer; of one that is too long for Python to print, its size."""
        return repr(value) if value.bit_length() < _MAX_INT_BITS else f"<{value.bit_length()} bits>"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with what a user gave us.

    ``path`` is where (``spec.serving.canary.steps[2]``), ``message`` is what is
    wrong and with which value, ``fix`` is what to do (empty when the message
    already says it).
    """

    path: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        said = f"{self.path}: {self.message}" if self.path else self.message
        return f"{said}; {self.fix}" if self.fix else said


class NoriaError(Exception):
    """Root of every error that Noria raises on purpose."""

    exit_code = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(f"{message}; {fix}" if fix else message)
        self.message = message
        self.fix = fix


class InvalidInput(NoriaError):
    """What the user gave is wrong; nothing was done. Exit code 2, or a 4xx over HTTP."""

    exit_code = 2

    def __init__(self, message: str, *, fix: str = "", problems: Sequence[Problem] = ()) -> None:
        super().__init__(message, fix=fix)
        self.problems = tuple(problems)


class SpecError(InvalidInput):
    """A ``Model`` resource is refused. ``problems`` lists every reason, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems), problems=problems)


class DataError(InvalidInput):
    """Rows are missing, malformed, or break a validation rule of the spec."""


class LeakageError(DataError):
    """The training data knows something that it could not know at prediction time."""


class NotInstalled(InvalidInput):
    """The task family or the optional extra that this needs is not installed."""


class IntegrityError(NoriaError):
    """A digest, or the ledger's chain of hashes, does not match its content."""


class Conflict(NoriaError):
    """A compare-and-swap lost: somebody else changed the value first. Read again, decide again."""


class Unavailable(NoriaError):
    """A part that this needs does not answer now; trying again later may work."""


class PipelineError(NoriaError):
    """A pipeline can't be compiled, started, followed or cancelled."""


class TrainingError(NoriaError):
    """Training, tuning or evaluation failed for a reason other than the user's input."""


class OwnCodeError(TrainingError):
    """The project's own class or command failed, or answered what it may not."""


class NotFinite(NoriaError):
    """A model answered NaN or infinity where a number belongs.

    ``output`` is where, ``row`` the first of the ``rows`` samples that it answered so, ``value``
    what it said of that one.
    """

    def __init__(
        self, message: str, *, fix: str = "", output: str, row: int, rows: int, value: float
    ) -> None:
        super().__init__(message, fix=fix)
        self.output = output
        self.row = row
        self.rows = rows
        self.value = value


class RegistryError(NoriaError):
    """The model registry refused or failed."""


class TrafficError(NoriaError):
    """A version can't be deployed, weighted or retired."""


class MetricsError(NoriaError):
    """A metric source failed. The loop turns it into the verdict ``Error``, never into ``Pass``."""


class StoreError(NoriaError):
    """The loop's state or its ledger can't be read or written."""


class StoreDamaged(StoreError):
    """The loop's state or its ledger is there and is not what was written."""


class ServingError(NoriaError):
    """The model server can't load or run a model."""


class MonitoringError(NoriaError):
    """The monitor can't load a reference, run a detector or write its log."""


class ClusterError(NoriaError):
    """The Kubernetes API refused a request, or answered something else than was asked for."""


class Denied(ClusterError):
    """The Kubernetes API forbids this identity the request; the message names verb and resource."""
