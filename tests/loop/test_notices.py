"""What starts nothing is written down once, and never does anything."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from noria.loop import ledger
from noria.loop.fakes import FakeWorld, sample_model
from noria.loop.sqlite_store import SqliteStore
from noria.loop.values import Notice, Signal, SignalKind, message_from_json, to_json


def notice(world: FakeWorld, key: str, name: str = "alert Lag", detail: str = "") -> Notice:
    return Notice(key, "alertmanager", world.clock.now(), name, "it is for a person", detail)


def said(world: FakeWorld, kind: str = "notice") -> list[str]:
    return [line[28:] for line in ledger.why(world.store.entries(world.name), kind=kind)]


def test_a_notice_goes_to_the_ledger_with_its_reason_and_is_consumed(world: FakeWorld) -> None:
    world.store.submit(world.name, notice(world, "n1", detail="labels are late"))
    before = world.state
    world.cycle(3)
    assert said(world) == [
        "alert Lag of alertmanager received (labels are late): starts nothing, it is for a person"
    ]
    assert world.store.inbox(world.name) == ()
    after = world.state
    assert (after.pending, after.runs, after.outbox) == (before.pending, before.runs, ())


def test_a_notice_that_comes_again_adds_nothing(world: FakeWorld) -> None:
    for _ in range(3):
        world.store.submit(world.name, notice(world, "n1"))
        world.cycle()
    assert len(said(world)) == 1


def test_notices_that_say_the_same_are_one_sentence(world: FakeWorld) -> None:
    for number in range(200):
        world.store.submit(world.name, notice(world, f"n{number}"))
    world.cycle()
    assert said(world) == [
        "alert Lag of alertmanager received 200 times: starts nothing, it is for a person"
    ]
    (entry,) = [e for e in world.store.entries(world.name) if e.notes[-1]["kind"] != "spec"][-1:]
    assert len(entry.notes[0]["facts"]["ids"]) == 21


def test_many_different_notices_do_not_fill_the_ledger(world: FakeWorld) -> None:
    for number in range(500):
        world.store.submit(
            world.name, notice(world, f"n{number}", f"alert {number:03}", "x" * 50_000)
        )
    world.cycle()
    found = said(world)
    assert len(found) == 21
    assert found[-1].startswith("480 more notices start nothing: 'alert 020, alert 021")
    *_, entry = world.store.entries(world.name)
    assert len(to_json(entry)) < 20_000


def test_a_notice_survives_the_store_and_its_json(tmp_path: Path) -> None:
    world = FakeWorld(sample_model(), store=SqliteStore(tmp_path / "store.db"))
    told = notice(world, "n1", detail="ä")
    world.store.submit(world.name, told)
    assert world.store.inbox(world.name) == (told,)
    assert message_from_json(to_json(told)) == told


def test_a_pushed_signal_that_changes_nothing_is_answered_too(world: FakeWorld) -> None:
    for number in range(3):
        at = world.clock.now() + timedelta(seconds=number)
        signal = Signal(f"s{number}", SignalKind.DRIFT, "alertmanager", at, f"alert {number}", "1")
        world.store.submit(world.name, signal)
    world.clock.advance(timedelta(minutes=1))
    world.cycle()
    assert said(world, "signal") == [
        "drift of alertmanager: alert 0",
        (
            "2 signals (drift of alertmanager (alert 1); drift of alertmanager (alert 2)) ignored: "
            "one about the same waits already"
        ),
    ]
    assert len(world.pipelines.requests) == 1
