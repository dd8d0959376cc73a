"""The cycle around ``decide``: observe, decide, persist, act.

The new state is written before anything is done, with what is to be done in its
outbox; what was done is crossed out afterwards. So a process may die between any
two lines: the next one does the outbox again, and every action bears that.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from noria.errors import Conflict, NoriaError
from noria.loop import ledger, rollout
from noria.loop.acting import Actuator, failing
from noria.loop.anchor import Anchoring, Sign
from noria.loop.decide import LEDGER, decide
from noria.loop.ports import (
    CHAMPION,
    LABELLED_ROWS,
    ROWS_PER_DAY,
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
from noria.loop.values import Compared, MetricQuery, RunStatus, Signal, finite
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


@dataclass(frozen=True, slots=True)
class Cycle:
    """One cycle of the engine.

    Attributes:
        observation: What it saw.
        decision: What it decided; the explanation has what acting met too.
        stored: The state after acting, and its revision.
    """

    observation: Observation
    decision: Decision
    stored: Stored

    @property
    def state(self) -> State:
        """The state as it is stored after the cycle."""
        return self.stored.state

    @property
    def problems(self) -> Mapping[str, str]:
        """The ports that do not answer, or do not do what they were asked, and why.

        A ledger that does not fit its anchor is none of them: the state has an alert for it.
        """
        seen = {part: why for part, why in self.observation.problems.items() if part != LEDGER}
        return {**failing(self.state.outbox), **seen}


def _always() -> bool:
    return True


class Engine:
    """Turns the loop of one model. Call ``cycle`` every few seconds; one engine, one thread.

    ``sign`` signs the ledger's heads that go to the registry (``noria.loop.anchor``).
    ``leads`` says whether this engine may act still: one that may not leaves its outbox to
    the engine that leads now.

    Two engines on one store do no harm: the store's compare-and-swap lets one of
    them win, and actions are idempotent.
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
        sign: Sign | None = None,
        leads: Callable[[], bool] = _always,
    ) -> None:
        self._spec = model.spec
        self._name = model.metadata.name
        self._pipelines = pipelines
        self._registry = registry
        self._traffic = traffic
        self._metrics = metrics
        self._store = store
        self._clock = clock
        self._leads = leads
        self._actuator = Actuator(
            self._name, pipelines, registry, traffic, alerts or LoggedAlerts(), leads
        )
        self._anchoring = Anchoring(self._name, registry, store, sign)
        self._digest = hashlib.sha256(model.spec.model_dump_json().encode()).hexdigest()

    def cycle(self) -> Cycle:
        """Turn once: redo what a crash left, observe, decide, persist, act.

        Raises:
            StoreError: The store doesn't answer. Nothing was done that it doesn't know of.
            Conflict: Others kept writing the state. Call again.
        """
        redone, stored = self._act(self._load())
        for attempt in range(1, _ATTEMPTS + 1):
            decision, observation = self._decide(stored)
            try:
                stored = self._persist(stored, decision, observation)
            except Conflict:
                if attempt == _ATTEMPTS:
                    raise
                stored = self._load()
                continue
            break
        met, stored = self._act(stored) if decision.actions else ((), stored)
        told = self._anchor(stored.state, observation)
        explanation = (*redone, *decision.explanation, *met, *told)
        told_of = msgspec.structs.replace(decision, explanation=explanation)
        return Cycle(observation, told_of, stored)

    def plan(self) -> Decision:
        """Return what ``cycle`` would decide now. Changes nothing; for ``status``."""
        return self._decide(self._load())[0]

    def state(self) -> State:
        """Return the state as it is stored."""
        return self._load().state

    def observe(self, state: State) -> Observation:
        """Look at everything that ``decide`` needs. A part that fails is a problem, not an end."""
        problems: dict[str, str] = {}
        registry = self._see_registry(problems)
        self._see_anchor(state, problems)
        return Observation(
            registry=registry,
            traffic=self._see_traffic(problems),
            run=self._see_run(state, problems),
            measurements=tuple(
                self._measure(query, problems) for query in rollout.queries(self._spec, state)
            ),
            signals=self._see_signals(problems),
            inbox=self._store.inbox(self._name),
            labelled_rows=self._labelled_rows(state, state.champion_as_of, problems),
            change_rows=self._labelled_rows(
                state, state.change.since if state.change else None, problems
            ),
            rows_per_day=self._rows_per_day(state, problems),
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

    def _persist(self, stored: Stored, decision: Decision, observation: Observation) -> Stored:
        consumed = tuple(message.id for message in observation.inbox)
        if decision.state == stored.state and not consumed:
            return stored
        return self._write(stored, decision.state, decision, consumed)

    def _write(
        self, stored: Stored, state: State, decision: Decision, consumed: Sequence[str] = ()
    ) -> Stored:
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
        revision = self._store.compare_and_swap(
            self._name, state, stored.revision, entries, consumed
        )
        return Stored(state, revision)

    def _act(self, stored: Stored) -> tuple[tuple[Note, ...], Stored]:
        """Do the outbox and cross out what is done."""
        if not stored.state.outbox:
            return (), stored
        acted = self._actuator.act(stored.state.outbox, self._clock.now())
        for attempt in range(1, _ATTEMPTS + 1):
            outbox = acted.apply(stored.state.outbox)
            if outbox == stored.state.outbox:
                break
            crossed = msgspec.structs.replace(stored.state, outbox=outbox)
            try:
                stored = self._write(stored, crossed, Decision(crossed, (), acted.notes))
            except Conflict:
                if attempt == _ATTEMPTS:
                    raise
                stored = self._load()
                continue
            break
        return acted.notes, stored

    def _see_registry(self, problems: dict[str, str]) -> RegistryView | None:
        try:
            champion = self._registry.alias(self._name, CHAMPION)
            if champion is None:
                return RegistryView(None, versions=self._registry.versions(self._name))
            return RegistryView(champion, self._registry.version(self._name, champion))
        except NoriaError as error:
            problems["registry"] = str(error)
            return None

    def _see_anchor(self, state: State, problems: dict[str, str]) -> None:
        if "registry" in problems:
            return
        try:
            broken = self._anchoring.problem(state)
        except NoriaError as error:
            problems["registry"] = str(error)
            return
        if broken:
            problems[LEDGER] = broken

    def _anchor(self, state: State, observation: Observation) -> tuple[Note, ...]:
        """Anchor the ledger's head, unless it does not fit the last anchor, which is evidence."""
        if LEDGER in observation.problems or not self._leads():
            return ()
        note = self._anchoring.keep(state)
        return () if note is None else (note,)

    def _see_traffic(self, problems: dict[str, str]) -> TrafficView | None:
        try:
            ready = dict(self._traffic.ready(self._name))
            weights = dict(self._traffic.weights(self._name))
            down = {} if all(ready.values()) else dict(self._traffic.problems(self._name))
            return TrafficView(ready, weights, down)
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

    def _measure(self, query: MetricQuery, problems: dict[str, str]) -> Compared:
        """Measure a candidate; and its champion apart when the source gives no baseline."""
        try:
            seen = self._metrics.measure(query)
            if query.champion is None or seen.baseline is not None or seen.problem:
                return seen
            alone = msgspec.structs.replace(query, version=query.champion, champion=None)
            base = self._metrics.measure(alone)
        except NoriaError as error:
            problems["metrics"] = str(error)
            return Compared(query.metric, query.version, None, 0, problem=str(error))
        return msgspec.structs.replace(
            seen,
            baseline=base.value,
            baseline_low=base.low,
            baseline_high=base.high,
            baseline_samples=base.samples,
            problem=base.problem,
        )

    def _labelled_rows(
        self, state: State, since: datetime | None, problems: dict[str, str]
    ) -> int | None:
        if not self._spec.retraining.signals or state.champion is None or since is None:
            return None
        query = MetricQuery(self._name, state.champion, LABELLED_ROWS, since)
        seen = self._measure(query, problems)
        return None if seen.problem else seen.samples

    def _rows_per_day(self, state: State, problems: dict[str, str]) -> float | None:
        """Ask for the traffic's rate while a candidate needs it, or it stands for labels."""
        since = state.champion_as_of
        needed = state.run or state.rollout or not state.labels_come
        if state.champion is None or since is None or not needed:
            return None
        query = MetricQuery(self._name, state.champion, ROWS_PER_DAY, since)
        seen = self._measure(query, problems)
        logged = self._spec.serving.payload_log.sample
        value = None if seen.problem else finite(seen.value)
        return None if value is None or not logged else value / logged
