"""What ``noria status`` shows, read from the state directory; nothing is started by looking."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import msgspec

from monitoring.health import SET_ASIDE
from noria.embedded.home import Home
from noria.embedded.own_server import caution
from noria.errors import NoriaError, StoreError
from noria.files import read_json
from noria.loop.sqlite_store import SqliteStore
from noria.loop.state import State
from noria.loop.values import SignalKind
from noria.process import Pid, ProcessId
from noria.registry.sqlite_catalog import SqliteCatalog
from noria.view import Attendance, ModelView, Phase, down_text, stuck_text, view_of

if TYPE_CHECKING:
    from noria.spec import ModelSpec
    from serving.traffic import TraefikTraffic

_PROXY_SECONDS: Final = 5.0
_LONGEST_TURN_SECONDS: Final = 60.0


class Supervisor(msgspec.Struct, frozen=True):
    """Who supervises a home, and whether each loop has turned in it."""

    pid: Pid
    started: str
    turned: bool = False


class Turn(msgspec.Struct, frozen=True):
    """What was wrong in the last turn of a loop; the time of the turn is that of the file."""

    problems: tuple[str, ...] = ()


def supervisor(home: Home) -> ProcessId | None:
    """Return the process that supervises a home, None when there is none."""
    note = read_json(home.supervisor, Supervisor)
    if note is None:
        return None
    found = ProcessId(note.pid, note.started)
    return found if found.alive else None


def turning(home: Home) -> bool:
    """Whether the supervisor runs, and each model's loop has turned at least once in it."""
    note = read_json(home.supervisor, Supervisor)
    return note is not None and note.turned and supervisor(home) is not None


def survey(home: Home) -> list[ModelView]:
    """Return every model of a home, sorted by name.

    Raises:
        StoreError: The state can't be read.
    """
    store = store_of(home)
    with closing(_Serving(home)) as serving:
        return [_view(home, store, serving, name) for name in home.names()]


def survey_one(home: Home, name: str) -> ModelView:
    """Return one known model of a home.

    Raises:
        StoreError: The state can't be read.
    """
    with closing(_Serving(home)) as serving:
        return _view(home, store_of(home), serving, name)


def store_of(home: Home) -> SqliteStore | None:
    """Return the store of a home, None when there is none yet: looking makes nothing."""
    return SqliteStore(home.store) if home.store.exists() else None


def lost_registry(home: Home, name: str) -> str:
    """Return what is wrong when versions of a model were registered and the registry is gone.

    Raises:
        RegistryError, Unavailable: It is there, and can't be read.
    """
    known = (home.artifacts / name).is_dir() or _had_champion(home, name)
    if not known or SqliteCatalog(home.database).ready():
        return ""
    return (
        f"{home.database} is gone, though versions of {name} were registered in it; put a "
        f"backup in its place, or remove {home.root} to begin anew"
    )


def _had_champion(home: Home, name: str) -> bool:
    try:
        stored = SqliteStore(home.store).load(name) if home.store.is_file() else None
    except StoreError:  # whoever needs the store itself says what is wrong with it
        return False
    return stored is not None and stored.state.champion_as_of is not None


def served_at(home: Home, name: str) -> str | None:
    """Return the address that answers for a model, None when the proxy has none for it.

    Asks the proxy only; it may answer though nobody supervises it.
    """
    with closing(_Serving(home)) as serving:
        weights, url = serving.routed(name)
    return url if weights else None


def _view(home: Home, store: SqliteStore | None, serving: _Serving, name: str) -> ModelView:
    stored = None if store is None else store.load(name)
    state = None if stored is None else stored.state
    seen = _Seen.look(home, serving, name)
    running = supervisor(home) is not None
    spec, refused = _spec(home, name)
    champion = _serves(state, seen, running=running)
    now = datetime.now(UTC) if state is None else loop_time(home, store, name, state)
    view = view_of(name, spec, state, now, serving=champion, weights=seen.weights)
    problem: str | None = refused
    if state is None:
        lost = f"{home.store} has no state of it; {home.command('up')} begins anew"
        problem = lost if home.served(name) else None
    elif not refused:
        problem = stuck_text(state) or seen.problem(state)
    attendance = Attendance.UNATTENDED if seen.weights else Attendance.STOPPED
    return replace(
        view,
        attendance=Attendance.TURNING if running else attendance,
        url=seen.url if seen.weights and seen.answer == "" else None,
        problem=problem or None,
        troubles=_troubles(home, name, seen, running=running),
        drift=_drift_that_waits(state) or seen.drift,
        drift_note=seen.drift_note,
        performance=seen.performance,
        unmeasured="" if spec is None or state is None else seen.unmeasured(spec),
        cautions=view.cautions if spec is None else (*view.cautions, *_cautions(spec)),
        processes=seen.processes,
    )


