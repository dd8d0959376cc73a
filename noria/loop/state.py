"""What the loop remembers between two decisions, and what a decision is made of.

``State`` is the only memory: it is written by compare-and-swap and holds the
outbox, so a process that dies is replaced by another that reads it. All values
are frozen and go to JSON and back (``values.to_json``, ``values.from_json``).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from noria.loop.ledger import GENESIS, Head
from noria.loop.values import (
    Compared,
    GateResult,
    Message,
    Moment,
    RunPhase,
    RunRequest,
    RunStatus,
    Signal,
    SignalKind,
    Verdict,
    VersionInfo,
)

# Actions: what the engine does to the world. ``id`` is the same whenever the same
# state meets the same observation; doing one twice has the effect of doing it once.


class StartRun(msgspec.Struct, frozen=True, tag="start-run"):
    """Start a training run."""

    id: str
    request: RunRequest


class CancelRun(msgspec.Struct, frozen=True, tag="cancel-run"):
    """Stop a training run."""

    id: str
    run_id: str


class Deploy(msgspec.Struct, frozen=True, tag="deploy"):
    """Start serving a version, without traffic."""

    id: str
    version: str


class SetWeights(msgspec.Struct, frozen=True, tag="set-weights"):
    """Split the traffic, in percent summing to 100."""

    id: str
    weights: Mapping[str, int]


class Retire(msgspec.Struct, frozen=True, tag="retire"):
    """Drain and stop a version that has no traffic."""

    id: str
    version: str


class SetAlias(msgspec.Struct, frozen=True, tag="set-alias"):
    """Point a registry alias at a version, if it now points at ``expected``."""

    id: str
    alias: str
    version: str | None
    expected: str | None


class Alert(msgspec.Struct, frozen=True):
    """Something a person has to look at. One alert of a ``name`` stands at a time."""

    name: str
    text: str
    since: Moment


class RaiseAlert(msgspec.Struct, frozen=True, tag="raise-alert"):
    """Tell a person."""

    id: str
    alert: Alert


class ClearAlert(msgspec.Struct, frozen=True, tag="clear-alert"):
    """Tell that an alert is over."""

    id: str
    name: str


Action: TypeAlias = (
    StartRun | CancelRun | Deploy | SetWeights | Retire | SetAlias | RaiseAlert | ClearAlert
)


class Pending(msgspec.Struct, frozen=True):
    """An action in the outbox: decided, not yet known to be done."""

    action: Action
    attempts: int = 0
    not_before: Moment | None = None
    problem: str = ""


# Rollouts.


class RolloutPhase(StrEnum):
    """Where a candidate is on its way to all of the traffic."""

    DEPLOYING = "deploying"
    STEPPING = "stepping"
    PROMOTING = "promoting"
    ABORTING = "aborting"


class Judged(msgspec.Struct, frozen=True):
    """A measurement and what the analysis made of it. ``rule`` is the condition in words."""

    measurement: Compared
    verdict: Verdict
    rule: str
    detail: str


class StepEvidence(msgspec.Struct, frozen=True):
    """What was seen when a step ended, for better or worse. ``percent``: the candidate's share."""

    step: int
    percent: int
    at: Moment
    judged: tuple[Judged, ...]


class Rollout(msgspec.Struct, frozen=True):
    """A candidate on its way. ``step`` counts from 0; ``champion`` is the one it must replace.

    ``entered`` starts the step's timeout; ``since`` is when the traffic was first
    seen as wanted (measurements count from there), None until then. ``forced``: a
    person promoted it. ``overtaken``: somebody else moved the champion alias.
    ``gates`` let it in. ``failed``: a check failed, or it could not be served.
    """

    version: str
    champion: str | None
    started: Moment
    as_of: Moment
    cause: str
    phase: RolloutPhase
    entered: Moment
    step: int = 0
    since: Moment | None = None
    paused: Moment | None = None
    forced: bool = False
    unready_since: Moment | None = None
    unready_seen: int = 0
    alias_asked: bool = False
    overtaken: bool = False
    failed: bool = False
    reason: str = ""
    evidence: tuple[StepEvidence, ...] = ()
    gates: tuple[GateResult, ...] = ()


class Result(StrEnum):
    """How a candidate ended."""

    PROMOTED = "promoted"
    ABORTED = "aborted"
    REFUSED = "refused"


class Outcome(msgspec.Struct, frozen=True):
    """A candidate's end, with its evidence."""

    version: str
    champion: str | None
    result: Result
    reason: str
    at: Moment
    cause: str
    gates: tuple[GateResult, ...] = ()
    evidence: tuple[StepEvidence, ...] = ()


# Retraining.


class RunKind(StrEnum):
    """``FIRST``: there was no version. ``AUTOMATIC``: by a signal. ``MANUAL``: by a person."""

    FIRST = "first"
    AUTOMATIC = "automatic"
    MANUAL = "manual"


class ActiveRun(msgspec.Struct, frozen=True):
    """The run in flight. ``unknown_*``: since when, and how often, the runner did not know it.

    ``cancelled`` says by whom; the run is in flight until the runner says it is over.
    """

    request: RunRequest
    kind: RunKind
    cancelled: str = ""
    unknown_since: Moment | None = None
    unknown_seen: int = 0


