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

_log = logging.getLogger(__name__)
_OK: Final = 200
_AT_ONCE: Final = 32
_POLL_SECONDS: Final = 0.2
_BEAT_SECONDS: Final = 5.0
_LAST_BACKOFF: Final = 5.0
_TIMEOUT: Final = 30.0


class Sender:
    """One thread, one connection. A replica without work says that it lives."""

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
        self.problem = ""
        self._thread = threading.Thread(target=self._run, name="partials", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; what is not sent stays in the outbox."""
        self._stopped.set()
        self._thread.join()
        self._outbox.close()

    def _run(self) -> None:
        backoff, said = _POLL_SECONDS, 0.0
        while not self._stopped.is_set():
            try:
                if self._turn(beat=monotonic() - said >= _BEAT_SECONDS):
                    said = monotonic()
                elif self._stopped.wait(_POLL_SECONDS):
                    return
                self.problem, backoff = "", _POLL_SECONDS
            except (OSError, http.client.HTTPException, NoriaError) as error:
                if not self.problem:
                    _log.warning("the aggregator does not take partials: %s", error)
                self.problem = str(error)
                self._stopped.wait(backoff)
                backoff = min(2 * backoff, _LAST_BACKOFF)

    def _turn(self, *, beat: bool) -> bool:
        waiting = self._outbox.first(_AT_ONCE)
        if waiting:
            self._post([msgspec.Raw(body) for _, body in waiting])
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
        if answer.status != _OK:
            raise http.client.HTTPException(f"status {answer.status}: {said!r}")
