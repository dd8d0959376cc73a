"""The one ConfigMap that a decision replaces as a whole, as a value.

Its keys: ``state`` (JSON), ``ledger`` (the tail, one entry a line), ``archived`` (the
sequence of the last entry that is in a segment), ``segments`` (the first sequence of
each, as JSON) and ``consumed`` (names of the messages taken by the last write).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from noria.errors import Conflict
from noria.kube.objects import lines, parsed, text
from noria.loop.ledger import LedgerEntry
from noria.loop.state import State
from noria.loop.values import from_json, to_json

MAX_RECORD_BYTES: Final = 768 * 1024
"""The API refuses a ConfigMap above 1 MiB and etcd a request above 1.5 MiB; this leaves room."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the ConfigMap says. ``tail`` are entries as JSON, those after ``archived``."""

    name: str
    state: str = ""
    tail: tuple[str, ...] = ()
    archived: int = 0
    segments: tuple[int, ...] = ()
    consumed: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Record:
        """Read the ConfigMap.

        Raises:
            StoreError: A key is missing or can't be read.
        """
        metadata = {k: v for k, v in found["metadata"].items() if k != "managedFields"}
        name = str(metadata["name"])
        return cls(
            name=name,
            state=text(found, "state"),
            tail=lines(found, "ledger"),
            archived=parsed(name, text(found, "archived"), int),
            segments=tuple(parsed(name, text(found, "segments"), json.loads)),
            consumed=tuple(parsed(name, text(found, "consumed"), json.loads)),
            metadata=metadata,
        )

    @property
    def revision(self) -> int:
        """The object's resource version; 0 when it isn't there yet."""
        return int(self.metadata.get("resourceVersion", 0))

    @property
    def last(self) -> int:
        """The sequence of the ledger's last entry; 0 before the first."""
        return self.archived + len(self.tail)

    def written(
        self, state: State, entries: Sequence[LedgerEntry], consumed: Sequence[str]
    ) -> Record:
        """Return the record after a write.

        Raises:
            Conflict: An entry doesn't follow the last.
        """
        for expected, entry in enumerate(entries, start=self.last + 1):
            if entry.sequence != expected:
                raise Conflict(f"ledger entry {entry.sequence} does not follow {expected - 1}")
        more = tuple(to_json(entry).decode() for entry in entries)
        return replace(
            self,
            state=to_json(state).decode(),
            tail=(*self.tail, *more),
            consumed=tuple(dict.fromkeys(consumed)),
        )

    def loaded(self) -> State:
        """Return the state.

        Raises:
            StoreError: It can't be read.
        """
        return parsed(self.name, self.state, lambda said: from_json(said, State))

    def data(self) -> dict[str, str]:
        """Return the texts of the ConfigMap."""
        return {
            "state": self.state,
            "ledger": "\n".join(self.tail),
            "archived": str(self.archived),
            "segments": json.dumps(self.segments),
            "consumed": json.dumps(self.consumed),
        }

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each text, with its key, as the API server counts them."""
        return {key: len(key) + len(said.encode()) for key, said in self.data().items()}
