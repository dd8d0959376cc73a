"""The registry's rows by MLflow's client, and a compare-and-swap that MLflow does not have.

MLflow moves an alias without a condition, and numbers the versions of a registered model, each
number once. So a move of the alias ``champion`` of ``flights`` is first written down as a
version of the registered model ``flights.champion``: from where, to where, and which
move it follows. Of those that follow the same move the lowest number has won, and the others
never take effect, whichever process on whichever machine asked. Only then is the
alias written, by the winner or, if it died, by whoever moves next.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from noria.errors import Conflict, RegistryError, Unavailable
from noria.registry.catalog import (
    CHALLENGER,
    CHAMPION,
    PREFIX,
    VersionRow,
    our_tags,
    refuse_stale,
)
from noria.registry.client import client, ensure_registered, registered, translated

_DONE: Final = f"{PREFIX}done"
_DESCRIPTION: Final = (
    "Each version is a move of the alias {alias!r} of {model!r} by Noria; those that took effect "
    "have the tag noria.done. Leave them: the next move follows the last."
)


class ServerCatalog:
    """Asks any MLflow by its client: a server, or a database of its own.

    The swap is atomic between all Noria's writers. A person who moves an alias in MLflow asks
    nobody: what they do is seen and followed, except in the moment in which a move
    that has won is being written.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._known: Any = None

    def versions(self, model: str) -> tuple[VersionRow, ...]:
        """Return every version, oldest first; empty for an unknown model."""
        with self._asking(f"list the versions of {model}") as server:
            return () if registered(server, model) is None else tuple(_rows(server, model))

    def alias(self, model: str, alias: str) -> str | None:
        """Return the version an alias points at, or None."""
        with self._asking(f"read the aliases of {model}") as server:
            return _aliases(server, model).get(alias)

    def set_alias(
        self, model: str, alias: str, version: str | None, *, expected: str | None
    ) -> None:
        """Move an alias if it points at ``expected``; the new champion is no longer the challenger.

        May be called again after any error: a move that was written down is done, once.

        Raises:
            Conflict: It points elsewhere, or another move was written down first.
            RegistryError: There is no such version.
        """
        with self._asking(f"move alias {alias!r} of {model} to {version}") as server:
            moves = _Moves(server, model, alias)
            last = moves.settle()
            refuse_stale(model, alias, expected, _aliases(server, model).get(alias))
            if version == expected:
                return
            mine = moves.append(last, expected, version)
            if moves.finish(mine) == mine.version:
                # A person may have moved it meanwhile.
                refuse_stale(model, alias, version, _aliases(server, model).get(alias))

    def challenge(self, model: str, version: str) -> None:
        """Point the challenger at a version, unless that is the champion already."""
        with self._asking(f"make version {version} the challenger of {model}") as server:
            if _aliases(server, model).get(CHAMPION) != version:
                server.set_registered_model_alias(model, CHALLENGER, version)
            _depose(server, model)  # it may have become the champion just now

    def tag(self, model: str, version: str, key: str, value: str) -> None:
        """Set a tag of ours (``key`` without the prefix) on a version, in place of its value."""
        with self._asking(f"tag version {version} of {model}") as server:
            server.set_model_version_tag(model, version, f"{PREFIX}{key}", value)

    @contextmanager
    def _asking(self, doing: str) -> Iterator[Any]:
        if self._known is None:
            self._known = client(self._uri)
        with translated(doing):
            yield self._known


