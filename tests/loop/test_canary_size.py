"""A canary fits its traffic: what a step needs, how long it may take, and the smoke test."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria.loop import sizing
from noria.loop.fakes import FakeWorld, sample_model
from noria.loop.ports import ROWS_PER_DAY
from noria.loop.state import Decision, Result, RolloutPhase
from noria.loop.values import Compared
from noria.measures.proportion import exact
from noria.spec.serving import Canary, Check

A_DAY = timedelta(days=1)
FAMILY = sample_model().spec.family


def canary(*checks: Check, **settings: Any) -> Canary:
    return Canary(analysis=checks, **settings)


def said(decision: Decision) -> str:
    return "\n".join(note.text for note in decision.explanation)


@pytest.mark.parametrize(
    ("check", "rows"),
    [
        (Check(metric="error-rate", max=0.01), 300),
        (Check(metric="error-rate", max=0.1), 100),
        (Check(metric="error-rate", max=0.0), 3000),
        (Check(metric="latency-p99", max="250ms"), 368),
        (Check(metric="latency-p50", max="250ms"), 100),
        (Check(metric="auc", min=0.6), 100),
        (Check(metric="auc", max_drop=0.05), 1238),
        (Check(metric="mae", max_drop=2.0), 100),
    ],
)
def test_a_check_needs_what_its_limit_can_show(check: Check, rows: int) -> None:
    assert sizing.needed(canary(check), FAMILY, check) == rows
    assert sizing.needed(canary(check, min_samples=7), FAMILY, check) == 7


def test_a_step_waits_for_its_checks_when_the_traffic_brings_the_rows() -> None:
    step = sizing.plan(canary(Check(metric="error-rate", max=0.01)), FAMILY, 10, 14_400.0)
    assert (step.rows, step.full, step.smoke) == (300, (True,), False)
    assert step.takes(step.rows) == A_DAY * 300 / 1440
    assert sizing.longest(Canary(), step) == 3 * A_DAY * 300 / 1440


def test_a_step_on_small_traffic_is_a_smoke_test() -> None:
    step = sizing.plan(canary(Check(metric="error-rate", max=0.01)), FAMILY, 50, 48.0)
    assert (step.rows, step.full, step.smoke) == (6, (False,), True)
    assert sizing.longest(Canary(), step) == timedelta(days=365)
    # Who says how many wants as many.
    check = Check(metric="error-rate", max=0.01)
    strict = sizing.plan(canary(check, min_samples=300), FAMILY, 50, 48.0)
    assert (strict.rows, strict.smoke) == (300, False)


def test_labels_that_come_later_than_the_patience_do_not_hold_a_step() -> None:
    checks = (Check(metric="error-rate", max=0.01), Check(metric="auc", max_drop=0.1))
    early, late = (
        sizing.plan(canary(*checks), FAMILY, 10, 1e6, timedelta(hours=hours)) for hours in (5, 6)
    )
    assert early.full == (True, True)
    assert late.full == (True, False)


@given(
    rate=st.none() | st.floats(0, 1e300),
    percent=st.integers(1, 99),
    spent=st.timedeltas(timedelta(0), timedelta(days=4000)),
    errors=st.none() | st.floats(0, 1),
)
def test_every_plan_can_end(
    rate: float | None, percent: int, spent: timedelta, errors: float | None
) -> None:
    checks = [Check(metric="auc", max_drop=0.02)]
    checks += [] if errors is None else [Check(metric="error-rate", max=errors)]
    section = canary(*checks)
    step = sizing.plan(section, FAMILY, percent, rate, spent)
    assert step.rows >= sizing.LEAST_SMOKE
    longest = sizing.LONGEST_SMOKE if step.smoke else sizing.LONGEST
    assert sizing.SHORTEST <= sizing.longest(section, step) <= longest
    assert step.smoke == (not all(step.full)) or errors is None
    if step.smoke and step.per_day:
        # What is waited for comes within the patience, but for the least of all.
        assert step.rows == sizing.LEAST_SMOKE or step.rows <= step.per_day / 4


def small(rows_a_day: float | None) -> FakeWorld:
    """A candidate of v1 in its first step, on so much traffic."""
    world = FakeWorld(
        sample_model(
            serving={
                "canary": {
                    "steps": [10, 50],
                    "analysis": [{"metric": "error-rate", "max": 0.01}],
                }
            }
        )
    )
    world.install("1")
    if rows_a_day is not None:
        world.metrics.publish(Compared(ROWS_PER_DAY, "1", rows_a_day, 0))
    world.signal("drift-1")
    world.cycle()
    world.finish_run("2")
    world.cycle(3)
    return world


def answered(world: FakeWorld, rows: int, failed: int = 0) -> None:
    low, high = exact(failed, rows)
    world.metrics.publish(Compared("error-rate", "2", failed / rows, rows, low, high))


def test_a_candidate_on_480_rows_a_day_takes_over_by_smoke_tests() -> None:
    world = small(480.0)
    answered(world, 11)
    text = said(world.cycle())
    assert "smoke test of 12 rows, 11 of 12 rows answered" in text
    assert "at 480 rows a day 300 would take 6 days, so the gates decide" in text
    assert "at 480 rows a day" in world.state.holds[0].text
    answered(world, 12)
    world.cycle(2)
    assert world.state.rollout is not None
    assert world.state.rollout.step == 1
    answered(world, 60)
    world.cycle(6)
    assert world.champion == "2"


def test_on_next_to_no_traffic_the_smoke_test_is_in_the_last_step() -> None:
    world = small(1.1)
    assert world.state.rollout is not None
    assert world.state.rollout.step == 1
    answered(world, 4)
    world.clock.advance(timedelta(days=60))  # rows may come once a month
    assert "smoke test of 5 rows, 4 of 5 rows answered" in said(world.cycle())
    answered(world, 5)
    world.cycle(6)
    assert world.champion == "2"


def test_one_failure_in_a_smoke_test_shows_nothing_and_many_show_it() -> None:
    world = small(480.0)
    answered(world, 13, failed=1)
    world.cycle()
    assert world.state.rollout is not None
    assert world.state.rollout.phase is RolloutPhase.STEPPING
    assert world.state.rollout.step == 1
    answered(world, 48, failed=9)
    world.cycle(3)
    assert world.champion == "1"
    assert world.state.losses == 1


def test_a_step_says_how_long_it_still_takes() -> None:
    world = small(14_400.0)
    answered(world, 100)
    text = said(world.cycle())
    assert "error-rate has 100 of 300 samples; about 3 hours at 14,000 rows a day" in text


def test_a_step_whose_rows_do_not_come_ends_without_a_loss() -> None:
    world = small(14_400.0)
    answered(world, 100)
    world.clock.advance(timedelta(hours=14))
    world.cycle()
    assert world.state.rollout is not None
    world.clock.advance(timedelta(hours=2))
    world.cycle(4)
    assert world.state.outcomes[-1].result is Result.ABORTED
    assert world.state.losses == 0


def test_where_nobody_knows_the_traffic_the_step_itself_tells_after_a_day() -> None:
    world = small(None)
    answered(world, 12)
    assert "error-rate has 12 of 300 samples" in said(world.cycle())
    world.clock.advance(A_DAY)
    answered(world, 24)
    assert "smoke test of 5 rows, 24 of 5 rows answered; 300 would take 13 days" in said(
        world.cycle()
    )
    world.cycle()
    assert world.state.rollout is not None
    assert world.state.rollout.step == 1


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (timedelta(seconds=20), "1 minute"),
        (timedelta(minutes=90), "90 minutes"),
        (timedelta(hours=9), "9 hours"),
        (timedelta(days=62), "62 days"),
    ],
)
def test_durations_are_told_roughly(duration: timedelta, words: str) -> None:
    assert sizing.in_words(duration) == words


def test_what_a_file_needs_of_its_traffic_is_said_before() -> None:
    (said_of_ten, said_of_fifty) = sizing.canary_needs(Canary(), FAMILY)
    assert said_of_ten == (
        "10 %: 300 rows of the candidate, 3,000 of all traffic; "
        "a smoke test under 12,000 rows a day, left out under 200"
    )
    assert "600 of all traffic" in said_of_fifty
    assert "left out" not in said_of_fifty
