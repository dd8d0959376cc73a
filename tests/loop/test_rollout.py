"""Rollouts: what moves a candidate forward, holds it, or turns it round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from noria.errors import MetricsError, RegistryError, StoreError
from noria.loop import ledger
from noria.loop.fakes import FakeMetrics, FakeRegistry, FakeTraffic, FakeWorld
from noria.loop.ports import CHAMPION, Store
from noria.loop.rollout import held
from noria.loop.state import Decision, Result, RolloutPhase
from noria.loop.values import Compared, MetricQuery, Verb, Verdict
from noria.spec import Model

A_DAY = timedelta(days=1)


def said(decision: Decision) -> str:
    return "\n".join(note.text for note in decision.explanation)


def bring(world: FakeWorld, version: str = "2") -> None:
    """Bring a candidate into its first step, with its traffic confirmed."""
    world.clock.advance(timedelta(days=8))
    world.signal(f"drift-{version}")
    world.cycle()
    world.finish_run(version)
    world.cycle(4)


def good(world: FakeWorld, version: str = "2", samples: int = 600) -> None:
    world.answer("1", 5000, error_rate=0.0, auc=0.70)
    world.answer(version, samples, error_rate=0.001, auc=0.71)


def test_a_good_candidate_takes_over_step_by_step(world: FakeWorld) -> None:
    bring(world)
    assert world.traffic.weights("flights") == {"1": 90, "2": 10}
    good(world)
    world.cycle(8)
    assert world.traffic.splits == [
        {"1": 100},
        {"1": 90, "2": 10},
        {"1": 50, "2": 50},
        {"2": 100},
    ]
    assert world.champion == "2"
    assert dict(world.traffic.ready("flights")) == {"2": True}
    assert world.state.outcomes[-1].result is Result.PROMOTED


def test_the_alias_moves_only_once_all_the_traffic_has(world: FakeWorld) -> None:
    bring(world)
    good(world)
    while world.traffic.weights("flights") != {"2": 100}:
        assert world.champion == "1"
        world.cycle()
    world.cycle(2)
    assert world.champion == "2"


def test_no_data_holds(world: FakeWorld) -> None:
    bring(world)
    decision = world.cycle(10)
    assert "v2: step 1 of 2 (10 %) held: error-rate has no data; auc has no data" in said(decision)
    assert world.traffic.weights("flights") == {"1": 90, "2": 10}


def test_too_few_samples_hold_and_say_how_many_there_are(world: FakeWorld) -> None:
    bring(world)
    good(world, samples=600)
    world.metrics.publish(Compared("auc", "2", 0.75, 212, 0.75, 0.75))
    decision = world.cycle(3)
    assert "v2: step 1 of 2 (10 %) held: auc has 212 of 500 samples" in said(decision)


def test_a_hold_writes_nothing_to_the_ledger(world: FakeWorld) -> None:
    bring(world)
    world.cycle(2)
    before = world.store.load("flights")
    world.cycle(5)
    assert world.store.load("flights") == before


def test_a_step_says_from_its_first_turn_on_what_it_lacks(world: FakeWorld) -> None:
    world.clock.advance(timedelta(days=8))
    world.signal("drift-2")
    world.cycle()
    world.finish_run("2")
    while world.state.rollout is None or world.state.rollout.phase is not RolloutPhase.STEPPING:
        world.cycle()

    (hold,) = world.state.holds
    assert hold.kind == "rollout"
    assert "v2: step 1 of 2 (10 %) held: the traffic is not split as wanted yet" in hold.text
    checks = world.model.spec.serving.canary.analysis
    assert all(f"{check.metric} " in hold.text for check in checks)
    assert "over 500 samples" in hold.text

    good(world, samples=10)
    world.cycle(3)
    assert "auc has 10 of 500 samples" in world.state.holds[0].text
    assert held(world.state) == world.state.holds[0].text

    good(world, samples=600)
    world.cycle(8)
    assert world.champion == "2"
    assert (world.state.holds, held(world.state)) == ((), "")


def test_rows_must_have_been_answered_even_when_no_check_asks_for_errors(
    model: Callable[..., Model],
) -> None:
    canary = {"steps": [10], "minSamples": 500, "analysis": [{"metric": "auc", "min": 0.6}]}
    world = FakeWorld(model(serving={"canary": canary}))
    world.install("1")
    bring(world)
    world.answer("2", 600, auc=0.7)
    assert "0 of 500 rows answered" in said(world.cycle(3))
    world.answer("2", 600, error_rate=1.0)
    assert "0 of 500 rows answered" in said(world.cycle(4))
    world.answer("2", 600, error_rate=0.1)
    world.cycle(5)
    assert world.champion == "2"


def test_inconclusive_for_longer_than_the_timeout_aborts(world: FakeWorld) -> None:
    bring(world)
    good(world, samples=10)
    world.cycle()
    world.clock.advance(A_DAY)
    world.cycle(3)
    assert world.traffic.weights("flights") == {"1": 100}
    assert world.champion == "1"
    (outcome,) = world.state.outcomes
    assert outcome.result is Result.ABORTED
    assert "error-rate has 10 of 500 samples" in outcome.reason


class _Down(FakeMetrics):
    def measure(self, query: MetricQuery) -> Compared:
        raise MetricsError("the monitor does not answer")


def test_a_metric_source_that_is_down_holds_and_then_aborts(world: FakeWorld) -> None:
    bring(world)
    world.metrics = _Down()
    decision = world.cycle(3)
    assert "error-rate can't be measured: the monitor does not answer" in said(decision)
    assert world.traffic.weights("flights") == {"1": 90, "2": 10}
    world.clock.advance(A_DAY)
    world.cycle(3)
    assert world.traffic.weights("flights") == {"1": 100}


def test_one_failed_check_aborts_in_the_same_cycle(world: FakeWorld) -> None:
    bring(world)
    good(world)
    world.answer("2", 600, error_rate=0.5)
    decision = world.cycle()
    assert "error-rate is 0.5, above 0.01" in said(decision)
    assert world.traffic.weights("flights") == {"1": 100}


def test_an_aborted_rollout_keeps_its_evidence(world: FakeWorld) -> None:
    bring(world)
    good(world)
    world.cycle(2)
    world.answer("2", 700, error_rate=0.5)
    world.cycle(4)
    (outcome,) = world.state.outcomes
    first, second = outcome.evidence
    assert (first.percent, second.percent) == (10, 50)
    assert [j.verdict for j in second.judged] == [Verdict.FAIL, Verdict.PASS]
    assert second.judged[0].measurement.value == 0.5
    assert any("aborted" in line for line in ledger.why(world.store.entries("flights")))


def test_an_aborted_candidate_is_retired(world: FakeWorld) -> None:
    bring(world)
    world.answer("2", 600, error_rate=0.5)
    world.cycle(4)
    assert dict(world.traffic.ready("flights")) == {"1": True}


def test_a_candidate_that_never_gets_ready_is_given_up(model: Callable[..., Model]) -> None:
    world = FakeWorld(model(), traffic=FakeTraffic())
    world.install("1")
    world.traffic.make_ready("flights", "1")
    world.cycle(2)
    bring(world)
    assert world.state.rollout is not None
    assert world.state.rollout.phase is RolloutPhase.DEPLOYING
    world.clock.advance(A_DAY)
    world.cycle(3)
    assert world.state.outcomes[-1].result is Result.ABORTED
    assert dict(world.traffic.ready("flights")) == {"1": True}


def test_a_candidate_that_breaks_down_is_aborted_after_a_grace(world: FakeWorld) -> None:
    bring(world)
    world.traffic.break_down("flights", "2")
    world.cycle(2)
    assert world.state.rollout is not None
    assert world.state.rollout.phase is RolloutPhase.STEPPING
    world.cycle(4)
    assert world.state.outcomes[-1].result is Result.ABORTED
    assert world.traffic.weights("flights") == {"1": 100}


def test_one_long_cycle_does_not_use_up_the_grace(world: FakeWorld) -> None:
    bring(world)
    world.traffic.break_down("flights", "2")
    world.cycle(2, every=timedelta(hours=1))
    assert world.traffic.weights("flights") == {"1": 90, "2": 10}
    world.traffic.make_ready("flights", "2")
    world.cycle()
    assert world.state.rollout is not None
    assert world.state.rollout.unready_seen == 0


def test_traffic_that_is_not_as_wanted_is_set_again(world: FakeWorld) -> None:
    bring(world)
    world.clock.advance(timedelta(minutes=1))
    world.traffic.meddle("flights", {"1": 100})
    good(world)
    world.cycle()
    assert world.traffic.weights("flights") == {"1": 90, "2": 10}
    assert any("again asked for" in line for line in ledger.why(world.store.entries("flights")))


def test_no_step_passes_while_the_traffic_is_not_as_wanted(world: FakeWorld) -> None:
    bring(world)
    good(world)
    world.traffic.meddle("flights", {"1": 100})
    world.cycle()
    assert world.state.rollout is not None
    assert world.state.rollout.step == 0


def test_the_champions_traffic_is_put_back_outside_a_rollout_too(world: FakeWorld) -> None:
    world.clock.advance(timedelta(minutes=1))
    world.traffic.meddle("flights", {})
    world.cycle()
    assert world.traffic.weights("flights") == {"1": 100}


def test_a_paused_rollout_waits_and_its_time_stands_still(world: FakeWorld) -> None:
    bring(world)
    good(world)
    world.tell(Verb.PAUSE)
    world.cycle(3, every=A_DAY)
    assert world.traffic.weights("flights") == {"1": 90, "2": 10}
    world.metrics.forget()
    world.tell(Verb.RESUME)
    world.cycle(3)
    assert world.state.rollout is not None
    assert world.state.rollout.phase is RolloutPhase.STEPPING
    good(world)
    world.cycle(8)
    assert world.champion == "2"


def test_a_pause_before_the_first_step_has_no_timeout(model: Callable[..., Model]) -> None:
    world = FakeWorld(model(), traffic=FakeTraffic())
    world.install("1")
    world.traffic.make_ready("flights", "1")
    world.cycle(2)
    bring(world)
    world.tell(Verb.PAUSE)
    world.cycle(3, every=A_DAY)
    assert world.state.rollout is not None
    assert world.state.rollout.phase is RolloutPhase.DEPLOYING


def test_a_paused_rollout_still_aborts_on_a_failure(world: FakeWorld) -> None:
    bring(world)
    world.tell(Verb.PAUSE)
    world.cycle()
    world.answer("2", 600, error_rate=0.5)
    world.cycle(2)
    assert world.traffic.weights("flights") == {"1": 100}


def test_a_person_may_promote_without_waiting(world: FakeWorld) -> None:
    bring(world)
    world.tell(Verb.PROMOTE, reason="it is needed now")
    world.cycle(4)
    assert world.champion == "2"
    assert any("ann (it is needed now)" in x for x in ledger.why(world.store.entries("flights")))


def test_a_person_may_abort(world: FakeWorld) -> None:
    bring(world)
    good(world)
    world.tell(Verb.ABORT)
    world.cycle(3)
    assert world.champion == "1"
    assert world.traffic.weights("flights") == {"1": 100}


def test_an_abort_after_the_alias_moved_takes_it_back(world: FakeWorld) -> None:
    bring(world)
    good(world)
    while world.champion == "1":
        world.cycle()
    world.tell(Verb.ABORT)
    world.cycle(4)
    assert world.champion == "1"
    assert world.traffic.weights("flights") == {"1": 100}
    assert world.state.outcomes[-1].result is Result.ABORTED


def test_a_command_is_obeyed_once_however_often_it_comes(world: FakeWorld) -> None:
    bring(world)
    assert world.tell(Verb.PAUSE, key="p")
    world.cycle()
    world.tell(Verb.RESUME, key="r")
    world.cycle()
    assert not world.tell(Verb.PAUSE, key="p")
    world.cycle()
    assert world.state.rollout is not None
    assert world.state.rollout.paused is None


@pytest.mark.parametrize("verb", [v for v in Verb if v is not Verb.TRAIN])
def test_a_command_without_an_object_is_answered(world: FakeWorld, verb: Verb) -> None:
    world.tell(verb)
    decision = world.cycle()
    assert "ann" in said(decision)
    assert world.store.inbox("flights") == ()
    assert decision.actions == ()


def test_the_first_version_goes_straight_to_all_of_the_traffic(empty: FakeWorld) -> None:
    empty.cycle()
    empty.finish_run("1")
    empty.cycle(5)
    assert empty.traffic.splits == [{"1": 100}]
    assert empty.champion == "1"


def test_the_first_version_must_pass_its_gates(empty: FakeWorld) -> None:
    empty.cycle()
    empty.finish_run("1", gates=empty.gates(Verdict.FAIL, compared=False))
    empty.cycle(5)
    assert empty.champion is None
    assert dict(empty.traffic.ready("flights")) == {}


def test_a_version_registered_before_the_loop_began_is_taken(empty: FakeWorld) -> None:
    empty.register("1")
    empty.cycle(5)
    assert empty.champion == "1"
    assert empty.pipelines.requests == {}


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR])
def test_a_candidate_whose_gates_did_not_pass_gets_no_traffic(
    world: FakeWorld, verdict: Verdict
) -> None:
    world.signal("drift")
    world.cycle()
    world.finish_run("2", gates=world.gates(verdict))
    world.cycle(5)
    assert world.traffic.splits == [{"1": 100}]
    assert world.state.outcomes[-1].result is Result.REFUSED


def test_a_gate_that_was_not_measured_was_not_passed(world: FakeWorld) -> None:
    world.signal("drift")
    world.cycle()
    world.finish_run("2", gates=world.gates()[:1])
    world.cycle(3)
    assert "only 1 of its 2 gates were measured" in world.state.outcomes[-1].reason


def test_a_gate_on_too_few_rows_does_not_pass_whatever_it_says(world: FakeWorld) -> None:
    world.signal("drift")
    world.cycle()
    world.finish_run("2", gates=world.gates(samples=499))
    world.cycle(3)
    assert world.state.outcomes[-1].result is Result.REFUSED


def test_a_candidate_measured_against_a_past_champion_is_refused(world: FakeWorld) -> None:
    world.signal("drift")
    world.cycle()
    world.register("7")
    world.registry.set_alias("flights", CHAMPION, "7", expected="1")
    world.cycle(3)
    world.finish_run("8")
    world.cycle(3)
    assert world.champion == "7"
    outcome = world.state.outcomes[-1]
    assert outcome.reason == "its gates were measured against v1, but the champion is v7"
    assert world.state.losses == 0


def test_a_champion_moved_by_somebody_else_ends_the_rollout(world: FakeWorld) -> None:
    bring(world)
    good(world)
    world.register("7")
    world.registry.set_alias("flights", CHAMPION, "7", expected="1")
    world.cycle(6)
    assert world.champion == "7"
    assert world.traffic.weights("flights") == {"7": 100}
    assert dict(world.traffic.ready("flights")) == {"7": True}
    assert world.state.outcomes[-1].result is Result.ABORTED
    assert world.state.losses == 0


class _MovedMeanwhile(FakeRegistry):
    """Somebody moves the alias between the loop's look at it and its own move."""

    def set_alias(
        self, model: str, alias: str, version: str | None, *, expected: str | None
    ) -> None:
        if version == "2":
            super().set_alias(model, alias, "7", expected=expected)
        super().set_alias(model, alias, version, expected=expected)