@dataclass(frozen=True, slots=True)
class _Moves:
    """The moves of one alias, each a row of the registered model ``MODEL.ALIAS``.

    Its tags: ``follows`` (the number of the move before), ``writer``, ``from``, ``to``, and
    ``done`` once the alias was written.
    """

    server: Any
    model: str
    alias: str

    @property
    def _name(self) -> str:
        return f"{self.model}.{self.alias}"  # a Model's own name has no dot

    def settle(self) -> int:
        """Finish what a writer that died left; return the number of the last move, 0 before any."""
        description = _DESCRIPTION.format(alias=self.alias, model=self.model)
        ensure_registered(self.server, self._name, description)
        moves = self._effective()
        if not moves:
            return 0
        return moves[-1].version if "done" in moves[-1].tags else self.finish(moves[-1])

    def append(self, follows: int, before: str | None, after: str | None) -> VersionRow:
        """Write a move down; raises Conflict when another that follows the same was first."""
        from mlflow.exceptions import MlflowException

        writer, failed = uuid4().hex, None
        tags = {"follows": str(follows), "writer": writer, "from": before or "", "to": after or ""}
        try:
            self.server.create_model_version(
                self._name,
                source=f"models:/{self.model}/{after or before}",
                tags={f"{PREFIX}{key}": value for key, value in tags.items()},
                await_creation_for=None,
            )
        except MlflowException as error:  # it may be written down for all that
            failed = error
        # By the writer: the client sends again what was not answered, and then has two numbers.
        same = (move for move in self._effective() if move.tags["follows"] == str(follows))
        first = next(same, None)
        if first is None:
            raise failed or Unavailable(f"{self._name}: the move is not seen yet")
        if first.tags.get("writer") != writer:
            raise Conflict(
                f"{self.model}: another move of alias {self.alias!r} was written down first",
                fix="read it again and decide again",
            ) from failed
        return first

    def finish(self, move: VersionRow) -> int:
        """Write the alias as a move says, unless a person moved it; return the last move's number.

        A writer that was held up may just have undone what came meanwhile: it does it again.
        """
        from mlflow.exceptions import MlflowException

        stale = move.tags.get("from")
        while True:
            try:
                self._carry_out(move, stale)
            except MlflowException:
                # It refuses one of two that write the same thing at once; now it is there.
                self._carry_out(move, stale)
            last = [move, *self._effective()][-1]
            if last.version <= move.version:
                return move.version
            stale, move = move.tags.get("to"), last

    def _carry_out(self, move: VersionRow, stale: str | None) -> None:
        after = move.tags.get("to")
        if _aliases(self.server, self.model).get(self.alias, "") == stale:
            if after:
                self.server.set_registered_model_alias(self.model, self.alias, after)
            else:
                self.server.delete_registered_model_alias(self.model, self.alias)
        if self.alias == CHAMPION:
            _depose(self.server, self.model)
        self.server.set_model_version_tag(self._name, str(move.version), _DONE, "true")

    def _effective(self) -> list[VersionRow]:
        """Return those that took effect, in order: each follows the one before."""
        found: list[VersionRow] = []
        for row in _rows(self.server, self._name):
            if row.tags.get("follows") == str(found[-1].version if found else 0):
                found.append(row)
        return found


def _rows(server: Any, name: str) -> list[VersionRow]:
    """Return the versions of a registered model, oldest first."""
    found: list[Any] = []
    token: str | None = None
    while token is None or token:
        page = server.search_model_versions(
            f"name = '{name}'", order_by=["version_number ASC"], page_token=token
        )
        found += page
        token = page.token or ""
    if any(not str(item.version).isdigit() for item in found):
        raise RegistryError(f"list the versions of {name}: one that has no number is not MLflow's")
    rows = (
        VersionRow(int(item.version), item.creation_timestamp, our_tags(item.tags))
        for item in found
        if item.status == "READY"
    )
    return sorted(rows, key=lambda row: row.version)


def _aliases(server: Any, model: str) -> dict[str, str]:
    found = registered(server, model)
    if found is None:
        return {}
    return {alias: str(version) for alias, version in found.aliases.items()}


def _depose(server: Any, model: str) -> None:
    """Take the alias ``challenger`` away from the champion."""
    aliases = _aliases(server, model)
    if CHALLENGER in aliases and aliases[CHALLENGER] == aliases.get(CHAMPION):
        server.delete_registered_model_alias(model, CHALLENGER)
