"""What ``noria status`` shows, read from the state directory; nothing is started by looking."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from noria.embedded.home import Home, read_json
from noria.errors import NoriaError
from noria.loop.retraining import allowance
from noria.loop.sqlite_store import SqliteStore
from noria.loop.state import RunRecord, State
from noria.loop.values import RunPhase
from noria.process import ProcessId

if TYPE_CHECKING:
    from noria.spec import ModelSpec

_PROXY_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model, as a person asks for it. ``weights`` are percents by version.

    ``problem`` says what keeps the model from being served, when something does.
    """

    model: str
    stage: str
    champion: str | None = None
    candidate: str | None = None
    weights: Mapping[str, int] = field(default_factory=dict)
    step: str | None = None
    last_verdict: str | None = None
    retrains_left: int | None = None
    run: str | None = None
    drift: str | None = None
    performance: Mapping[str, Any] = field(default_factory=dict)
    breaker_open: bool = False
    paused: bool = False
    url: str | None = None
    processes: tuple[str, ...] = ()
    problem: str | None = None


def supervisor(home: Home) -> ProcessId | None:
    """Return the process that supervises a home, None when there is none."""
    note = read_json(home.supervisor)
    if note is None:
        return None
    found = ProcessId(int(note["pid"]), str(note["started"]))
    return found if found.alive else None


def turning(home: Home) -> bool:
    """Whether the supervisor runs, and each model's loop has turned at least once in it."""
    note = read_json(home.supervisor)
    return note is not None and bool(note.get("turned")) and supervisor(home) is not None


def statuses(home: Home) -> list[ModelStatus]:
    """Return every model of a home, sorted by name.

    Raises:
        StoreError: The state can't be read.
    """
    if not home.store.exists():
        return [ModelStatus(name, "not started") for name in home.names()]
    store = SqliteStore(home.store)
    with closing(_Serving(home)) as serving:
        return [_status(home, store, serving, name) for name in home.names()]


def survey_one(home: Home, name: str) -> ModelStatus:
    """Return one known model of a home.

    Raises:
        StoreError: The state can't be read.
    """
    if not home.store.exists():
        return ModelStatus(name, "not started")
    with closing(_Serving(home)) as serving:
        return _status(home, SqliteStore(home.store), serving, name)


def served_at(home: Home, name: str) -> str | None:
    """Return the address that answers for a model, None when the proxy has none for it.

    Asks the proxy only; it may answer though nobody supervises it.
    """
    with closing(_Serving(home)) as serving:
        weights, url = serving.routed(name)
    return url if weights else None


def _status(home: Home, store: SqliteStore, serving: _Serving, name: str) -> ModelStatus:
    stored = store.load(name)
    seen = _Seen.look(home, serving, name)
    if stored is None:
        return ModelStatus(name, "not started", processes=seen.processes)
    state = stored.state
    rollout = state.rollout
    spec, problem = None, _problem(state)
    try:
        spec = home.model(name)[0].spec
    except NoriaError as error:
        problem = f"its file is refused: {error.message.splitlines()[0]}"
    left = step = None
    if spec is not None:
        left = allowance(spec, state, _now(home, store, name, state)).left_in_budget
        step = _step(spec, state)
    return ModelStatus(
        model=name,
        stage=_stage(state, running=supervisor(home) is not None, served=bool(seen.weights)),
        champion=state.champion,
        candidate=rollout.version if rollout is not None else None,
        weights=seen.weights,
        step=step,
        last_verdict=_last(state),
        retrains_left=left,
        run=None if state.run is None else state.run.request.run_id,
        drift=seen.drift,
        performance=seen.performance,
        breaker_open=state.breaker is not None,
        paused=rollout is not None and rollout.paused is not None,
        url=seen.url if seen.weights else None,
        processes=seen.processes,
        problem=problem,
    )


def _now(home: Home, store: SqliteStore, name: str, state: State) -> datetime:
    """Return the loop's time: the wall's, or the last decision's where a replay moved the clock."""
    if home.clock(name) == "event":
        for entry in store.entries(name, after=max(state.head.sequence - 1, 0)):
            return entry.at
    return datetime.now(UTC)


