"""Which labels a row of the champion has: how many, and what they are called."""

from __future__ import annotations

from dataclasses import dataclass

from monitoring.config import MonitorConfig
from monitoring.core import MonitorState
from noria.errors import InvalidInput, Unavailable, shorten
from noria.labels import MAX_TARGETS


@dataclass(frozen=True, slots=True)
class Targets:
    """A row's targets, as far as they are known.

    Attributes:
        count: How many there are; 0 when that is not known.
        names: What they are called, in order; empty when they are counted.
        named: Whether it is known which names there are, or that there are none.
    """

    count: int = 0
    names: tuple[str, ...] = ()
    named: bool = True

    @classmethod
    def of(cls, core: MonitorState, config: MonitorConfig) -> Targets:
        """Return those of the champion; a class is one target, and no name of its own."""
        if config.classification:
            return cls(1)
        names = core.targets
        return cls(core.widths.get(core.champion, 0) or len(names), names, bool(core.champion))

    def __str__(self) -> str:
        """Say how many there are, as a message does."""
        if not self.count:
            return "a row's targets"
        return f"{self.count} target{'s' if self.count > 1 else ''} of a row"

    def place(self, target: int | str | None, where: str) -> int:
        """Return the place, from 0, of the target that a label names or counts; None: the first.

        Raises:
            InvalidInput: There is no such target; the message lists the names.
            Unavailable: It is not known yet which names there are: a wrong one must not be taken.
        """
        if isinstance(target, str):
            return self._named(target, where)
        if not 0 <= (place := target or 0) < (self.count or MAX_TARGETS):
            raise InvalidInput(
                f"{where}: {shorten(target)} is not one of {self}", fix="count them from 0"
            )
        return place

    def _named(self, name: str, where: str) -> int:
        if not self.named:
            raise Unavailable(
                "the model's targets are not known yet", fix="send labels once a version serves"
            )
        if not self.names:
            raise InvalidInput(
                f"{where}: the model names no targets, and {shorten(name)} is none",
                fix="count them from 0",
            )
        if name not in self.names:
            raise InvalidInput(
                f"{where}: {shorten(name)} is not a target of the model",
                fix=f"send one of {shorten(list(self.names))}",
            )
        if self.count != len(self.names):
            raise InvalidInput(
                f"{where}: the reference names {len(self.names)} targets, and a row has "
                f"{self.count}: {shorten(name)} can't be told",
                fix="count them from 0, and mend the model's names",
            )
        return self.names.index(name)
