"""The engine and the decision as a whole: pure, total, durable, explained."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria.errors import (
    Conflict,
    IntegrityError,
    InvalidInput,
    StoreError,
    TrafficError,
    Unavailable,
)
from noria.loop import ledger
from noria.loop.decide import decide
from noria.loop.fakes import FakeMetrics, FakeTraffic, FakeWorld, MemoryStore, sample_model
from noria.loop.ledger import LedgerEntry
from noria.loop.sqlite_store import SqliteStore
from noria.loop.state import (
    ActiveRun,
    Breaker,
    Change,
    Observation,
    RegistryView,
    Rollout,
    RolloutPhase,
    RunKind,
    RunRecord,
    State,
    TrafficView,
)
from noria.loop.values import (
    Command,
    Compared,
    GateResult,
    MetricQuery,
    RunPhase,
    RunRequest,
    RunResult,
    RunStatus,
    Signal,
    SignalKind,
    Verb,
    Verdict,
    VersionInfo,
    from_json,
    message_from_json,
    to_json,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = sample_model(
    retraining={
        "signals": ["drift", "performance", "new-data", "schedule"],
        "newData": {"growth": 0.5},
        "schedule": "30d",
    }
).spec

VERSIONS = st.sampled_from(["1", "2", "3"])
MAYBE = st.none() | VERSIONS
TIMES = st.integers(-1000, 1000).map(lambda hours: AT + timedelta(hours=hours))
FLOATS = st.none() | st.floats() | st.floats(0, 1)
GATES = st.lists(
    st.builds(
        GateResult,
        st.just("auc"),
        st.sampled_from(Verdict),
        st.just(""),
        FLOATS,
        FLOATS,
        st.integers(0, 1000),
        FLOATS,
        FLOATS,
    ),
    max_size=3,
).map(tuple)
METRICS = st.dictionaries(st.just("auc"), FLOATS)
INFO = st.builds(
    VersionInfo,
    st.just("flights"),
    VERSIONS,
    TIMES,
    GATES,
    METRICS,
    st.integers(0, 999),
    MAYBE,
    st.just(""),
    st.just(""),
)
REQUEST = st.builds(RunRequest, st.just("run-1"), st.just("flights"), TIMES, st.just("why"), MAYBE)
RESULT = st.builds(RunResult, VERSIONS, st.integers(0, 999), METRICS, GATES, MAYBE)
STATUS = st.builds(
    RunStatus, st.just("run-1"), st.sampled_from(RunPhase), st.just(""), st.none() | RESULT
)
SIGNAL = st.builds(
    Signal,
    st.sampled_from("abc"),
    st.sampled_from(SignalKind),
    st.just("s"),
    TIMES,
    st.just("d"),
    MAYBE,
    st.none() | TIMES,
)
COMMAND = st.builds(Command, st.sampled_from("xyz"), st.sampled_from(Verb), TIMES, st.just("ann"))
MEASUREMENT = st.builds(
    Compared,
    st.sampled_from(["auc", "error-rate"]),
    VERSIONS,
    FLOATS,
    st.integers(0, 2000),
    baseline=FLOATS,
    problem=st.sampled_from(["", "down"]),
)
ROLLOUT = st.builds(
    Rollout,
    VERSIONS,
    MAYBE,
    TIMES,
    TIMES,
    st.just("why"),
    st.sampled_from(RolloutPhase),
    TIMES,
    step=st.integers(0, 5),
    since=st.none() | TIMES,
    paused=st.none() | TIMES,
    forced=st.booleans(),
    unready_since=st.none() | TIMES,
    unready_seen=st.integers(0, 3),
    alias_asked=st.booleans(),
)
STATE = st.builds(
    State,
    st.just("flights"),
    champion=MAYBE,
    champion_as_of=st.none() | TIMES,
    run=st.none() | st.builds(ActiveRun, REQUEST, st.sampled_from(RunKind)),
    runs=st.lists(
        st.builds(RunRecord, st.just("run-1"), st.sampled_from(RunKind), TIMES, st.just("why")),
        max_size=3,
    ).map(tuple),
    pending=st.lists(SIGNAL, max_size=3).map(tuple),
    rollout=st.none() | ROLLOUT,
    losses=st.integers(0, 4),
    breaker=st.none()
    | st.builds(
        Breaker, st.just(AT), st.just(3), st.just("lost"), st.none() | st.integers(0, 4000)
    ),
    openings=st.integers(0, 100),
    change=st.none() | st.builds(Change, TIMES, st.integers(0, 10**9)),
    tried=st.none() | st.integers(0, 10**9),
    thin=st.dictionaries(st.sampled_from(SignalKind), st.integers(0, 100)),
    credit=st.floats(-1e300, 1e300),
    train_asked=st.sampled_from(["", "asked for by ann"]),
)
WEIGHTS = st.dictionaries(VERSIONS, st.sampled_from([0, 10, 50, 90, 100]))
OBSERVATION = st.builds(
    Observation,
    registry=st.none()
    | st.builds(RegistryView, MAYBE, st.none() | INFO, st.lists(INFO, max_size=2).map(tuple)),
    traffic=st.none() | st.builds(TrafficView, st.dictionaries(VERSIONS, st.booleans()), WEIGHTS),
    run=st.none() | STATUS,
    measurements=st.lists(MEASUREMENT, max_size=4).map(tuple),
    signals=st.lists(SIGNAL, max_size=3).map(tuple),
    inbox=st.lists(SIGNAL | COMMAND, max_size=3).map(tuple),
    labelled_rows=st.none() | st.integers(0, 2000),
    change_rows=st.none() | st.integers(0, 10**9),
    rows_per_day=st.none() | st.floats(0, 1e300),
)


@given(state=STATE, observation=OBSERVATION, now=TIMES)
@settings(max_examples=300)
def test_decide_is_total_pure_and_always_explains_itself(
    state: State, observation: Observation, now: datetime
) -> None:
    before = to_json(state)
    decision = decide(SPEC, state, observation, now)
    assert to_json(decision) == to_json(decide(SPEC, state, observation, now))
    assert to_json(state) == before
    assert decision.explanation
    from_json(to_json(decision.state), State)
    ids = [action.id for action in decision.actions]
    assert len(set(ids)) == len(ids)
    waiting = [pending.action for pending in decision.state.outbox]
    assert all(action in waiting for action in decision.actions)
    assert (
        decision.state.run is None
        or decision.state.rollout is None
        or (state.run is not None and state.rollout is not None)
    )


@given(state=STATE, observation=OBSERVATION, now=TIMES)
@settings(max_examples=100)
def test_a_state_reads_back_and_then_decides_the_same(
    state: State, observation: Observation, now: datetime
) -> None:
    read = from_json(to_json(state), State)
    assert to_json(decide(SPEC, read, observation, now)) == to_json(
        decide(SPEC, state, observation, now)
    )


def test_nothing_to_do_is_said_and_not_written(world: FakeWorld) -> None:
    before = world.store.load("flights")
    decision = world.cycle()
    assert decision.explanation[0].text == "v1 has all the traffic; nothing to do"
    assert world.store.load("flights") == before


def test_a_plan_changes_nothing(world: FakeWorld) -> None:
    world.signal("drift-1")
    before = world.store.load("flights")
    planned = world.engine().plan()
    assert [type(a).__name__ for a in planned.actions] == ["StartRun"]
    assert world.store.load("flights") == before
    assert world.pipelines.requests == {}
    assert [a.id for a in world.cycle().actions] == [a.id for a in planned.actions]


def test_a_change_of_the_spec_is_in_the_ledger(world: FakeWorld) -> None:
    world.model = sample_model(gates={"minRows": 100})
    world.cycle()
    told = ledger.why(world.store.entries("flights"), kind="spec")
    assert len(told) == 2
    assert "the spec has changed" in told[1]


class _Flaky(FakeTraffic):
    broken = False

    def set_weights(self, model: str, weights: object) -> None:
        if self.broken:
            raise TrafficError("the gateway does not answer")
        super().set_weights(model, weights)  # type: ignore[arg-type]


def test_an_action_that_fails_is_tried_again_ever_more_seldom(world: FakeWorld) -> None:
    flaky = _Flaky(prompt=True)
    flaky.deploy("flights", "1")
    flaky.broken = True
    world.traffic = flaky
    world.clock.advance(timedelta(minutes=1))
    waits = []
    for _ in range(200):
        world.cycle(every=timedelta(seconds=1))
        (item,) = world.state.outbox
        waits.append(item.attempts)
    # 1, 2, 4, 8, 16, 32, then every 60 seconds: bounded, and never given up.
    assert waits[-1] == 9
    assert world.state.outbox[0].problem == "the gateway does not answer"
    flaky.broken = False
    world.cycle(70, every=timedelta(seconds=1))
    assert flaky.weights("flights") == {"1": 100}
    assert world.state.outbox == ()
    told = ledger.why(world.store.entries("flights"), kind="action")
    assert len(told) == 1


class _Contended(MemoryStore):
    """Another engine writes first, as often as it is told to."""

    rivals = 0

    def compare_and_swap(
        self,
        model: str,
        state: State,
        revision: int,
        entries: Sequence[LedgerEntry],
        consumed: Sequence[str] = (),
    ) -> int:
        if self.rivals:
            self.rivals -= 1
            raise Conflict("another engine was first")
        return super().compare_and_swap(model, state, revision, entries, consumed)


def test_an_engine_that_loses_the_race_reads_and_decides_again() -> None:
    store = _Contended()
    world = FakeWorld(sample_model(), store=store)
    world.install("1")
    world.signal("drift-1")
    store.rivals = 3
    world.cycle()
    assert len(world.pipelines.requests) == 1
    world.tell(Verb.TRAIN)
    store.rivals = 99
    with pytest.raises(Conflict):
        world.cycle()


def test_two_engines_on_one_store_do_everything_once() -> None:
    world = FakeWorld(sample_model())
    world.install("1")
    engines = [world.engine(), world.engine()]
    world.signal("drift-1")
    for turn in range(60):
        engines[turn % 2].cycle()
        world.clock.advance(timedelta(seconds=40))
        if world.pipelines.running():
            world.finish_run("2")
            world.answer("1", 5000, error_rate=0.0, auc=0.7)
            world.answer("2", 600, error_rate=0.0, auc=0.72)
    assert world.champion == "2"
    assert len(world.pipelines.requests) == 1
    assert [m for m in world.registry.moves if m[2] == "2"] == [("champion", "1", "2")]
    ledger.verify(world.store.entries("flights"), world.state.head)


def test_an_engine_that_may_not_act_leaves_its_outbox_to_the_one_that_leads() -> None:
    world = FakeWorld(sample_model())
    world.install("1")
    world.tell(Verb.TRAIN)
    lost = world.engine(leads=lambda: False).cycle()
    assert [type(pending.action).__name__ for pending in lost.state.outbox] == ["StartRun"]
    assert lost.state == world.state
    assert world.pipelines.running() == ()
    assert lost.problems == {}
    led = world.engine().cycle()
    assert len(world.pipelines.running()) == 1
    assert led.state.outbox == ()


def test_a_cycle_returns_what_it_saw_and_what_is_stored() -> None:
    world = FakeWorld(sample_model())
    world.install("1")
    cycle = world.engine().cycle()
    assert cycle.observation.traffic == TrafficView({"1": True}, {"1": 100})
    assert cycle.stored == world.store.load("flights")
    assert cycle.problems == {}


def down(_: object) -> Any:
    raise Unavailable("no answer")


def test_a_cycle_names_the_ports_that_do_not_answer_or_do_not_act() -> None:
    world = FakeWorld(sample_model())
    world.install("1")
    world.pipelines.start = down  # type: ignore[method-assign]
    world.traffic.ready = down  # type: ignore[method-assign]
    world.tell(Verb.TRAIN)
    engine = world.engine()
    for _ in range(2):  # it stays said while the action waits to be tried again
        cycle = engine.cycle()
        assert cycle.observation.traffic is None
        assert cycle.problems == {"pipelines": "no answer", "traffic": "no answer"}


def test_the_loop_runs_on_the_sqlite_store_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "loop.db"
    world = FakeWorld(sample_model(), store=SqliteStore(path))
    world.install("1")
    world.signal("drift-1")
    world.cycle()
    world.finish_run("2")
    world.cycle(4)
    world.store = SqliteStore(path)
    world.answer("1", 5000, error_rate=0.0, auc=0.7)
    world.answer("2", 600, error_rate=0.0, auc=0.72)
    world.cycle(8)
    assert world.champion == "2"
    ledger.verify(world.store.entries("flights"), world.state.head)


def test_an_edit_in_the_database_is_found(tmp_path: Path) -> None:
    path = tmp_path / "loop.db"
    world = FakeWorld(sample_model(), store=SqliteStore(path))
    world.install("1")
    world.signal("drift-1")
    world.cycle(2)
    connection = sqlite3.connect(path)
    connection.execute(
        "UPDATE ledger SET entry = "
        "CAST(replace(CAST(entry AS TEXT), 'p 0.001', 'p 0.9') AS BLOB) WHERE sequence = 2"
    )
    connection.commit()
    connection.close()
    with pytest.raises(IntegrityError, match="ledger broken at 2"):
        ledger.verify(world.store.entries("flights"), world.state.head)


def test_a_store_that_is_no_database_says_so(tmp_path: Path) -> None:
    path = tmp_path / "loop.db"
    path.write_bytes(b"not a database, and long enough to be looked at" * 100)
    with pytest.raises(StoreError, match="not a database"):
        SqliteStore(path)


def test_a_state_that_can_not_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "loop.db"
    store = SqliteStore(path)
    store.compare_and_swap("flights", State("flights"), 0, ())
    connection = sqlite3.connect(path)
    connection.execute("UPDATE state SET state = CAST('{\"model\": 3}' AS BLOB)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match=r"\$\.model"):
        store.load("flights")


_WRITER = """
import sys
from pathlib import Path
from noria.errors import Conflict
from noria.loop import ledger
from noria.loop.ledger import GENESIS
from noria.loop.sqlite_store import SqliteStore
from noria.loop.state import Note, State
from datetime import datetime, UTC
import msgspec
store = SqliteStore(Path(sys.argv[1]))
while True:
    stored = store.load("flights")
    state, revision = (stored.state, stored.revision) if stored else (State("flights"), 0)
    note = Note("test", f"write {state.losses}", {}, change=True)
    entry = ledger.append(state.head, datetime.now(UTC), "flights", (note,), ())
    more = msgspec.structs.replace(state, losses=state.losses + 1, head=entry.head)
    try:
        store.compare_and_swap("flights", more, revision, (entry,))
    except Conflict:
        continue
    print(more.losses, flush=True)
