"""What ``noria status`` says of a model, as names and sentences."""

from __future__ import annotations

from typing import Final

from noria.loop.turn import name
from noria.view.model import Attendance, ModelView
from noria.view.stage import Phase, stage_text
from noria.view.verdict import verdict_text

UNATTENDED: Final = "its loop does not run"
STOPPED: Final = "stopped"
WANTED: Final = "asked for"
BREAKER_OPEN: Final = "loop-breaker open"
NO_DRIFT: Final = "no drift"


def doing_text(view: ModelView) -> str:
    """Say what a model is doing, and whether anybody turns its loop."""
    said = stage_text(view.stage)
    if view.stage.phase is not Phase.NOT_STARTED:
        if view.attendance is Attendance.STOPPED:
            said = f"{STOPPED} (was: {said})"
        elif view.attendance is Attendance.UNATTENDED:
            said = f"{said}; {UNATTENDED}"
    return f"{said}; {BREAKER_OPEN}" if view.breaker_open else said


def split_text(view: ModelView) -> str:
    """Name the shares of the traffic: ``v7 90 %, v8 10 %``; empty when nothing is known of it."""
    return ", ".join(f"{name(version)} {share} %" for version, share in view.shares)


def traffic_text(view: ModelView) -> str:
    """Say how the traffic is split, and when that is only what the loop asks for."""
    said = split_text(view)
    return said if view.weights or not said else f"{said} ({WANTED})"


def drift_text(view: ModelView) -> str:
    """Say what drifted; empty when nobody can tell."""
    found = None if view.drift is None else "; ".join(view.drift) or NO_DRIFT
    return "; ".join(filter(None, (found, view.drift_note)))


def facts(view: ModelView) -> list[tuple[str, str]]:
    """Return what is known of a model beside what it is doing: name and text, no empty ones."""
    last = verdict_text(view.verdict)
    told = "" if view.verdict is None else view.verdict.detail
    lacks = "; ".join(hold for hold in view.holds if not told or told not in hold)
    measured = ", ".join(f"{metric} {number(value)}" for metric, value in view.performance.items())
    problems = filter(None, (view.problem, *view.troubles, *view.alerts))
    left = "" if view.retrains_left is None else str(view.retrains_left)
    found = [
        ("url", view.url),
        ("champion", view.champion and name(view.champion)),
        ("candidate", view.candidate and name(view.candidate)),
        ("traffic", traffic_text(view)),
        *(("problem", problem) for problem in problems),
        *(("caution", caution) for caution in view.cautions),
        ("verdict", last),
        ("run", view.run),
        ("waits", lacks),
        ("drift", drift_text(view)),
        ("performance", measured or view.unmeasured),
        ("retrains left", left),
        *(("process", process) for process in view.processes),
    ]
    return [(what, text) for what, text in found if text]


def number(value: float | None) -> str:
    """Write a measured value."""
    return "–" if value is None else f"{value:.4g}"