class RunRecord(msgspec.Struct, frozen=True):
    """A run that was started, kept while the budget's period counts it.

    ``ended`` is how: a run phase; ``unknown`` when the runner lost it; None while it runs.
    ``over`` is when that was seen. ``signals`` are the kinds of signals that it was started for.
    """

    run_id: str
    kind: RunKind
    as_of: Moment
    cause: str
    ended: RunPhase | None = None
    version: str | None = None
    over: Moment | None = None
    signals: tuple[SignalKind, ...] = ()


class Breaker(msgspec.Struct, frozen=True):
    """Open: no automatic run starts until a person resets it, or until there are ``closes`` rows.

    ``closes`` is None as long as the rows can't be seen.
    """

    opened: Moment
    losses: int
    reason: str
    closes: int | None = None


class Change(msgspec.Struct, frozen=True):
    """A measured loss of performance that is being learnt from.

    ``since`` is when the rows began that told of it, ``tried`` how many labelled rows since
    then the last try had; 0 before the first.
    """

    since: Moment
    tried: int = 0


class Wish(msgspec.Struct, frozen=True):
    """The last action asked for under a key, and when: it is not asked again each cycle."""

    action: Action
    at: Moment


class Hold(msgspec.Struct, frozen=True):
    """What the run, the rollout or a signal waits for.

    ``kind`` is ``run``, ``rollout`` or ``retraining``.
    """

    kind: str
    text: str


class State(msgspec.Struct, frozen=True):
    """Everything the loop remembers about one model.

    ``champion`` is the alias as last seen; ``champion_as_of`` the newest data it
    may have learnt from. ``losses`` counts candidates in a row that were shown worse,
    ``openings`` how often the loop-breaker has opened since a candidate won.
    ``tried`` is how many labelled rows there were at the last try, None when the champion came
    of it; ``thin`` counts, by the kind of signal, tries in a row that won nothing; ``credit`` is
    how many tries the rows have paid for, less those made (``noria.loop.evidence``).
    ``labels_come`` says that the monitor was told a label at some time.
    ``holds`` says what the run and the rollout in progress and each waiting signal lack, as
    of the last decision. ``runs`` and ``outcomes`` forget; ``tally`` counts all that ever ended, by
    ``run/<kind>/<phase>`` and ``rollout/<result>``.
    """

    model: str
    format: int = 1
    spec_digest: str = ""
    champion: str | None = None
    champion_as_of: Moment | None = None
    run: ActiveRun | None = None
    runs: tuple[RunRecord, ...] = ()
    runs_started: int = 0
    train_asked: str = ""
    pending: tuple[Signal, ...] = ()
    used: tuple[str, ...] = ()
    rollout: Rollout | None = None
    outcomes: tuple[Outcome, ...] = ()
    losses: int = 0
    breaker: Breaker | None = None
    openings: int = 0
    change: Change | None = None
    tried: int | None = None
    thin: Mapping[SignalKind, int] = {}
    credit: float = 0.0
    labels_come: bool = False
    alerts: tuple[Alert, ...] = ()
    wishes: Mapping[str, Wish] = {}
    actions_issued: int = 0
    tally: Mapping[str, int] = {}
    holds: tuple[Hold, ...] = ()
    outbox: tuple[Pending, ...] = ()
    head: Head = GENESIS


class Stored(msgspec.Struct, frozen=True):
    """A state as the store holds it."""

    state: State
    revision: int


# One decision.


class RegistryView(msgspec.Struct, frozen=True):
    """``info`` describes the champion. ``versions`` is filled only while there is no champion."""

    champion: str | None
    info: VersionInfo | None = None
    versions: tuple[VersionInfo, ...] = ()


class TrafficView(msgspec.Struct, frozen=True):
    """Deployed versions with their readiness, and the split in force (percent).

    ``problems`` says why a version is not ready, where that is known.
    """

    ready: Mapping[str, bool]
    weights: Mapping[str, int]
    problems: Mapping[str, str] = {}


class Observation(msgspec.Struct, frozen=True):
    """What the engine saw at one time. None: that part did not answer; ``problems`` says why.

    ``run`` is None too while no run is in flight. ``labelled_rows`` counts labels
    since ``champion_as_of``, ``change_rows`` those since ``change.since``; ``rows_per_day`` is
    what all versions together answer now. They are None when unknown or not needed.
    """

    registry: RegistryView | None = None
    traffic: TrafficView | None = None
    run: RunStatus | None = None
    measurements: tuple[Compared, ...] = ()
    signals: tuple[Signal, ...] = ()
    inbox: tuple[Message, ...] = ()
    labelled_rows: int | None = None
    change_rows: int | None = None
    rows_per_day: float | None = None
    problems: Mapping[str, str] = {}


class Note(msgspec.Struct, frozen=True):
    """One sentence for a person, with its facts. ``change``: something happened; else it holds."""

    kind: str
    text: str
    facts: Mapping[str, Any] = {}
    change: bool = False


class Decision(msgspec.Struct, frozen=True):
    """The new state (its outbox has the new actions too), what to do now, and why."""

    state: State
    actions: tuple[Action, ...]
    explanation: tuple[Note, ...]


def outcome_of(state: State, version: str) -> Outcome | None:
    """Return how a candidate ended, if that is still remembered."""
    return next((o for o in reversed(state.outcomes) if o.version == version), None)