def test_a_move_of_the_alias_that_loses_the_race_aborts(model: Callable[..., Model]) -> None:
    world = FakeWorld(model())
    world.registry = _MovedMeanwhile()
    world.install("1")
    world.register("7")
    bring(world)
    good(world)
    world.cycle(10)
    assert world.champion == "7"
    assert world.traffic.weights("flights") == {"7": 100}
    assert [m for m in world.registry.moves if m[2] == "2"] == []
    told = ledger.why(world.store.entries("flights"))
    assert any("given up: alias 'champion'" in line for line in told)
    assert any("aborted, the champion is now v7, not v1" in line for line in told)


class _RegistryDown(FakeRegistry):
    down = False

    def alias(self, model: str, alias: str) -> str | None:
        if self.down:
            raise RegistryError("the registry does not answer")
        return super().alias(model, alias)

    def set_alias(
        self, model: str, alias: str, version: str | None, *, expected: str | None
    ) -> None:
        if self.down:
            raise RegistryError("the registry does not answer")
        super().set_alias(model, alias, version, expected=expected)


def test_a_registry_that_is_down_delays_a_promotion_and_loses_nothing(
    model: Callable[..., Model],
) -> None:
    world = FakeWorld(model())
    registry = world.registry = _RegistryDown()
    world.install("1")
    bring(world)
    good(world)
    registry.down = True
    decision = world.cycle(12)
    assert "the registry does not answer" in said(decision)
    assert world.traffic.weights("flights") == {"2": 100}
    registry.down = False
    world.cycle(8, every=timedelta(seconds=40))
    assert world.champion == "2"
    assert world.state.outbox == ()


