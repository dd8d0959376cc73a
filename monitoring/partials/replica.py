"""A replica: pairs and joins its part of the traffic, and summarises it instead of testing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from monitoring.config import MonitorConfig
from monitoring.core import Core
from monitoring.detectors.build import takes_counts
from monitoring.labels import Outcomes
from monitoring.log import EventLog
from monitoring.partials.sketches import Ruler
from monitoring.records import PartialRecord
from monitoring.records import encode as encode_record
from monitoring.reference import prediction_table
from monitoring.rows import Piece, encode
from monitoring.state import State
from monitoring.table import Table
from monitoring.watch import Watch
from monitoring.windows import Scores, Windows
from noria.errors import InvalidInput

_PARTS: int = 4
"""Partials of each replica in a window, about: how finely a window can be filled."""


@dataclass(frozen=True, slots=True)
class Replica:
    """Which of how many replicas this is, from 1, and the life of its state."""

    number: int
    of: int
    life: str = ""

    @classmethod
    def parse(cls, text: str) -> Replica:
        """Read ``2/3``.

        Raises:
            InvalidInput: it is not two such numbers.
        """
        number, _, of = text.partition("/")
        if number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of):
            return cls(int(number), int(of))
        raise InvalidInput(f"--replica: {text!r} is not a number of how many", fix="such as 2/3")

    def config(self, config: MonitorConfig) -> MonitorConfig:
        """Return what this replica watches: no detectors, and windows of a partial's rows."""
        rows = ceil(config.window_rows / (self.of * _PARTS))
        return replace(config, window_rows=rows, detectors=())


class ReplicaWindows(Windows):
    """Puts a partial into the outbox where a window would be tested."""

    def __init__(
        self,
        config: MonitorConfig,
        core: Core,
        state: State,
        log: EventLog,
        watch: Watch | None,
        replica: Replica,
    ) -> None:
        """Fill the open partials again from what is stored; ``config`` is the model's."""
        self._replica = replica
        self._rows_for = frozenset(d.on for d in config.detectors if not takes_counts(d))
        self._rulers: tuple[Watch, Ruler, Ruler] | None = None
        super().__init__(replica.config(config), core, state, log, watch)

    def outcomes(self, found: Outcomes, at: float) -> None:
        """Send labelled rows as they are: two numbers and a moment each."""
        core = self._core
        core.counts.joined += found.scores.size
        core.last_labelled_at = max(core.last_labelled_at, min(at, float(found.arrivals.max())))
        core.label_delay = max(0.0, at - float(found.arrivals.mean()))
        columns = zip(
            ("scores", "labels", "arrivals"),
            (found.scores, found.labels, found.arrivals),
            strict=True,
        )
        self._emit(
            PartialRecord(
                self._replica.number,
                self._replica.life,
                core.next_partial,
                "outcomes",
                found.version,
                found.scores.size,
                at,
                table={name: np.asarray(column, np.float64).tobytes() for name, column in columns},
            )
        )

    def _features_window(self, watch: Watch, pieces: Sequence[Piece], at: float) -> None:
        window = encode(watch.reference.features.schema, pieces)
        self._sketched("features", self._ruler(watch)[0], window, at)

    def _prediction_window(self, watch: Watch, scores: Sequence[Scores], at: float) -> None:
        window = prediction_table(np.concatenate([s.scores[s.start : s.stop] for s in scores]))
        self._sketched("prediction", self._ruler(watch)[1], window, at)

    def _ruler(self, watch: Watch) -> tuple[Ruler, Ruler]:
        if self._rulers is None or self._rulers[0] is not watch:
            self._rulers = (watch, *rulers(watch))
        return self._rulers[1:]

    def _sketched(self, stream: str, ruler: Ruler, window: Table, at: float) -> None:
        core = self._core
        table = {}
        if stream in self._rows_for:
            table = {c.name: window.columns[c.name].tobytes() for c in window.schema}
        core.last_window_at = at
        core.counts.windows += 1
        self._emit(
            PartialRecord(
                self._replica.number,
                self._replica.life,
                core.next_partial,
                stream,
                core.references[core.champion],
                window.rows,
                at,
                dict(core.rows_by_version),
                ruler.sketch(window),
                table,
            )
        )

    def _emit(self, record: PartialRecord) -> None:
        self._state.put_partial(record.seq, encode_record(record))
        self._core.next_partial += 1


def rulers(watch: Watch) -> tuple[Ruler, Ruler]:
    """Return the cells of a reference's features and of its prediction."""
    reference = watch.reference
    return Ruler(reference.features, reference.ranges), Ruler(reference.prediction, {})
