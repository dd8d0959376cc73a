"""How far a backtest is: a bar with the time left in a terminal, a line at each tenth elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from noria.loop.state import RunKind, State

_TENTHS: Final = 10


class Progress:
    """Shows how far the walk and the rivals' fits are.

    Args:
        console: Where to; ``console.is_terminal`` chooses the form.
        rows: Rows that are walked through.
        clock: Seconds that only grow.
    """

    def __init__(
        self, console: Console, rows: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._rows = max(rows, 1)
        self._clock = clock
        self._began = clock()
        self._tenth = -1
        self._fits: Sequence[Future[Any]] = ()
        self._bars: Bars | None = None

    def __enter__(self) -> Self:
        self._began = self._clock()
        if self._console.is_terminal:
            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._walk = self._bars.add_task("training the first version", total=self._rows)
            self._rivals = self._bars.add_task("the rivals' fits", total=None)
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def fits(self, futures: Sequence[Future[Any]]) -> None:
        """Count these as the rivals' fits."""
        self._fits = futures
        if self._bars is not None:
            self._bars.update(self._rivals, total=len(futures))
            for future in futures:
                future.add_done_callback(self._fitted)

    def turned(self, at: datetime, rows: int, state: State) -> None:
        """Show that the loop has turned at a time, with so many rows behind it."""
        tries = sum(run.kind is not RunKind.FIRST for run in state.runs)
        doing = f"{at:%Y-%m-%d}, v{state.champion}, {tries} retrain{'' if tries == 1 else 's'}"
        if self._bars is not None:
            self._bars.update(self._walk, completed=rows, description=doing)
            return
        tenth = rows * _TENTHS // self._rows
        if tenth > self._tenth:
            self._tenth = tenth
            spent = self._clock() - self._began
            left = spent * (self._rows - rows) / rows if tenth and rows else None
            said = "" if left is None else f", about {left:.0f} s left"
            self._line(f"{doing}: {rows:,} of {self._rows:,} rows{said}")

    def walked(self) -> None:
        """Say that the loop is done, and that the rivals may not be."""
        waiting = sum(not future.done() for future in self._fits)
        if waiting and self._bars is None:
            self._line(f"the loop is done; {waiting} of {len(self._fits)} fits of the rivals left")

    def _fitted(self, future: Future[Any]) -> None:
        del future
        if self._bars is not None:
            self._bars.advance(self._rivals)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