def _step(spec: ModelSpec, state: State) -> str | None:
    rollout, steps = state.rollout, spec.serving.canary.steps
    if rollout is None or rollout.champion is None or rollout.step >= len(steps):
        return None
    return f"{rollout.step + 1} of {len(steps)}, {steps[rollout.step]} %"


def _stage(state: State, *, running: bool, served: bool) -> str:
    if state.run is not None:
        doing = "training"
    elif state.rollout is not None:
        doing = f"rollout of v{state.rollout.version} ({state.rollout.phase.value})"
    else:
        doing = "no version yet" if state.champion is None else "serving"
    if running:
        return doing
    return f"{doing}; its loop does not run" if served else f"stopped (was: {doing})"


def stuck(state: State) -> bool:
    """Whether the first training is over and there is nothing to serve, nor in the making."""
    busy = state.run is not None or state.rollout is not None or bool(state.train_asked)
    return not busy and state.champion is None and bool(state.runs)


def _problem(state: State) -> str | None:
    if not stuck(state):
        return None
    last: RunRecord = state.runs[-1]
    if last.ended != RunPhase.SUCCEEDED:
        return f"run {last.run_id} {last.ended}, so there is no version to serve"
    outcomes = [outcome for outcome in state.outcomes if outcome.version == last.version]
    reason = f": {outcomes[-1].reason}" if outcomes else ""
    return f"v{last.version} may not be served{reason}"


def _last(state: State) -> str | None:
    """Return how the newest candidate did, step or end."""
    if state.rollout is not None and state.rollout.evidence:
        judged = state.rollout.evidence[-1].judged
        return "; ".join(f"{j.verdict.value}: {j.detail}" for j in judged) or None
    if not state.outcomes:
        return None
    outcome = state.outcomes[-1]
    return f"v{outcome.version} {outcome.result.value}: {outcome.reason}"


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the running processes say; empty where one does not answer."""

    url: str | None = None
    weights: Mapping[str, int] = field(default_factory=dict)
    drift: str | None = None
    performance: Mapping[str, Any] = field(default_factory=dict)
    processes: tuple[str, ...] = ()

    @classmethod
    def look(cls, home: Home, serving: _Serving, name: str) -> _Seen:
        from noria.embedded.monitor import MonitorProcess

        monitor = MonitorProcess(home.file(name), home.monitor(name))
        drift: str | None = None
        performance: Mapping[str, Any] = {}
        if monitor.alive:
            try:
                with monitor.fresh_client() as client:
                    said = client.status(name)
                drift, performance = _drift(said), _performance(said)
            except NoriaError:
                drift = "the monitor does not answer yet"
        weights, url = serving.routed(name)
        processes = _processes(home, serving, name, monitor.pid)
        where = None if url is None else f"{url}/v2/models/{name}"
        return cls(where, weights, drift, performance, processes)


class _Serving:
    """The proxy and the processes that all models of a home share: opened once for all of them.

    To open them loads certificates each time, which takes longer than all there is to ask.
    """

    def __init__(self, home: Home) -> None:
        from serving.traffic.proxy import Proxy

        self._home = home
        self._proxy: Proxy | None = None
        if (home.traffic / "traefik" / "ports.json").exists():
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

    @cached_property
    def processes(self) -> Mapping[str, int]:
        """Process ids by ``traefik`` and ``MODEL/VERSION``."""
        from serving.traffic import TraefikTraffic

        if not self._home.traffic.exists():
            return {}
        traffic = TraefikTraffic(self._home.traffic, _nothing_to_serve)
        try:
            return dict(traffic.processes)
        finally:
            traffic.close()

    def close(self) -> None:
        """Close the connections."""
        if self._proxy is not None:
            self._proxy.close()


def _drift(said: Mapping[str, Any]) -> str:
    reports: Mapping[str, Mapping[str, Any]] = said["drift"]
    found = []
    for detector, report in reports.items():
        names = ", ".join(str(f["name"]) for f in list(report.get("features") or ())[:3])
        if report["drift"]:
            found.append(f"{detector}: {names}" if names else detector)
    return "; ".join(found) or ("none" if reports else "no window yet")


def _performance(said: Mapping[str, Any]) -> Mapping[str, Any]:
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
