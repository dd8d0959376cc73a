"""The ledger: any tampering is found, and it is said where."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria.errors import IntegrityError
from noria.loop import ledger
from noria.loop.ledger import GENESIS, Head, LedgerEntry
from noria.loop.state import Note
from noria.loop.values import from_json, to_json

AT = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = st.text(max_size=20)
FACTS = st.dictionaries(
    TEXT,
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(width=64) | TEXT,
    max_size=3,
)


def chain(facts: list[dict[str, Any]]) -> list[LedgerEntry]:
    entries: list[LedgerEntry] = []
    head = GENESIS
    for number, fact in enumerate(facts):
        note = Note("test", f"v{number} did something", fact, change=True)
        entries.append(ledger.append(head, AT + timedelta(hours=number), "flights", (note,), ()))
        head = entries[-1].head
    return entries


CHAINS = st.lists(FACTS, min_size=2, max_size=8).map(chain)


@given(entries=CHAINS)
def test_a_chain_holds_also_after_it_was_written_and_read(entries: list[LedgerEntry]) -> None:
    read = [from_json(to_json(e), LedgerEntry) for e in entries]
    assert read == entries
    assert ledger.verify(read, entries[-1].head) == entries[-1].head


@given(entries=CHAINS, data=st.data())
def test_any_edit_is_found(entries: list[LedgerEntry], data: st.DataObject) -> None:
    head = entries[-1].head
    index = data.draw(st.integers(0, len(entries) - 1))
    entry = entries[index]
    edit: dict[str, Any] = data.draw(
        st.sampled_from(
            [
                {"at": entry.at + timedelta(microseconds=1)},
                {"model": "other"},
                {"notes": ()},
                {"actions": ({"type": "retire", "version": "1"},)},
                {"previous": "f" * 64},
                {"hash": "f" * 64},
                {"sequence": entry.sequence + 1},
            ]
        )
    )
    entries[index] = msgspec.structs.replace(entry, **edit)
    with pytest.raises(IntegrityError, match=f"broken at {index + 1}:"):
        ledger.verify(entries, head)


@given(entries=CHAINS, data=st.data())
def test_an_edit_with_its_hash_made_good_is_found_too(
    entries: list[LedgerEntry], data: st.DataObject
) -> None:
    head = entries[-1].head
    index = data.draw(st.integers(0, len(entries) - 1))
    edited = msgspec.structs.replace(entries[index], notes=({"text": "all is well"},))
    entries[index] = msgspec.structs.replace(edited, hash=ledger.digest(edited))
    # The next entry does not follow it; of the last entry only the state knows the hash.
    broken = min(index + 2, len(entries))
    with pytest.raises(IntegrityError, match=f"broken at {broken}:"):
        ledger.verify(entries, head)


@given(entries=CHAINS, data=st.data())
def test_any_deletion_is_found(entries: list[LedgerEntry], data: st.DataObject) -> None:
    head = entries[-1].head
    index = data.draw(st.integers(0, len(entries) - 1))
    del entries[index]
    with pytest.raises(IntegrityError, match=f"broken at {index + 1}:"):
        ledger.verify(entries, head)


@given(entries=CHAINS, data=st.data())
def test_any_insertion_is_found(entries: list[LedgerEntry], data: st.DataObject) -> None:
    head = entries[-1].head
    index = data.draw(st.integers(0, len(entries)))
    before = entries[index - 1].head if index else GENESIS
    note = Note("test", "nothing to see", {}, change=True)
    entries.insert(index, ledger.append(before, AT, "flights", (note,), ()))
    with pytest.raises(IntegrityError, match="broken at"):
        ledger.verify(entries, head)


@given(entries=CHAINS, data=st.data())
def test_any_reordering_is_found(entries: list[LedgerEntry], data: st.DataObject) -> None:
    head = entries[-1].head
    first = data.draw(st.integers(0, len(entries) - 2))
    second = data.draw(st.integers(first + 1, len(entries) - 1))
    entries[first], entries[second] = entries[second], entries[first]
    with pytest.raises(IntegrityError, match=f"broken at {first + 1}:"):
        ledger.verify(entries, head)


@given(entries=CHAINS, data=st.data())
def test_any_truncation_is_found(entries: list[LedgerEntry], data: st.DataObject) -> None:
    head = entries[-1].head
    kept = data.draw(st.integers(0, len(entries) - 1))
    with pytest.raises(IntegrityError, match=f"broken at {kept + 1}: .* missing"):
        ledger.verify(entries[:kept], head)


def test_a_ledger_that_is_longer_than_the_state_knows_is_found() -> None:
    entries = chain([{}, {}, {}])
    with pytest.raises(IntegrityError, match="broken at 2: the state does not know"):
        ledger.verify(entries, entries[0].head)


def test_a_tail_can_be_checked_alone() -> None:
    entries = chain([{}, {}, {}])
    assert ledger.verify(entries[1:], entries[2].head, start=entries[0].head) == entries[2].head


def test_an_empty_ledger_holds_only_for_a_state_that_never_wrote() -> None:
    assert ledger.verify([], GENESIS) == GENESIS
    with pytest.raises(IntegrityError, match="entries 1 to 3 are missing"):
        ledger.verify([], Head(3, "f" * 64))


def test_why_tells_what_happened_and_can_be_narrowed() -> None:
    entries = chain([{}, {}, {}])
    assert ledger.why(entries)[0] == "    1  2026-01-01 00:00:00  v0 did something"
    assert len(ledger.why(entries)) == 3
    assert len(ledger.why(entries, mention="v1")) == 1
    assert ledger.why(entries, mention="v") == []
    assert ledger.why(entries, kind="breaker") == []
