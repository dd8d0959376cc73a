"""What ``noria status`` shows, read from the state directory; nothing is started by looking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from noria.embedded.home import Home, read_json
from noria.errors import NoriaError
from noria.loop.retraining import allowance
from noria.loop.sqlite_store import SqliteStore
from noria.loop.state import State
from noria.process import ProcessId


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model, as a person asks for it. ``weights`` are percents by version."""

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


def supervisor(home: Home) -> ProcessId | None:
    """Return the process that supervises a home, None when there is none."""
    note = read_json(home.supervisor)
    if note is None:
        return None
    found = ProcessId(int(note["pid"]), str(note["started"]))
    return found if found.alive else None


def statuses(home: Home) -> list[ModelStatus]:
    """Return every model of a home, sorted by name.

    Raises:
        StoreError: The state can't be read.
    """
    if not home.store.exists():
        return [ModelStatus(name, "not started") for name in home.names()]
    store = SqliteStore(home.store)
    running = supervisor(home) is not None
    return [_status(home, store, name, running=running) for name in home.names()]


def _status(home: Home, store: SqliteStore, name: str, *, running: bool) -> ModelStatus:
    stored = store.load(name)
    state = stored.state if stored is not None else State(name)
    try:
        spec = home.model(name)[0].spec
    except NoriaError as error:
        return ModelStatus(name, f"its file is refused: {error.message.splitlines()[0]}")
    rollout = state.rollout
    steps = spec.serving.canary.steps
    step = None
    if rollout is not None and rollout.champion is not None and rollout.step < len(steps):
        step = f"{rollout.step + 1} of {len(steps)}, {steps[rollout.step]} %"
    seen = _Seen.look(home, name) if running else _Seen()
    return ModelStatus(
        model=name,
        stage=_stage(state, running=running),
        champion=state.champion,
        candidate=rollout.version if rollout is not None else None,
        weights=seen.weights,
        step=step,
        last_verdict=_last(state),
        retrains_left=allowance(spec, state, datetime.now(UTC)).left_in_budget,
        run=None if state.run is None else state.run.request.run_id,
        drift=seen.drift,
        performance=seen.performance,
        breaker_open=state.breaker is not None,
        paused=rollout is not None and rollout.paused is not None,
        url=seen.url if seen.weights else None,
        processes=seen.processes,
    )


def _stage(state: State, *, running: bool) -> str:
    if state.run is not None:
        doing = "training"
    elif state.rollout is not None:
        doing = f"rollout of v{state.rollout.version} ({state.rollout.phase.value})"
    else:
        doing = "no version yet" if state.champion is None else "serving"
    return doing if running else f"stopped (was: {doing})"


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
    def look(cls, home: Home, name: str) -> _Seen:
        from noria.embedded.monitor import MonitorProcess
        from serving.traffic import TraefikTraffic

        file = home.model(name)[1]
        traffic = TraefikTraffic(home.traffic, _nothing_to_serve)
        monitor = MonitorProcess(file, home.monitor(name))
        drift: str | None = None
        performance: Mapping[str, Any] = {}
        try:
            with monitor.fresh_client() as client:
                said = client.status(name)
            drift = _drift(said)
            performance = _performance(said)
        except NoriaError:
            drift = "the monitor does not answer"
        try:
            processes = _processes(traffic.processes, name, monitor.pid)
            url, weights = traffic.url, dict(traffic.weights(name))
        except (NoriaError, httpx.HTTPError):
            return cls(drift=drift, performance=performance)
        finally:
            traffic.close()
        return cls(f"{url}/v2/models/{name}", weights, drift, performance, processes)


def _nothing_to_serve(model: str, version: str) -> Any:
    raise NoriaError(f"{model} {version}: looking starts nothing")


def _drift(said: Mapping[str, Any]) -> str:
    reports: Mapping[str, Mapping[str, Any]] = said["drift"]
    found = []
    for detector, report in reports.items():
        names = ", ".join(str(f["name"]) for f in list(report.get("features") or ())[:3])
        if report["drift"]:
            found.append(f"{detector}: {names}")
    return "; ".join(found) or ("none" if reports else "no window yet")


def _performance(said: Mapping[str, Any]) -> Mapping[str, Any]:
    report = said["performance"].get(said["champion"]) or {}
    metrics = report.get("metrics") or {}
    return {
        metric: value.get("value") if isinstance(value, Mapping) else value
        for metric, value in metrics.items()
    }


def _processes(traffic: Mapping[str, int], name: str, monitor: int | None) -> tuple[str, ...]:
    lines = [f"monitor (pid {monitor})"] if monitor is not None else []
    for what, pid in traffic.items():
        model, _, version = what.partition("/")
        if not version:
            lines.append(f"{what} (pid {pid})")
        elif model == name:
            lines.append(f"server v{version} (pid {pid})")
    return tuple(lines)
