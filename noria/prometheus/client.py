"""A small client of Prometheus' HTTP API: instant queries whose answer is a vector.

Written for what stands between a rollout and the truth: an answer that is late,
partial, malformed or from somebody else is an error, never an empty vector.
API: prometheus.io/docs/prometheus/latest/querying/api, version 1.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from noria.errors import InvalidInput, MetricsError, Unavailable, shorten

_MAX_BYTES: Final = 4 << 20
_OK: Final = 200
_FAULT: Final = 500


@dataclass(frozen=True, slots=True)
class Sample:
    """One element of a vector. ``value`` may be NaN or infinite, as Prometheus sent it."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Access:
    """How to be let in: a file with a bearer token (read at each query), a file with CAs."""

    token_file: Path | None = None
    ca_file: Path | None = field(default=None)


class PrometheusClient:
    """Asks one Prometheus, or what speaks its API (Thanos, Mimir, VictoriaMetrics).

    Args:
        url: Its address, with the path prefix if it has one: ``http://prometheus:9090``.
        timeout: Seconds for a whole answer.
        access: Token and CA files; none by default.

    Raises:
        InvalidInput: The address is not an http(s) URL, or the CA file can't be read.
    """

    def __init__(self, url: str, *, timeout: float = 5.0, access: Access | None = None) -> None:
        parts = httpx.URL(url) if _is_address(url) else None
        if parts is None or parts.scheme not in ("http", "https") or not parts.host:
            raise InvalidInput(
                f"Prometheus' address {shorten(url)} is not an http(s) URL",
                fix="write it as http://host:9090, or https://host/prefix",
            )
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._access = access or Access()
        try:
            verify: ssl.SSLContext | bool = (
                True
                if self._access.ca_file is None
                else ssl.create_default_context(cafile=self._access.ca_file)
            )
        except OSError as error:
            raise InvalidInput(f"the CA file {self._access.ca_file}: {error}") from error
        self._http = httpx.Client(timeout=timeout, verify=verify, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ready(self) -> bool:
        """Whether it answers queries now."""
        try:
            return self._http.get(f"{self.url}/-/ready").status_code == _OK
        except httpx.HTTPError:
            return False

    def query(self, expression: str) -> tuple[Sample, ...]:
        """Evaluate an expression at the server's present time.

        The server's, not ours: then a clock that differs from ours shifts nothing.

        Raises:
            Unavailable: It doesn't answer in time, or answers 5xx.
            MetricsError: It refuses the query, answers in part only, or no vector.
        """
        body = self._ask({"query": expression, "timeout": f"{round(self._timeout * 1000)}ms"})
        said = body.get("warnings")
        if said:
            raise MetricsError(f"{self.url}: the answer is partial: {shorten('; '.join(said))}")
        data = body.get("data")
        if not isinstance(data, dict) or data.get("resultType") != "vector":
            raise MetricsError(f"{self.url}: the answer is no vector: {shorten(str(data))}")
        try:
            return tuple(
                Sample(dict(item["metric"]), float(item["value"][1])) for item in data["result"]
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise MetricsError(
                f"{self.url}: the vector can't be read: {shorten(str(data))}"
            ) from error

    def _ask(self, form: Mapping[str, str]) -> dict[str, Any]:
        headers = {"accept": "application/json"}
        if self._access.token_file is not None:
            try:
                headers["authorization"] = f"Bearer {self._access.token_file.read_text().strip()}"
            except OSError as error:
                raise MetricsError(
                    f"the token file {self._access.token_file}: {error.strerror}"
                ) from error
        try:
            status, content = self._send(dict(form), headers)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"Prometheus at {self.url} does not answer: {error or type(error).__name__}"
            ) from error
        return self._read(status, content)

    def _send(self, form: dict[str, str], headers: dict[str, str]) -> tuple[int, bytes]:
        """Send and read within the timeout as a whole: httpx' own counts each read anew."""
        deadline = time.monotonic() + self._timeout
        where = f"{self.url}/api/v1/query"
        with self._http.stream("POST", where, data=form, headers=headers) as answer:
            content = b""
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > _MAX_BYTES:
                    raise MetricsError(f"{where}: the answer has over {_MAX_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise Unavailable(f"{where}: the answer takes over {self._timeout:g} s")
        return answer.status_code, content

    def _read(self, status: int, content: bytes) -> dict[str, Any]:
        try:
            body = json.loads(content)
        except ValueError:
            body = None
        if status >= _FAULT:
            said = body.get("error") if isinstance(body, dict) else None
            raise Unavailable(
                f"Prometheus at {self.url} answers {status}: {shorten(str(said or content[:200]))}"
            )
        if not isinstance(body, dict):
            raise MetricsError(
                f"{self.url} answers {status} without JSON, so it is no Prometheus",
                fix="check its address, and what stands before it",
            )
        if status != _OK or body.get("status") != "success":
            said = body.get("error", "no reason given")
            raise MetricsError(f"{self.url} refuses the query ({status}): {shorten(str(said))}")
        return body


def _is_address(url: str) -> bool:
    try:
        httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return True
