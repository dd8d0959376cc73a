"""The table at the end of the demo, for people; the same figures as the report and the JSON."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from noria.demo.figures import PREDICTORS, SETTINGS, Figures
from noria.demo.reporting import NAMES, headline
from noria.report.words import aim_value, aim_verdict, number, took


def print_summary(console: Console, figures: Figures, report_path: Path | None) -> None:
    """Print the four predictors, the aims beside the results, and what to look at next."""
    console.print()
    console.print(Text(headline(figures), style="bold"))
    for table in (_predictors(figures), _aims(figures)):
        console.print()
        console.print(table)
    console.print()
    console.print(
        Text(f"{figures.rows:,} flights, seed {figures.seed}, in {took(figures.seconds)}.")
    )
    console.print(Text(SETTINGS), soft_wrap=True)
    if report_path is not None:
        console.print(Text(f"report: {report_path}"), soft_wrap=True)
    console.print(Text("open the report in a browser"), soft_wrap=True)
    if figures.mode == "quick":
        console.print(Text("next: noria demo --full\n      (every flight of the year)"))
    console.print(Text("next: noria init my-model"))
    console.print(
        Text(
            "next: noria replay -f my-model/model.yaml --clock event\n"
            "      (the same loop on your own data)"
        )
    )


def _predictors(figures: Figures) -> Table:
    table = Table(title=None, header_style="bold", pad_edge=False, box=None, padding=(0, 3, 0, 0))
    table.add_column("predictor", no_wrap=True)
    for name in ("AUC", "log-loss", "accuracy", "retrains"):
        table.add_column(name, justify="right", no_wrap=True)
    runs = {
        "loop": str(figures.retrains.loop),
        "frozen": "0",
        "monthly": str(figures.retrains.monthly),
        "no_change": "–",
    }
    for name in PREDICTORS:
        table.add_row(
            NAMES[name],
            number(figures.auc.of(name), 4),
            number(figures.log_loss.of(name), 4),
            number(figures.accuracy.of(name), 4),
            runs[name],
            style="bold cyan" if name == "loop" else None,
        )
    return table


def _aims(figures: Figures) -> Table:
    table = Table(header_style="bold", pad_edge=False, box=None, padding=(0, 3, 0, 0))
    table.add_column("aim")
    table.add_column("target", no_wrap=True)
    table.add_column("result", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    styles = {"met": "green", "missed": "bold red", "not defined": "yellow"}
    for aim in figures.aims:
        verdict = aim_verdict(aim)
        said = Text(verdict, style=styles[verdict])
        table.add_row(aim.name, aim.target, aim_value(aim), said)
    return table
