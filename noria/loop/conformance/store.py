"""What every ``Store`` must show."""

# ruff: noqa: D102 - a test's name is its documentation

from __future__ import annotations

import threading
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from noria.errors import Conflict
from noria.loop import ledger
from noria.loop.conformance import expect
from noria.loop.ledger import GENESIS, Head, LedgerEntry
from noria.loop.ports import Store
from noria.loop.state import Note, State
from noria.loop.values import Command, Signal, SignalKind, Verb

MODEL = "flights"
_AT = datetime(2026, 1, 1, tzinfo=UTC)


class StoreDriver(Protocol):
    """The world behind the adapter: empty at first."""

    port: Store

    def reopen(self) -> Store:
        """Return another store on the same data, as another process has it."""


class StoreConformance:
    """All of a write or none of it, and never over somebody else's."""

    def test_an_unknown_model_has_nothing(self, driver: StoreDriver) -> None:
        expect.same(driver.port.load("no-such-model"), None, "state")
        expect.same(list(driver.port.entries("no-such-model")), [], "entries")
        expect.same(driver.port.inbox("no-such-model"), (), "inbox")

    def test_a_state_comes_back_as_it_went(self, driver: StoreDriver) -> None:
        state = State(MODEL, champion="3", champion_as_of=_AT, losses=2)
        revision = driver.port.compare_and_swap(MODEL, state, 0, ())
        stored = driver.reopen().load(MODEL)
        if stored is None:
            raise AssertionError("the state was written and is not found")
        expect.same((stored.state, stored.revision), (state, revision), "state and revision")

    def test_a_write_on_an_old_revision_changes_nothing(self, driver: StoreDriver) -> None:
        port, first = driver.port, State(MODEL)
        revision = port.compare_and_swap(MODEL, first, 0, ())
        port.submit(MODEL, _command("c1"))
        late = State(MODEL, champion="9")
        for wrong in (0, revision + 1):
            expect.refused(
                Conflict,
                partial(port.compare_and_swap, MODEL, late, wrong, (_entry(GENESIS),), ("c1",)),
            )
        stored = port.load(MODEL)
        expect.same(stored is not None and stored.state, first, "state")
        expect.same(list(port.entries(MODEL)), [], "entries")
        expect.same(len(port.inbox(MODEL)), 1, "messages in the inbox")

    def test_entries_come_back_in_order_and_whole(self, driver: StoreDriver) -> None:
        entries = _chain(3)
        revision = driver.port.compare_and_swap(MODEL, State(MODEL), 0, entries[:1])
        driver.port.compare_and_swap(MODEL, State(MODEL), revision, entries[1:])
        found = list(driver.reopen().entries(MODEL))
        expect.same(found, entries, "entries")
        expect.same(ledger.verify(found, entries[-1].head), entries[-1].head, "head")
        expect.same(list(driver.port.entries(MODEL, after=2)), entries[2:], "entries after 2")

    def test_an_entry_that_does_not_follow_is_a_conflict(self, driver: StoreDriver) -> None:
        first, _, third = _chain(3)
        port = driver.port
        revision = port.compare_and_swap(MODEL, State(MODEL), 0, (first,))
        for wrong in (first, third):
            expect.refused(
                Conflict,
                partial(
                    port.compare_and_swap,
                    MODEL,
                    State(MODEL, champion="9"),
                    revision,
                    (wrong,),
                ),
            )
        stored = port.load(MODEL)
        expect.same(stored is not None and stored.state.champion, None, "champion in the state")
        expect.same(list(port.entries(MODEL)), [first], "entries")

    def test_a_message_is_kept_once(self, driver: StoreDriver) -> None:
        expect.true(driver.port.submit(MODEL, _command("c1")), "new")
        expect.true(not driver.reopen().submit(MODEL, _command("c1")), "new, again")
        expect.same(driver.reopen().inbox(MODEL), (_command("c1"),), "inbox")

    def test_messages_keep_their_order_and_their_kind(self, driver: StoreDriver) -> None:
        sent = (_command("z"), Signal("a", SignalKind.DRIFT, "s", _AT, "d", "1"), _command("b"))
        for message in sent:
            driver.port.submit(MODEL, message)
        driver.port.submit("another", _command("x"))
        expect.same(driver.port.inbox(MODEL), sent, "inbox")

    def test_a_consumed_message_stays_consumed(self, driver: StoreDriver) -> None:
        for key in ("c1", "c2"):
            driver.port.submit(MODEL, _command(key))
        driver.port.compare_and_swap(MODEL, State(MODEL), 0, (), ("c1",))
        expect.same([m.id for m in driver.reopen().inbox(MODEL)], ["c2"], "inbox")
        expect.true(not driver.port.submit(MODEL, _command("c1")), "new, again")
        expect.same([m.id for m in driver.port.inbox(MODEL)], ["c2"], "inbox, again")

    def test_models_do_not_mix(self, driver: StoreDriver) -> None:
        driver.port.compare_and_swap(MODEL, State(MODEL), 0, _chain(1))
        driver.port.compare_and_swap("another", State("another"), 0, ())
        expect.same(list(driver.port.entries("another")), [], "entries of another model")

    def test_of_many_writers_at_once_one_wins_each_revision(self, driver: StoreDriver) -> None:
        writers, rounds = 4, 5
        won: list[int] = []
        start = threading.Barrier(writers)

        def write() -> None:
            store = driver.reopen()
            start.wait()
            done = 0
            while done < rounds:
                stored = store.load(MODEL)
                state = stored.state if stored is not None else State(MODEL)
                more = State(MODEL, losses=state.losses + 1)
                try:
                    store.compare_and_swap(MODEL, more, stored.revision if stored else 0, ())
                except Conflict:
                    continue
                done += 1
                won.append(1)

        threads = [threading.Thread(target=write) for _ in range(writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stored = driver.port.load(MODEL)
        expect.same(stored is not None and stored.state.losses, writers * rounds, "writes kept")
        expect.same(len(won), writers * rounds, "writes won")


def _command(key: str) -> Command:
    return Command(key, Verb.PAUSE, _AT, "ann", "a look at it")


def _entry(head: Head) -> LedgerEntry:
    note = Note("test", f"entry after {head.sequence}", {"x": 0.1}, change=True)
    return ledger.append(head, _AT, MODEL, (note,), ())


def _chain(length: int) -> list[LedgerEntry]:
    entries: list[LedgerEntry] = []
    head = GENESIS
    for _ in range(length):
        entries.append(_entry(head))
        head = entries[-1].head
    return entries
