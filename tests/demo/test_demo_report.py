from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from noria.demo.figures import Drift, Figures, Gain, Retrain, Retrains, Scores
from noria.demo.reporting import report_of
from noria.errors import NoriaError
from noria.report import page, write_report
from noria.report.svg import ticks

NOTHING = Scores(None, None, None, None)


class Reader(HTMLParser):
    """Checks that every element is closed in order, and gathers what the page says."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.said: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.said.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def test_the_report_is_one_well_formed_file_that_asks_the_network_for_nothing(
    figures: Figures, tmp_path: Path
) -> None:
    written = write_report(report_of(figures), tmp_path / "new" / "report.html")
    html = written.read_text("utf-8")
    reader = read(html)
    assert list(written.parent.iterdir()) == [written]
    assert "http" not in html
    assert not re.search(r"@import|url\(|<script|<link|<img|<iframe", html)
    assert not [name for _, name, _ in reader.attributes if name in {"src", "href", "onclick"}]
    assert len(html) < 1_000_000


def test_the_report_shows_the_numbers_and_every_decision(figures: Figures) -> None:
    said = " ".join(read(page(report_of(figures))).said)
    assert f"{figures.auc.loop:.4f}" in said
    assert f"{figures.log_loss.monthly:.4f}" in said
    assert "missed" in said
    assert "met" in said
    for retrain in figures.retrain_log:
        assert retrain.run_id in said
        assert retrain.outcome in said
    for month in figures.months:
        assert month.name in said
    assert "minute-of-day" in said


def test_every_plot_says_what_it_is_to_those_who_can_not_see_it(figures: Figures) -> None:
    reader = read(page(report_of(figures)))
    plots = [tag for tag, name, value in reader.attributes if name == "role" and value == "img"]
    labels = [value for tag, name, value in reader.attributes if name == "aria-label"]
    assert len(plots) == len(labels) >= 10


def test_names_from_outside_are_escaped(figures: Figures) -> None:
    nasty = "<script>alert('x')</script>"
    drift = Drift(figures.drifts[0].at, nasty, nasty, (nasty,))
    run = replace(figures.retrain_log[0], reason=nasty, run_id=nasty)
    html = page(report_of(replace(figures, drifts=(drift,), retrain_log=(run,))))
    assert "<script" not in html
    assert nasty in " ".join(read(html).said)


def test_a_run_in_which_nothing_happened_still_makes_a_page(figures: Figures) -> None:
    nothing = replace(
        figures, drifts=(), retrain_log=(), traffic=(), weeks=(), months=(), auc=NOTHING,
        log_loss=NOTHING, accuracy=NOTHING, retrains=Retrains(0, 10),
    )  # fmt: skip
    html = page(report_of(nothing))
    said = " ".join(read(html).said)
    assert "No drift was noticed" in said
    assert "retrained nothing" in said
    assert "not defined" in said


def test_many_runs_are_folded_away_and_odd_outcomes_are_drawn(figures: Figures) -> None:
    at = figures.weeks[0].name
    runs = tuple(
        Retrain(f"r{n}", figures.drifts[0].at, at, None, "undecided", Gain(0.0), None)
        for n in range(20)
    )
    html = page(report_of(replace(figures, retrain_log=runs)))
    assert "All 20 runs" in " ".join(read(html).said)


@pytest.mark.parametrize(
    ("auc", "said"),
    [
        (Scores(0.69, 0.60, 0.70, 0.5), "90.0 %"),
        (Scores(0.59, 0.60, 0.70, 0.5), "below the model that was never touched"),
        (Scores(0.69, 0.60, 0.60, 0.5), "gained nothing"),
        (Scores(0.6949, 0.60, 0.70, 0.5), "94.9 %"),
    ],
)
def test_the_headline_says_what_came_out_good_or_bad(
    figures: Figures, auc: Scores, said: str
) -> None:
    assert said in " ".join(read(page(report_of(replace(figures, auc=auc)))).said)


def test_a_report_that_can_not_be_written_is_an_error_with_a_fix(
    figures: Figures, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NoriaError, match="--report"):
        write_report(report_of(figures), tmp_path / "file" / "report.html")


def test_axis_numbers_are_round_and_within_the_data() -> None:
    assert ticks(0.53, 0.78, 5) == pytest.approx([0.55, 0.6, 0.65, 0.7, 0.75])
    assert ticks(0, 100, 4) == [0, 25, 50, 75, 100]
