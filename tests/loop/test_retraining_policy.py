"""Retraining: signals become at most one run, and never more than the limits allow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria.errors import PipelineError
from noria.loop import ledger
from noria.loop.fakes import FakePipelines, FakeWorld, sample_model
from noria.loop.ports import CHAMPION, LABELLED_ROWS
from noria.loop.retraining import allowance
from noria.loop.state import Decision, RunKind
from noria.loop.values import Measurement, RunRequest, Signal, SignalKind, Verb, Verdict
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
    world.metrics.publish(Measurement(LABELLED_ROWS, "1", 499, 499))
    world.cycle(2)
    assert world.pipelines.requests == {}
    world.metrics.publish(Measurement(LABELLED_ROWS, "1", 500, 500))
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


def test_candidates_that_do_not_win_open_the_breaker(world: FakeWorld) -> None:
    for number in range(6):
        world.clock.advance(timedelta(days=8))
        world.signal(f"drift-{number}")
        decision = world.cycle()
        if world.pipelines.running():
            lose(world, str(number + 2))
    assert len(world.pipelines.requests) == 3
    assert world.state.breaker is not None
    assert "the loop-breaker is open" in said(decision)
    assert [name for _, name in world.alerts.standing] == ["loop-breaker"]
    assert any("the loop-breaker opens" in x for x in ledger.why(world.store.entries("flights")))


def test_a_person_resets_the_breaker_and_the_waiting_signal_starts_a_run(
    world: FakeWorld,
) -> None:
    test_candidates_that_do_not_win_open_the_breaker(world)
    world.tell(Verb.RESET_BREAKER)
    world.cycle()
    assert world.state.breaker is None
    assert world.alerts.standing == {}
    assert len(world.pipelines.requests) == 4


def test_a_person_may_train_while_the_breaker_is_open_and_it_stays_open(
    world: FakeWorld,
) -> None:
    test_candidates_that_do_not_win_open_the_breaker(world)
    world.tell(Verb.TRAIN)
    world.cycle()
    world.finish_run("20")
    world.cycle(3)
    world.tell(Verb.PROMOTE)
    world.cycle(5)
    assert world.champion == "20"
    assert world.state.breaker is not None


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


@given(
    ends=st.lists(st.sampled_from(["gate", "canary", "person", "time"]), min_size=8, max_size=8),
    limit=st.integers(1, 4),
)
@settings(max_examples=40)
def test_the_breaker_always_stops_the_loop(ends: list[str], limit: int) -> None:
    world = FakeWorld(sample_model(retraining={"cooldown": "0s", "giveUpAfter": limit}))
    world.install("1")
    for number, end in enumerate(ends):
        world.clock.advance(timedelta(days=2))
        world.signal(f"drift-{number}")
        world.cycle()
        if not world.pipelines.running():
            continue
        version = str(number + 2)
        world.finish_run(version, gates=world.gates(Verdict.FAIL) if end == "gate" else None)
        world.cycle(4)
        if end == "canary":
            world.answer(version, 600, error_rate=0.9)
        elif end == "person":
            world.tell(Verb.ABORT, key=f"abort-{number}")
        world.clock.advance(A_DAY)
        world.cycle(4)
    assert len(world.pipelines.requests) == limit
    assert world.state.breaker is not None
    assert world.champion == "1"


def test_signals_are_of_the_kinds_that_the_spec_knows() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        SignalKind("nonsense")
