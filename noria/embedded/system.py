"""One model on this machine, wired: the composition root without a cluster."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from monitoring.adapter import MonitorMetrics
from monitoring.link import MonitorLink
from noria.embedded.home import Home, MonitorClock
from noria.embedded.monitor import MonitorProcess
from noria.embedded.observability import Observability
from noria.embedded.own_server import served_here
from noria.embedded.survey import lost_registry
from noria.errors import NoriaError, RegistryError, StoreDamaged, TrafficError
from noria.files import DAMAGED
from noria.loop import ledger
from noria.loop.engine import Cycle, Engine
from noria.loop.ports import CHAMPION, Clock, Metrics
from noria.loop.sqlite_store import SqliteStore
from noria.loop.state import Alert, Note, RolloutPhase, State
from noria.loop.values import Command, RunPhase, Verb
from noria.process import uninterrupted
from noria.prometheus import PrometheusMetrics
from noria.prometheus.counted import CountedMetrics
from noria.registry import MlflowRegistry
from noria.signing import signer_of_environment
from noria.spec import Model, load_model
from noria.view import stuck
from pipelines.adapter import LocalPipelines
from serving.traffic import ServerLaunch, TraefikTraffic

if TYPE_CHECKING:
    from noria.tasks.sources.feast_sync import OnlineSync

_log = logging.getLogger(__name__)
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
        self.model = served_here(load_model(self.file))
        self.name = self.model.metadata.name
        home.create().remember(self.model, self.file, monitor_clock)
        self.store = SqliteStore(home.store)
        self.registry = MlflowRegistry(home.tracking_uri, home.artifacts)
        self.monitor = MonitorProcess(self.file, home.monitor(self.name), monitor_clock)
        self.traffic = TraefikTraffic(home.traffic, self._launch)
        self.pipelines = LocalPipelines(
            home.runs,
            lambda name: home.model(name)[1],
            home.tracking_uri,
            home.artifacts,
            served=home.served_rows,
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
            sign=signer_of_environment(),
        )
        self._link = MonitorLink(lambda name: self.monitor.client.status(name), self._watch)
        self._features: OnlineSync | None = None
        self._features_at: datetime | None = None

    def _metrics(self, prometheus: str) -> Metrics:
        local = CountedMetrics(lambda: MonitorMetrics(self.monitor.client), self._servers)
        if not prometheus:
            return local
        return PrometheusMetrics(prometheus, clock=self._clock, quality=local)

    def _servers(self, model: str, version: str) -> tuple[str, ...]:
        url = self.traffic.server_url(model, version)
        return () if url is None else (url,)

    @property
    def url(self) -> str:
        """Where clients send requests."""
        return self.traffic.url

    def start(self) -> None:
        """Bring up the registry, the features, the monitor and the proxy; repeatable.

        Raises:
            NoriaError: A part without which nothing can be served doesn't start.
        """
        self.monitor.launch()
        self._refuse_lost_registry()
        tables = None
        if not self.registry.ready():
            # MLflow takes seconds to import and much memory; this process needs neither.
            where = [self._home.tracking_uri, str(self._home.artifacts)]
            tables = subprocess.Popen([sys.executable, "-m", "noria.registry", *where])
        # Servers look features up as soon as they start.
        self.features_until(self._clock.now())
        self.traffic.ensure()
        with suppress(NoriaError):  # each turn says what is wrong with it, and tries again
            self.monitor.ensure()
        if tables is not None and tables.wait() != 0:
            raise RegistryError(f"{self._home.tracking_uri}: its tables can't be made")
        self._keep_state()
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

    def ensure(self) -> tuple[str, ...]:
        """Start again whatever was killed or hangs; returns what is wrong, one sentence a part.

        One part that can't be brought up keeps none of the others down.
        """
        found = []
        parts: tuple[Callable[[], None], ...] = (
            partial(self.features_until, self._clock.now()),
            self.monitor.launch,
            self.traffic.ensure,
        )
        for part in parts:
            try:
                part()
            except NoriaError as error:
                found.append(str(error))
        return (*found, *filter(None, [self.monitor.problem()]))

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

    def turn(self) -> Cycle:
        """Let the loop turn once.

        A state that is damaged or lost is begun anew from the registry, and the ledger says so.
        """
        self._home.remember(self.model, self.file)  # its note may have been lost
        self._refuse_lost_registry()
        try:
            self._keep_state()
            return self.engine.cycle()
        except StoreDamaged as error:
            self.store.set_aside(error.message)
            self._keep_state()
            return self.engine.cycle()

    def tell_monitor(self, state: State) -> str:
        """Give the monitor the reference of every version that serves; returns what is wrong."""
        return self._link.told(self.name, state)

    def _refuse_lost_registry(self) -> None:
        """Refuse to go on with an empty registry in the place of one that had versions.

        Raises:
            RegistryError: It lost them, or can't be read.
        """
        lost = lost_registry(self._home, self.name)
        if lost:
            raise RegistryError(lost)

    def _keep_state(self) -> None:
        """Begin the state anew where there is none, though the loop has been here before.

        Raises:
            RegistryError, Unavailable: Whether there is a champion can't be seen.
        """
        if self.store.load(self.name) is not None:
            return
        champion = self.registry.alias(self.name, CHAMPION)
        if champion is None and not self._home.served(self.name):
            return  # it really is new
        aside = self._home.store.with_name(self._home.store.name + DAMAGED)
        where = f"was damaged and is set aside as {aside.name}" if aside.exists() else "was lost"
        known = "names no champion" if champion is None else f"names v{champion} the champion"
        text = (
            f"the state and the ledger before this {where}; the loop begins anew, and the "
            f"registry {known}; runs counted before are forgotten"
        )
        _log.warning("%s: %s", self.name, text)
        note = Note("store", text, {"champion": champion}, change=True)
        entry = ledger.append(ledger.GENESIS, self.now(), self.name, (note,), ())
        self.store.compare_and_swap(self.name, State(self.name, head=entry.head), 0, (entry,))

    def settle(self, doing: Callable[[str], None], tell: Callable[[str], None]) -> State:
        """Turn until only time, requests or labels can change something.

        Waits for a pipeline run to end and for servers to start or drain, in wall
        time. ``doing`` hears what is waited for, ``tell`` each thing that happened.

        Raises:
            TrafficError: It takes more than fifteen minutes.
        """
        deadline = time.monotonic() + _SETTLE_SECONDS
        before = self.engine.state()
        while time.monotonic() < deadline:
            cycle = self.turn()
            previous, before, state = before, cycle.state, cycle.state
            self.tell_monitor(state)
            for note in cycle.decision.explanation:
                if note.change:
                    tell(note.text)
            if state.run is not None:
                self._wait_for_run(state.run.request.run_id, doing)
                continue
            rollout = state.rollout
            if state.outbox or (rollout is not None and rollout.phase in _MOVING):
                doing("waiting for a model server")
                time.sleep(_POLL_SECONDS)
                continue
            if not cycle.decision.actions and state == previous:
                return state
        raise TrafficError(
            f"{self.name}: the loop did not come to rest in {_SETTLE_SECONDS:.0f} s",
            fix=f"see the logs in {self._home.traffic} and {self._home.runs}",
        )

    def stop(self) -> None:
        """Stop every process of this home; what they knew is on disk."""
        with uninterrupted():
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

    def _as_written(self) -> Model:
        """Return the model as its file says now: a server that can't start heals with it."""
        try:
            found = load_model(self.file)
        except NoriaError:
            return self.model
        return found if found.name == self.name else self.model

    def _watch(self, model: str, version: str, champion: bool) -> None:  # noqa: FBT001 - the link's
        path = self.registry.reference_path(model, version)
        self.monitor.client.put_reference(model, version, path, champion=champion)

    def _launch(self, model: str, version: str) -> ServerLaunch:
        info = self.registry.version(model, version)
        if info is None:
            raise RegistryError(f"{model}: there is no version {version} to serve")
        serving = self._as_written().spec.serving
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
    pipelines = LocalPipelines(home.runs, home.file, home.tracking_uri, home.artifacts)
    traffic = TraefikTraffic(home.traffic, _nothing_to_serve)
    stops: list[Callable[[], None]] = [traffic.stop, traffic.close, Observability(home).stop]
    stops += [MonitorProcess(home.file(name), home.monitor(name)).stop for name in home.names()]
    # The runs' own folders say which are at work: the store may be the thing that is damaged.
    stops += [partial(pipelines.cancel, run_id) for run_id in pipelines.working()]
    for stop in stops:
        try:
            stop()
        except NoriaError as error:
            problems.append(str(error))
    if problems:
        raise NoriaError("; ".join(problems), fix=f"run {home.command('down')} again")


def _nothing_to_serve(model: str, version: str) -> ServerLaunch:
    raise RegistryError(f"{model} version {version}: nothing is started while stopping")
