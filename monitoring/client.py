"""A client of the monitor's HTTP interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from noria.errors import InvalidInput, MonitoringError, Unavailable, shorten
from noria.loop.values import Signal
from noria.measures.measurement import Measurement

_OK = 200
_SERVER_ERROR = 500
T = TypeVar("T")


class FeedbackAnswer(msgspec.Struct, frozen=True):
    """How many labels were new, and how many were known."""

    accepted: int
    duplicates: int


class _Signals(msgspec.Struct, frozen=True):
    signals: tuple[Signal, ...]


class MonitorClient:
    """Talks to one monitor. Not for several threads at once.

    Every method raises ``InvalidInput`` when the monitor refuses what it is
    sent, ``Unavailable`` when it can't be reached or is busy, and
    ``MonitoringError`` for any other answer.
    """

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        """Talk to the monitor at ``url``; ``timeout`` is in seconds, per request."""
        self._url = url
        self._http = httpx.Client(base_url=url, timeout=timeout)

    def __enter__(self) -> Self:
        """Use the client as a context; leaving it closes the connections."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def feedback(self, model: str, labels: Sequence[Mapping[str, Any]]) -> FeedbackAnswer:
        """Send labels.

        Each has ``id`` ("request:row") or ``key``, ``label``, and maybe ``time``, ``source``, and
        the ``target`` that it is of, by name or place.
        """
        body = msgspec.json.encode({"model": model, "labels": labels})
        return self._decode(self._send("POST", "/feedback", body), FeedbackAnswer)

    def put_reference(self, model: str, version: str, path: Path, *, champion: bool) -> None:
        """Give a version's reference; with ``champion``, watch against it from now on."""
        body = msgspec.json.encode({"path": str(path.resolve()), "champion": champion})
        self._send("PUT", f"{_model(model)}/versions/{quote(version, safe='')}/reference", body)

    def put_reference_bytes(self, model: str, version: str, data: bytes, *, champion: bool) -> None:
        """Give a version's reference as a zip of ``reference.json`` and ``rows.npz``."""
        self._send(
            "PUT",
            f"{_model(model)}/versions/{quote(version, safe='')}/reference",
            data,
            query={"champion": "true" if champion else "false"},
            kind="application/zip",
        )

    def measure(
        self, model: str, metric: str, *, version: str | None = None, since: datetime | None = None
    ) -> Measurement:
        """Measure a version (the champion) on rows that arrived at or after ``since`` (ever)."""
        query = {"metric": metric}
        if version is not None:
            query["version"] = version
        if since is not None:
            query["since"] = since.isoformat()
        return self._decode(self._send("GET", f"{_model(model)}/measure", query=query), Measurement)

    def signals(self, model: str) -> tuple[Signal, ...]:
        """Return the signals about the present champion, oldest first."""
        return self._decode(self._send("GET", f"{_model(model)}/signals"), _Signals).signals

    def status(self, model: str) -> dict[str, Any]:
        """Return all that the monitor knows of the model."""
        return self._decode(self._send("GET", f"{_model(model)}/status"), dict[str, Any])

    def windows(self, model: str, stream: str, limit: int = 100) -> list[dict[str, Any]]:
        """Return what the newest windows said: ``features``, ``prediction``, ``performance/V``."""
        query = {"stream": stream, "limit": str(limit)}
        answer = self._send("GET", f"{_model(model)}/windows", query=query)
        return self._decode(answer, dict[str, list[dict[str, Any]]])["windows"]

    def flush(self, *, timeout: float = 300.0) -> dict[str, Any]:
        """Have all that is logged processed, and return the counts; waits up to ``timeout`` s."""
        return self._decode(self._send("POST", "/flush", timeout=timeout), dict[str, Any])

    def check(self, *, timeout: float = 5.0) -> None:
        """Ask whether it is well; ``timeout`` is in seconds.

        Raises:
            Unavailable: It does not answer (then with a cause), or says that it is not well.
        """
        self._send("GET", "/healthz", timeout=timeout)

    def answers(self) -> bool:
        """Whether the monitor answers, whatever it says of its health."""
        try:
            self._send("GET", "/livez")
        except (MonitoringError, Unavailable):
            return False
        return True

    def healthy(self) -> bool:
        """Whether the monitor answers and does all that it is for."""
        try:
            self.check()
        except (MonitoringError, Unavailable):
            return False
        return True

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        query: Mapping[str, str] | None = None,
        timeout: float | None = None,
        kind: str = "application/json",
    ) -> bytes:
        try:
            answer = self._http.request(
                method,
                path,
                content=body,
                params=query,
                headers={"content-type": kind} if body is not None else None,
                timeout=httpx.USE_CLIENT_DEFAULT if timeout is None else timeout,
            )
        except httpx.HTTPError as error:
            raise Unavailable(f"the monitor at {self._url} does not answer: {error}") from error
        if answer.status_code == _OK:
            return answer.content
        said = _said(answer.content)
        if answer.status_code < _SERVER_ERROR:
            raise InvalidInput(said)
        raise Unavailable(f"the monitor at {self._url}: {said}")

    def _decode(self, body: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError as error:
            raise MonitoringError(
                f"the monitor at {self._url} answered {shorten(body)}: {error}"
            ) from error


def _model(model: str) -> str:
    return f"/models/{quote(model, safe='')}"


def _said(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body, type=dict[str, str])["error"])
    except (msgspec.DecodeError, KeyError):
        return shorten(body)
