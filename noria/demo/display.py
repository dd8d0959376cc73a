"""The demo while it runs: a live panel in a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from noria.demo.summary import print_summary
from noria.embedded.chronicle import DetectorView

__all__ = ["DemoView", "DetectorView", "Display", "RollingView", "print_summary"]

_REMEMBERED: Final = 6
_BAR: Final = 40
_MINUTE: Final = 60
_VERSION_STYLES: Final = ("cyan", "yellow", "magenta", "green", "blue", "red")


@dataclass(frozen=True, slots=True)
class RollingView:
    """One metric over the newest labelled rows; None until there are enough."""

    name: str
    loop: float | None
    frozen: float | None


@dataclass(frozen=True, slots=True)
class DemoView:
    """What there is to see at one moment of the replay.

    ``at`` is the simulated time, ``rows`` counts rows replayed so far, ``weights``
    are percents by version, ``windows`` counts windows that the detectors judged.
    """

    at: datetime
    rows: int
    doing: str
    champion: str | None = None
    weights: Mapping[str, int] = field(default_factory=dict)
    windows: int = 0
    labels: int = 0
    detectors: tuple[DetectorView, ...] = ()
    rolling: tuple[RollingView, ...] = ()
    retrains: int = 0
    retrains_left: int | None = None


class Display:
    """Shows a replay. In a terminal a panel is redrawn in place; elsewhere a line is printed.

    The plain form has one line for each simulated week and one for each event, and
    no control characters, so that it can go to a file or a CI log.

    Args:
        console: Where to; ``console.is_terminal`` chooses the form.
        total_rows: Rows that the replay will have (at least 1).
        clock: Seconds that only grow, for the elapsed time.
    """

    def __init__(
        self, console: Console, total_rows: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._total = max(total_rows, 1)
        self._clock = clock
        self._start = clock()
        self._events: deque[tuple[date | None, str]] = deque(maxlen=_REMEMBERED)
        self._view: DemoView | None = None
        self._week: date | None = None
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self._start = self._clock()
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._render, console=self._console, refresh_per_second=4
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, view: DemoView) -> None:
        """Show a new moment. Cheap: in a terminal the panel is redrawn four times a second."""
        self._view = view
        if self._live is not None:
            return
        day = view.at.date()
        week = day - timedelta(days=day.weekday())
        if week != self._week:
            self._week = week
            self._line(self._week_line(view))

    def event(self, text: str) -> None:
        """Tell something that happened, such as a sentence of the ledger. One line."""
        sentence = " ".join(text.split())
        at = None if self._view is None else self._view.at.date()
        self._events.append((at, sentence))
        if self._live is None:
            self._line(f"{'          ' if at is None else at}        {sentence}")

    def _line(self, text: str) -> None:
        printable = "".join(sign if sign.isprintable() else "?" for sign in text)
        self._console.print(printable, markup=False, highlight=False, soft_wrap=True)

    def _week_line(self, view: DemoView) -> str:
        parts = [f"{view.at:%Y-%m-%d}  {100 * view.rows / self._total:4.0f} %  {view.doing}"]
        if view.weights:
            parts.append(" ".join(f"v{name} {share}%" for name, share in view.weights.items()))
        parts += [
            f"{item.name} {_number(item.loop)} (frozen {_number(item.frozen)})"
            for item in view.rolling
        ]
        parts.append(f"retrains {view.retrains}{_left(view)}")
        return " · ".join(parts)

    def _render(self) -> RenderableType:
        view = self._view
        if view is None:
            lately = self._events[-1][1] if self._events else "getting ready"
            return Panel(Text(lately), title="Noria", title_align="left", border_style="cyan")
        done = Table.grid(padding=(0, 1), expand=True)
        done.add_column(no_wrap=True)
        done.add_column(ratio=1)
        done.add_column(no_wrap=True, justify="right")
        done.add_row(
            Text(f"{view.at:%d %b %Y}", style="bold"),
            ProgressBar(total=self._total, completed=min(view.rows, self._total)),
            Text(f"{view.rows:,} of {self._total:,} rows", style="dim"),
        )
        facts = Table.grid(padding=(0, 2))
        facts.add_column(style="dim", no_wrap=True)
        facts.add_column()
        facts.add_row("doing", Text(view.doing, style="bold"))
        facts.add_row("traffic", _traffic_bar(view))
        for item in view.rolling:
            facts.add_row(item.name, _rolling(item))
        facts.add_row("drift", _drifts(view))
        facts.add_row("retrains", Text(f"{view.retrains}{_left(view)}"))
        elapsed = _elapsed(self._clock() - self._start)
        return Panel(
            Group(done, Text(), facts, Text(), *self._recent()),
            title="Noria: a year of flights through the loop",
            title_align="left",
            subtitle=f"{elapsed} elapsed, Ctrl-C stops",
            subtitle_align="right",
            border_style="cyan",
            padding=(1, 2),
        )

    def _recent(self) -> list[Text]:
        newest = len(self._events) - 1
        return [
            Text.assemble(
                (f"{at:%d %b}  " if at else "        ", "cyan"),
                (sentence, "" if index == newest else "dim"),
                overflow="ellipsis",
                no_wrap=True,
            )
            for index, (at, sentence) in enumerate(self._events)
        ]


def _traffic_bar(view: DemoView) -> Text:
    bar = Text()
    shares = sorted(view.weights.items(), key=lambda item: _order(item[0]))
    for name, share in shares:
        if share:
            bar.append("━" * max(1, round(share * _BAR / 100)), style=_version_style(name))
    for name, share in shares:
        crown = "champion " if name == view.champion else ""
        bar.append(f"  {crown}v{name} {share} %", style=_version_style(name))
    return bar if shares else Text("nobody answers yet", style="dim")


def _rolling(item: RollingView) -> Text:
    text = Text(f"loop {_number(item.loop)}   frozen {_number(item.frozen)}")
    if item.loop is not None and item.frozen is not None:
        difference = item.loop - item.frozen
        text.append(f"   {difference:+.3f}", style="green" if difference >= 0 else "red")
    return text


def _drifts(view: DemoView) -> Text:
    text = Text(f"{view.windows} windows, {view.labels:,} labels")
    for detector in view.detectors:
        said = "waiting" if detector.p_value is None else f"p {detector.p_value:.2g}"
        if detector.drift:
            said = f"DRIFT, {said}"
            if detector.features:
                said += f" in {', '.join(detector.features[:3])}"
        style = "bold yellow" if detector.drift else "dim"
        text.append(f"\n{detector.name}: {said}", style=style)
    return text


def _version_style(name: str) -> str:
    return _VERSION_STYLES[(_order(name)[0] - 1) % len(_VERSION_STYLES)]


def _order(name: str) -> tuple[int, str]:
    return (int(name) if name.isdecimal() else 0, name)


def _left(view: DemoView) -> str:
    return "" if view.retrains_left is None else f", {view.retrains_left} left in the budget"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _elapsed(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), _MINUTE)
    return f"{minutes}:{rest:02}"