def test_a_candidate_that_comes_while_the_registry_is_down_waits(
    model: Callable[..., Model],
) -> None:
    world = FakeWorld(model())
    registry = world.registry = _RegistryDown()
    world.install("1")
    world.signal("drift-1")
    world.cycle()
    world.finish_run("2")
    registry.down = True
    assert "waits until the registry says who is champion" in said(world.cycle(3))
    assert world.state.rollout is None
    registry.down = False
    world.cycle()
    assert world.state.rollout is not None


class _SlowTraffic(FakeTraffic):
    """Takes a split and puts it in force only when it is told to."""

    held: dict[str, int] | None = None
    slow = False

    def set_weights(self, model: str, weights: Mapping[str, int]) -> None:
        if self.slow:
            self.held = dict(weights)
        else:
            super().set_weights(model, weights)


def test_a_split_that_is_asked_for_and_not_in_force_moves_no_alias(
    model: Callable[..., Model],
) -> None:
    world = FakeWorld(model(), traffic=_SlowTraffic(prompt=True))
    world.install("1")
    bring(world)
    good(world)
    while world.traffic.weights("flights") != {"1": 50, "2": 50}:
        world.cycle()
    assert isinstance(world.traffic, _SlowTraffic)
    world.traffic.slow = True
    world.cycle(8)
    assert world.traffic.held == {"2": 100}
    assert world.champion == "1"
    world.traffic.slow = False
    world.cycle(8)
    assert world.champion == "2"


