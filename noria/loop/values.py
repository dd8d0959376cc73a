"""The values that pass between the loop and its ports: frozen, comparable, JSON both ways.

Times are aware datetimes in UTC. Versions are the registry's version numbers as
text. ``to_json`` and ``from_json`` are the one way to write and read them; a
float that is not finite becomes ``null`` there, which no verdict lets pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import msgspec

from noria.errors import InvalidInput, shorten

Moment: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
"""An aware datetime; a naive one is refused when it is read."""

T = TypeVar("T")


class Verdict(StrEnum):
    """What a measurement or a gate says. Only ``PASS`` ever moves a rollout forward."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


class RunPhase(StrEnum):
    """Where a pipeline run is. ``UNKNOWN``: the runner has never heard of it, or lost it."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class SignalKind(StrEnum):
    """Why a model may need a new training run (``spec.retraining.signals``)."""

    DRIFT = "drift"
    PERFORMANCE = "performance"
    QUALITY = "quality"
    NEW_DATA = "new-data"
    SCHEDULE = "schedule"
    MANUAL = "manual"


class Verb(StrEnum):
    """What a person may tell the loop to do."""

    PROMOTE = "promote"
    ABORT = "abort"
    PAUSE = "pause"
    RESUME = "resume"
    TRAIN = "train"
    RESET_BREAKER = "reset-breaker"


class Compared(msgspec.Struct, frozen=True):
    """One metric of one version over a stretch of time, beside the champion's.

    ``value`` is None when there is no data. ``low`` and ``high`` bound its
    confidence interval when the source knows one; where the samples can't bound
    it, ``lacking`` says what they need and have, and the verdict is
    ``INCONCLUSIVE``. The ``baseline`` fields are the champion's same metric over
    the same time. ``problem`` says why the source could not measure; any text
    there makes the verdict ``ERROR``.
    Latencies are in seconds, rates in 0..1.
    """

    metric: str
    version: str
    value: float | None
    samples: int
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    problem: str = ""
    baseline_low: float | None = None
    baseline_high: float | None = None
    baseline_samples: int | None = None
    lacking: str = ""
    baseline_lacking: str = ""


class MetricQuery(msgspec.Struct, frozen=True):
    """What to measure: rows answered by ``version`` that arrived at or after ``since``.

    ``champion`` asks for the baseline fields too, over the same time.
    """

    model: str
    version: str
    metric: str
    since: Moment
    champion: str | None = None


class GateResult(msgspec.Struct, frozen=True):
    """One gate of one candidate, measured once, on held-out rows.

    A champion gate's ``value`` is the gain over the champion (positive is better), and ``low``
    and ``high`` bound it at the gate's confidence. ``worth`` is what many more rows have
    brought, in standard errors: whether there is anything to win by retraining at all.
    """

    name: str
    verdict: Verdict
    detail: str
    value: float | None
    bound: float | None
    samples: int
    low: float | None = None
    high: float | None = None
    worth: float | None = None


class RunRequest(msgspec.Struct, frozen=True):
    """One training run. ``as_of``: rows known at that time, and no later ones, may be used."""

    run_id: str
    model: str
    as_of: Moment
    reason: str
    champion: str | None


class RunResult(msgspec.Struct, frozen=True):
    """What a successful run made. ``champion`` is the version its gates were measured against."""

    version: str
    rows: int
    metrics: Mapping[str, float | None]
    gates: tuple[GateResult, ...]
    champion: str | None


class RunStatus(msgspec.Struct, frozen=True):
    """What the runner says about a run. ``result`` is set when it succeeded."""

    run_id: str
    phase: RunPhase
    detail: str = ""
    result: RunResult | None = None


class Signal(msgspec.Struct, frozen=True, tag="signal"):
    """Something that may call for retraining. The same ``id`` means the same event, told again.

    ``version`` is the version it is about; None means the model as a whole. ``since`` is
    when the first of the rows came that told; None: not known, so ``at``.
    """

    id: str
    kind: SignalKind
    source: str
    at: Moment
    detail: str
    version: str | None = None
    since: Moment | None = None


class Command(msgspec.Struct, frozen=True, tag="command"):
    """What a person asked for. The same ``id`` is done once however often it is submitted."""

    id: str
    verb: Verb
    at: Moment
    by: str
    reason: str = ""


class Notice(msgspec.Struct, frozen=True, tag="notice"):
    """Something that was told to the loop and starts nothing. The same ``id`` is told once.

    ``name`` is what it was, such as an alert's name; ``reason`` completes the sentence
    "it starts nothing: ..."; both go to the ledger, so that a person who asks gets an answer.
    """

    id: str
    source: str
    at: Moment
    name: str
    reason: str
    detail: str = ""


Message: TypeAlias = Command | Notice | Signal
"""What the durable inbox holds."""


class VersionInfo(msgspec.Struct, frozen=True):
    """A registered version. ``package`` is its path or URI, ``digest`` the package's sha256.

    ``anchor`` is the ledger's anchor that it carries (``noria.loop.anchor``); empty: none.
    """

    model: str
    version: str
    created: Moment
    gates: tuple[GateResult, ...]
    metrics: Mapping[str, float | None]
    rows: int
    champion: str | None
    package: str
    digest: str
    anchor: str = ""


def finite(value: float | None) -> float | None:
    """Return ``value``, or None when it is missing, NaN or infinite."""
    return value if value is not None and math.isfinite(value) else None


def to_json(value: Any) -> bytes:
    """Write a value as compact JSON with sorted keys: equal values give equal bytes."""
    return msgspec.json.encode(value, order="sorted")


_MESSAGES: Final[msgspec.json.Decoder[Message]] = msgspec.json.Decoder(Message)


def message_from_json(data: bytes | str) -> Message:
    """Read a command, a notice or a signal; its key ``type`` says which.

    Raises:
        InvalidInput: The JSON is malformed or doesn't fit; the message names the field.
    """
    try:
        return _MESSAGES.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"not a message: {error} in {shorten(data)}") from error


def from_json(data: bytes | str, kind: type[T]) -> T:
    """Read a value of ``kind`` from JSON.

    Raises:
        InvalidInput: The JSON is malformed or doesn't fit; the message names the field.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            f"not a {getattr(kind, '__name__', kind)}: {error} in {shorten(data)}"
        ) from error
