"""All connections of one server: their number, whose they are, and who has to give way."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING

from noria.asgi.bounds import Bounds

if TYPE_CHECKING:
    from noria.asgi.connection import Connection


class Crowd:
    """Keeps the connections to their bounds.

    A number of connections is a limit that anybody can use up by holding them. So none
    is refused for those that wait for their client: the one that has waited longest gives
    way, of the address that has the most, and one that never asked anything first. What
    is being worked on is never cut off for another.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.connections: set[Connection] = set()
        self._of: Counter[str] = Counter()
        # In the order in which they began to wait.
        self._strangers: dict[Connection, None] = {}
        self._guests: dict[Connection, None] = {}
        self._stalled: dict[Connection, None] = {}

    def admit(self, connection: Connection) -> bool:
        """Take a new connection in. False when there is no room, and nobody to give way."""
        full = len(self.connections) >= self.bounds.max_connections
        if full and not self._make_room():
            return False
        self.connections.add(connection)
        self._of[connection.address] += 1
        self._strangers[connection] = None
        return True

    def leave(self, connection: Connection) -> None:
        """Forget a connection; it may be gone already."""
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        self.works(connection)
        self._stalled.pop(connection, None)
        self._of[connection.address] -= 1
        if not self._of[connection.address]:
            del self._of[connection.address]

    def works(self, connection: Connection) -> None:
        """Note that a whole request is here, and is being answered."""
        self._strangers.pop(connection, None)
        self._guests.pop(connection, None)

    def waits(self, connection: Connection) -> None:
        """Note that a connection was answered, and waits for its client again."""
        if connection in self.connections:
            self._guests.pop(connection, None)
            self._guests[connection] = None

    def stalls(self, connection: Connection) -> None:
        """Note that a client does not read its answer; too many of them lose theirs."""
        self._stalled[connection] = None
        unsent = sum(each.unsent for each in self._stalled)
        while unsent > self.bounds.max_unsent and self._stalled:
            longest = next(iter(self._stalled))
            unsent -= longest.unsent
            self._end(longest)

    def flows(self, connection: Connection) -> None:
        """Note that a client reads again."""
        self._stalled.pop(connection, None)

    def sweep(self, now: float) -> None:
        """End connections whose client is too slow. ``now``: seconds of the event loop."""
        for connection in tuple(self.connections):
            connection.check(now)

    def _make_room(self) -> bool:
        crowded = max(self._of, key=self._of.__getitem__)
        chosen: Connection | None = None
        for each in chain(self._strangers, self._guests):
            if each.address == crowded:
                chosen = each
                break
            chosen = chosen or each
        if chosen is None:
            return False
        self._end(chosen)
        return True

    def _end(self, connection: Connection) -> None:
        self.leave(connection)
        connection.abort()
