"""Sends a replica's outbox to the aggregator, in order, until each partial is on its disk."""

from __future__ import annotations

import http.client
import logging
import threading
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

import msgspec

from monitoring.partials.replica import Replica
from monitoring.readers import Outbox
from monitoring.records import PartialRecord
from noria.errors import InvalidInput, NoriaError
from noria.worker import Worker

_log = logging.getLogger(__name__)
_OK: Final = 200
_NEVER: Final = (400, 413)
_AT_ONCE: Final = 32
_POLL_SECONDS: Final = 0.2
_BEAT_SECONDS: Final = 5.0
_LAST_BACKOFF: Final = 5.0
_TIMEOUT: Final = 30.0


class Sender:
    """One thread, one connection. A replica without work says that it lives.

    What the aggregator refuses as no partial will never be one: it is left out and counted,
    for the next ones wait behind it. Everything else is tried again.
    """

    def __init__(self, outbox: Outbox, replica: Replica, url: str) -> None:
        """Start to send.

        Raises:
            InvalidInput: ``url`` is no HTTP URL.
        """
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise InvalidInput(f"--aggregator: {url!r} is not an http:// URL")
        self._address = (parts.hostname, parts.port or 80)
        self._outbox = outbox
        self._replica = replica
        self._stopped = threading.Event()
        self._backoff, self._said = _POLL_SECONDS, -_BEAT_SECONDS
        self._at_once = _AT_ONCE
        self.problem = ""
        self.refused = 0
        self.worker = Worker("partials", self._step, every=_TIMEOUT + _LAST_BACKOFF)
        self.worker.start()

    def stop(self) -> None:
        """Stop; what is not sent stays in the outbox."""
        self._stopped.set()
        if self.worker.stop(_TIMEOUT + _LAST_BACKOFF):
            self._outbox.close()

    def _step(self) -> None:
        try:
            if self._turn(beat=monotonic() - self._said >= _BEAT_SECONDS):
                self._said = monotonic()
            else:
                self._stopped.wait(_POLL_SECONDS)
            self.problem, self._backoff = "", _POLL_SECONDS
        except (OSError, http.client.HTTPException, NoriaError) as error:
            if not self.problem:
                _log.warning("the aggregator does not take partials: %s", error)
            self.problem = str(error)
            self._stopped.wait(self._backoff)
            self._backoff = min(2 * self._backoff, _LAST_BACKOFF)

    def _turn(self, *, beat: bool) -> bool:
        waiting = self._outbox.first(self._at_once)
        if waiting:
            try:
                self._post([msgspec.Raw(body) for _, body in waiting])
                self._at_once = _AT_ONCE
            except InvalidInput as error:
                if len(waiting) > 1:
                    # One of them: each by itself.
                    self._at_once = 1
                    return True
                _log.error("partial %d is refused and left out: %s", waiting[0][0], error)
                self.refused += 1
            self._outbox.forget(waiting[-1][0])
        elif beat:
            alive = PartialRecord(self._replica.number, self._replica.life, 0)
            self._post([msgspec.Raw(msgspec.msgpack.encode(alive))])
        return bool(waiting) or beat

    def _post(self, records: list[msgspec.Raw]) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=_TIMEOUT)
        try:
            headers = {"content-type": "application/msgpack"}
            connection.request("POST", "/partials", msgspec.msgpack.encode(records), headers)
            answer = connection.getresponse()
            said = answer.read(500)
        finally:
            connection.close()
        if answer.status in _NEVER:
            raise InvalidInput(f"status {answer.status}: {said!r}")
        if answer.status != _OK:
            raise http.client.HTTPException(f"status {answer.status}: {said!r}")
