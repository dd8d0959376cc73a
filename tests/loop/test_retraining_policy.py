"""Retraining: signals become at most one run, and never more than the limits allow."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria.errors import PipelineError
from noria.loop import ledger
from noria.loop.fakes import FakePipelines, FakeWorld, sample_model
from noria.loop.ports import CHAMPION, LABELLED_ROWS, ROWS_PER_DAY
from noria.loop.retraining import allowance
from noria.loop.state import Decision, Hold, RunKind
from noria.loop.values import (
    Compared,
    GateResult,
    RunRequest,
    Signal,
    SignalKind,
    Verb,
    Verdict,
)
from noria.spec import Model

A_DAY = timedelta(days=1)


def said(decision: Decision) -> str:
    return "\n".join(note.text for note in decision.explanation)


def lose(world: FakeWorld, version: str) -> None:
    world.finish_run(version, gates=world.gates(Verdict.FAIL))
    world.cycle(2)


def test_a_signal_starts_one_run_on_what_is_known_now(world: FakeWorld) -> None:
    now = world.clock.now()
    world.signal("drift-1")
    world.cycle(5)
    (request,) = world.pipelines.requests.values()
    assert request.as_of == now
    assert request.champion == "1"
    assert request.reason == "drift: p 0.001"


def test_many_signals_are_one_run_with_all_their_causes(world: FakeWorld) -> None:
    world.signal("drift-1")
    world.signal("performance-1", SignalKind.PERFORMANCE)
    world.signal("drift-1")
    world.cycle(5)
    (request,) = world.pipelines.requests.values()
    assert request.reason == "drift: p 0.001; performance: p 0.001"


def test_a_signal_that_the_spec_does_not_name_starts_nothing(world: FakeWorld) -> None:
    world.signal("quality", SignalKind.QUALITY)
    assert "spec.retraining.signals does not name quality" in said(world.cycle())
    assert world.pipelines.requests == {}


def test_a_signal_during_the_cooldown_waits_and_is_not_lost(world: FakeWorld) -> None:
    world.signal("drift-1")
    world.cycle()
    lose(world, "2")
    world.clock.advance(A_DAY)
    # Pushed once: nobody will tell it again.
    late = Signal("late", SignalKind.DRIFT, "webhook", world.clock.now(), "again", "1")
    world.store.submit("flights", late)
    assert "the cooldown lasts until" in said(world.cycle(3))
    assert len(world.pipelines.requests) == 1
    world.clock.advance(timedelta(days=7))
    world.cycle()
    assert [r.reason for r in world.pipelines.requests.values()][1:] == ["drift: again"]


def test_a_waiting_signal_about_a_past_champion_is_dropped(world: FakeWorld) -> None:
    world.signal("drift-1")
    world.cycle()
    lose(world, "2")
    world.clock.advance(A_DAY)
    world.signal("drift-2")
    world.cycle(2)
    world.register("7")
    world.registry.set_alias("flights", CHAMPION, "7", expected="1")
    world.cycle(2)
    assert "ignored: it is about v1, the champion is v7" in said(world.cycle())
    assert any(
        "is dropped: it is about v1" in x for x in ledger.why(world.store.entries("flights"))
    )
    world.clock.advance(timedelta(days=30))
    world.cycle(3)
    assert len(world.pipelines.requests) == 1


def test_a_signal_older_than_the_last_runs_data_is_ignored(world: FakeWorld) -> None:
    old = world.clock.now()
    world.clock.advance(A_DAY)
    world.signal("drift-1")
    world.cycle()
    lose(world, "2")
    world.clock.advance(timedelta(days=30))
    world.metrics.signal(
        "flights", Signal("old", SignalKind.PERFORMANCE, "labels", old, "late", "1")
    )
    assert "it is older than the last run's data" in said(world.cycle(3))
    assert len(world.pipelines.requests) == 1


def test_a_signal_of_the_very_moment_that_a_run_started_is_in_its_data(world: FakeWorld) -> None:
    at = world.clock.now()
    world.signal("drift-1")
    world.cycle()
    lose(world, "2")
    world.metrics.signal("flights", Signal("same", SignalKind.PERFORMANCE, "s", at, "d", "1"))
    world.clock.advance(timedelta(days=30))
    world.cycle(3)
    assert len(world.pipelines.requests) == 1


def test_a_signal_from_the_future_starts_one_run_only(world: FakeWorld) -> None:
    ahead = world.clock.now() + timedelta(days=300)
    world.metrics.signal(
        "flights", Signal("ahead", SignalKind.DRIFT, "features", ahead, "clock skew", "1")
    )
    world.cycle()
    lose(world, "2")
    world.clock.advance(timedelta(days=30))
    world.cycle(3)
    assert len(world.pipelines.requests) == 1


def test_no_run_starts_during_a_rollout(world: FakeWorld) -> None:
    world.signal("drift-1")
    world.cycle()
    world.finish_run("2")
    world.cycle(3)
    world.clock.advance(timedelta(hours=1))
    world.signal("drift-2")
    world.tell(Verb.TRAIN)
    assert "v2 is being rolled out; waiting: asked for by ann" in said(world.cycle(2))
    assert world.pipelines.running() == ()
    world.tell(Verb.ABORT)
    world.cycle(4)
    assert len(world.pipelines.running()) == 1


def test_the_daily_limit_holds(model: Callable[..., Model]) -> None:
    world = FakeWorld(model(retraining={"cooldown": "0s", "runsPerDay": 2, "giveUpAfter": 99}))
    world.install("1")
    for number in range(5):
        world.signal(f"drift-{number}")
        world.cycle()
        if world.pipelines.running():
            world.pipelines.fail(world.pipelines.running()[0])
        world.cycle()
        world.clock.advance(timedelta(hours=1))
    assert len(world.pipelines.requests) == 2
    world.clock.advance(A_DAY)
    world.cycle()
    assert len(world.pipelines.requests) == 3


def test_the_budget_holds_and_frees_itself(model: Callable[..., Model]) -> None:
    world = FakeWorld(
        model(
            retraining={
                "cooldown": "0s",
                "runsPerDay": 9,
                "budget": {"runs": 2, "per": "30d"},
                "giveUpAfter": 99,
            }
        )
    )
    world.install("1")
    for number in range(4):
        world.clock.advance(A_DAY)
        world.signal(f"drift-{number}")
        world.cycle()
        if world.pipelines.running():
            lose(world, str(number + 2))
    assert len(world.pipelines.requests) == 2
    assert allowance(world.model.spec, world.state, world.clock.now()).left_in_budget == 0
    world.clock.advance(timedelta(days=30))
    world.cycle()
    assert len(world.pipelines.requests) == 3


def test_the_first_training_uses_no_budget(empty: FakeWorld) -> None:
    empty.cycle()
    empty.finish_run("1")
    empty.cycle(5)
    assert empty.state.runs[0].kind is RunKind.FIRST
    left = allowance(empty.model.spec, empty.state, empty.clock.now())
    assert left.left_in_budget == 6
    assert left.cooldown_until is not None


def test_the_first_training_is_not_repeated_by_itself(empty: FakeWorld) -> None:
    empty.cycle()
    empty.pipelines.fail(empty.pipelines.running()[0])
    empty.cycle(3, every=timedelta(days=30))
    assert len(empty.pipelines.requests) == 1
    assert [a.name for a in empty.state.alerts] == ["run-failed"]
    empty.tell(Verb.TRAIN)
    empty.cycle(2)
    assert len(empty.pipelines.requests) == 2
    empty.finish_run("1")
    empty.cycle(5)
    assert empty.champion == "1"
    assert empty.alerts.standing == {}


def test_a_person_need_not_wait_for_the_cooldown(world: FakeWorld) -> None:
    world.signal("drift-1")
    world.cycle()
    lose(world, "2")
    world.tell(Verb.TRAIN, reason="new labels")
    world.cycle()
    assert world.state.run is not None
    assert world.state.run.kind is RunKind.MANUAL
    assert world.state.run.request.reason == "asked for by ann (new labels)"


def test_a_person_who_asks_twice_gets_one_run_at_a_time(world: FakeWorld) -> None:
    for number in range(3):
        world.tell(Verb.TRAIN, key=f"train-{number}")
    world.cycle(3)
    assert len(world.pipelines.requests) == 1


def test_an_abort_without_a_rollout_cancels_the_run(world: FakeWorld) -> None:
    world.signal("drift-1")
    world.cycle()
    world.tell(Verb.ABORT)
    world.cycle(3)
    assert world.pipelines.running() == ()
    assert world.state.run is None
    assert world.state.losses == 0


class _CancelFails(FakePipelines):
    down = True

    def cancel(self, run_id: str) -> None:
        if self.down:
            raise PipelineError("the runner does not answer")
        super().cancel(run_id)


def test_no_run_starts_beside_one_that_can_not_be_cancelled_yet(world: FakeWorld) -> None:
    pipelines = world.pipelines = _CancelFails()
    world.signal("drift-1")
    world.cycle()
    world.tell(Verb.ABORT)
    world.tell(Verb.TRAIN)
    world.cycle(5)
    assert len(pipelines.requests) == 1
    pipelines.down = False
    world.cycle(10)
    assert len(pipelines.requests) == 2
    assert len(pipelines.running()) == 1


def test_a_failed_run_counts_and_waits_for_a_new_signal(world: FakeWorld) -> None:
    world.signal("drift-1")
    world.cycle()
    world.pipelines.fail(world.pipelines.running()[0], "ingest: no such file")
    world.cycle(2)
    assert "ingest: no such file" in world.state.alerts[0].text
    world.clock.advance(timedelta(days=30))
    world.cycle(3)
    assert len(world.pipelines.requests) == 1
    world.signal("drift-2")
    world.cycle()
    assert len(world.pipelines.requests) == 2
    assert allowance(world.model.spec, world.state, world.clock.now()).left_in_budget == 4


def test_a_lost_run_is_given_up_and_can_not_go_on(world: FakeWorld) -> None:
    world.signal("drift-1")
    world.cycle()
    run_id = world.pipelines.running()[0]
    world.pipelines.forget(run_id)
    world.cycle(2)
    assert world.state.run is not None
    world.cycle(4, every=timedelta(minutes=6))
    assert world.state.run is None
    assert world.state.runs[-1].ended == "unknown"


class _PipelinesDown(FakePipelines):
    down = False

    def start(self, request: RunRequest) -> None:
        if self.down:
            raise PipelineError("the runner does not answer")
        super().start(request)


def test_a_run_that_can_not_be_started_now_is_started_later_and_once(world: FakeWorld) -> None:
    pipelines = world.pipelines = _PipelinesDown()
    pipelines.down = True
    world.signal("drift-1")
    decision = world.cycle(8)
    assert "is not started yet (the runner does not answer)" in said(decision)
    pipelines.down = False
    world.cycle(10)
    assert len(pipelines.requests) == 1
    assert world.state.outbox == ()


def test_enough_new_labelled_rows_start_a_run(model: Callable[..., Model]) -> None:
    world = FakeWorld(model(retraining={"signals": ["new-data"], "newData": {"growth": 0.5}}))
    world.install("1")
    world.metrics.publish(Compared(LABELLED_ROWS, "1", 499, 499))
    world.cycle(2)
    assert world.pipelines.requests == {}
    world.metrics.publish(Compared(LABELLED_ROWS, "1", 500, 500))
    world.cycle(2)
    (request,) = world.pipelines.requests.values()
    assert request.reason == "new-data: 500 labelled rows since 2026-01-01, 500 are enough"
    assert world.metrics.queries[-1].since <= request.as_of


def test_the_calendar_starts_runs(model: Callable[..., Model]) -> None:
    world = FakeWorld(model(retraining={"signals": ["schedule"], "schedule": "30d"}))
    world.install("1")
    world.clock.advance(timedelta(days=29))
    world.cycle()
    assert world.pipelines.requests == {}
    world.clock.advance(timedelta(days=2))
    world.cycle()
    lose(world, "2")
    world.cycle(20, every=A_DAY)
    assert len(world.pipelines.requests) == 1
    world.cycle(12, every=A_DAY)
    assert len(world.pipelines.requests) == 2


BY_ROWS = {
    "signals": ["drift", "performance", "new-data"],
    "newData": {"growth": 0.2},
    "thinning": 2.0,
    "change": {"rows": 1000, "factor": 3},
    "pace": {"ahead": 1},
    "cooldown": "0s",
    "runsPerDay": 24,
    "budget": {"runs": 100, "per": "365d"},
}


@pytest.fixture
def counted() -> FakeWorld:
    """A world with champion v1 of 1,000 rows; a row gets its label only when a test says so."""
    return counted_world()


def counted_world(**policy: object) -> FakeWorld:
    world = FakeWorld(sample_model(retraining={**BY_ROWS, **policy}))
    world.metrics.labels_a_day = 0.0
    world.install("1")
    return world


def grow(world: FakeWorld, rows: int) -> Decision:
    """Let rows get their labels, and an hour pass."""
    world.clock.advance(timedelta(hours=1))
    world.metrics.label(world.clock.now(), rows)
    return world.cycle(3)


def lose_three(**policy: object) -> FakeWorld:
    """Open the loop-breaker: three candidates shown worse, at 3,400 labelled rows."""
    world = counted_world(thinning=1.0, pace={"ahead": 9}, **policy)
    for version in ("2", "3", "4"):
        grow(world, 800)
        lose(world, version)
    return world


def test_candidates_that_were_shown_worse_open_the_breaker() -> None:
    world = lose_three()
    decision = grow(world, 100)
    world.signal("drift-9")
    decision = world.cycle(2)
    assert len(world.pipelines.requests) == 3
    assert world.state.breaker is not None
    assert "drift of features waits: 96 of 680 new labelled rows" in said(decision)
    assert [name for _, name in world.alerts.standing] == ["loop-breaker"]
    lines = ledger.why(world.store.entries("flights"))
    assert any("the loop-breaker opens: 3 candidates in a row were shown worse" in x for x in lines)


def test_the_breaker_closes_by_itself_when_enough_new_rows_have_come() -> None:
    world = lose_three(newData={"growth": 0.05}, signals=["new-data", "quality"])
    assert world.state.breaker is not None
    closes = world.state.breaker.closes
    assert closes == 3400 + 100  # twice the floor's twentieth of the champion's rows
    world.clock.advance(timedelta(hours=1))
    world.signal("q-1", SignalKind.QUALITY)
    decision = grow(world, 90)
    assert "the loop-breaker is open since 2026-01-01" in said(decision)
    assert "10 more labelled rows close it; waiting: quality" in said(decision)
    world.cycle(5, every=timedelta(days=30))
    assert len(world.pipelines.requests) == 3
    grow(world, 10)
    assert world.state.breaker is None
    assert world.alerts.standing == {}
    assert len(world.pipelines.requests) == 4
    lines = ledger.why(world.store.entries("flights"))
    assert any("the loop-breaker closes: 3500 labelled rows" in x for x in lines)
    # The next opening waits for twice as many.
    lose(world, "5")
    for version in ("6", "7"):
        grow(world, 400)
        lose(world, version)
    assert world.state.breaker is not None
    assert world.state.breaker.closes == 4300 + 200


def test_a_breaker_of_an_older_state_closes_too() -> None:
    world = lose_three()
    stored = world.store.load("flights")
    assert stored is not None
    assert stored.state.breaker is not None
    old = msgspec.structs.replace(stored.state.breaker, closes=None)
    state = msgspec.structs.replace(stored.state, breaker=old, openings=0)
    world.store.compare_and_swap("flights", state, stored.revision, ())
    world.cycle(2)
    assert world.state.breaker is not None
    assert world.state.breaker.closes == 3400 + 400
    grow(world, 700)
    assert world.state.breaker is None


def test_what_could_not_be_decided_opens_no_breaker(counted: FakeWorld) -> None:
    for number in range(5):
        grow(counted, 20_000 * 10**number)
        counted.finish_run(str(number + 2), gates=counted.gates(Verdict.INCONCLUSIVE))
        counted.cycle(2)
    assert len(counted.pipelines.requests) == 5
    assert counted.state.breaker is None
    assert counted.state.losses == 0


def test_a_person_resets_the_breaker_and_the_waiting_signal_starts_a_run() -> None:
    world = lose_three(newData={"growth": 0.05})
    world.metrics.label(world.clock.now(), 90)
    world.signal("drift-9")
    world.tell(Verb.RESET_BREAKER)
    world.clock.advance(timedelta(hours=1))
    world.metrics.label(world.clock.now(), 90)
    world.cycle(2)
    assert world.state.breaker is None
    assert world.alerts.standing == {}
    assert len(world.pipelines.requests) == 4


def test_a_person_may_train_while_the_breaker_is_open_and_it_stays_open() -> None:
    world = lose_three()
    world.tell(Verb.TRAIN)
    world.cycle()
    world.finish_run("20")
    world.cycle(3)
    world.tell(Verb.PROMOTE)
    world.cycle(5)
    assert world.champion == "20"
    assert world.state.breaker is not None


# Evidence, in rows.


def test_drift_and_new_rows_wait_for_the_same_floor_and_say_so(counted: FakeWorld) -> None:
    counted.signal("drift-1")
    decision = grow(counted, 199)
    # Rounded down to a hundredth, so that a state is not written for every row.
    assert "drift of features waits: 198 of 200 new labelled rows" in said(decision)
    assert "new-data waits: 198 of 200 new labelled rows" in said(decision)
    lacks = "drift of features waits: 198 of 200 new labelled rows"
    assert Hold("retraining", lacks) in counted.state.holds
    grow(counted, 1)
    (request,) = counted.pipelines.requests.values()
    assert request.reason.startswith("drift: p 0.001; new-data: 200 labelled rows")


def test_tries_that_win_nothing_thin_out_and_a_clear_gain_ends_it(counted: FakeWorld) -> None:
    tries = []
    rows = 1000
    while rows < 20_000:
        rows += 100
        grow(counted, 100)
        if counted.pipelines.running():
            tries.append(rows)
            counted.finish_run(str(len(tries) + 1), gates=counted.gates(Verdict.INCONCLUSIVE))
            counted.cycle(2)
    # A fifth of 1000, two fifths of 1200, four fifths of 1700, 1.6 of 3100, rounded up to 100.
    assert tries == [1200, 1700, 3100, 8100]
    assert counted.state.thin == {SignalKind.NEW_DATA: 4}
    grow(counted, 30_000)
    counted.finish_run("9", gates=with_gain(counted, 0.02, 0.01))
    take_over(counted, "9")
    assert counted.champion == "9"
    assert counted.state.thin == {}


def test_a_gain_that_may_be_chance_takes_one_step_of_the_thinning_back(
    counted: FakeWorld,
) -> None:
    for version in ("2", "3"):
        grow(counted, 1000)
        counted.finish_run(version, gates=counted.gates(Verdict.INCONCLUSIVE))
        counted.cycle(2)
    assert counted.state.thin == {SignalKind.NEW_DATA: 2}
    grow(counted, 3000)
    counted.finish_run("4", gates=with_gain(counted, 0.01, -0.01))
    take_over(counted, "4")
    assert counted.champion == "4"
    assert counted.state.thin == {SignalKind.NEW_DATA: 1}


def test_where_more_rows_bring_nothing_tries_thin_out_though_they_are_let_in(
    counted: FakeWorld,
) -> None:
    grow(counted, 200)
    counted.finish_run("2", gates=with_gain(counted, 0.02, 0.01, worth=0.3))
    take_over(counted, "2")
    assert counted.champion == "2"
    assert counted.state.thin == {SignalKind.NEW_DATA: 1}


def test_where_more_rows_help_a_refusal_thins_nothing_out(counted: FakeWorld) -> None:
    grow(counted, 200)
    gates = with_gain(counted, -0.02, -0.05, worth=2.5, verdict=Verdict.INCONCLUSIVE)
    counted.finish_run("2", gates=gates)
    counted.cycle(2)
    assert counted.champion == "1"
    assert counted.state.thin == {}


def test_where_labels_come_with_the_source_alone_answered_rows_stand_for_them() -> None:
    world = counted_world()
    world.metrics.publish(Compared(ROWS_PER_DAY, "1", 100.0, 0))
    world.clock.advance(timedelta(days=1))
    world.cycle()
    assert not world.pipelines.requests
    world.clock.advance(timedelta(days=1))
    world.cycle(2)
    assert len(world.pipelines.requests) == 1


def test_answered_rows_stand_for_nothing_where_only_what_was_served_is_learned() -> None:
    served = {"use": "alone", "sample": 0.5}
    world = FakeWorld(sample_model(retraining=BY_ROWS, data={"served": served}))
    world.metrics.labels_a_day = 0.0
    world.install("1")
    world.metrics.publish(Compared(ROWS_PER_DAY, "1", 100.0, 0))
    world.clock.advance(timedelta(days=9))
    world.cycle(2)
    assert not world.pipelines.requests
    # Half of the requests are kept: so many labelled rows are half as many to learn from.
    assert "new-data waits: 100 of" in said(grow(world, 200))


def test_a_drift_cancels_the_thinning_once(counted: FakeWorld) -> None:
    for version in ("2", "3"):
        grow(counted, 900)
        counted.finish_run(version, gates=counted.gates(Verdict.INCONCLUSIVE))
        counted.cycle(2)
    assert counted.state.thin == {SignalKind.NEW_DATA: 2}
    assert "new-data waits: 550 of 2240" in said(grow(counted, 560))
    counted.signal("drift-1")
    grow(counted, 1)
    counted.finish_run("4", gates=counted.gates(Verdict.INCONCLUSIVE))
    counted.cycle(2)
    assert counted.state.thin == {SignalKind.NEW_DATA: 3, SignalKind.DRIFT: 1}
    counted.clock.advance(A_DAY)
    counted.signal("drift-2")
    assert "drift of features waits: 676 of 1345" in said(grow(counted, 680))


def with_gain(
    world: FakeWorld,
    gain: float,
    low: float,
    worth: float | None = None,
    verdict: Verdict = Verdict.PASS,
) -> tuple[GateResult, ...]:
    high = 2 * gain - low
    return tuple(
        msgspec.structs.replace(g, value=gain, low=low, high=high, worth=worth, verdict=verdict)
        if g.name == "auc-champion"
        else g
        for g in world.gates()
    )


def take_over(world: FakeWorld, version: str) -> None:
    """Promote the candidate that waits for its canary."""
    world.cycle(3)
    world.tell(Verb.PROMOTE, key=f"promote-{version}")
    world.cycle(5)


def test_a_loss_of_performance_is_learnt_from_by_its_own_rows() -> None:
    world = counted_world(pace={"ahead": 9})
    info = world.registry.version("flights", "1")
    assert info is not None
    world.registry.register(msgspec.structs.replace(info, rows=100_000))
    began = world.clock.now() + timedelta(hours=1)
    grow(world, 400)
    told = world.clock.now() + timedelta(minutes=1)
    world.metrics.signal(
        "flights",
        Signal("p-1", SignalKind.PERFORMANCE, "performance", told, "auc fell", "1", began),
    )
    world.clock.advance(timedelta(minutes=2))
    decision = world.cycle(2)
    assert "performance of performance waits: 400 of 1000 new labelled rows since the change" in (
        said(decision)
    )
    rows, tries = 400, []
    while rows < 30_000:
        rows += 200
        grow(world, 200)
        if world.pipelines.running():
            tries.append(rows)
            world.finish_run(str(len(tries) + 1), gates=world.gates(Verdict.INCONCLUSIVE))
            world.cycle(2)
    # At a fifth of the champion's rows the floor does as well; till then it tries by itself.
    assert tries == [1000, 3000, 9000]
    assert world.state.change is None


def test_tries_go_on_after_a_promotion_while_the_change_is_open() -> None:
    world = counted_world(pace={"ahead": 9})
    info = world.registry.version("flights", "1")
    assert info is not None
    world.registry.register(msgspec.structs.replace(info, rows=100_000))
    world.signal("p-1", SignalKind.PERFORMANCE)
    world.cycle(2)
    grow(world, 1000)
    world.finish_run("2", gates=with_gain(world, 0.02, 0.01))
    world.registry.register(
        msgspec.structs.replace(world.registry.versions("flights")[-1], rows=101_000)
    )
    take_over(world, "2")
    assert world.champion == "2"
    grow(world, 1999)
    assert world.pipelines.running() == ()
    grow(world, 1)
    assert len(world.pipelines.running()) == 1
    assert "3000 labelled rows since the change" in world.state.runs[-1].cause


def test_tries_are_no_more_than_the_rows_have_paid_for(counted: FakeWorld) -> None:
    counted.signal("p-1", SignalKind.PERFORMANCE)
    counted.metrics.label(counted.clock.now(), 10)
    counted.cycle(2)
    world = counted_world(change={"rows": 10, "factor": 2}, pace={"ahead": 1})
    world.signal("p-1", SignalKind.PERFORMANCE)
    world.cycle(2)
    grow(world, 10)
    lose(world, "2")
    decision = grow(world, 30)
    assert "the tries are ahead of the rows: 30 of" in said(decision)
    assert len(world.pipelines.requests) == 1


def test_the_calendar_asks_whatever_the_rows_are() -> None:
    world = counted_world(signals=["schedule"], schedule="30d", pace={"ahead": 0})
    world.clock.advance(timedelta(days=31))
    world.cycle(2)
    assert len(world.pipelines.requests) == 1


def test_runs_may_take_no_more_time_than_the_budget_gives() -> None:
    world = counted_world(
        thinning=1.0, budget={"runs": 100, "per": "30d", "compute": "5h"}, pace={"ahead": 9}
    )
    for version in ("2", "3"):
        grow(world, 4000)
        world.clock.advance(timedelta(hours=3))
        lose(world, version)
    decision = grow(world, 4000)
    assert "runs took 5h in 30 days, which is all that they may" in said(decision)
    world.clock.advance(timedelta(days=30))
    world.cycle(2)
    assert len(world.pipelines.requests) == 3


def test_a_new_signal_that_waits_is_told_to_the_ledger_with_what_holds_it(
    counted: FakeWorld,
) -> None:
    counted.signal("drift-1")
    counted.cycle()
    grow(counted, 50)
    lines = ledger.why(counted.store.entries("flights"))
    assert any("drift of features waits: 0 of 200 new labelled rows" in x for x in lines)


def test_a_winner_begins_the_count_anew(world: FakeWorld) -> None:
    for number in range(2):
        world.clock.advance(timedelta(days=8))
        world.signal(f"drift-{number}")
        world.cycle()
        lose(world, str(number + 2))
    world.clock.advance(timedelta(days=8))
    world.signal("drift-9")
    world.cycle()
    world.finish_run("9")
    world.cycle(4)
    world.answer("1", 5000, error_rate=0.0, auc=0.70)
    world.answer("9", 600, error_rate=0.0, auc=0.72)
    world.cycle(8)
    assert world.champion == "9"
    assert world.state.losses == 0


def test_a_clock_that_goes_back_never_allows_more(world: FakeWorld) -> None:
    world.signal("drift-1")
    world.cycle()
    lose(world, "2")
    world.clock.advance(-timedelta(days=400))
    world.signal("drift-2")
    world.cycle(3)
    assert len(world.pipelines.requests) == 1


SIGNALS = st.lists(
    st.tuples(
        st.integers(0, 3),  # which signal: few, so that they come again
        st.sampled_from(["drift", "performance"]),
        st.integers(-40, 5),  # days: late, on time, or ahead
        st.booleans(),  # pushed, or told by the monitor
        st.integers(0, 48),  # hours until the next
        st.sampled_from(["lose", "win", "fail", "lost", "go on"]),
    ),
    max_size=40,
)


@given(signals=SIGNALS, cooldown=st.integers(0, 4), daily=st.integers(1, 3), runs=st.integers(1, 5))
@settings(max_examples=150)
def test_any_signals_start_at_most_the_runs_that_are_allowed(
    signals: list[tuple[int, str, int, bool, int, str]], cooldown: int, daily: int, runs: int
) -> None:
    policy = {
        "cooldown": f"{cooldown}d",
        "runsPerDay": daily,
        "budget": {"runs": runs, "per": "20d"},
        "giveUpAfter": 99,
    }
    world = FakeWorld(sample_model(retraining=policy))
    world.install("1")
    made = 1
    for key, kind, days, pushed, hours, end in signals:
        at = world.clock.now() + timedelta(days=days)
        signal = Signal(f"{kind}-{key}", SignalKind(kind), "s", at, "d", world.champion)
        if pushed:
            world.store.submit("flights", signal)
        else:
            world.metrics.signal("flights", signal)
        world.cycle(2)
        running = world.pipelines.running()
        if running and end in ("lose", "win"):
            made += 1
            verdict = Verdict.PASS if end == "win" else Verdict.FAIL
            world.finish_run(str(made), gates=world.gates(verdict))
            world.cycle(2)
            world.tell(Verb.PROMOTE, key=f"promote-{made}")
            world.cycle(4)
        elif running and end == "fail":
            world.pipelines.fail(running[0])
        elif running and end == "lost":
            world.pipelines.forget(running[0])
        world.clock.advance(timedelta(hours=hours))
    times = [r.as_of for r in world.pipelines.requests.values()]
    for index, time in enumerate(times):
        earlier = times[:index]
        assert all(time - t >= timedelta(days=cooldown) for t in earlier)
        assert sum(time - t < A_DAY for t in earlier) < daily
        assert sum(time - t < timedelta(days=20) for t in earlier) < runs


ENDS = st.sampled_from(["gate", "unclear", "canary", "person", "time", "win", "fail"])
STEPS = st.lists(
    st.tuples(
        st.integers(0, 3000),  # rows that get their label
        st.sampled_from(["", "drift", "performance"]),
        ENDS,
    ),
    max_size=12,
)


@given(
    steps=STEPS,
    limit=st.integers(1, 3),
    ahead=st.integers(0, 2),
    thinning=st.sampled_from([1.0, 2.0]),
)
@settings(max_examples=30)
def test_tries_stay_within_the_pace_and_no_loop_stops_in_silence(
    steps: list[tuple[int, str, str]], limit: int, ahead: int, thinning: float
) -> None:
    world = counted_world(giveUpAfter=limit, pace={"ahead": ahead}, thinning=thinning)
    known = [1000]
    thin: dict[SignalKind, int] = {}
    for number, (rows, kind, end) in enumerate(steps):
        if kind:
            world.clock.advance(timedelta(minutes=1))
            world.signal(f"{kind}-{number}", SignalKind(kind))
        grow(world, rows)
        known.append(known[-1] + rows)
        won = False
        if world.pipelines.running():
            won = end == "win"
            _end(world, str(number + 2), end, known[-1])
        if not won:
            assert all(world.state.thin.get(k, 0) >= times for k, times in thin.items())
        thin = dict(world.state.thin)
        paid = math.log(known[-1] / known[0]) / math.log(1.2)
        assert len(world.pipelines.requests) <= ahead + paid + 1e-6
        assert (world.state.breaker is not None) == (
            "loop-breaker" in {alert.name for alert in world.state.alerts}
        )
    breaker = world.state.breaker
    if breaker is not None:
        # Rows alone open the way again, and whoever was told is told of that too.
        assert breaker.closes is not None
        grow(world, breaker.closes)
        assert world.state.breaker is None
        assert "loop-breaker" not in {alert.name for alert in world.state.alerts}


def _end(world: FakeWorld, version: str, end: str, rows: int) -> None:
    """End the run in flight and what comes of it."""
    if end == "fail":
        world.pipelines.fail(world.pipelines.running()[0])
        world.cycle(2)
        return
    verdict = {"gate": Verdict.FAIL, "unclear": Verdict.INCONCLUSIVE}.get(end, Verdict.PASS)
    gates = with_gain(world, 0.02, 0.01) if end == "win" else world.gates(verdict)
    world.finish_run(version, gates=gates, rows=rows)
    world.cycle(4)
    if end == "canary":
        world.answer(version, 600, error_rate=0.9)
    elif end == "person":
        world.tell(Verb.ABORT, key=f"abort-{version}")
    elif end == "win":
        world.tell(Verb.PROMOTE, key=f"promote-{version}")
    elif end == "time":
        world.clock.advance(timedelta(days=2))
    world.cycle(5)
    if world.state.rollout is not None:
        world.tell(Verb.ABORT, key=f"over-{version}")
        world.cycle(5)


def test_signals_are_of_the_kinds_that_the_spec_knows() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        SignalKind("nonsense")
