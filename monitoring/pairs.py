"""Requests and responses become rows: paired by request id, each counted once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from monitoring.core import MonitorState
from monitoring.log import EventLog, Logged
from monitoring.records import (
    AsideRecord,
    BlockRecord,
    Record,
    RequestRecord,
    Requests,
    ResponseRecord,
    encode_keys,
    exchange_of,
    is_whole,
    key_hashes,
    width_of,
)
from monitoring.state import Pair, Seen, State

MAX_VERSIONS: Final = 64
_NO_PAIR: Final = 0
_UNSEEN: Final = Seen(None, None, None)
_FLOAT_BYTES: Final = 8


IdRows: TypeAlias = tuple[str, int]
"""A request's id and how many rows it has."""


class Moment(NamedTuple):
    """When the requests of a block up to ``stop`` (exclusive) arrived, in epoch seconds."""

    stop: int
    at: float


class PairJoiner:
    """Pairs events of one id, whichever comes first; what comes again is a duplicate."""

    def __init__(
        self,
        core: MonitorState,
        state: State,
        log: EventLog,
        paired: Callable[[Pair, Requests, Sequence[IdRows]], None],
    ) -> None:
        """Start from what is committed.

        ``paired`` is called for each new pair, in log order, with id and rows of its requests.
        """
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

    def aside(self, record: AsideRecord, logged: Logged, at: float) -> None:
        """Take a request that could not be read, at ``at``: it is counted, and never paired."""
        seen = self.seen(record.id)
        if seen.request is not None:
            self._core.counts.duplicates += 1
            return
        self._core.counts.requests += 1
        self._core.set_aside(record.aside, 1)
        self._note(record, logged.offset, Seen(logged.offset, seen.response, _NO_PAIR), at)

    def block(self, record: BlockRecord, logged: Logged, moments: Sequence[Moment]) -> None:
        """Take requests with their responses; neighbours that arrived at once are one pair.

        Each id counts once, as when its events had come one by one; where some came before,
        the others are more than one pair.
        """
        counts = np.frombuffer(record.counts, np.int32).tolist()
        place = row = 0
        for stop, at in moments:
            run: list[IdRows] = []
            first = row
            for identity, rows in zip(record.ids[place:stop], counts[place:stop], strict=True):
                if self._is_new(identity, rows, logged.offset, at, row - first):
                    run.append((identity, rows))
                else:
                    self._run(record, logged.offset, first, run, at)
                    run, first = [], row + rows
                row += rows
            self._run(record, logged.offset, first, run, at)
            place = stop

    def seen(self, identity: str) -> Seen:
        """Return what is known of a request id."""
        fresh = self._fresh.get(identity)
        if fresh is not None:
            return fresh[0]
        return self._known.get(identity) or self._state.seen(identity) or _UNSEEN

    def flush(self) -> None:
        """Write the ids seen since the last flush."""
        self._state.put_seen(self._fresh)
        self._known.update((identity, seen) for identity, (seen, _) in self._fresh.items())
        self._fresh.clear()
        self._recent.clear()

    def _is_new(self, identity: str, rows: int, offset: int, at: float, first: int) -> bool:
        """Count an id of a block, and note its place in the pair that is being made."""
        counts = self._core.counts
        seen = self.seen(identity)
        if seen is _UNSEEN:
            counts.requests += 1
            counts.responses += 1
        else:
            counts.requests += seen.request is None
            counts.responses += seen.response is None
            counts.duplicates += (seen.request is not None) + (seen.response is not None)
            if seen.pair is not None:
                return False
        here = Seen(offset, offset, self._core.next_pair, first, rows)
        self._fresh[identity] = (here, at)
        return True

    def _run(
        self,
        record: BlockRecord,
        offset: int,
        first: int,
        run: Sequence[IdRows],
        at: float,
    ) -> None:
        if not run:
            return
        rows = sum(count for _, count in run)
        version = self._bounded(record.version or "unknown")
        width = width_of(record.prediction, record.rows)
        if width is None or not self._core.fits(version, width):
            self._core.counts.mismatched += len(run)
            for identity, _ in run:
                self._fresh[identity] = (Seen(offset, offset, _NO_PAIR), at)
            return
        size = _FLOAT_BYTES * width
        keys = None if record.keys is None else record.keys[first : first + rows]
        pair = Pair(
            seq=self._core.next_pair,
            id="",
            request=offset,
            version=version,
            at=at,
            rows=rows,
            prediction=record.prediction[size * first : size * (first + rows)],
            keys=None if keys is None else encode_keys(keys),
            labelled=None,
            first=first,
            baseline=record.baseline[size * first : size * (first + rows)] or None,
        )
        self._core.set_aside(record.aside, len(run))
        self._keep(pair, keys or ())
        self._paired(pair, record, run)

    def _keep(self, pair: Pair, keys: Sequence[str]) -> None:
        core = self._core
        core.next_pair += 1
        core.counts.rows += pair.rows
        core.rows_by_version[pair.version] = core.rows_by_version.get(pair.version, 0) + pair.rows
        core.first_prediction_at = core.first_prediction_at or pair.at
        core.last_prediction_at = max(core.last_prediction_at, pair.at)
        self._state.put_pair(pair, key_hashes(keys))

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
        version = self._bounded(response.version or request.version or "unknown")
        width = width_of(response.prediction, response.rows)
        fits = width is not None and request.rows == response.rows and is_whole(request)
        if width is None or not fits or not core.fits(version, width):
            core.counts.mismatched += 1
            self._fresh[request.id] = (Seen(seen.request, seen.response, _NO_PAIR), at)
            return
        exchange = exchange_of(request, response)
        pair = Pair(
            seq=core.next_pair,
            id=request.id,
            request=offset,
            version=version,
            at=at,
            rows=request.rows,
            prediction=response.prediction,
            keys=None if exchange.keys is None else encode_keys(exchange.keys),
            labelled=None,
            baseline=response.baseline or None,
        )
        core.set_aside({**request.aside, **response.aside}, 1)
        self._fresh[request.id] = (Seen(seen.request, seen.response, pair.seq), at)
        self._keep(pair, exchange.keys or ())
        self._paired(pair, exchange, ((request.id, request.rows),))

    def _bounded(self, version: str) -> str:
        """Versions come from outside: only so many become labels of metrics."""
        known = self._core.rows_by_version
        return version if version in known or len(known) < MAX_VERSIONS else "other"
