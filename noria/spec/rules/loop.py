"""Rules of ``spec.serving`` and ``spec.retraining``: the rollout and when to train again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from noria.errors import Problem
from noria.measures.catalog import SERVING_METRICS, Metric
from noria.spec.data import Data
from noria.spec.families import described
from noria.spec.monitoring import Monitoring
from noria.spec.retraining import Retraining
from noria.spec.rules.data import repeats
from noria.spec.rules.metric import (
    too_wide,
    unfit,
    unfit_for_texts,
    unjudged,
    unreachable,
    unwatched,
)
from noria.spec.serving import Check, Serving
from noria.spec.units import format_duration
from noria.spec.words import meant_or_choose


def canary_steps_rise(serving: Serving) -> Iterator[Problem]:
    """Each step takes more traffic than the one before."""
    steps = serving.canary.steps
    for index in range(1, len(steps)):
        before, step = steps[index - 1], steps[index]
        if step <= before:
            yield Problem(
                f"spec.serving.canary.steps[{index}]",
                f"{step} comes after {before}",
                "steps must rise",
            )


def analysis_can_be_measured(task: Any, serving: Serving) -> Iterator[Problem]:
    """Checks are of metrics that can be measured here, each with limits that can be met."""
    seen: set[str] = set()
    family = described(task)
    for index, check in enumerate(serving.canary.analysis):
        path = f"spec.serving.canary.analysis[{index}]"
        if check.metric in seen:
            yield Problem(
                f"{path}.metric", f"{check.metric} is there twice", "put its limits in one check"
            )
        seen.add(check.metric)
        if serving.answers_texts:
            yield from unfit_for_texts(f"{path}.metric", check.metric, SERVING_METRICS)
        else:
            yield from unfit(f"{path}.metric", check.metric, family, SERVING_METRICS)
            yield from unwatched(f"{path}.metric", check.metric, family)
            yield from unjudged(f"{path}.metric", check.metric, family)
        metric = family.metric(check.metric)
        yield from _limits(path, check, metric)
        delay = serving.batching.max_delay
        latency = metric is not None and metric.is_serving and metric.unit == "seconds"
        # Only Noria's server waits for others' requests.
        waits = latency and serving.runtime is None
        if waits and check.max is not None and check.max <= delay.total_seconds():
            yield Problem(
                f"{path}.max",
                f"{check.max * 1000:g}ms is not over batching.maxDelay, {format_duration(delay)}",
                "raise it, or lower maxDelay",
            )


def _limits(path: str, check: Check, metric: Metric | None) -> Iterator[Problem]:
    if check.min is None and check.max is None and check.max_drop is None:
        yield Problem(path, f"{check.metric} has no limit", "give max, min or maxDrop")
    yield from unreachable(path, metric, low=check.min, high=check.max)
    if check.max_drop is not None and check.max_drop < 0:
        yield Problem(
            f"{path}.maxDrop",
            f"{check.max_drop:g} asks the candidate to gain",
            "write 0 or more; a gain is asked for in spec.gates.champion",
        )
    else:
        yield from too_wide(f"{path}.maxDrop", metric, check.max_drop)


def a_shadow_is_not_sticky(serving: Serving) -> Iterator[Problem]:
    """Mirrored requests belong to no client."""
    if serving.shadow.percent and serving.canary.sticky:
        yield Problem(
            "spec.serving.shadow.percent",
            f"{serving.shadow.percent} together with canary.sticky; a mirrored request has no "
            "client to stay with",
            "write 0, or sticky: false",
        )


def lists_name_things_once(serving: Serving, retraining: Retraining) -> Iterator[Problem]:
    """No protocol, redacted column or signal twice."""
    yield from repeats("spec.serving.protocols", serving.protocols)
    yield from repeats("spec.serving.payloadLog.redact", serving.payload_log.redact)
    yield from repeats("spec.retraining.signals", retraining.signals)


def redacted_columns_exist(data: Data, serving: Serving) -> Iterator[Problem]:
    """``redact`` may only name columns of the requests; a misspelt one would be logged in clear."""
    looked_up = (feature.name for feature in data.looked_up_features())
    known = (*data.request_columns(), *looked_up)
    for index, column in enumerate(serving.payload_log.redact):
        if known and column not in known:
            yield Problem(
                f"spec.serving.payloadLog.redact[{index}]",
                f"{column} is in no request",
                meant_or_choose(column, known),
            )


def signals_can_arise(monitoring: Monitoring, retraining: Retraining) -> Iterator[Problem]:
    """Every signal that may start a run has something that sends it."""
    senders: dict[str, tuple[object, str, str]] = {
        "drift": (monitoring.detectors, "spec.monitoring.detectors", "empty"),
        "performance": (monitoring.performance.drop, "spec.monitoring.performance.drop", "null"),
        "schedule": (retraining.schedule, "spec.retraining.schedule", "missing"),
    }
    for index, kind in enumerate(retraining.signals):
        sender, path, lack = senders.get(kind, (True, "", ""))
        if not sender:
            yield Problem(
                f"spec.retraining.signals[{index}]",
                f"{kind} never comes: {path} is {lack}",
                f"give {path.removeprefix('spec.')}, or remove {kind}",
            )
    if retraining.schedule is not None and "schedule" not in retraining.signals:
        yield Problem(
            "spec.retraining.schedule",
            f"{format_duration(retraining.schedule)}, but signals does not name schedule",
            "add schedule to signals, or remove it here",
        )


def runs_are_possible(retraining: Retraining) -> Iterator[Problem]:
    """Signals that may start runs need runs; a schedule is slower than the cooldown."""
    budget = retraining.budget
    if retraining.signals:
        signals = ", ".join(retraining.signals)
        zero = {"runsPerDay": retraining.runs_per_day, "budget.runs": budget.runs}
        for key in (key for key, runs in zero.items() if not runs):
            yield Problem(
                f"spec.retraining.{key}",
                f"0 runs, but signals names {signals}",
                "write 1 or more, or signals: [] to never retrain",
            )
    cooldown = format_duration(retraining.cooldown)
    if retraining.schedule is not None and retraining.schedule < retraining.cooldown:
        yield Problem(
            "spec.retraining.schedule",
            f"{format_duration(retraining.schedule)} is shorter than cooldown, {cooldown}",
            "write a longer schedule, or a shorter cooldown",
        )
    if budget.runs > 1 and retraining.cooldown > budget.per:
        yield Problem(
            "spec.retraining.budget.per",
            f"{budget.runs} runs in {format_duration(budget.per)} never happen with a cooldown "
            f"of {cooldown}",
            "write a longer per, or a shorter cooldown",
        )


def the_training_window_is_whole(data: Data, retraining: Retraining) -> Iterator[Problem]:
    """Kind window has a length and a time to measure it on; kind all has neither."""
    train_on = retraining.train_on
    path = "spec.retraining.trainOn"
    if train_on.kind == "window" and train_on.window is None:
        yield Problem(f"{path}.window", "is missing, and kind is window", "write one, such as 90d")
    if train_on.kind != "window" and train_on.window is not None:
        yield Problem(
            f"{path}.window",
            f"{format_duration(train_on.window)} is not used by kind {train_on.kind}",
            "choose kind window, or remove it",
        )
    if train_on.kind == "window" and data.event_time is None:
        yield Problem(
            f"{path}.kind", "window needs an eventTime", "give spec.data.eventTime, or choose all"
        )


LOOP_RULES: Final = (
    canary_steps_rise,
    analysis_can_be_measured,
    a_shadow_is_not_sticky,
    lists_name_things_once,
    redacted_columns_exist,
    signals_can_arise,
    runs_are_possible,
    the_training_window_is_whole,
)
