"""Posts predictions to the monitor, or to any sink of CloudEvents, over one connection."""

from __future__ import annotations

import http.client
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from noria.errors import InvalidInput
from noria.predictions import ACCEPT_POST, MEDIA_TYPE
from serving.blocks import alike, write_block
from serving.cloudevents import BATCH_TYPE, EventWriter, write_batch, write_one
from serving.predicted import Predicted, Source

_log: Final = logging.getLogger("serving.sink")

_UNSUPPORTED_MEDIA_TYPE: Final = 415
_RETRIED: Final = frozenset({408, 425, 429})
_AWAY: Final = frozenset({502, 503, 504})
_EVENTS: Final = 2
"""A request's and a response's."""
_BATCH: Final = 100
"""Predictions in one batch of CloudEvents."""
_BLOCK_CELLS: Final = 250_000
"""Values in one block, about 2 MB."""


class Sink:
    """Where predictions go: as blocks if it reads them, else as CloudEvents in batches or singly.

    Raises:
        InvalidInput: The address is not an HTTP URL.
    """

    def __init__(self, url: str, source: Source, timeout: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput(f"--sink: {url!r} is not an http:// or https:// URL")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout = timeout
        self._source = source
        self._writer = EventWriter(source)
        self._blocks: bool | None = None
        self._batches = True
        self._connection: http.client.HTTPConnection | None = None

    def post(self, predicted: Sequence[Predicted]) -> int:
        """Post predictions; returns how many events the sink took, the others it refused for good.

        What it took twice, because a later part failed, it knows by the ids.

        Raises:
            OSError, http.client.HTTPException: The sink did not take them; it may later.
        """
        if self._reads_blocks():
            return sum([self._post_block(part) for part in alike(predicted, _BLOCK_CELLS)])
        return self._post_events(predicted)

    def close(self) -> None:
        """Close the connection. Who answers at the next one is asked again what it reads."""
        self._blocks = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _reads_blocks(self) -> bool:
        if self._blocks is None:
            status, said = self._send("OPTIONS", b"", {})
            if status in _AWAY:
                raise http.client.HTTPException(f"status {status}")
            read = [kind.strip() for kind in said.split(",")]
            self._blocks = status < 300 and MEDIA_TYPE in read
        return self._blocks

    def _post_block(self, predicted: Sequence[Predicted]) -> int:
        body = write_block(predicted, self._source)
        if body is not None and self._accepted(self._post(body, {"content-type": MEDIA_TYPE})):
            return _EVENTS * len(predicted)
        return self._post_events(predicted)

    def _post_events(self, predicted: Sequence[Predicted]) -> int:
        taken = 0
        for start in range(0, len(predicted), _BATCH):
            part = predicted[start : start + _BATCH]
            taken += self._post_some([event for one in part for event in self._writer.events(one)])
        return taken

    def _post_some(self, events: Sequence[dict[str, Any]]) -> int:
        if self._batches:
            status = self._post_batch(events)
            if self._accepted(status):
                return len(events)
            if status != _UNSUPPORTED_MEDIA_TYPE:
                # One event that is refused must not take its neighbours with it.
                return sum([self._accepted(self._post_batch((event,))) for event in events])
            self._batches = False
        return sum([self._post_one(event) for event in events])

    def _post_batch(self, events: Sequence[dict[str, Any]]) -> int:
        return self._post(write_batch(events), {"content-type": BATCH_TYPE})

    def _post_one(self, event: Mapping[str, Any]) -> bool:
        headers, body = write_one(event)
        return self._accepted(self._post(body, headers))

    def _post(self, body: bytes, headers: Mapping[str, str]) -> int:
        return self._send("POST", body, headers)[0]

    def _send(self, method: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        """Return the status, and the media types that may be posted."""
        connection = self._connection
        if connection is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            connection = self._connection = kind(self._host, self._port, timeout=self._timeout)
        try:
            connection.request(method, self._path, body=body, headers=dict(headers))
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        return response.status, response.getheader(ACCEPT_POST, "")

    def _accepted(self, status: int) -> bool:
        if 200 <= status < 300:
            return True
        if status >= 500 or status in _RETRIED:
            raise http.client.HTTPException(f"status {status}")
        _log.error("the sink refused predictions with status %d", status)
        return False
