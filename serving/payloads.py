"""Predictions for the monitor, sent beside the requests, never in their way.

A request puts one small object in a bounded queue. A thread posts what waits there, many
at a time, over one keep-alive connection (``serving.sink``). When the sink is slow or away
the oldest are dropped, and counted: two events each, the request and the response.
"""

from __future__ import annotations

import http.client
import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, time
from typing import Final
from zlib import crc32

from serving.predicted import Predicted, Source
from serving.runner import Outcome
from serving.sink import Sink

_log: Final = logging.getLogger("serving.payloads")

_FIRST_BACKOFF: Final = 0.1
_LAST_BACKOFF: Final = 5.0
_EVERY: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class PayloadSettings:
    """Where predictions go and which. ``linger`` is in seconds, ``max_cells`` in values queued.

    ``batch`` is how many are taken from the queue at once.
    """

    sink: str
    source: Source
    sample: float = 1.0
    max_events: int = 20_000
    max_cells: int = 4_000_000
    batch: int = 1000
    linger: float = 0.1
    timeout: float = 10.0


class PayloadLog:
    """A bounded queue of predictions and the thread that posts them.

    Raises:
        InvalidInput: The sink is not an HTTP URL.
    """

    def __init__(self, settings: PayloadSettings) -> None:
        self._settings = settings
        self._threshold = int(settings.sample * _EVERY)
        self._queue: deque[Predicted] = deque()
        self._cells = 0
        self._changed = threading.Condition()
        self._closing = False
        self._deadline = float("inf")
        self._dropped = 0
        self._sent = 0
        self._sink = Sink(settings.sink, settings.source, settings.timeout)
        self._thread = threading.Thread(target=self._run, name="payloads", daemon=True)
        self._thread.start()

    def dropped(self) -> int:
        """Return how many events were lost."""
        return self._dropped

    def sent(self) -> int:
        """Return how many events the sink acknowledged."""
        return self._sent

    def offer(self, request_id: str, outcome: Outcome, received: float) -> None:
        """Queue one prediction. Never blocks on the sink.

        Args:
            request_id: The id; its hash decides whether the request is sampled.
            outcome: What was seen and said.
            received: When the request came, seconds since 1970 UTC.
        """
        if self._threshold < _EVERY and crc32(request_id.encode()) >= self._threshold:
            return
        entry = Predicted(request_id, outcome, received, time())
        settings = self._settings
        with self._changed:
            self._queue.append(entry)
            self._cells += entry.cells
            while self._queue and (
                2 * len(self._queue) > settings.max_events or self._cells > settings.max_cells
            ):
                self._cells -= self._queue.popleft().cells
                self._dropped += 2
            if len(self._queue) in (1, settings.batch):
                self._changed.notify()

    def close(self, timeout: float) -> None:
        """Send what is queued, for at most ``timeout`` seconds, then stop."""
        with self._changed:
            self._closing = True
            self._deadline = monotonic() + timeout
            self._changed.notify()
        self._thread.join(timeout + 1.0)

    def _run(self) -> None:
        while True:
            taken = self._take()
            if not taken:
                break
            self._deliver(taken)
        self._sink.close()

    def _take(self) -> list[Predicted]:
        """Wait for entries; empty when the log is closed and nothing is left."""
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            batch = self._settings.batch
            self._changed.wait_for(
                lambda: self._closing or len(self._queue) >= batch, self._settings.linger
            )
            count = min(len(self._queue), batch)
            taken = [self._queue.popleft() for _ in range(count)]
            self._cells -= sum(entry.cells for entry in taken)
        return taken

    def _deliver(self, taken: Sequence[Predicted]) -> None:
        events = 2 * len(taken)
        backoff = _FIRST_BACKOFF
        while True:
            try:
                taken_in = self._sink.post(taken)
            except (OSError, http.client.HTTPException) as error:
                _log.warning("the sink %s does not answer: %s", self._settings.sink, error)
            else:
                self._sent += taken_in
                self._dropped += events - taken_in
                return
            with self._changed:
                remaining = self._deadline - monotonic()
                if remaining <= 0:
                    self._dropped += events + 2 * len(self._queue)
                    self._queue.clear()
                    self._cells = 0
                    return
                self._changed.wait(min(backoff, remaining))
            backoff = min(2 * backoff, _LAST_BACKOFF)
