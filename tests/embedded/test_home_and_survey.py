"""The state directory, and looking at it without starting anything."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from noria import embedded
from noria.embedded.home import Home
from noria.errors import InvalidInput, SpecError, StoreError, Unavailable
from noria.files import write_json
from noria.loop.ledger import append
from noria.loop.sqlite_store import SqliteStore
from noria.loop.state import Note, RunKind, RunRecord, State
from noria.loop.values import Command, Moment, RunPhase, Verb
from noria.places.machine import Machine
from noria.process import start_time
from noria.spec import load_model
from noria.view import doing_text

THEN = datetime(2013, 6, 1, tzinfo=UTC)
PAUSE = Command("1", Verb.PAUSE, THEN, "ann", "holidays")


@pytest.fixture
def home(tmp_path: Path, parcels: Path) -> Home:
    """A home that knows one model, never started."""
    made = Home(tmp_path / "home").create()
    made.remember(load_model(parcels), parcels)
    return made


def store(home: Home, state: State, at: Moment = THEN) -> None:
    entry = append(state.head, at, state.model, [Note("x", "it was so", change=True)], ())
    kept = SqliteStore(home.store)
    kept.compare_and_swap(state.model, _with_head(state, entry.head), 0, (entry,), ())


def _with_head(state: State, head: object) -> State:
    import msgspec

    return msgspec.structs.replace(state, head=head)


def test_a_home_knows_the_files_of_its_models(home: Home, parcels: Path) -> None:
    assert home.names() == ("parcels",)
    model, path = home.model("parcels")
    assert (model.metadata.name, path) == ("parcels", parcels)
    with pytest.raises(InvalidInput, match=r"'other' is not known in .*; known: parcels"):
        home.model("other")


def test_a_file_that_went_bad_is_told_when_it_is_asked_for(home: Home, parcels: Path) -> None:
    parcels.write_text("kind: Model")
    with pytest.raises(SpecError):
        home.model("parcels")
    assert home.file("parcels") == parcels


def test_a_home_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreError, match="NORIA_HOME"):
        Home(tmp_path / "taken").create()


def test_looking_at_a_home_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert list(Machine(nowhere).overview()) == []
    assert list(Machine(nowhere).overview()) == []  # twice in one process
    assert not embedded.turning(nowhere)
    embedded.down(nowhere)
    with pytest.raises(InvalidInput, match="known: none yet"):
        embedded.predict(nowhere, "parcels", {"instances": []})
    with pytest.raises(InvalidInput):
        Machine(nowhere).submit("parcels", PAUSE)
    with pytest.raises(InvalidInput):
        Machine(nowhere).state("parcels")
    assert list(Machine(nowhere).entries("parcels")) == []
    assert Machine(nowhere).detail("parcels") is None
    assert not nowhere.exists()


def test_a_model_that_was_never_up_is_not_started_by_looking(home: Home) -> None:
    before = sorted(home.root.rglob("*"))
    (seen,) = Machine(home.root).overview()
    assert (seen.name, doing_text(seen), seen.processes) == ("parcels", "not started", ())
    with pytest.raises(Unavailable, match="noria up"):
        embedded.predict(home.root, "parcels", {"instances": []})
    assert sorted(home.root.rglob("*")) == before


def test_a_home_without_a_running_loop_tells_what_it_was_doing(home: Home) -> None:
    store(home, State("parcels", champion="3", champion_as_of=THEN))
    (seen,) = Machine(home.root).overview()
    assert doing_text(seen) == "stopped (was: serving)"
    assert (seen.champion, seen.url, seen.weights, seen.processes) == ("3", None, {}, ())


def test_a_training_that_made_nothing_is_a_problem(home: Home) -> None:
    run = RunRecord("parcels-1", RunKind.FIRST, THEN, "no version", ended=RunPhase.FAILED)
    store(home, State("parcels", runs=(run,), runs_started=1))
    (seen,) = Machine(home.root).overview()
    assert seen.problem == "run parcels-1 failed, so there is no version to serve"


def test_a_file_that_went_bad_hides_nothing_else(home: Home, parcels: Path) -> None:
    store(home, State("parcels", champion="3", champion_as_of=THEN))
    parcels.unlink()
    (seen,) = Machine(home.root).overview()
    assert seen.champion == "3"
    assert seen.problem is not None
    assert "its file is refused" in seen.problem
    embedded.down(home.root)


@pytest.mark.parametrize(("clock", "left"), [("wall", 100), ("event", 99)])
def test_retrains_are_counted_by_the_loops_own_clock(
    home: Home, parcels: Path, clock: str, left: int
) -> None:
    home.remember(load_model(parcels), parcels, "event" if clock == "event" else "wall")
    run = RunRecord("parcels-2", RunKind.AUTOMATIC, THEN, "drift", ended=RunPhase.SUCCEEDED)
    state = State("parcels", champion="1", champion_as_of=THEN, runs=(run,), runs_started=1)
    store(home, state, THEN + timedelta(days=2))
    (seen,) = Machine(home.root).overview()
    assert seen.retrains_left == left


def test_a_loop_turns_only_once_its_process_says_so(home: Home) -> None:
    note = {"pid": os.getpid(), "started": start_time(os.getpid()), "turned": False}
    write_json(home.supervisor, note)
    assert not embedded.turning(home.root)
    write_json(home.supervisor, {**note, "turned": True})
    assert embedded.turning(home.root)
    write_json(home.supervisor, {**note, "turned": True, "started": "another time"})
    assert not embedded.turning(home.root)


def test_a_command_waits_in_the_inbox(home: Home) -> None:
    place = Machine(home.root)
    assert place.submit("parcels", PAUSE)
    assert not place.submit("parcels", PAUSE)
    assert SqliteStore(home.store).inbox("parcels") == (PAUSE,)
    assert list(place.entries("parcels")) == []
    assert place.evidence("parcels").verify().sequence == 0
