"""One model on this machine, wired: the composition root without a cluster."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from monitoring.adapter import MonitorMetrics
from noria.embedded.home import Home, MonitorClock
from noria.embedded.metrics import LocalMetrics
from noria.embedded.monitor import MonitorProcess
from noria.embedded.observability import Observability
from noria.embedded.survey import stuck
from noria.errors import NoriaError, RegistryError, TrafficError
from noria.loop.engine import Engine
from noria.loop.ports import Clock, Metrics
from noria.loop.sqlite_store import SqliteStore
from noria.loop.state import Alert, Decision, RolloutPhase, State
from noria.loop.values import Command, RunPhase, Verb
from noria.prometheus import PrometheusMetrics
from noria.registry import MlflowRegistry
from noria.spec import load_model
from pipelines.adapter import LocalPipelines
from serving.traffic import ServerLaunch, TraefikTraffic

if TYPE_CHECKING:
    from noria.tasks.sources.feast_sync import OnlineSync

_POLL_SECONDS: Final = 0.05
_SETTLE_SECONDS: Final = 900.0
_MOVING: Final = (RolloutPhase.DEPLOYING, RolloutPhase.PROMOTING, RolloutPhase.ABORTING)


class System:
    """Everything that keeps one model good on this machine.

    Several models share a home: its store, registry, proxy and runs; each has its
    own monitor.

    Args:
        home: The state directory.
        model_file: The model.yaml.
        clock: The loop's time.
        monitor_clock: ``event`` when a replay moves the clock.
        prometheus: Address of the Prometheus that measures the servers, and whose alerts
            bring the signals. Empty: the servers and the monitor are asked.
    """

    def __init__(
        self,
        home: Home,
        model_file: Path,
        *,
        clock: Clock,
        monitor_clock: MonitorClock = "wall",
        prometheus: str = "",
    ) -> None:
        self._home = home
        self._clock = clock
        self.file = model_file.resolve()
        self.model = load_model(self.file)
        self.name = self.model.metadata.name
        home.create().remember(self.model, self.file, monitor_clock)
        self.store = SqliteStore(home.store)
        self.registry = MlflowRegistry(home.tracking_uri, home.artifacts)
        self.monitor = MonitorProcess(self.file, home.monitor(self.name), monitor_clock)
        self.traffic = TraefikTraffic(home.traffic, self._launch)
        self.pipelines = LocalPipelines(
            home.runs, lambda name: home.model(name)[1], home.tracking_uri, home.artifacts
        )
        self.engine = Engine(
            self.model,
            pipelines=self.pipelines,
            registry=self.registry,
            traffic=self.traffic,
            metrics=self._metrics(prometheus),
            store=self.store,
            clock=clock,
            alerts=_ToldAlerts(),
        )
        self._watched: dict[str, bool] = {}
        self._features: OnlineSync | None = None
        self._features_at: datetime | None = None

    def _metrics(self, prometheus: str) -> Metrics:
        local = LocalMetrics(lambda: MonitorMetrics(self.monitor.client), self.traffic.server_url)
        if not prometheus:
            return local
        return PrometheusMetrics(prometheus, clock=self._clock, quality=local)

    @property
    def url(self) -> str:
        """Where clients send requests."""
        return self.traffic.url

    def start(self) -> None:
        """Bring up the registry, the features, the monitor and the proxy; repeatable.

        Raises:
            NoriaError: A part doesn't start.
        """
        self.monitor.launch()
        tables = None
        if not self.registry.ready():
            # MLflow takes seconds to import and much memory; this process needs neither.
            where = [self._home.tracking_uri, str(self._home.artifacts)]
            tables = subprocess.Popen([sys.executable, "-m", "noria.registry", *where])
        self.ensure()
        if tables is not None and tables.wait() != 0:
            raise RegistryError(f"{self._home.tracking_uri}: its tables can't be made")
        self._resume()

    def _resume(self) -> None:
        """Go on with the training that `noria down`, or a kill of everything, cut off.

        Without a version to serve, coming up is asking for one.
        """
        state = self.engine.state()
        if stuck(state):
            asked = Command(
                f"up-{state.runs_started}",
                Verb.TRAIN,
                self.now(),
                "noria up",
                "there is no version to serve",
            )
            self.store.submit(self.name, asked)
        if state.run is None or state.run.cancelled:
            return
        folder = self.pipelines.run_dir(state.run.request.run_id)
        if folder.request() is None or folder.alive():
            return
        ended = folder.ended()
        # Who cancels for the loop says so in its state: this was `noria down`.
        if ended is None or ended.phase is RunPhase.CANCELLED:
            shutil.rmtree(folder.path)
            self.pipelines.start(state.run.request)

    def ensure(self) -> None:
        """Start again whatever was killed."""
        # Servers look features up as soon as they start.
        self.features_until(self._clock.now())
        self.monitor.ensure()
        self.traffic.ensure()

    def features_until(self, until: datetime) -> None:
        """Bring the online features to what was known at ``until``; nothing without Feast.

        Sources that were written since they were read are read again: an added row may have
        been known long ago.

        Raises:
            DataError, Unavailable: A source can't be read, or the store not be written.
        """
        source = self.model.spec.data.source.feast
        if source is None:
            return
        if self._features is None:
            from noria.tasks.sources.feast import OnlineSync, apply
            from noria.tasks.sources.files import source_files

            base = self.file.parent
            source_files(self.model.spec.data, base)
            apply(base, source.repository)
            self._features = OnlineSync(base, source.repository, source.service)
        elif self._features.outdated:
            self._features = type(self._features)(
                self.file.parent, source.repository, source.service
            )
            self._features_at = None
        if self._features_at is None:
            self._features.materialise(until)
        elif until > self._features_at:
            self._features.sync(self._features_at, until)
        self._features_at = until

    def now(self) -> datetime:
        """Return the loop's time."""
        return self._clock.now()

    def turn(self) -> Decision:
        """Let the loop turn once, and tell the monitor which versions to watch."""
        decision = self.engine.cycle()
        self._tell_monitor(decision.state)
        return decision

    def settle(self, doing: Callable[[str], None], tell: Callable[[str], None]) -> State:
        """Turn until only time, requests or labels can change something.

        Waits for a pipeline run to end and for servers to start or drain, in wall
        time. ``doing`` hears what is waited for, ``tell`` each thing that happened.

        Raises:
            TrafficError: It takes more than fifteen minutes.
        """
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline:
            before = self.engine.state()
            decision = self.turn()
            for note in decision.explanation:
                if note.change:
                    tell(note.text)
            state = self.engine.state()
            if state.run is not None:
                self._wait_for_run(state.run.request.run_id, doing)
                continue
            rollout = state.rollout
            if state.outbox or (rollout is not None and rollout.phase in _MOVING):
                doing("waiting for a model server")
                time.sleep(_POLL_SECONDS)
                continue
            if not decision.actions and state == before:
                return state
        raise TrafficError(
            f"{self.name}: the loop did not come to rest in {_SETTLE_SECONDS:.0f} s",
            fix=f"see the logs in {self._home.traffic} and {self._home.runs}",
        )

    def stop(self) -> None:
        """Stop every process of this home; what they knew is on disk."""
        self.close()
        stop_processes(self._home)

    def close(self) -> None:
        """Close our connections; the processes go on."""
        self.traffic.close()
        self.monitor.close()

    def _wait_for_run(self, run_id: str, doing: Callable[[str], None]) -> None:
        while True:
            status = self.pipelines.status(run_id)
            if status.phase not in ("pending", "running"):
                return
            step = self.pipelines.run_dir(run_id).progress().step
            doing(f"training: {step}" if step else "training")
            time.sleep(_POLL_SECONDS)

    def _tell_monitor(self, state: State) -> None:
        """Give the monitor the reference of every version that serves."""
        wanted = {}
        if state.rollout is not None:
            wanted[state.rollout.version] = False
        if state.champion is not None:
            wanted[state.champion] = True
        for version, champion in wanted.items():
            if self._watched.get(version) == champion:
                continue
            path = self.registry.reference_path(self.name, version)
            self.monitor.client.put_reference(self.name, version, path, champion=champion)
            self._watched[version] = champion

    def _launch(self, model: str, version: str) -> ServerLaunch:
        info = self.registry.version(model, version)
        if info is None:
            raise RegistryError(f"{model}: there is no version {version} to serve")
        serving = self.model.spec.serving
        return ServerLaunch(
            package=str(self.registry.package_path(model, version)),
            digest=info.digest,
            sink=self.monitor.url,
            sample=serving.payload_log.sample,
            redact=tuple(serving.payload_log.redact),
            namespace=self.model.metadata.namespace,
            grpc="grpc" in serving.protocols,
            sticky=serving.canary.sticky,
            max_request_bytes=serving.max_request_bytes,
            batch_rows=serving.batching.max_rows,
            batch_delay=serving.batching.max_delay.total_seconds(),
            feature_base=str(self.file.parent),
            environment={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )


class _ToldAlerts:
    """Alerts on one machine: the decision's explanation, which is told anyway, has them."""

    def raise_alert(self, model: str, alert: Alert) -> None:
        """Do nothing more."""

    def clear_alert(self, model: str, name: str) -> None:
        """Do nothing more."""


def stop_processes(home: Home) -> None:
    """Stop every process of a home but its supervisor. No model's file has to be valid for it.

    A training that is cut off is done again at the next start.

    Raises:
        NoriaError: One does not end. The others were stopped.
    """
    problems = []
    store = SqliteStore(home.store)
    pipelines = LocalPipelines(home.runs, home.file, home.tracking_uri, home.artifacts)
    traffic = TraefikTraffic(home.traffic, _nothing_to_serve)
    stops: list[Callable[[], None]] = [traffic.stop, traffic.close, Observability(home).stop]
    for name in home.names():
        stops.append(MonitorProcess(home.file(name), home.monitor(name)).stop)
        stored = store.load(name)
        if stored is not None and stored.state.run is not None:
            stops.append(partial(pipelines.cancel, stored.state.run.request.run_id))
    for stop in stops:
        try:
            stop()
        except NoriaError as error:
            problems.append(str(error))
    if problems:
        raise NoriaError("; ".join(problems), fix="run `noria down` again")


def _nothing_to_serve(model: str, version: str) -> ServerLaunch:
    raise RegistryError(f"{model} version {version}: nothing is started while stopping")
