"""A backtest's figures as a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from noria.backtest.figures import PREDICTORS, Alarm, Figures, Period, Retrain
from noria.backtest.summary import NAMES, headline
from noria.report.figures import (
    Drift,
    Gain,
    Metric,
    Predictor,
    Prose,
    Report,
    Stretch,
    Traffic,
)
from noria.report.figures import Retrain as ShownRetrain
from noria.report.words import count, day

_TITLES: Final = {"auc": "AUC", "r2": "R²", "rmse": "RMSE", "mae": "MAE"}
_SHORT: Final = {"grow": "grow", "no_change": "no-change"}
_REFITS: Final = ("loop", "monthly", "grow")

_HOW_TO_READ: Final = (
    (
        "Before the label was known",
        (
            "Every row was answered by a model that could not know its label: labels came as late "
            "as they came. Nothing on this page is a score on rows that a model was fitted on."
        ),
    ),
    (
        "The loop",
        (
            "The answer that a client would have got: from whichever version the traffic split "
            "chose, canaries and mistakes included. Decisions, gates and detectors are those of "
            "a served model."
        ),
    ),
    (
        "What it is held against",
        (
            "Frozen is the first version, never touched. Monthly is fitted at the start of each "
            "month on all rows with a label, grow whenever these have grown by a fifth; both are "
            "promoted without a question. No-change says what followed the last known label."
        ),
    ),
    (
        "Marks under the lines",
        (
            "A diamond is a drift or a loss noticed. A triangle up is a new version promoted to "
            "all traffic, a cross is a candidate that a gate refused, a triangle down is a canary "
            "taken back."
        ),
    ),
    (
        "Gain",
        (
            "The candidate against the champion on the same rows at the time of the decision, "
            "with its interval; positive is better. It is what the gate saw, not what came later."
        ),
    ),
)
_MEASURED: Final = (
    "The metric is pooled over all rows, not averaged over months.",
    "A run takes no time here: what it is fitted on is what was known when it started.",
)
_NOT_MEASURED: Final = (
    "Latency, throughput and failures of servers: none runs.",
    "Other histories: this is one, and the lines have no intervals.",
    "What a wrong answer costs, against what a retrain costs.",
)


def report_of(figures: Figures, made_by: str) -> Report:
    """Return what the page shows; ``made_by`` is the command."""
    metric = Metric(
        figures.metric,
        _TITLES.get(figures.metric, figures.metric.capitalize()),
        figures.greater_is_better,
    )
    return Report(
        title=f"Noria: {figures.model} through the loop",
        headline=headline(figures),
        facts=(
            f"{figures.model} · {day(figures.start)} to {day(figures.end)} · {count(figures.rows)} "
            f"rows, after {count(figures.trained_on)} that the first version learnt from"
        ),
        predictors=tuple(_predictor(figures, key) for key in PREDICTORS),
        metrics=(metric,),
        values={metric.key: figures.values},
        rows=figures.rows,
        share=figures.share,
        no_share=f"No share of the monthly gain: {figures.no_share}.",
        share_aim=None,
        aims=(),
        period=figures.period,
        months=_stretches(figures.months, figures),
        weeks=_stretches(figures.weeks, figures),
        drifts=tuple(_drift(alarm) for alarm in figures.alarms),
        retrains=tuple(_retrain(retrain) for retrain in figures.log),
        traffic=tuple(Traffic(split.at, split.weights) for split in figures.splits),
        prose=Prose(_HOW_TO_READ, (*_MEASURED, *_sentences(figures.notes)), _NOT_MEASURED),
        made_by=made_by,
        origin="",
        seconds=figures.seconds,
    )


def _predictor(figures: Figures, key: str) -> Predictor:
    return Predictor(
        key,
        NAMES[key],
        _SHORT.get(key, key),
        None if key == "no_change" else figures.retrains[key],
        figures.costs[key] if key in _REFITS else None,
    )


def _stretches(periods: Sequence[Period], figures: Figures) -> tuple[Stretch, ...]:
    ends = [*(period.start for period in periods[1:]), figures.end]
    return tuple(
        Stretch(period.name, period.start, end, period.rows, {figures.metric: period.values})
        for period, end in zip(periods, ends, strict=True)
    )


def _drift(alarm: Alarm) -> Drift:
    # Detectors name the columns that moved most at the end of what they say.
    _, _, most = alarm.detail.partition("; most: ")
    return Drift(alarm.at, alarm.source, alarm.kind, tuple(filter(None, most.split(", "))))


def _retrain(retrain: Retrain) -> ShownRetrain:
    gain = None if retrain.gain is None else Gain(retrain.gain, retrain.low, retrain.high)
    reason = f"{retrain.cause}; {retrain.recipe}" if retrain.recipe else retrain.cause
    if retrain.outcome != "promoted" and retrain.reason:
        reason = f"{reason}; {retrain.reason}"
    return ShownRetrain(
        retrain.run_id,
        retrain.at,
        reason,
        retrain.version,
        retrain.outcome,
        gain,
        retrain.decided,
    )


def _sentences(notes: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{note[:1].upper()}{note[1:]}." for note in notes)
