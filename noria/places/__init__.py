"""Where loops are: a folder of this machine, or a namespace of a cluster.

The commands and the page ask both by one protocol. Nothing is imported here but for types:
whoever needs an adapter imports its module.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from noria.loop.anchor import Evidence
    from noria.loop.ledger import LedgerEntry
    from noria.loop.retraining import Allowance
    from noria.loop.state import State
    from noria.loop.values import Command, Message
    from noria.places.watched import Watched
    from noria.spec import Model
    from noria.view import ModelView


@dataclass(frozen=True, slots=True)
class Detail:
    """One model as a whole.

    Attributes:
        view: What it is doing.
        model: The resource; None when it can't be read, and ``view.problem`` says why.
        state: What the loop remembers; None before its first turn.
        allowance: What the limits leave; None without resource or state.
        inbox: The messages that no turn has taken yet, in order of arrival.
    """

    view: ModelView
    model: Model | None
    state: State | None
    allowance: Allowance | None = None
    inbox: Sequence[Message] = ()


class Place(Protocol):
    """The loops of one place. Looking starts nothing; ``submit`` alone writes.

    Every method may raise ``NoriaError``, from any thread. ``InvalidInput`` says that there is
    no model of that name.
    """

    @property
    def name(self) -> str:
        """The folder or the namespace."""

    def overview(self) -> Sequence[ModelView]:
        """Return every model, by name."""

    def detail(self, model: str) -> Detail | None:
        """Return one model, None when there is none of that name."""

    def state(self, model: str) -> State | None:
        """Return what the loop remembers of a model, None before its first turn.

        Raises:
            InvalidInput: There is no such model.
        """

    def turning(self, model: str) -> bool:
        """Whether somebody turns the model's loop.

        Raises:
            InvalidInput: There is no such model.
        """

    def entries(self, model: str) -> Iterator[LedgerEntry]:
        """Return the model's ledger, oldest first; nothing of a model that is not there."""

    def evidence(self, model: str) -> Evidence:
        """Return the model's ledger, and what the registry knows of it.

        Raises:
            InvalidInput: There is no such model.
            RegistryError, Unavailable: The registry can't be read.
        """

    def watched(self, model: str) -> Watched:
        """Return what the model's monitor knows.

        Raises:
            Unavailable, MonitoringError: It doesn't answer, or doesn't run.
        """

    def submit(self, model: str, command: Command) -> bool:
        """Put a command into the model's inbox. False when its id was ever there before.

        Raises:
            InvalidInput: There is no such model.
        """