def _cautions(spec: ModelSpec) -> tuple[str, ...]:
    said = caution(spec)
    return (said,) if said else ()


def _spec(home: Home, name: str) -> tuple[ModelSpec | None, str]:
    """Return the spec of a model, or why it is refused."""
    try:
        return home.model(name)[0].spec, ""
    except NoriaError as error:
        return None, f"its file is refused: {error.message.splitlines()[0]}"


def _troubles(home: Home, name: str, seen: _Seen, *, running: bool) -> tuple[str, ...]:
    """Return what the last turn met, or that it is long ago."""
    try:
        lost = lost_registry(home, name)
    except NoriaError as error:
        lost = str(error)
    if not running:
        return (lost,) if lost else ()
    path = home.turn(name)
    turn = read_json(path, Turn)
    problems = () if turn is None else turn.problems
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        age = 0.0
    if age > _LONGEST_TURN_SECONDS:
        problems = (*problems, f"its loop has not turned for {age:.0f} s")
    return tuple(dict.fromkeys(filter(None, (lost, *problems, seen.unwatched))))


def loop_time(home: Home, store: SqliteStore | None, name: str, state: State) -> datetime:
    """Return the loop's time: the wall's, or the last decision's where a replay moved the clock."""
    if store is not None and home.clock(name) == "event":
        for entry in store.entries(name, after=max(state.head.sequence - 1, 0)):
            return entry.at
    return datetime.now(UTC)


