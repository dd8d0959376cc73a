"""The page: sections in the order in which a reader asks."""

from __future__ import annotations

from importlib import resources
from typing import Final

from noria.report.bands import timeline_plots, traffic_plots
from noria.report.figures import Metric, Report
from noria.report.lines import metric_plots
from noria.report.markup import Html, join, tag, text
from noria.report.tables import (
    aims_table,
    drift_table,
    gain_bar,
    legend,
    month_table,
    predictor_table,
    retrain_table,
    tiles,
)
from noria.report.words import took

_WHEEL: Final = Html(
    '<svg class="wheel" viewBox="0 0 48 48" aria-hidden="true"><g fill="none" stroke="currentColor"'
    ' stroke-width="2.6" stroke-linecap="round"><circle cx="24" cy="22" r="14"/><circle cx="24"'
    ' cy="22" r="3.4"/><path d="M24 8v10.6M24 25.4V36M10 22h10.6M27.4 22H38M14.1 12.1l7.5 7.5M26.4'
    ' 24.4l7.5 7.5M33.9 12.1l-7.5 7.5M21.6 24.4l-7.5 7.5"/><path d="M3 42c3.5-3.4 7-3.4 10.5 0s7'
    ' 3.4 10.5 0 7-3.4 10.5 0 7 3.4 10.5 0"/></g></svg>'
)


def page(report: Report) -> str:
    """Return the whole report as one HTML document."""
    style = resources.files("noria.report").joinpath("style.css").read_text("utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", text(report.title)),
        tag("style", style),
    )
    body = tag("body", _header(report), tag("main", *_sections(report)), _footer(report))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _header(report: Report) -> Html:
    return tag(
        "header",
        tag("div", _WHEEL, tag("span", text("Noria")), class_="brand"),
        tag("h1", text(report.headline)),
        tag("p", text(report.facts), class_="facts"),
        gain_bar(report),
    )


def _sections(report: Report) -> list[Html]:
    return [
        tiles(report),
        tag("div", *_pooled(report), class_="pair"),
        _section(
            "Over time",
            "",
            legend(report),
            *(
                piece
                for metric in report.metrics
                for piece in (
                    tag("h3", text(metric.title), tag("small", text(_better(metric)))),
                    metric_plots(report, metric),
                )
            ),
        ),
        _section(
            "Who answered",
            "Percent of the traffic by version; a new one starts small and must earn the rest.",
            traffic_plots(report),
        ),
        _section(
            "What it noticed, and what it did",
            "Each detector's alarms, and the runs from start to decision.",
            timeline_plots(report),
            retrain_table(report),
            drift_table(report),
        ),
        _section(
            f"{report.period.capitalize()} by {report.period}",
            "The best in bold.",
            month_table(report),
        ),
        tag(
            "div",
            _section(
                "How to read this page",
                "",
                tag(
                    "dl",
                    *(
                        join(tag("dt", text(t)), tag("dd", text(d)))
                        for t, d in report.prose.how_to_read
                    ),
                ),
            ),
            _section(
                "What was measured, and what was not",
                "",
                tag("ul", *(tag("li", text(line)) for line in report.prose.measured)),
                tag("p", text("Not measured here:")),
                tag("ul", *(tag("li", text(line)) for line in report.prose.not_measured)),
            ),
            class_="pair",
        ),
    ]


def _pooled(report: Report) -> list[Html]:
    found = [_section("All rows", "Pooled.", predictor_table(report))]
    if report.aims:
        found.insert(0, _section("Aims", "Set before the run.", aims_table(report)))
    return found


def _better(metric: Metric) -> str:
    return f"{'higher' if metric.greater_is_better else 'lower'} is better"


def _section(title: str, said: str, *children: Html) -> Html:
    under = [tag("p", text(said), class_="said")] if said else []
    return tag("section", tag("h2", text(title)), *under, *children)


def _footer(report: Report) -> Html:
    return tag(
        "footer",
        text("Made by "),
        tag("code", text(report.made_by)),
        text(f" in {took(report.seconds)}. {report.origin}"),
    )
