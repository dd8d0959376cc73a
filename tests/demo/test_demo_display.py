from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from noria.demo.display import DemoView, DetectorView, Display, RollingView
from noria.demo.figures import Figures, Scores
from noria.demo.summary import print_summary

START = datetime(2013, 2, 1, tzinfo=UTC)
VIEW = DemoView(
    at=START,
    rows=100,
    doing="canary of v2 at 10 %",
    champion="1",
    weights={"1": 90, "2": 10},
    windows=7,
    labels=90,
    detectors=(
        DetectorView("features", 0.0004, drift=True, features=("temp", "dewp")),
        DetectorView("prediction", 0.31, drift=False),
        DetectorView("late", None, drift=False),
    ),
    rolling=(RollingView("AUC", 0.691, 0.640), RollingView("accuracy", None, None)),
    retrains=1,
    retrains_left=5,
)


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    width = 110
    return Console(file=out, force_terminal=terminal, width=width, _environ={}), out


def test_away_from_a_terminal_each_week_and_each_event_is_one_plain_line() -> None:
    shown, out = console(terminal=False)
    with Display(shown, 1_000) as display:
        for day in range(21):
            display.update(replace(VIEW, at=START + timedelta(days=day), rows=100 + day))
        display.event("Run flights-0001 started:\n drift in \x1b[31mtemp\x1b[0m")
    lines = out.getvalue().splitlines()
    assert len(lines) == 5  # Friday 1 February, three Mondays, one event.
    assert lines[0].startswith("2013-02-01    10 %  canary of v2 at 10 %")
    assert "v1 90% v2 10%" in lines[0]
    assert "AUC 0.691 (frozen 0.640)" in lines[0]
    assert "retrains 1, 5 left in the budget" in lines[0]
    assert lines[1].startswith("2013-02-04")
    assert lines[-1].startswith("2013-02-21")
    assert "Run flights-0001 started: drift in" in lines[-1]
    assert all(sign.isprintable() for line in lines for sign in line)


def test_in_a_terminal_the_panel_shows_what_the_loop_is_doing() -> None:
    shown, out = console(terminal=True)
    with Display(shown, 1_000) as display:
        display.event("Training the first model")
        display.update(VIEW)
        display.event("Canary of v2 started")
    said = out.getvalue()
    for part in ("01 Feb 2013", "100 of 1,000 rows", "canary of v2 at 10 %", "champion v1 90 %",
                 "DRIFT", "temp, dewp", "5 left in the budget", "Canary of v2 started",
                 "+0.051", "7 windows"):  # fmt: skip
        assert part in said


def test_the_panel_is_taken_down_when_the_replay_fails() -> None:
    shown, out = console(terminal=True)

    def failing_replay() -> None:
        with Display(shown, 10) as display:
            display.update(VIEW)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        failing_replay()
    assert out.getvalue().endswith("\x1b[?25h")  # The cursor is back.


def test_the_summary_prints_four_predictors_the_aims_and_where_the_report_is(
    figures: Figures,
) -> None:
    shown, out = console(terminal=False)
    print_summary(shown, replace(figures, auc=Scores(0.69, 0.6, 0.7, 0.5)), Path("/r/report.html"))
    said = out.getvalue()
    for name in ("The loop", "Frozen January model", "Monthly retrain", "No-change"):
        assert name in said
    assert "at least 95 %" in said
    assert "90.0 %" in said
    assert "missed" in said
    assert "report: /r/report.html" in said
    assert "next: noria demo --full" in said
