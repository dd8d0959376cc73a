"""What the loop itself needs a person for."""

from __future__ import annotations

from collections.abc import Iterator

from monitoring.rules.rule import Rule, Scope, number
from noria.loop import sizing
from noria.spec.units import format_duration


def rules(scope: Scope) -> Iterator[Rule]:
    """Yield the rules on the loop's metrics."""
    name, settings = scope.model.name, scope.settings
    yield _rollout_stuck(scope)
    yield Rule(
        name="NoriaLoopBreakerOpen",
        expr=scope.worst("noria_loop_breaker_open") + " == 1",
        severity="warning",
        summary=f"{name}: the loop-breaker is open",
        description=(
            f"{scope.model.spec.retraining.give_up_after} candidates in a row were shown worse "
            "or failed in canary. No signal starts a run until enough new labelled rows have come, "
            "or a person resets it."
        ),
    )
    budget = scope.model.spec.retraining.budget
    if budget.runs:
        yield Rule(
            name="NoriaRetrainsExhausted",
            expr=scope.worst("noria_loop_retrains_left") + " == 0",
            severity="warning",
            summary=f"{name}: the budget of retrains is used up",
            description=(
                f"{budget.runs} runs within {format_duration(budget.per)} are used. Signals wait "
                "until the oldest of them is that long ago."
            ),
        )
    yield Rule(
        name="NoriaRunFailed",
        expr=scope.worst("noria_loop_alert", matchers=('name="run-failed"',)) + " == 1",
        severity="warning",
        summary=f"{name}: the last training run made no candidate",
        description="It failed, was lost or ended without a result. The champion goes on serving.",
    )
    yield Rule(
        name="NoriaChampionGone",
        expr=scope.worst("noria_loop_alert", matchers=('name="champion-gone"',)) + " == 1",
        severity="critical",
        summary=f"{name}: the registry names no champion",
        description="There was one. Until there is one again nothing is retrained or rolled out.",
    )
    yield Rule(
        name="NoriaActionsFailing",
        expr=scope.worst("noria_loop_actions_failing") + " > 0",
        severity="warning",
        hold=settings.long_hold,
        summary=f"{name}: what the loop decided can't be done",
        description="{{ $value }} of its actions keep failing and are tried again.",
    )
    turned = scope.worst("noria_loop_last_cycle_timestamp_seconds")
    yield Rule(
        name="NoriaLoopDown",
        expr=f"time() - {turned} > {number(settings.loop_silence.total_seconds())}\n"
        f"or absent({scope.of('noria_loop_last_cycle_timestamp_seconds')})",
        severity="critical",
        hold=settings.hold,
        summary=f"{name}: its loop does not turn",
        description="The champion goes on serving; nothing is rolled out, taken back or retrained.",
    )


def _rollout_stuck(scope: Scope) -> Rule:
    settings = scope.settings
    canary = scope.model.spec.serving.canary
    longest = sizing.longest(canary)
    limit = f"{format_duration(longest)} at most"
    if canary.min_samples == canary.step_timeout == "auto":
        limit += f", a smoke test after {format_duration(sizing.LONGEST_SMOKE)}"
    age = scope.worst("noria_loop_rollout_step_age_seconds")
    finishing = scope.worst("noria_loop_stage", matchers=('stage=~"promoting|aborting"',))
    return Rule(
        name="NoriaRolloutStuck",
        expr=f"{age} > {number(settings.step_share * longest.total_seconds())}\n"
        f"or {age} > {number(settings.finishing.total_seconds())} and {finishing} == 1",
        severity="warning",
        summary=f"{scope.model.name}: a rollout does not get on",
        description=(
            "It has been where it is for {{ $value | humanizeDuration }}. A step without a verdict "
            f"is aborted after {limit}; a paused one waits for ever."
        ),
    )
