"""The table at the end, for people."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from noria.backtest.figures import PREDICTORS, Figures, Retrain

NAMES: Final = {
    "loop": "The loop",
    "frozen": "Frozen first version",
    "monthly": "Monthly retrain",
    "grow": "Grow by a fifth",
    "no_change": "No-change",
}


def print_summary(console: Console, figures: Figures) -> None:
    """Print the predictors, the retrains, and what a person should know beside them."""
    console.print()
    console.print(Text(headline(figures), style="bold"))
    console.print()
    console.print(_predictors(figures))
    if figures.log:
        console.print()
    for retrain in figures.log:
        console.print(Text(_said(retrain)), soft_wrap=True)
    console.print()
    alarms = ", ".join(
        f"{figures.alarms_of(kind)} {kind}" for kind in sorted({a.kind for a in figures.alarms})
    )
    facts = [
        f"{figures.rows:,} rows from {figures.start:%Y-%m-%d} to {figures.end:%Y-%m-%d}",
        f"{figures.trained_on:,} rows before them trained the first version",
        f"took {figures.seconds:.0f} s",
        f"signals: {alarms or 'none'}",
        *(f"{at:%Y-%m-%d}: {text}" for at, text in figures.alerts),
        *(f"note: {note}" for note in figures.notes),
    ]
    for fact in facts:
        console.print(Text(fact), soft_wrap=True)


def headline(figures: Figures) -> str:
    """Say in one sentence what came out, whatever it is."""
    tries = figures.retrains["loop"]
    said = f"With {tries} retrain{'' if tries == 1 else 's'} of its own"
    if figures.share is None:
        return f"{said}, the loop has no share of the monthly gain: {figures.no_share}."
    return (
        f"{said} the loop reached {100 * figures.share:.1f} % of what "
        f"{figures.retrains['monthly']} monthly retrains gain over a model that is never touched."
    )


def _predictors(figures: Figures) -> Table:
    table = Table(header_style="bold", pad_edge=False, box=None, padding=(0, 3, 0, 0))
    table.add_column("predictor", no_wrap=True)
    heads = (figures.metric, "against frozen", f"worst {figures.period}", "retrains", "seconds")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for name in PREDICTORS:
        refits = name in ("loop", "monthly", "grow")
        table.add_row(
            NAMES[name],
            _number(figures.values[name]),
            "" if name == "frozen" else _signed(_ahead(figures, name)),
            "" if name == "frozen" else _signed(_worst(figures, name)),
            str(figures.retrains[name]) if name != "no_change" else "–",
            f"{figures.costs[name]:.0f}" if refits else "–",
            style="bold cyan" if name == "loop" else None,
        )
    return table


def _ahead(figures: Figures, name: str) -> float | None:
    mine, frozen = figures.values[name], figures.values["frozen"]
    if mine is None or frozen is None:
        return None
    return mine - frozen if figures.greater_is_better else frozen - mine


def _worst(figures: Figures, name: str) -> float | None:
    return figures.worst_of(name)[0]


def _said(retrain: Retrain) -> str:
    """Tell one retrain in one line."""
    gain = "" if retrain.gain is None else f", judged {_signed(retrain.gain)}"
    if retrain.low is not None and retrain.high is not None:
        gain += f" [{_signed(retrain.low)}, {_signed(retrain.high)}]"
    version = "" if retrain.version is None else f" v{retrain.version}"
    why = f" ({retrain.reason})" if retrain.outcome != "promoted" and retrain.reason else ""
    recipe = f", {retrain.recipe}" if retrain.recipe else ""
    return (
        f"{retrain.at:%Y-%m-%d}{version} {retrain.outcome}, {retrain.rows:,} rows{recipe}{gain}"
        f", because of {retrain.cause}{why}"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"
