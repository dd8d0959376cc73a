"""What the pages need to know, and the one protocol that both worlds answer.

A ``Source`` only reads, but for ``submit``, which puts a person's command into the durable
inbox. The loop does the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from noria.loop.ledger import LedgerEntry
from noria.loop.retraining import Allowance
from noria.loop.state import State
from noria.loop.values import Command, Message
from noria.spec import Model
from noria.ui.watched import Watched


class Stage(StrEnum):
    """What the loop is doing with a model."""

    NOT_STARTED = "not-started"
    NO_VERSION = "no-version"
    TRAINING = "training"
    SERVING = "serving"
    DEPLOYING = "deploying"
    CANARY = "canary"
    PROMOTING = "promoting"
    ABORTING = "aborting"


class Attendance(StrEnum):
    """Whether somebody turns the loop: nobody does, and nothing answers, when it is ``STOPPED``."""

    TURNING = "turning"
    UNATTENDED = "unattended"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Step:
    """A canary step: its number from 1, of how many, and the candidate's share in percent."""

    number: int
    count: int
    percent: int


@dataclass(frozen=True, slots=True)
class Last:
    """How the newest candidate did. ``kind`` is a verdict or a result, ``text`` what was said."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Summary:
    """One line of the overview.

    Attributes:
        name: The model.
        stage: What the loop is doing.
        attendance: Whether a loop turns.
        champion: The version that users should get.
        candidate: The version on its way.
        weights: Percent by version.
        in_force: Whether ``weights`` is what was seen; else it is what the loop last wanted.
        step: The canary step, None outside of one.
        paused: Whether a person holds the rollout.
        last: How the newest candidate did.
        retrains_left: Runs left in the budget, None when unknown.
        drift: What drifted, in the monitor's words; empty when nothing did, None when unknown.
        performance: Metric to value of the champion's newest window.
        alerts: What a person has to look at, one sentence each.
        breaker_open: Whether the loop-breaker keeps signals from starting runs.
        problem: What keeps the model from being served or watched.
        url: Where clients send requests.
    """

    name: str
    stage: Stage
    attendance: Attendance
    champion: str | None = None
    candidate: str | None = None
    weights: Mapping[str, int] = field(default_factory=dict)
    in_force: bool = True
    step: Step | None = None
    paused: bool = False
    last: Last | None = None
    retrains_left: int | None = None
    drift: str | None = None
    performance: Mapping[str, float | None] = field(default_factory=dict)
    alerts: Sequence[str] = ()
    breaker_open: bool = False
    problem: str | None = None
    url: str | None = None

    @property
    def troubled(self) -> bool:
        """Whether a person should look."""
        return bool(self.alerts or self.problem or self.breaker_open)


@dataclass(frozen=True, slots=True)
class Detail:
    """One model as a whole.

    Attributes:
        summary: Its line of the overview.
        model: The resource; None when it can't be read, and ``summary.problem`` says why.
        state: What the loop remembers; None before its first turn.
        allowance: What the limits leave; None without resource or state.
        waiting: What the inbox holds, in order of arrival.
    """

    summary: Summary
    model: Model | None
    state: State | None
    allowance: Allowance | None = None
    waiting: Sequence[Message] = ()


class Source(Protocol):
    """Where the pages read. Every method may raise ``NoriaError``, from any thread."""

    @property
    def place(self) -> str:
        """Which state this is: a folder or a namespace."""

    def overview(self) -> Sequence[Summary]:
        """Return every model, by name."""

    def detail(self, name: str) -> Detail | None:
        """Return one model, None when there is none of that name."""

    def watched(self, detail: Detail) -> Watched:
        """Return what the model's monitor knows.

        Raises:
            Unavailable, MonitoringError: It doesn't answer, or doesn't run.
        """

    def entries(self, name: str) -> Iterator[LedgerEntry]:
        """Yield the model's ledger, oldest first."""

    def submit(self, name: str, command: Command) -> bool:
        """Put a command into the model's inbox. False when its id was ever there before."""
