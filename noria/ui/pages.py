"""Turns what a source knows into HTML. Every value is escaped by the template engine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from noria.errors import NoriaError
from noria.places import Detail
from noria.places.watched import Watched
from noria.ui import meaning
from noria.ui.plots.drift import DriftWords, drift_map
from noria.ui.plots.gains import GainWords, gain_plot, gains
from noria.ui.plots.performance import PerformanceWords, performance_plot
from noria.ui.plots.traffic import role, traffic_bar
from noria.ui.words import NAMES, Words
from noria.view import ModelView, split_text, why_text

HERE: Final = Path(__file__).parent
_RESULTS: Final = ("promoted", "aborted", "refused")


@dataclass(frozen=True, slots=True)
class Frame:
    """What every page shows around its content.

    Attributes:
        words: The reader's language.
        place: Which state this is.
        cluster: Whether it is a namespace.
        read_only: Whether commands are refused.
        signed_in: Whether there is something to sign out from.
        here: The path with its query, for the links of the languages.
        now: When the page was made.
    """

    words: Words
    place: str
    cluster: bool
    read_only: bool
    signed_in: bool
    here: str
    now: datetime


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot with its heading and a note."""

    heading: str
    note: str
    svg: Markup


@dataclass(frozen=True, slots=True)
class Monitoring:
    """The monitor's part of a model's page. ``problem``: why there is nothing else."""

    watched: Watched | None = None
    problem: str = ""
    drift: Markup | None = None
    performance: Sequence[Plot] = ()
    parts: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    """Of the champion's newest window: metric to target or class to value."""


class Pages:
    """The templates, ready to be filled."""

    def __init__(self) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(
            languages=NAMES,
            asset=_assets(HERE / "static"),
            stage_text=meaning.stage_text,
            step_text=meaning.step_text,
            why_text=why_text,
            span=meaning.span,
            gain_text=meaning.gain_text,
            message_text=meaning.message_text,
            traffic=_traffic,
            shares=_shares,
        )
        self._templates.filters.update(stamp=_stamp, number=_number)

    def render(self, template: str, frame: Frame, **values: Any) -> str:
        """Fill a template."""
        made = self._templates.get_template(template)
        return made.render(t=frame.words, frame=frame, **values)


def monitoring_of(t: Words, detail: Detail, watched: Watched | NoriaError) -> Monitoring:
    """Draw what the monitor knows."""
    if isinstance(watched, NoriaError):
        return Monitoring(problem=str(watched))
    return Monitoring(
        watched=watched,
        drift=_drift_plot(t, detail, watched),
        performance=_performance_plots(t, detail, watched),
        parts=next((w.parts for w in watched.performance.get(watched.champion, ())[-1:]), {}),
    )


def gains_of(t: Words, detail: Detail) -> Markup | None:
    """Draw what the candidates gained."""
    if detail.state is None:
        return None
    words = GainWords(
        title=t("candidates"),
        axis=t("gain-axis"),
        results={result: t(f"verdict.{result}") for result in _RESULTS},
    )
    return gain_plot(gains(detail.state.outcomes), words)


def _drift_plot(t: Words, detail: Detail, watched: Watched) -> Markup | None:
    data = None if detail.model is None else detail.model.spec.data
    features = 1 if data is None else len(data.features) + len(data.time_features)
    words = DriftWords(
        title=t("drift-title"),
        effect=t("drift-effect"),
        alarm=t("drift-alarm"),
        windows=t("drift-axis"),
        not_listed=t("drift-absent"),
    )
    return drift_map(list(watched.drift.values()), features, words)


def _performance_plots(t: Words, detail: Detail, watched: Watched) -> list[Plot]:
    if detail.model is None:
        return []
    view, found = detail.view, []
    for metric in meaning.metrics_shown(detail.model, watched):
        svg = performance_plot(
            metric,
            watched.performance,
            view.champion,
            view.candidate,
            meaning.goal_of(detail.model, watched, metric),
            PerformanceWords(metric, t("expected"), t("limit"), t("performance-axis"), t("rows")),
        )
        if svg is not None:
            greater = detail.model.spec.metric(metric).greater_is_better
            better = "greater" if greater else "less"
            found.append(Plot(metric, t(f"better-{better}"), svg))
    return found


def _traffic(view: ModelView) -> Markup:
    return traffic_bar(dict(view.shares), view.champion, view.candidate, split_text(view))


def _shares(view: ModelView) -> list[tuple[str, int, str]]:
    """Return version, percent and role of every share."""
    return [(v, share, role(v, view.champion, view.candidate)) for v, share in view.shares]


def _stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _assets(folder: Path) -> Mapping[str, str]:
    """Return the address of each file, with its digest: a browser may keep it for ever."""
    return {
        path.name: f"/static/{path.name}?v={hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
        for path in sorted(folder.iterdir())
    }