def _serves(state: State | None, seen: _Seen, *, running: bool) -> Phase:
    """Return what the champion is seen to do; what it did when nothing is up that could answer."""
    if seen.answer == "" or (seen.answer is None and not running):
        return Phase.SERVING
    champion = None if state is None else state.champion
    starting = running and (seen.answer is None or champion in seen.starting)
    return Phase.STARTING if starting else Phase.DOWN


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the running processes say; empty where one does not answer.

    ``answer`` is what the clients' address lacks to serve: empty when it has answered for the
    model just now, None when there is no proxy to ask. ``down`` says why a version does not
    answer, ``starting`` which are only not ready yet.
    """

    url: str | None = None
    weights: Mapping[str, int] = field(default_factory=dict)
    answer: str | None = None
    down: Mapping[str, str] = field(default_factory=dict)
    starting: frozenset[str] = frozenset()
    drift: tuple[str, ...] | None = None
    drift_note: str = ""
    unwatched: str = ""
    performance: Mapping[str, float | None] = field(default_factory=dict)
    processes: tuple[str, ...] = ()
    labelled: int | None = None

    @classmethod
    def look(cls, home: Home, serving: _Serving, name: str) -> _Seen:
        from noria.embedded.monitor import MonitorProcess

        monitor = MonitorProcess(home.file(name), home.monitor(name))
        drift, note, unwatched = None, "", ""
        performance: Mapping[str, float | None] = {}
        labelled: int | None = None
        if monitor.alive:
            try:
                with monitor.fresh_client() as client:
                    said = client.status(name)
                drift, note = _drift(said)
                performance, labelled = _performance(said), _labelled(said)
                unwatched = _unwatched(said)
            except NoriaError:
                note = "the monitor does not answer yet"
        weights, url = serving.routed(name)
        answer = serving.answer(name)
        down, starting = serving.down(name) if answer else ({}, frozenset())
        processes = _processes(home, serving, name, monitor.pid)
        where = None if url is None else f"{url}/v2/models/{name}"
        return cls(
            where,
            weights,
            answer,
            down,
            starting,
            drift,
            note,
            unwatched,
            performance,
            processes,
            labelled,
        )

    def unmeasured(self, spec: ModelSpec) -> str:
        """Say why no performance is known; empty when it is, or when nobody can tell."""
        window = spec.monitoring.performance.window.rows
        if self.performance or self.labelled is None:
            return ""
        if not spec.watched_metrics:
            return f"none: labels of rows can't measure {spec.family.default_metric}"
        return f"none yet: its first window has {self.labelled} of {window} labelled rows"

    def problem(self, state: State) -> str:
        """Return what keeps the version that should answer from answering."""
        version = state.champion
        if version is None and state.rollout is not None:
            version = state.rollout.version
        if version is None or not self.answer or version in self.starting:
            return ""
        why = self.down.get(version, "")
        if state.champion is None:
            return f"v{version} can't be served: {why}" if why else ""
        return down_text([version], [self.answer, why])


def _unwatched(said: Mapping[str, Any]) -> str:
    """Return what the monitor can't do, empty when it does all.

    Files that were set aside are listed for the whole home (``noria.embedded.damaged``).
    """
    problems: Mapping[str, str] = said.get("problems") or {}
    found = [f"{part}: {text}" for part, text in sorted(problems.items()) if part != SET_ASIDE]
    return f"its monitor: {'; '.join(found)}" if found else ""


class _Serving:
    """The proxy and the processes that all models of a home share: opened once for all of them.

    To open them loads certificates each time, which takes longer than all there is to ask.
    """

    def __init__(self, home: Home) -> None:
        from serving.traffic.proxy import Proxy

        self._home = home
        self._proxy: Proxy | None = None
        if (home.traffic / "traefik").is_dir():
            # The proxy alone: the traffic driver starts again what it finds missing.
            self._proxy = Proxy(home.traffic / "traefik", "127.0.0.1", 0, None, _PROXY_SECONDS)

    def routed(self, name: str) -> tuple[Mapping[str, int], str | None]:
        """Return the split that the proxy has in force for a model, and its address."""
        if self._proxy is None or self._proxy.process is None:
            return {}, None
        try:
            return self._proxy.weights(name), self._proxy.url
        except NoriaError:
            return {}, None

    def answer(self, name: str) -> str | None:
        """Ask the clients' address whether the model is ready: empty when it is, else why not.

        None when no proxy runs.
        """
        if self._proxy is None or self._proxy.process is None:
            return None
        try:
            return self._proxy.ask(f"/v2/models/{name}/ready")
        except NoriaError as error:
            return error.message

    def down(self, name: str) -> tuple[Mapping[str, str], frozenset[str]]:
        """Return why versions do not answer, and those that are only starting."""
        if self._traffic is None:
            return {}, frozenset()
        return self._traffic.problems(name), self._traffic.starting(name)

    @cached_property
    def processes(self) -> Mapping[str, int]:
        """Process ids by ``traefik`` and ``MODEL/VERSION``."""
        return {} if self._traffic is None else dict(self._traffic.processes)

    @cached_property
    def _traffic(self) -> TraefikTraffic | None:
        from serving.traffic import TraefikTraffic

        if not self._home.traffic.is_dir():
            return None
        return TraefikTraffic(self._home.traffic, _nothing_to_serve)

    def close(self) -> None:
        """Close the connections."""
        if self._proxy is not None:
            self._proxy.close()
        if "_traffic" in self.__dict__ and self._traffic is not None:
            self._traffic.close()


def _drift(said: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, str]:
    """Return what drifted, and why that is unknown or known in part only."""
    reports: Mapping[str, Mapping[str, Any]] = said["drift"]
    found = []
    for detector, report in reports.items():
        names = ", ".join(str(f["name"]) for f in list(report.get("features") or ())[:3])
        if report["drift"]:
            found.append(f"{detector}: {names}" if names else detector)
    learns = said.get("waiting", {}).get("prediction")
    notes = ("" if reports else "no window yet", f"prediction {learns}" if learns else "")
    return (tuple(found) if reports else None), "; ".join(filter(None, notes))


def _drift_that_waits(state: State | None) -> tuple[str, ...]:
    """Say what drifted while its signal waits, whatever the newest window says."""
    pending = () if state is None else state.pending
    told = (signal for signal in pending if signal.kind is SignalKind.DRIFT)
    return tuple(f"{signal.source}: {signal.detail} (its signal waits)" for signal in told)


def _labelled(said: Mapping[str, Any]) -> int:
    """Return the labelled rows of the champion's open performance window."""
    window = (said.get("windows") or {}).get(f"performance/{said['champion']}") or {}
    return int(window.get("rows") or 0)


def _performance(said: Mapping[str, Any]) -> Mapping[str, float | None]:
    report = said["performance"].get(said["champion"]) or {}
    metrics = report.get("metrics") or {}
    return {
        metric: value.get("value") if isinstance(value, Mapping) else value
        for metric, value in metrics.items()
    }


def _processes(home: Home, serving: _Serving, name: str, monitor: int | None) -> tuple[str, ...]:
    found = supervisor(home)
    lines = [f"loop (pid {found.pid})"] if found is not None else []
    lines += [f"monitor (pid {monitor})"] if monitor is not None else []
    lines += _observers(home)
    for what, pid in serving.processes.items():
        model, _, version = what.partition("/")
        if not version:
            lines.append(f"{what} (pid {pid})")
        elif model == name:
            lines.append(f"server v{version} (pid {pid})")
    return tuple(lines)


def _observers(home: Home) -> tuple[str, ...]:
    if not home.observability.exists():
        return ()
    from noria.embedded.observability import Observability

    return Observability(home).lines()


def _nothing_to_serve(model: str, version: str) -> Any:
    raise NoriaError(f"{model} {version}: looking starts nothing")
