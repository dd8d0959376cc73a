"""The ledger's anchor: whoever writes the whole chain anew is found by what the registry keeps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from noria.errors import IntegrityError, InvalidInput, Unavailable
from noria.loop import archive, ledger
from noria.loop.anchor import Anchor, Evidence, anchors, message, parse, verify_anchored
from noria.loop.decide import LEDGER_ALERT
from noria.loop.fakes import FakeWorld, MemoryStore
from noria.loop.ledger import GENESIS, Head, LedgerEntry
from noria.loop.ports import CHAMPION
from noria.loop.state import Note, State
from noria.loop.values import Command, Verb, to_json
from noria.signing import checker, signer

AT = datetime(2026, 1, 1, tzinfo=UTC)


def chain(texts: list[str], *, start: Head = GENESIS) -> list[LedgerEntry]:
    entries: list[LedgerEntry] = []
    head = start
    for text in texts:
        note = Note("test", text, {}, change=True)
        entries.append(ledger.append(head, AT, "flights", (note,), ()))
        head = entries[-1].head
    return entries


def store_of(model: str, entries: list[LedgerEntry], state: State) -> MemoryStore:
    """Return the store that somebody with access to its file would leave."""
    store = MemoryStore()
    head = entries[-1].head if entries else GENESIS
    store.compare_and_swap(model, msgspec.structs.replace(state, head=head), 0, entries)
    return store


def rewritten(entries: list[LedgerEntry], index: int) -> list[LedgerEntry]:
    """Change one entry, and compute every hash from there on anew."""
    made = list(entries[:index])
    head = made[-1].head if made else GENESIS
    for number, entry in enumerate(entries[index:]):
        notes = entry.notes if number else ({"text": "it was never so", "change": True},)
        made.append(ledger.append(head, entry.at, entry.model, notes, entry.actions))
        head = made[-1].head
    return made


def decisions(world: FakeWorld) -> list[LedgerEntry]:
    return list(world.store.entries(world.name))


def keep_turning(world: FakeWorld) -> None:
    """Let one more thing happen that the ledger tells of."""
    command = Command(f"c{len(decisions(world))}", Verb.TRAIN, world.clock.now(), "ann", "new rows")
    world.store.submit(world.name, command)
    world.cycle(2)


@given(
    texts=st.lists(st.text(max_size=5), min_size=2, max_size=8),
    data=st.data(),
)
def test_a_chain_made_anew_differs_from_its_anchor(texts: list[str], data: st.DataObject) -> None:
    entries = chain(texts)
    anchored = data.draw(st.integers(1, len(entries)))
    edited = data.draw(st.integers(0, anchored - 1))
    known = (Anchor("v1", entries[anchored - 1].head),)
    assert verify_anchored(entries, entries[-1].head, known) == entries[-1].head
    made = rewritten(entries, edited)
    assert ledger.verify(made, made[-1].head) == made[-1].head  # by itself it looks whole
    with pytest.raises(IntegrityError, match="another hash of this decision, on v1"):
        verify_anchored(made, made[-1].head, known)


@given(texts=st.lists(st.text(max_size=5), min_size=1, max_size=6), data=st.data())
def test_a_tail_that_is_cut_below_its_anchor_is_missed(
    texts: list[str], data: st.DataObject
) -> None:
    entries = chain(texts)
    left = data.draw(st.integers(0, len(entries) - 1))
    head = entries[left - 1].head if left else GENESIS
    known = (Anchor("v3", entries[-1].head),)
    with pytest.raises(IntegrityError, match=rf"entries {left + 1} to {len(entries)} are missing"):
        verify_anchored(entries[:left], head, known)


def test_an_empty_ledger_of_a_model_with_a_champion_is_a_break() -> None:
    assert verify_anchored([], GENESIS, ()) == GENESIS
    with pytest.raises(IntegrityError, match="it is empty, and the registry's champion is v4"):
        verify_anchored([], GENESIS, (), champion="4")


def test_every_decision_is_anchored_on_the_champion(world: FakeWorld) -> None:
    assert anchors(world.registry, world.name)[-1].head == world.state.head
    before = world.state.head
    keep_turning(world)
    assert world.state.head.sequence > before.sequence
    assert anchors(world.registry, world.name)[-1] == Anchor("v1", world.state.head)


def test_a_promotion_is_told_with_the_hash_that_it_anchors(world: FakeWorld) -> None:
    world.register("2", champion="1")
    world.registry.set_alias(world.name, CHAMPION, "2", expected="1")
    engine = world.engine()
    said = [note for _ in range(3) for note in engine.cycle().decision.explanation]
    told = [note for note in said if note.kind == "ledger"]
    assert [note.facts["version"] for note in told] == ["2"]
    first = anchors(world.registry, world.name)
    assert {anchor.place for anchor in first} == {"v1", "v2"}
    assert str(told[0].facts["hash"]) in told[0].text


@pytest.mark.parametrize("index", [0, -1])
def test_a_loop_that_turns_on_a_rewritten_ledger_says_so_and_leaves_the_anchor(
    world: FakeWorld, index: int
) -> None:
    keep_turning(world)
    known = anchors(world.registry, world.name)
    entries = decisions(world)
    made = rewritten(entries, index % len(entries))
    world.store = store_of(world.name, made, world.state)
    engine = world.engine()
    engine.cycle()
    (alert,) = [a for a in world.state.alerts if a.name == LEDGER_ALERT]
    assert "the registry keeps another hash of this decision, on v1" in alert.text
    keep_turning(world)
    assert anchors(world.registry, world.name) == known  # the evidence stands
    evidence = Evidence(decisions(world), world.state.head, known)
    with pytest.raises(IntegrityError, match="ledger broken"):
        evidence.verify()


def test_a_loop_on_a_deleted_store_says_so(world: FakeWorld) -> None:
    known = anchors(world.registry, world.name)
    world.store = MemoryStore()
    world.cycle(3)
    assert [a.name for a in world.state.alerts] == [LEDGER_ALERT]
    assert anchors(world.registry, world.name) == known


def test_a_ledger_put_back_ends_the_alert(world: FakeWorld) -> None:
    keep_turning(world)
    whole, state = decisions(world), world.state
    world.store = store_of(world.name, rewritten(whole, 0), state)
    world.cycle()
    assert [a.name for a in world.state.alerts] == [LEDGER_ALERT]
    alerted = msgspec.structs.replace(state, alerts=world.state.alerts)
    world.store = store_of(world.name, whole, alerted)
    world.cycle()
    assert world.state.alerts == ()
    assert anchors(world.registry, world.name)[-1].head == world.state.head


def test_a_registry_that_is_down_neither_breaks_nor_mends_a_ledger(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise Unavailable("the registry does not answer")

    monkeypatch.setattr(world.registry, "anchor", down)
    before = anchors(world.registry, world.name)
    keep_turning(world)
    assert world.state.alerts == ()
    monkeypatch.undo()
    world.cycle()
    assert anchors(world.registry, world.name)[-1].head == world.state.head != before[-1].head


@pytest.mark.parametrize(
    "text", ["", "12", "12:abc", "x:" + "a" * 64, "-1:" + "a" * 64, "²:" + "a" * 64]
)
def test_an_anchor_that_was_edited_is_no_anchor(text: str) -> None:
    with pytest.raises(IntegrityError, match="can't be read"):
        parse("v1", text)


def test_an_anchor_is_read_as_it_was_written() -> None:
    for signature in ("", "c2lnbmF0dXJl+/="):
        anchor = Anchor("v2", Head(12, "ab" * 32), signature)
        assert parse("v2", anchor.text) == anchor


@pytest.fixture
def keys(tmp_path: Path) -> Callable[[str], tuple[Path, Path]]:
    """Make a pair of keys."""

    def make(name: str) -> tuple[Path, Path]:
        key = Ed25519PrivateKey.generate()
        private, public = tmp_path / f"{name}.key", tmp_path / f"{name}.pub"
        private.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        public.write_bytes(
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        return private, public

    return make


def test_a_signed_head_can_only_come_from_the_key(keys: Callable[[str], tuple[Path, Path]]) -> None:
    private, public = keys("ours")
    other, _ = keys("other")
    entries = chain(["a", "b"])
    head = entries[-1].head
    good = Anchor("v1", head, signer(private)(message("flights", head)))
    Evidence(entries, head, (good,)).verify(checker(public), model="flights")
    for signature in ("", "AAAA", "no base64!", signer(other)(message("flights", head))):
        forged = Evidence(entries, head, (Anchor("v1", head, signature),))
        with pytest.raises(IntegrityError, match="is signed by this key"):
            forged.verify(checker(public), model="flights")
    with pytest.raises(IntegrityError, match="is signed by this key"):
        Evidence(entries, head, (good,)).verify(checker(public), model="fares")


def test_a_file_that_is_no_key_is_bad_input(
    keys: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    private, public = keys("ours")
    nonsense = tmp_path / "nonsense.key"
    nonsense.write_bytes(b"\x00\xff" * 100)
    for path in (nonsense, public):
        with pytest.raises(InvalidInput, match="holds no Ed25519 private key"):
            signer(path)
    for path in (nonsense, private):
        with pytest.raises(InvalidInput, match="holds no Ed25519 public key"):
            checker(path)
    with pytest.raises(InvalidInput, match="can't be read: No such file"):
        signer(tmp_path / "missing.key")


def test_an_export_is_checked_without_the_store(keys: Callable[[str], tuple[Path, Path]]) -> None:
    private, public = keys("ours")
    entries = chain(["a", "b", "c"])
    head = entries[-1].head
    lines = list(archive.write("flights", head, entries, (Anchor("v1", head),), signer(private)))
    assert archive.check(lines, checker(public)).head == head
    made = rewritten(entries, 1)
    for forged, why in [
        (lines[:-1], "missing"),
        (lines[:2] + lines[3:], "ledger broken at 2"),
        ([lines[0], *(to_json(e) for e in made)], "ledger broken"),
        (list(archive.write("flights", made[-1].head, made, ())), "not signed by this key"),
        (list(archive.write("fares", head, entries, (), signer(private))), "of model 'flights'"),
    ]:
        with pytest.raises(IntegrityError, match=why):
            archive.check(forged, checker(public))


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"format":"other","model":"m","head":1}']
)
def test_a_file_that_is_no_export_is_bad_input(line: bytes) -> None:
    with pytest.raises(InvalidInput, match="line 1"):
        archive.check([line])