def test_an_abort_takes_back_a_move_of_the_alias_that_is_still_to_be_done(
    model: Callable[..., Model],
) -> None:
    world = FakeWorld(model())
    registry = world.registry = _RegistryDown()
    world.install("1")
    bring(world)
    good(world)
    registry.down = True
    world.cycle(8)
    assert any(p.action.id.endswith("alias/champion") for p in world.state.outbox)
    world.tell(Verb.ABORT)
    world.cycle()
    registry.down = False
    world.cycle(8, every=timedelta(seconds=40))
    assert world.champion == "1"
    assert [move for move in registry.moves if move[2] == "2"] == []
    assert world.traffic.weights("flights") == {"1": 100}


def test_the_loops_own_move_done_twice_after_a_crash_is_no_conflict(world: FakeWorld) -> None:
    bring(world)
    good(world)
    while not any(a.id.endswith("alias/champion") for a in world.engine().plan().actions):
        world.cycle()
    before = world.registry.moves[:]
    real = world.store
    world.store = _LostAcknowledgement(real, writes=1)
    with pytest.raises(StoreError):
        world.cycle()
    assert len(world.registry.moves) == len(before) + 1
    world.store = real
    world.cycle(3)
    assert world.champion == "2"
    assert len(world.registry.moves) == len(before) + 1
    told = ledger.why(world.store.entries("flights"))
    assert not any("given up" in line for line in told)


