"""Anything may happen, in any order: what must hold all the same.

The machine plays the world's worst (duplicated, late, reordered and missing
signals, broken versions, meddling with traffic and alias, lost runs, NaN) and
keeps its own books, from the world's side only, to judge the loop by.
"""

from __future__ import annotations

import math
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from noria.errors import Conflict
from noria.loop import ledger
from noria.loop.fakes import FakeWorld, sample_model
from noria.loop.ports import CHAMPION
from noria.loop.state import Result
from noria.loop.values import Compared, Signal, SignalKind, Verb, Verdict

COOLDOWN, DAY, YEAR = timedelta(days=3), timedelta(days=1), timedelta(days=60)
BUDGET = 4


class LoopMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = FakeWorld(
            sample_model(
                retraining={
                    "signals": ["drift", "performance"],
                    "cooldown": "3d",
                    "runsPerDay": 1,
                    "budget": {"runs": BUDGET, "per": "60d"},
                    "giveUpAfter": 2,
                }
            )
        )
        self.world.install("1")
        self.made = 1
        self.moved_by_others = 0
        self.worthy: dict[str, str | None] = {}
        self.shown: set[str] = set()
        self.forced: set[str] = set()
        self.keys = 0

    # What the loop and time do.

    @rule(
        seconds=st.sampled_from([0, 1, 20, 60, 3600]),
        times=st.integers(1, 4),
    )
    def cycle(self, seconds: int, times: int) -> None:
        self.world.cycle(times, every=timedelta(seconds=seconds))

    @rule(hours=st.sampled_from([1, 23, 25, 72, 24 * 20]))
    def wait(self, hours: int) -> None:
        self.world.clock.advance(timedelta(hours=hours))

    @rule()
    def crash_between_persist_and_act(self) -> None:
        # What remains of such a crash is a state whose outbox was not done.
        self.world.engine(leads=lambda: False).cycle()

    # What the pipeline does.

    @precondition(lambda self: self.world.pipelines.running())
    @rule(
        verdict=st.sampled_from([*[Verdict.PASS] * 6, *Verdict]),
        samples=st.sampled_from([5000, 5000, 5000, 10]),
        stale=st.sampled_from([False, False, False, True]),
        dropped=st.sampled_from([0, 0, 0, 1, 2]),
    )
    def finish(self, verdict: Verdict, samples: int, stale: bool, dropped: int) -> None:
        self.made += 1
        version = str(self.made)
        gates = self.world.gates(verdict, samples=samples)
        gates = gates[: len(gates) - dropped] if dropped else gates
        (run_id,) = self.world.pipelines.running()
        against = "0" if stale else self.world.pipelines.requests[run_id].champion
        if verdict is Verdict.PASS and samples >= 500 and not dropped:
            self.worthy[version] = against
        self.world.finish_run(version, gates=gates, champion=against)

    @precondition(lambda self: self.world.pipelines.running())
    @rule(forget=st.booleans())
    def fail(self, forget: bool) -> None:
        (run_id,) = self.world.pipelines.running()
        if forget:
            self.world.pipelines.forget(run_id)
        else:
            self.world.pipelines.fail(run_id)

    # Two longer ways, so that the machine gets far often enough.

    @precondition(lambda self: self.world.champion and not self.world.pipelines.running())
    @rule(wait=st.booleans(), good=st.booleans())
    def a_candidate_comes(self, wait: bool, good: bool) -> None:
        if wait:
            self.world.clock.advance(COOLDOWN)
        self.keys += 1
        self.world.signal(f"candidate-{self.keys}")
        self.world.cycle(2)
        if self.world.pipelines.running():
            verdict = Verdict.PASS if good else Verdict.FAIL
            self.finish(verdict=verdict, samples=5000, stale=False, dropped=0)
            self.world.cycle(3)

    @precondition(lambda self: self.world.state.rollout is not None)
    @rule(steps=st.integers(1, 8), good=st.sampled_from([True, True, False]))
    def the_candidate_shows_itself(self, steps: int, good: bool) -> None:
        rollout = self.world.state.rollout
        assert rollout is not None
        for version in self.world.traffic.ready("flights"):
            self.world.traffic.make_ready("flights", version)
        self.show(samples=5000, errors=0.0 if good else 0.5, auc=0.75, known=True)
        self.world.cycle(steps, every=timedelta(seconds=40))

    # What the traffic shows.

    @precondition(lambda self: self.world.state.rollout is not None)
    @rule(
        samples=st.sampled_from([0, 499, 500, 5000]),
        errors=st.sampled_from([0.0, 0.005, 0.5, math.nan]),
        auc=st.sampled_from([0.75, 0.72, 0.6, math.nan, math.inf, None]),
        known=st.booleans(),
    )
    def show(self, samples: int, errors: float, auc: float | None, known: bool) -> None:
        rollout = self.world.state.rollout
        assert rollout is not None
        version = rollout.version
        publish = self.world.metrics.publish
        if known and rollout.champion is not None:
            publish(Compared("auc", rollout.champion, 0.74, 5000, 0.74, 0.74))
        problem = "" if known else "the monitor is down"
        publish(Compared("error-rate", version, errors, samples, errors, errors))
        publish(Compared("auc", version, auc, samples, auc, auc, problem=problem))
        good = samples >= 500 and errors <= 0.01 and auc is not None and 0.69 <= auc < 1 and known
        if good:
            self.shown.add(version)

    @rule(which=st.integers(0, 3), broken=st.booleans())
    def break_or_mend(self, which: int, broken: bool) -> None:
        versions = sorted(self.world.traffic.ready("flights"))
        if which < len(versions):
            change = self.world.traffic.break_down if broken else self.world.traffic.make_ready
            change("flights", versions[which])

    @rule(which=st.integers(0, 3))
    def meddle_with_traffic(self, which: int) -> None:
        versions = sorted(self.world.traffic.ready("flights"))
        if which < len(versions):
            self.world.traffic.meddle("flights", {versions[which]: 100})

    # What signals do.

    @rule(
        key=st.integers(0, 5),
        kind=st.sampled_from([SignalKind.DRIFT, SignalKind.PERFORMANCE, SignalKind.QUALITY]),
        days=st.sampled_from([-30, -1, 0, 0, 0, 2]),
        about=st.sampled_from(["champion", "champion", "1", "none"]),
        pushed=st.booleans(),
    )
    def signal(self, key: int, kind: SignalKind, days: int, about: str, pushed: bool) -> None:
        at = self.world.clock.now() + timedelta(days=days)
        version = {"champion": self.world.champion, "1": "1", "none": None}[about]
        signal = Signal(f"{kind}-{key}", kind, f"source-{key % 2}", at, "p 0.001", version)
        if pushed:
            self.world.store.submit("flights", signal)
        else:
            self.world.metrics.signal("flights", signal)

    # What people do.

    @rule(verb=st.sampled_from(list(Verb)), again=st.booleans())
    def tell(self, verb: Verb, again: bool) -> None:
        self.keys += not again
        self.world.tell(verb, key=f"{verb}-{self.keys}")
        rollout = self.world.state.rollout
        if verb is Verb.PROMOTE and rollout is not None:
            self.forced.add(rollout.version)

    @precondition(lambda self: self.made > 1)
    @rule(data=st.data())
    def move_the_alias(self, data: st.DataObject) -> None:
        version = str(data.draw(st.integers(1, self.made)))
        try:
            self.world.registry.set_alias(
                "flights", CHAMPION, version, expected=self.world.champion
            )
        except Conflict:
            return
        self.world.registry.moves[-1] = ("by hand", None, version)

    # What must hold.

    @invariant()
    def there_is_one_thing_at_a_time(self) -> None:
        state = self.world.state
        assert state.run is None or state.rollout is None
        assert len(self.world.pipelines.running()) <= 1
        starts = [p for p in state.outbox if type(p.action).__name__ == "StartRun"]
        assert len(starts) + len(self.world.pipelines.running()) <= 1

    @invariant()
    def two_versions_at_most_share_the_traffic(self) -> None:
        assert all(len(split) <= 2 for split in self.world.traffic.splits)

    @invariant()
    def nothing_became_champion_that_had_not_earned_it(self) -> None:
        before: str | None = None
        for alias, _, version in self.world.registry.moves:
            if alias == CHAMPION and version not in (None, "1") and version != before:
                assert version is not None
                taken_back = any(
                    o.version == before and o.result is Result.ABORTED
                    for o in self.world.state.outcomes
                ) or ((r := self.world.state.rollout) is not None and r.version == before)
                if not taken_back:
                    assert version in self.worthy, f"v{version} had not passed its gates"
                    assert version in self.forced | self.shown, f"v{version} unseen"
            before = version

    @invariant()
    def runs_stay_within_their_limits(self) -> None:
        runs = list(self.world.pipelines.requests.values())
        times = [r.as_of for r in runs]
        for index, run in enumerate(runs):
            if "asked for by" in run.reason:
                continue
            earlier = times[:index]
            assert all(run.as_of - t >= COOLDOWN for t in earlier)
            assert sum(run.as_of - t < DAY for t in earlier) < 1
            assert sum(run.as_of - t < YEAR for t in earlier) < BUDGET

    @invariant()
    def every_run_has_a_known_reason(self) -> None:
        for run in self.world.pipelines.requests.values():
            assert run.champion is not None
            assert "quality" not in run.reason

    @invariant()
    def the_ledger_holds(self) -> None:
        ledger.verify(self.world.store.entries("flights"), self.world.state.head)

    @invariant()
    def the_state_stays_small(self) -> None:
        state = self.world.state
        assert len(state.outbox) < 20
        assert len(state.pending) <= 64
        assert len(state.wishes) < 40

    def teardown(self) -> None:
        """Left alone, the loop comes to rest: one version, all traffic, nothing waiting."""
        world = self.world
        world.tell(Verb.ABORT, key="the end")
        world.cycle(2, every=timedelta(seconds=40))
        for version in world.traffic.ready("flights"):
            world.traffic.make_ready("flights", version)
        world.metrics._signals.clear()
        for _ in range(30):
            world.cycle(every=timedelta(seconds=70))
            for version in world.traffic.ready("flights"):
                world.traffic.make_ready("flights", version)
            if world.pipelines.running() or world.state.rollout is not None:
                self.keys += 1
                world.tell(Verb.ABORT, key=f"rest-{self.keys}")
        state = world.state
        assert state.run is None
        assert state.rollout is None
        if world.champion is not None:
            assert world.traffic.weights("flights") == {world.champion: 100}
            assert dict(world.traffic.ready("flights")) == {world.champion: True}
        assert state.outbox == ()


TestLoopMachine = LoopMachine.TestCase
TestLoopMachine.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
