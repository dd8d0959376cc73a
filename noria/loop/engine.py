"""The cycle around ``decide``: observe, decide, persist, act.

The new state is written before anything is done, with what is to be done in its
outbox; what was done is crossed out afterwards. So a process may die between any
two lines: the next one does the outbox again, and every action bears that.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from noria.errors import Conflict, NoriaError
from noria.loop import ledger, retraining, rollout
from noria.loop.acting import Hands
from noria.loop.decide import decide
from noria.loop.ports import (
    CHAMPION,
    LABELLED_ROWS,
    Alerts,
    Clock,
    Metrics,
    Pipelines,
    Registry,
    Store,
    Traffic,
)
from noria.loop.state import (
    Alert,
    Decision,
    Note,
    Observation,
    RegistryView,
    StartRun,
    State,
    Stored,
    TrafficView,
)
from noria.loop.values import Measurement, MetricQuery, RunStatus, Signal
from noria.spec import Model

_ATTEMPTS: Final = 5
_log = logging.getLogger(__name__)


class LoggedAlerts:
    """Alerts that go to the log, for when nobody gave better ones."""

    def raise_alert(self, model: str, alert: Alert) -> None:
        """Log a warning."""
        _log.warning("%s: %s: %s", model, alert.name, alert.text)

    def clear_alert(self, model: str, name: str) -> None:
        """Log that it is over."""
        _log.info("%s: %s is over", model, name)


class Engine:
    """Turns the loop of one model. Call ``cycle`` every few seconds; one engine, one thread.

    Two engines on one store do no harm: the store's compare-and-swap lets one of
    them win, and actions bear being repeated.
    """

    def __init__(
        self,
        model: Model,
        *,
        pipelines: Pipelines,
        registry: Registry,
        traffic: Traffic,
        metrics: Metrics,
        store: Store,
        clock: Clock,
        alerts: Alerts | None = None,
    ) -> None:
        self._spec = model.spec
        self._name = model.metadata.name
        self._pipelines = pipelines
        self._registry = registry
        self._traffic = traffic
        self._metrics = metrics
        self._store = store
        self._clock = clock
        self._hands = Hands(self._name, pipelines, registry, traffic, alerts or LoggedAlerts())
        self._digest = hashlib.sha256(model.spec.model_dump_json().encode()).hexdigest()

    def cycle(self) -> Decision:
        """Turn once: redo what a crash left, observe, decide, persist, act.

        Returns the decision with its explanation, and what acting on it met.

        Raises:
            StoreError: The store doesn't answer. Nothing was done that it doesn't know of.
            Conflict: Others kept writing the state. Call again.
        """
        redone = self._act(self._load())
        for attempt in range(1, _ATTEMPTS + 1):
            stored = self._load()
            decision, observation = self._decide(stored)
            try:
                self._persist(stored, decision, observation)
            except Conflict:
                if attempt == _ATTEMPTS:
                    raise
                continue
            break
        met = self._act(self._load()) if decision.actions else ()
        return msgspec.structs.replace(decision, explanation=(*redone, *decision.explanation, *met))

    def plan(self) -> Decision:
        """Return what ``cycle`` would decide now. Changes nothing; for ``status``."""
        return self._decide(self._load())[0]

    def state(self) -> State:
        """Return the state as it is stored."""
        return self._load().state

    def observe(self, state: State) -> Observation:
        """Look at everything that ``decide`` needs. A part that fails is a problem, not an end."""
        problems: dict[str, str] = {}
        registry = self._see_registry(state, problems)
        return Observation(
            registry=registry,
            traffic=self._see_traffic(problems),
            run=self._see_run(state, problems),
            measurements=tuple(self._measure(q) for q in rollout.queries(self._spec, state)),
            signals=self._see_signals(problems),
            inbox=self._store.inbox(self._name),
            labelled_rows=self._labelled_rows(state),
            problems=problems,
        )

    def _load(self) -> Stored:
        return self._store.load(self._name) or Stored(State(self._name), 0)

    def _decide(self, stored: Stored) -> tuple[Decision, Observation]:
        state = stored.state
        observation = self.observe(state)
        decision = decide(self._spec, state, observation, self._clock.now())
        if state.spec_digest == self._digest:
            return decision, observation
        said = "the spec is new" if not state.spec_digest else "the spec has changed"
        facts = {"before": state.spec_digest, "now": self._digest}
        note = Note("spec", f"{said} ({self._digest[:12]})", facts, change=True)
        known = msgspec.structs.replace(decision.state, spec_digest=self._digest)
        explanation = (note, *decision.explanation)
        return Decision(known, decision.actions, explanation), observation

    def _persist(self, stored: Stored, decision: Decision, observation: Observation) -> None:
        consumed = tuple(message.id for message in observation.inbox)
        if decision.state == stored.state and not consumed:
            return
        self._write(stored, decision.state, decision, consumed)

    def _write(
        self, stored: Stored, state: State, decision: Decision, consumed: Sequence[str] = ()
    ) -> None:
        """Write the state, and a ledger entry when something happened that a person may ask for."""
        entries: tuple[ledger.LedgerEntry, ...] = ()
        if any(note.change for note in decision.explanation):
            entry = ledger.append(
                stored.state.head,
                self._clock.now(),
                self._name,
                decision.explanation,
                decision.actions,
            )
            entries = (entry,)
            state = msgspec.structs.replace(state, head=entry.head)
        self._store.compare_and_swap(self._name, state, stored.revision, entries, consumed)

    def _act(self, stored: Stored) -> tuple[Note, ...]:
        """Do the outbox and cross out what is done."""
        if not stored.state.outbox:
            return ()
        acted = self._hands.act(stored.state.outbox, self._clock.now())
        for attempt in range(1, _ATTEMPTS + 1):
            outbox = acted.apply(stored.state.outbox)
            if outbox == stored.state.outbox:
                break
            crossed = msgspec.structs.replace(stored.state, outbox=outbox)
            try:
                self._write(stored, crossed, Decision(crossed, (), acted.notes))
            except Conflict:
                if attempt == _ATTEMPTS:
                    raise
                stored = self._load()
                continue
            break
        return acted.notes

    def _see_registry(self, state: State, problems: dict[str, str]) -> RegistryView | None:
        try:
            champion = self._registry.alias(self._name, CHAMPION)
            if champion is not None:
                return RegistryView(champion, self._registry.version(self._name, champion))
            if state.champion_as_of is None:
                return RegistryView(None, versions=self._registry.versions(self._name))
        except NoriaError as error:
            problems["registry"] = str(error)
            return None
        return RegistryView(None)

    def _see_traffic(self, problems: dict[str, str]) -> TrafficView | None:
        try:
            return TrafficView(
                dict(self._traffic.ready(self._name)), dict(self._traffic.weights(self._name))
            )
        except NoriaError as error:
            problems["traffic"] = str(error)
            return None

    def _see_run(self, state: State, problems: dict[str, str]) -> RunStatus | None:
        if state.run is None or any(isinstance(p.action, StartRun) for p in state.outbox):
            return None
        try:
            return self._pipelines.status(state.run.request.run_id)
        except NoriaError as error:
            problems["pipelines"] = str(error)
            return None

    def _see_signals(self, problems: dict[str, str]) -> tuple[Signal, ...]:
        try:
            return self._metrics.signals(self._name)
        except NoriaError as error:
            problems["metrics"] = str(error)
            return ()

    def _measure(self, query: MetricQuery) -> Measurement:
        """Measure a candidate; and its champion apart when the source gives no baseline."""
        try:
            seen = self._metrics.measure(query)
            if query.champion is None or seen.baseline is not None or seen.problem:
                return seen
            alone = msgspec.structs.replace(query, version=query.champion, champion=None)
            base = self._metrics.measure(alone)
        except NoriaError as error:
            return Measurement(query.metric, query.version, None, 0, problem=str(error))
        return msgspec.structs.replace(
            seen,
            baseline=base.value,
            baseline_low=base.low,
            baseline_high=base.high,
            baseline_samples=base.samples,
            problem=base.problem,
        )

    def _labelled_rows(self, state: State) -> int | None:
        since = retraining.data_since(state)
        if not retraining.counts_new_rows(self._spec) or state.champion is None or since is None:
            return None
        query = MetricQuery(self._name, state.champion, LABELLED_ROWS, since)
        seen = self._measure(query)
        return None if seen.problem else seen.samples