class _LostAcknowledgement:
    """A store that breaks after some writes: what was acted on is not crossed out."""

    def __init__(self, store: Store, writes: int) -> None:
        self._store = store
        self._writes = writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def compare_and_swap(self, *args: Any, **kwargs: Any) -> int:
        if not self._writes:
            raise StoreError("the disk is full")
        self._writes -= 1
        return self._store.compare_and_swap(*args, **kwargs)


def test_a_champion_that_cannot_be_served_is_an_alert_with_the_reason_until_it_can(
    world: FakeWorld,
) -> None:
    world.traffic.break_down("flights", "1")
    world.cycle()
    assert world.state.alerts == ()  # it may only be starting
    world.traffic.break_down("flights", "1", "its server can't start: no such package")
    decision = world.cycle()
    (alert,) = world.state.alerts
    assert alert.name == "not-served"
    assert alert.text == "v1 can't be served: its server can't start: no such package"
    assert alert.text in said(decision)
    world.cycle()
    world.traffic.make_ready("flights", "1")
    world.cycle()
    assert world.state.alerts == ()
    told = "\n".join(ledger.why(world.store.entries("flights")))
    assert "alert not-served: v1 can't be served" in told
    assert "alert not-served is over" in told


def test_a_candidate_that_cannot_be_served_says_why_when_it_ends(world: FakeWorld) -> None:
    bring(world)
    world.traffic.break_down("flights", "2", "its server has ended")
    for _ in range(5):
        world.cycle(every=timedelta(seconds=60))
    assert world.state.rollout is None
    assert "its server has ended" in world.state.outcomes[-1].reason
    world.cycle(3)
    assert world.state.alerts == ()