"""


def test_processes_that_write_at_once_and_are_killed_leave_a_whole_chain(tmp_path: Path) -> None:
    path = tmp_path / "loop.db"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, cwd=Path.cwd()
        )
        for _ in range(2)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        time.sleep(0.3)
    finally:
        acknowledged = 0
        for writer in writers:
            writer.kill()
            out, _ = writer.communicate()
            lines = out.split(b"\n")[:-1]
            acknowledged = max([acknowledged, *map(int, lines)])
    store = SqliteStore(path)
    stored = store.load("flights")
    assert stored is not None
    assert stored.state.losses >= acknowledged
    head = ledger.verify(store.entries("flights"), stored.state.head)
    assert head.sequence == stored.state.losses == stored.revision


def test_values_refuse_what_does_not_fit() -> None:
    text = '{"id":"a","kind":"KIND","source":"s","at":"2026-01-01T00:00:00ZONE","detail":""}'
    assert from_json(text.replace("KIND", "drift").replace("ZONE", "Z"), Signal).at == AT
    with pytest.raises(InvalidInput, match=r"\$\.at"):
        from_json(text.replace("KIND", "drift").replace("ZONE", ""), Signal)
    with pytest.raises(InvalidInput, match=r"\$\.kind"):
        from_json(text.replace("KIND", "x").replace("ZONE", "Z"), Signal)
    with pytest.raises(InvalidInput, match="not a message"):
        message_from_json("{}")


def test_a_number_that_is_none_survives_as_no_number() -> None:
    result = RunResult("1", 10, {"auc": float("nan")}, (), None)
    assert from_json(to_json(result), RunResult).metrics == {"auc": None}


def test_the_loop_is_imported_fast_and_without_heavy_libraries() -> None:
    code = (
        "import sys, noria.loop.engine, noria.loop.sqlite_store;"
        "heavy = {'numpy', 'pandas', 'mlflow', 'kfp', 'httpx', 'pytest'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})


def test_an_entry_is_one_line_of_json() -> None:
    entry = ledger.append(ledger.GENESIS, AT, "flights", (), ())
    assert b"\n" not in to_json(entry)
    assert from_json(to_json(entry), LedgerEntry) == entry


class _NoBaselines(FakeMetrics):
    """A source that measures one version at a time."""

    def measure(self, query: MetricQuery) -> Compared:
        return super().measure(msgspec.structs.replace(query, champion=None))


def test_the_champion_is_measured_apart_when_the_source_gives_no_baseline(
    world: FakeWorld,
) -> None:
    world.metrics = _NoBaselines(world.clock, labels_a_day=86_400)
    world.signal("drift-1")
    world.cycle()
    world.finish_run("2")
    world.cycle(4)
    world.answer("1", 5000, error_rate=0.0, auc=0.7)
    world.answer("2", 600, error_rate=0.0, auc=0.72)
    world.cycle(8)
    assert world.champion == "2"
    asked = {(q.version, q.since) for q in world.metrics.queries if q.metric == "auc"}
    assert {version for version, _ in asked} == {"1", "2"}
    assert len({since for version, since in asked if version == "1"}) == 2
