"""``noria replay``: a model's rows, sent to it as requests, by the wall's clock or by their own.

By the wall's clock the model is up already, and ages, cooldowns and budgets go by today. By the
clock of the events the replay runs the loop itself: it moves the clock to each row's event, and
time stands still while a run works, so a run's rows are those whose labels were known when it
started. Nothing here decides anything about the model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from monitoring.exporting import watermark
from noria.clocks import ReplayClock
from noria.embedded.answers import Answers, Summary
from noria.embedded.chronicle import Chronicle
from noria.embedded.home import Home
from noria.embedded.monitor import MonitorProcess
from noria.embedded.supervisor import alone
from noria.embedded.survey import served_at, supervisor
from noria.embedded.system import System
from noria.errors import DataError, InvalidInput, MonitoringError, Unavailable
from noria.loop.ports import CHAMPION
from noria.loop.sqlite_store import SqliteStore
from noria.loop.state import State
from noria.registry import MlflowRegistry
from noria.replay import (
    Client,
    History,
    Labels,
    Replaying,
    infer_body,
    moment,
    read_history,
    steps,
)
from noria.spec import Model, load_model
from noria.tasks.families import require
from noria.tasks.package import Manifest, read_manifest

_HOUR_MS: Final = 3_600_000
_TURNS: Final = (100, 700)
"""How often the loop turns over a replay: one turn for some rows, so many at least and at most."""
_ROWS_OF_TURN: Final = 20
_BUSIER: Final = 4
"""How much more often while a candidate is served."""
_MOST_ROWS: Final = 64
_LABEL_BATCH: Final = 500
_CATCH_UP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.005
_FIRST_SHARE: Final = 0.2
_FIRST_ROWS: Final = 500


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a replay is: its time, rows answered and labels given so far, and what it does."""

    at: datetime
    rows: int
    total: int
    labels: int = 0
    doing: str = "serving"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a replay, in ``seconds`` of wall time.

    ``chronicle`` and ``first``, the package of the version that it began with, are None by the
    wall's clock: others run the loop.
    """

    model: Model
    history: History
    answers: Answers
    seconds: float
    chronicle: Chronicle | None = None
    first: Path | None = None

    def write_report(self, path: Path, command: Sequence[object]) -> Path:
        """Write what happened as one HTML file; ``command`` is what made it. Returns where it is.

        Raises:
            InvalidInput: The replay went by the wall's clock.
            NoriaError: The file can't be written.
        """
        from noria.embedded.reporting import report_of
        from noria.report import write_report

        return write_report(report_of(self, command), path)

    @property
    def summary(self) -> Summary:
        """How good the answers were, on the rows that no version was fitted on."""
        return self.answers.summary(self.model.spec)


class Messenger:
    """Sends rows as requests, and each label once it was known."""

    def __init__(
        self,
        client: Client,
        feedback: Callable[[Sequence[dict[str, Any]]], object],
        history: History,
        answers: Answers,
    ) -> None:
        self._client = client
        self._feedback = feedback
        self._history = history
        self._answers = answers
        self._labels = Labels(history)
        # Request ids of two replays must not meet in one monitor.
        self._run = f"replay-{time.time_ns():x}"
        self.rows = 0
        self.labels = 0

    def request(self, rows: slice) -> None:
        """Ask for predictions of some rows."""
        for start in range(rows.start, rows.stop, _MOST_ROWS):
            part = slice(start, min(start + _MOST_ROWS, rows.stop))
            answer = self._client.infer(infer_body(self._history, part), f"{self._run}-{start}")
            self._answers.take(part, answer)
            self._labels.answered(part, answer.request_id)
            self.rows = part.stop

    def deliver(self, until_ms: int, classes: Sequence[object]) -> Sequence[int]:
        """Send the labels that were known by then; return their rows.

        A label that is none of the champion's ``classes`` is kept back: it would be refused.
        """
        known = self._labels.known(until_ms)
        sent = [dict(label) for _, label in known if not classes or label["label"] in classes]
        for start in range(0, len(sent), _LABEL_BATCH):
            self._feedback(sent[start : start + _LABEL_BATCH])
        self.labels += len(sent)
        return list(dict.fromkeys(row for row, _ in known))


def replay_rows(
    home: Home, model_path: Path, wanted: Replaying, show: Callable[[Progress], None]
) -> Replayed:
    """Send rows to a model that is up, period by period, by the wall's clock.

    Raises:
        Unavailable: The model is not up.
        InvalidInput: The champion was fitted on some of the rows, and they are not to be marked.
        DataError: There is no such row.
        ServingError: The model refuses the rows.
    """
    model = load_model(model_path)
    name = model.metadata.name
    url = served_at(home, name)
    if url is None:
        raise Unavailable(
            f"model {name!r} is not up in {home.root}",
            fix=f"run {home.command('up', '-f', model_path)} first",
        )
    history = read_history(
        model.spec, model_path.parent, wanted.start, wanted.end, file=wanted.rows
    )
    registry = MlflowRegistry(home.tracking_uri, home.artifacts)
    answers = Answers(history, lambda version: read_manifest(registry.package_path(name, version)))
    champion = registry.alias(name, CHAMPION)
    if champion is not None and wanted.seen == "refuse":
        refuse_seen(history, answers.manifest(champion), champion)
    pace = _Pace(history, wanted.speed)
    client = Client(url, name)
    with MonitorProcess(model_path, home.monitor(name)).fresh_client() as monitor:
        messenger = Messenger(client, lambda part: monitor.feedback(name, part), history, answers)
        for end, rows in steps(history, _HOUR_MS):
            pace.wait(end)
            messenger.request(rows)
            messenger.deliver(end, _classes(registry, answers, name))
            show(Progress(moment(end), rows.stop, len(history), messenger.labels))
        messenger.deliver(int(history.label_ms.max()), _classes(registry, answers, name))
    client.close()
    return Replayed(model, history, answers, time.monotonic() - pace.began)


def replay_events(
    home: Home,
    model_path: Path,
    wanted: Replaying,
    show: Callable[[Progress], None],
    tell: Callable[[str], None],
) -> Replayed:
    """Run the loop over rows by the clock of their events, from its first training on.

    ``tell`` hears one sentence for each thing that happens. What was started is stopped at the
    end; the state stays in the home.

    Raises:
        InvalidInput: The home is up, or was by the wall's clock; the replay would go back in
            time; or the champion was fitted on some of the rows, and they are not to be marked.
        DataError: There is no such row, or the first version may not be served.
        NoriaError: A part fails; the message says which and what to do.
    """
    began = time.monotonic()
    model = load_model(model_path)
    require(model.spec)
    _refuse_wall(home, model.name, model_path)
    home.create().keep_private()
    with alone(home):
        told = read_history(model.spec, model_path.parent, None, wanted.end, file=wanted.rows)
        begin = _begin(home, model.name, told, wanted)
        history = told.since(begin)
        clock = ReplayClock(begin)
        system = System(home, model_path, clock=clock, monitor_clock="event")
        try:
            tell(f"{moment(history.event_ms[0]):%Y-%m-%d %H:%M}: {len(history):,} rows to come")
            tell("starting the monitor, the proxy and the registry")
            system.start()
            replay = EventReplay(system, clock, history, show, tell)
            first = replay.package(replay.prepare(seen=wanted.seen))
            replay.run(wanted.speed)
        finally:
            system.stop()
    seconds = time.monotonic() - began
    return Replayed(model, history, replay.answers, seconds, replay.chronicle, first)


class EventReplay:
    """Walks through a history by the clock of its events: requests, labels, turns of the loop.

    Args:
        system: The model's system, started.
        clock: Its clock; it stands at or before the first event.
        history: The rows to come.
        show: Hears where it is, at each turn and while something is waited for.
        tell: Hears each thing that happened, one sentence each.
    """

    def __init__(
        self,
        system: System,
        clock: ReplayClock,
        history: History,
        show: Callable[[Progress], None],
        tell: Callable[[str], None],
    ) -> None:
        self._system = system
        self._clock = clock
        self._history = history
        self._show = show
        self._tell = tell
        self.answers = Answers(history, lambda v: read_manifest(self.package(v)))
        self.chronicle = Chronicle(system)
        self.labelled: list[int] = []
        """The rows whose labels were known so far, in the order in which they were."""
        self._messenger: Messenger | None = None
        self._before = 0

    def package(self, version: str) -> Path:
        """Return the folder of a version's package."""
        return self._system.registry.package_path(self._system.name, version)

    def prepare(self, seen: str = "refuse") -> str:
        """Train a first version where there is none, and return the champion.

        Raises:
            DataError: It may not be served.
            InvalidInput: It was fitted on rows that are to come; not with ``seen`` ``mark``.
        """
        state = self._settle("training a first version")
        champion = state.champion
        if champion is None:
            raise DataError(
                f"{self._system.name}: no version may be served, so there is nothing to replay",
                fix=f"see `noria why {self._system.name}`; --start later trains on more rows",
            )
        if seen == "refuse":
            refuse_seen(self._history, self.answers.manifest(champion), champion)
        return champion

    def run(self, speed: float = 0) -> None:
        """Send every row, and let the loop turn all the while. After ``prepare``."""
        history, system = self._history, self._system
        client = Client(system.url, system.name)
        self._messenger = messenger = Messenger(
            client,
            lambda part: system.monitor.client.feedback(system.name, part),
            history,
            self.answers,
        )
        self._before = system.monitor.client.flush()["rows"]
        first, last = int(history.event_ms[0]), int(history.event_ms[-1])
        turns = min(max(len(history) // _ROWS_OF_TURN, _TURNS[0]), _TURNS[1])
        cycle = max((last - first) // turns, 1000)
        period = min(_HOUR_MS, cycle)
        pace, busy, next_turn = _Pace(history, speed), False, first + cycle
        try:
            for end, rows in steps(history, period):
                pace.wait(end)
                # A request sees what was known before its period, as it did.
                system.features_until(moment(end - period))
                messenger.request(rows)
                self._clock.advance(moment(end))
                if end >= next_turn:
                    busy = self._turn(messenger, end)
                    # A run may take longer than the proxy keeps an idle connection open.
                    client.close()
                    next_turn = end + (cycle // _BUSIER if busy else cycle)
        finally:
            client.close()
        known = max(int(history.label_ms.max()), last) + 1
        self._clock.advance(moment(known))
        self._turn(messenger, known)

    def _turn(self, messenger: Messenger, end: int) -> bool:
        """Deliver what is known, and let the loop turn; return whether a candidate is served."""
        champion = self._system.engine.state().champion
        classes = () if champion is None else self.answers.manifest(champion).classes
        self.labelled += messenger.deliver(end, classes)
        self._catch_up(messenger.rows)
        return self._settle("serving").rollout is not None

    def _catch_up(self, rows: int) -> None:
        """Wait until the monitor has counted every answer: servers send them behind the answer."""
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        while self._system.monitor.client.flush()["rows"] < self._before + rows:
            if time.monotonic() > deadline:
                raise MonitoringError(
                    f"the monitor has not seen all of {rows} answered rows",
                    fix="see the servers' logs in the home's traffic folder",
                )
            time.sleep(_POLL_SECONDS)

    def _settle(self, doing: str) -> State:
        """Turn the engine until it waits for the world: no run, no server still starting."""
        state = self._system.settle(self._showing, self._tell)
        self.chronicle.observe(state)
        rollout = state.rollout
        self._showing(doing if rollout is None else f"canary of v{rollout.version}")
        return state

    def _showing(self, doing: str) -> None:
        self.chronicle.split()
        messenger = self._messenger
        rows, labels = (0, 0) if messenger is None else (messenger.rows, messenger.labels)
        self._show(Progress(self._clock.now(), rows, len(self._history), labels, doing))


class _Pace:
    """Holds a replay back to so many simulated seconds per second; 0: not at all."""

    def __init__(self, history: History, speed: float) -> None:
        self._first = int(history.event_ms[0])
        self._speed = speed
        self.began = time.monotonic()

    def wait(self, end: int) -> None:
        """Wait until the wall has come as far as the simulated time ``end``."""
        if self._speed:
            due = (end - self._first) / 1000 / self._speed
            time.sleep(max(0.0, due - (time.monotonic() - self.began)))


def refuse_seen(history: History, manifest: Manifest, version: str) -> None:
    """Refuse to ask a version about rows that it was fitted on.

    Raises:
        InvalidInput: There are such rows; the message says from when on there are none.
    """
    until = manifest.trained_until
    if until is None:
        return
    seen = int(np.searchsorted(history.event_ms, until, side="right"))
    if not seen:
        return
    fix = "--seen mark has them answered, marked and left out of the metrics"
    if seen < len(history):
        fix = f"--start {_spelled(until)} is the first honest one; {fix}"
    else:
        fix = f"stream rows that are new to it with --rows FILE; {fix}"
    raise InvalidInput(
        f"v{version} was fitted on events until {moment(until):%Y-%m-%dT%H:%M:%S}, and {seen:,} of "
        f"the {len(history):,} rows are not later: what it says of them shows nothing",
        fix=fix,
    )


def _spelled(until_ms: int) -> str:
    """Return the first whole second after a moment, as --start takes it."""
    return f"{moment((until_ms // 1000 + 1) * 1000):%Y-%m-%dT%H:%M:%S}"


def _classes(registry: MlflowRegistry, answers: Answers, name: str) -> Sequence[object]:
    champion = registry.alias(name, CHAMPION)
    return () if champion is None else answers.manifest(champion).classes


def _refuse_wall(home: Home, name: str, model_path: Path) -> None:
    """Refuse a home whose loop goes by the wall's clock: it would be thrown back in time."""
    elsewhere = Home(home.root.with_name(f"{home.root.name}-replay")).command(
        "replay", "-f", model_path, "--clock", "event"
    )
    found = supervisor(home)
    if found is not None:
        raise InvalidInput(
            f"{home.root} is up by the wall's clock (pid {found.pid}), and a replay by event time "
            "runs the loop itself",
            fix=f"give it a folder of its own: {elsewhere}; or {home.command('down')} first",
        )
    if name not in home.names() or home.clock(name) == "event" or not home.store.exists():
        return
    if SqliteStore(home.store).load(name) is not None:
        raise InvalidInput(
            f"the loop of {name!r} in {home.root} went by the wall's clock: events would throw it "
            "back in time",
            fix=f"give the replay a folder of its own: {elsewhere}",
        )


def _begin(home: Home, name: str, told: History, wanted: Replaying) -> datetime:
    """Return where to start: as asked, or at the first row that can be told honestly.

    Raises:
        InvalidInput: The loop in this home is later than that already.
        DataError: There are too few rows to train on some of them.
    """
    reached, fitted = _reached(home, name), _fitted(home, name)
    if wanted.start is not None:
        if reached is not None and wanted.start < reached:
            raise InvalidInput(
                f"--start {wanted.start:%Y-%m-%dT%H:%M:%S}: the loop in {home.root} has come as "
                f"far as {reached:%Y-%m-%dT%H:%M:%S} already",
                fix=f"--start {_spelled(_millis(reached))}, or begin anew in another folder with "
                "--home",
            )
        return wanted.start
    past = max((at for at in (reached, fitted) if at is not None), default=None)
    if past is not None:
        if _millis(past) >= told.event_ms[-1]:
            raise DataError(
                f"the loop in {home.root} has come as far as {past:%Y-%m-%dT%H:%M:%S}, and no row "
                "is later",
                fix="stream later ones with --rows FILE, or begin anew in another folder with "
                "--home",
            )
        return past + timedelta(milliseconds=1)
    if wanted.rows is not None:
        return moment(told.event_ms[0])
    first = max(round(_FIRST_SHARE * len(told)), _FIRST_ROWS)
    if first >= len(told):
        raise DataError(
            f"{len(told)} rows are too few to train on {_FIRST_ROWS} and stream the rest",
            fix="say where the stream begins with --start",
        )
    return moment(told.event_ms[first])


def _reached(home: Home, name: str) -> datetime | None:
    """Return the time that a loop and its monitor have come to, None before any."""
    times: list[datetime] = []
    if home.store.exists():
        times += [entry.at for entry in SqliteStore(home.store).entries(name)][-1:]
    streamed = watermark(home.monitor(name))
    if streamed is not None:
        times.append(datetime.fromtimestamp(streamed, UTC))
    return max(times, default=None)


def _fitted(home: Home, name: str) -> datetime | None:
    """Return the time of the last event that the champion was fitted on."""
    registry = MlflowRegistry(home.tracking_uri, home.artifacts)
    champion = registry.alias(name, CHAMPION)
    if champion is None:
        return None
    until = read_manifest(registry.package_path(name, champion)).trained_until
    return None if until is None else moment(until)


def _millis(at: datetime) -> int:
    return int(at.timestamp() * 1000)
