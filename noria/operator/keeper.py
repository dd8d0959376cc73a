"""Keeps one Model: its objects, its loop, its status; and takes it down when it is deleted."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from noria.errors import Conflict, InvalidInput, NoriaError
from noria.kube.client import KubeClient
from noria.kube.events import Events, EventType
from noria.kube.kinds import MODEL
from noria.loop import ledger
from noria.loop.engine import Engine
from noria.loop.ledger import LedgerEntry
from noria.loop.ports import Clock
from noria.loop.state import StartRun, State
from noria.loop.values import RunPhase
from noria.operator.alerts import AlertEvents, tell
from noria.operator.objects import objects
from noria.operator.owned import OwnedObjects
from noria.operator.ports import Ports, Wiring
from noria.operator.resource import Resource
from noria.operator.settings import Settings
from noria.operator.status import (
    MAX_EXPLANATION,
    Seen,
    changed,
    failed_status,
    refused_status,
    status_of,
    told_to,
)
from noria.signing import signer
from noria.spec import Model
from noria.telemetry import Turned

REPAIR_EVERY: Final = 6
"""How many cycles pass until the owned objects are looked at again."""

MAX_TOLD: Final = 50
"""How many entries of the ledger, at most, a new operator tells that the last one did not."""

PATIENCE: Final = timedelta(minutes=10)
"""How long a deletion waits for Pipelines to cancel the run in flight."""

_OVER: Final = (RunPhase.SUCCEEDED, RunPhase.FAILED, RunPhase.CANCELLED, RunPhase.UNKNOWN)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tools:
    """What all keepers share. ``lost``: another operator may lead by now."""

    client: KubeClient
    settings: Settings
    clock: Clock
    wiring: Wiring
    owned: OwnedObjects
    events: Events
    lost: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class _Loop:
    """The loop of one generation of the spec."""

    generation: int
    model: Model
    ports: Ports
    engine: Engine


class Keeper:
    """One Model of one uid. Its methods wait for each other."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._lock = threading.Lock()
        self._loop: _Loop | None = None
        self._cycles = 0
        self._written: tuple[int, dict[str, Any]] = (0, {})
        self._lines: deque[str] = deque(maxlen=MAX_EXPLANATION)
        self._told_to = 0
        self._owned_problem = ""
        self._retiring = False
        self.turned: Turned | None = None

    def turn(self, resource: Resource) -> None:
        """Turn the loop once, and say in the status what it did.

        Raises:
            NoriaError: The status can't be written.
        """
        with self._lock:
            if self._retiring or resource.deleted is not None:
                return
            try:
                model = resource.model()
            except InvalidInput as error:
                self._refuse(resource, "InvalidSpec", str(error))
                return
            try:
                loop = self._current(resource, model)
                self._take_command(resource, loop)
                self._keep_objects(resource, loop)
                self._turn(resource, loop)
            except NoriaError as error:
                _log.warning("%s/%s: %s", resource.namespace, resource.name, error)
                self._patch(resource, self._failed(resource, str(error)))

    def refuse(self, resource: Resource, reason: str, message: str) -> None:
        """Say why the loop of this Model does not turn.

        Raises:
            NoriaError: The status can't be written.
        """
        with self._lock:
            if not self._retiring and resource.deleted is None:
                self._refuse(resource, reason, message)

    def retire(self, resource: Resource) -> bool:
        """Cancel the run in flight and take down what serves; returns whether all of it is done.

        The loop does not turn any more. Versions stay in the registry.

        Raises:
            NoriaError: A part doesn't do it now; call again.
        """
        with self._lock:
            self._retiring = True
            over = self._cancel(resource)
            gone = self._tools.wiring.remove(resource)
            if over and gone:
                self._close()
            return over and gone

    def close(self) -> None:
        """Wait for the turn that runs, and close connections."""
        with self._lock:
            self._close()

    # The loop ---------------------------------------------------------------------------------

    def _current(self, resource: Resource, model: Model) -> _Loop:
        """Return the loop of this generation; the one of the last is closed."""
        if self._loop is not None and self._loop.generation == resource.generation:
            return self._loop
        self._close()
        self._loop = self._wired(resource, model)
        self._cycles = 0
        return self._loop

    def _wired(self, resource: Resource, model: Model) -> _Loop:
        ports = self._tools.wiring.ports(resource, model)
        key = self._tools.settings.ledger_key
        engine = Engine(
            model,
            pipelines=ports.pipelines,
            registry=ports.registry,
            traffic=ports.traffic,
            metrics=ports.metrics,
            store=ports.store,
            clock=self._tools.clock,
            alerts=AlertEvents(self._tools.events, resource),
            sign=None if key is None else signer(key),
            leads=lambda: not self._tools.lost(),
        )
        return _Loop(resource.generation, model, ports, engine)

    def _take_command(self, resource: Resource, loop: _Loop) -> None:
        """Put a command that stands in the annotations into the inbox, then take it away there."""
        now = self._tools.clock.now()
        try:
            command = resource.command(now)
        except InvalidInput as error:
            tell(self._tools.events, resource, "CommandRefused", str(error), EventType.WARNING)
            command = None
        operations = resource.without_command()
        if command is not None:
            loop.ports.store.submit(resource.name, command)
        if operations:
            try:
                self._tools.client.patch_json(MODEL, resource.name, resource.namespace, operations)
            except Conflict:
                # It is another one by now, or somebody else took it away: the next turn sees.
                return

    def _keep_objects(self, resource: Resource, loop: _Loop) -> None:
        """Repair what the Model owns, now and then. A problem there does not stop the loop."""
        due = self._cycles % REPAIR_EVERY == 0
        self._cycles += 1
        if not due and not self._owned_problem:
            return
        owned = self._tools.owned
        try:
            wanted = objects(resource, loop.model, self._tools.settings, owned.served())
            owned.keep(resource, wanted)
        except NoriaError as error:
            _log.warning("%s/%s: objects: %s", resource.namespace, resource.name, error)
            self._owned_problem = str(error)
        else:
            self._owned_problem = ""

    def _turn(self, resource: Resource, loop: _Loop) -> None:
        cycle = loop.engine.cycle()
        now, state = self._tools.clock.now(), cycle.state
        self.turned = Turned(loop.model, state, now)
        problems = dict(cycle.problems)
        if self._owned_problem:
            problems["objects"] = self._owned_problem
        seen = Seen(
            traffic=cycle.observation.traffic,
            problems=problems,
            monitor=loop.ports.monitor.told(resource.name, state),
            explanation=self._explained(resource, loop, state),
            revision=cycle.stored.revision,
            url=loop.ports.url(),
        )
        before = self._before(resource)
        status = status_of(
            loop.model, state, seen, generation=resource.generation, before=before, now=now
        )
        self._patch(resource, status)

    def _explained(self, resource: Resource, loop: _Loop, state: State) -> tuple[str, ...]:
        """Return the ledger's last lines, and tell what is new in it; read only when it has grown.

        New is what the status doesn't know: who decided it may have died before he told so.
        """
        head = state.head.sequence
        if head != self._told_to:
            told = self._told_to or told_to(self._before(resource))
            told = max(told, head - MAX_TOLD)
            after = min(told, max(self._told_to, head - MAX_EXPLANATION))
            entries = tuple(loop.ports.store.entries(resource.name, after))
            self._lines.extend(ledger.why(entries))
            for entry in entries:
                if entry.sequence > told:
                    self._tell(resource, entry)
            self._told_to = head
        return tuple(line.strip() for line in self._lines)

    def _tell(self, resource: Resource, entry: LedgerEntry) -> None:
        for note in entry.notes:
            kind, text = str(note.get("kind", "")), str(note.get("text", ""))
            if note.get("change"):
                _log.info("%s/%s: %s", resource.namespace, resource.name, text)
            # Alerts are told where they are raised.
            if note.get("change") and kind != "alert":
                tell(self._tools.events, resource, kind.capitalize(), text)

    # The end ----------------------------------------------------------------------------------

    def _cancel(self, resource: Resource) -> bool:
        """Cancel the run in flight; returns whether it is over, or was waited for long enough."""
        stored = self._tools.wiring.store(resource).load(resource.name)
        if stored is None:
            return True
        # A start that is in the outbox may have arrived.
        ids = {
            p.action.request.run_id for p in stored.state.outbox if isinstance(p.action, StartRun)
        }
        if stored.state.run is not None:
            ids.add(stored.state.run.request.run_id)
        pipelines = self._tools.wiring.pipelines(resource)
        try:
            for run_id in ids:
                pipelines.cancel(run_id)
            return all(pipelines.status(run_id).phase in _OVER for run_id in ids)
        except NoriaError as error:
            since = resource.deleted
            if since is None or self._tools.clock.now() - since < PATIENCE:
                raise
            said = f"runs {', '.join(sorted(ids))} may still go on: {error}"
            tell(self._tools.events, resource, "RunNotCancelled", said, EventType.WARNING)
            return True

    # The status -------------------------------------------------------------------------------

    def _refuse(self, resource: Resource, reason: str, message: str) -> None:
        before = self._before(resource)
        now = self._tools.clock.now()
        status = refused_status(
            reason, message, generation=resource.generation, before=before, now=now
        )
        if changed(before, status):
            tell(self._tools.events, resource, reason, message, EventType.WARNING)
        self._patch(resource, status)

    def _failed(self, resource: Resource, message: str) -> dict[str, Any]:
        before = self._before(resource)
        now = self._tools.clock.now()
        return failed_status(message, generation=resource.generation, before=before, now=now)

    def _before(self, resource: Resource) -> Mapping[str, Any]:
        """Return the status that the cluster has: what we wrote, or what was seen later."""
        version, written = self._written
        return written if version >= resource.version else resource.status

    def _patch(self, resource: Resource, status: Mapping[str, Any]) -> None:
        if not changed(self._before(resource), status):
            return
        try:
            made = self._tools.client.patch_status(MODEL, resource.name, resource.namespace, status)
        except Conflict:
            return  # the Model is gone
        self._written = (int(made["metadata"]["resourceVersion"]), made.get("status") or {})

    def _close(self) -> None:
        if self._loop is not None:
            self._loop.ports.close()
            self._loop = None
