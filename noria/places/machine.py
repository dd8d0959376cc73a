"""The loops of a folder of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from noria.embedded.home import Home
from noria.embedded.monitor import MonitorProcess
from noria.embedded.survey import loop_time, store_of, survey, survey_one, turning
from noria.errors import NoriaError, Unavailable
from noria.loop.anchor import Evidence, anchors
from noria.loop.ledger import GENESIS, LedgerEntry
from noria.loop.ports import CHAMPION
from noria.loop.retraining import allowance
from noria.loop.sqlite_store import SqliteStore
from noria.loop.state import State
from noria.loop.values import Command
from noria.places import Detail, Place
from noria.places.watched import Watched, watch
from noria.spec import Model
from noria.view import ModelView

_MONITOR_SECONDS = 5.0


class Machine(Place):
    """Reads the state in a folder. Looking starts nothing and makes nothing."""

    def __init__(self, folder: Path) -> None:
        self._home = Home(folder.absolute())

    @property
    def name(self) -> str:
        """The folder."""
        return str(self._home.root)

    def overview(self) -> Sequence[ModelView]:
        """Return every model that was ever started here."""
        return survey(self._home)

    def detail(self, model: str) -> Detail | None:
        """Return one model."""
        if model not in self._home.names():
            return None
        store, state, resource = store_of(self._home), self.state(model), self._resource(model)
        allowed = None
        if resource is not None and state is not None:
            now = loop_time(self._home, store, model, state)
            allowed = allowance(resource.spec, state, now)
        inbox = () if store is None else store.inbox(model)
        return Detail(survey_one(self._home, model), resource, state, allowed, inbox)

    def state(self, model: str) -> State | None:
        """Return what the loop remembers."""
        self._home.known(model)
        store = store_of(self._home)
        stored = None if store is None else store.load(model)
        return None if stored is None else stored.state

    def turning(self, model: str) -> bool:
        """Whether ``noria up`` runs here, and every loop has turned in it."""
        self._home.known(model)
        return turning(self._home)

    def entries(self, model: str) -> Iterator[LedgerEntry]:
        """Return the ledger."""
        store = store_of(self._home)
        return iter(()) if store is None else store.entries(model)

    def evidence(self, model: str) -> Evidence:
        """Return the ledger, and what the folder's registry knows of it."""
        from noria.registry import MlflowRegistry

        state = self.state(model)
        registry = MlflowRegistry(self._home.tracking_uri, self._home.artifacts)
        head = GENESIS if state is None else state.head
        known = anchors(registry, model)
        return Evidence(self.entries(model), head, known, registry.alias(model, CHAMPION))

    def watched(self, model: str) -> Watched:
        """Ask the monitor, if its process runs."""
        monitor = MonitorProcess(self._home.file(model), self._home.monitor(model))
        if not monitor.alive:
            raise Unavailable("the monitor does not run", fix="noria up")
        with monitor.fresh_client(_MONITOR_SECONDS) as client:
            return watch(client, model)

    def submit(self, model: str, command: Command) -> bool:
        """Put a command into the inbox, which is made when there is none."""
        self._home.known(model)
        return SqliteStore(self._home.store).submit(model, command)

    def _resource(self, model: str) -> Model | None:
        try:
            return self._home.model(model)[0]
        except NoriaError:
            return None  # the view names the problem
