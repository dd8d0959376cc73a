"""Requests and responses become rows: paired by request id, each counted once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from monitoring.log import EventLog, Logged
from monitoring.records import (
    Record,
    RequestRecord,
    ResponseRecord,
    encode_keys,
    is_whole,
    key_hashes,
)
from monitoring.state import Core, Pair, Seen, State

MAX_VERSIONS: Final = 64
_NO_PAIR: Final = 0
_UNSEEN: Final = Seen(None, None, None)


class PairJoiner:
    """Pairs events of one id, whichever comes first; what comes again is a duplicate."""

    def __init__(
        self,
        core: Core,
        state: State,
        log: EventLog,
        paired: Callable[[Pair, RequestRecord], None],
    ) -> None:
        """Start from what is committed; ``paired`` is called for each new pair, in log order."""
        self._core = core
        self._state = state
        self._log = log
        self._paired = paired
        self._fresh: dict[str, tuple[Seen, float]] = {}
        self._known: dict[str, Seen] = {}
        self._recent: dict[int, Record] = {}

    def expect(self, identities: Sequence[str]) -> None:
        """Read what is known of ids that are about to come: one query instead of one each."""
        self._known = dict.fromkeys(identities, _UNSEEN) | self._state.seen_of(identities)

    def request(self, record: RequestRecord, logged: Logged, at: float) -> None:
        """Take a request that arrived at ``at`` (epoch seconds)."""
        seen = self.seen(record.id)
        if seen.request is not None:
            self._core.counts.duplicates += 1
            return
        self._core.counts.requests += 1
        self._note(record, logged.offset, Seen(logged.offset, seen.response, seen.pair), at)
        if seen.response is not None:
            response = self._find(seen.response)
            if isinstance(response, ResponseRecord):
                self._pair(record, response, logged.offset, at)

    def response(self, record: ResponseRecord, logged: Logged, at: float) -> None:
        """Take a response that arrived at ``at`` (epoch seconds)."""
        seen = self.seen(record.id)
        if seen.response is not None:
            self._core.counts.duplicates += 1
            return
        self._core.counts.responses += 1
        self._note(record, logged.offset, Seen(seen.request, logged.offset, seen.pair), at)
        if seen.request is not None:
            request = self._find(seen.request)
            if isinstance(request, RequestRecord):
                self._pair(request, record, seen.request, at)

    def seen(self, identity: str) -> Seen:
        """Return what is known of a request id."""
        fresh = self._fresh.get(identity)
        if fresh is not None:
            return fresh[0]
        return self._known.get(identity) or self._state.seen(identity) or _UNSEEN

    def flush(self) -> None:
        """Write the ids seen since the last flush."""
        self._state.put_seen(self._fresh)
        self._fresh.clear()
        self._known.clear()
        self._recent.clear()

    def _note(self, record: Record, offset: int, seen: Seen, at: float) -> None:
        self._fresh[record.id] = (seen, at)  # type: ignore[union-attr]
        self._recent[offset] = record

    def _find(self, offset: int) -> Record | None:
        return self._recent.get(offset) or self._log.get(offset)

    def _pair(
        self, request: RequestRecord, response: ResponseRecord, offset: int, at: float
    ) -> None:
        core = self._core
        seen, _ = self._fresh[request.id]
        if request.rows != response.rows or not (is_whole(request) and is_whole(response)):
            core.counts.mismatched += 1
            self._fresh[request.id] = (Seen(seen.request, seen.response, _NO_PAIR), at)
            return
        pair = Pair(
            seq=core.next_pair,
            id=request.id,
            request=offset,
            version=self._bounded(response.version or request.version or "unknown"),
            at=at,
            rows=request.rows,
            prediction=response.prediction,
            keys=None if request.keys is None else encode_keys(request.keys),
            labelled=None,
        )
        core.next_pair += 1
        core.counts.rows += pair.rows
        core.rows_by_version[pair.version] = core.rows_by_version.get(pair.version, 0) + pair.rows
        core.first_prediction_at = core.first_prediction_at or at
        core.last_prediction_at = max(core.last_prediction_at, at)
        self._fresh[request.id] = (Seen(seen.request, seen.response, pair.seq), at)
        self._state.put_pair(pair, key_hashes(request.keys or ()))
        self._paired(pair, request)

    def _bounded(self, version: str) -> str:
        """Versions come from outside: only so many become labels of metrics."""
        known = self._core.rows_by_version
        return version if version in known or len(known) < MAX_VERSIONS else "other"
