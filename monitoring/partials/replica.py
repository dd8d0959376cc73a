"""A replica: pairs and joins its part of the traffic, and summarises it instead of testing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from uuid import uuid4

import numpy as np
from msgspec.structs import replace as replace_field

from monitoring.config import MonitorConfig
from monitoring.core import MonitorState, labels_by_source
from monitoring.dependence import Dependence
from monitoring.detectors.build import takes_counts
from monitoring.log import EventLog
from monitoring.partials.sketches import CellGrid
from monitoring.partials.streams import (
    BASELINE,
    CORRECTIONS,
    FEATURES,
    OF_CORRECTIONS,
    OF_OUTCOMES,
    OUTCOMES,
    PREDICTION,
)
from monitoring.records import ColumnSketch, Outcomes, PartialRecord, Told, end_to_end
from monitoring.records import encode as encode_record
from monitoring.rows import Piece, encode
from monitoring.sources import pack
from monitoring.state import State
from monitoring.watch import Watch
from monitoring.windows import Scores, Windows
from noria.errors import InvalidInput
from noria.files import read_file

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
        core: MonitorState,
        state: State,
        log: EventLog,
        watch: Watch | None,
        replica: Replica,
    ) -> None:
        """Fill the open partials again from what is stored; ``config`` is the model's."""
        self._replica = replica
        self._sends_rows = any(d.on == "features" and not takes_counts(d) for d in config.detectors)
        self._window_rows = config.window_rows
        self._grid: tuple[Watch, CellGrid] | None = None
        super().__init__(replica.config(config), core, state, log, watch)

    def outcomes(self, found: Outcomes, at: float) -> int:
        """Send labelled rows as they are: scores, label and moment; returns the partial."""
        core = self._core
        number = core.next_partial
        core.counts.joined += 0 if found.again else found.arrivals.size
        core.last_labelled_at = max(core.last_labelled_at, min(at, float(found.arrivals.max())))
        core.label_delay = max(0.0, at - float(found.arrivals.mean()))
        columns = zip(
            OF_OUTCOMES,
            (found.scores, found.labels, found.arrivals),
            strict=True,
        )
        table = {name: np.asarray(column, np.float64).tobytes() for name, column in columns}
        if found.baseline is not None:
            table[BASELINE] = found.baseline.tobytes()
        self._emit(
            PartialRecord(
                self._replica.number,
                self._replica.life,
                core.next_partial,
                OUTCOMES,
                found.version,
                found.arrivals.size,
                at,
                table=table,
                sources=pack(found.sources) or b"",
                again=found.again,
            )
        )
        return number

    def correct(self, found: Mapping[int, Mapping[int, Told]], at: float) -> None:
        """Send labels that take the place of those sent: partial, the label's place, and value."""
        core = self._core
        told = [(n, place, one) for n, places in found.items() for place, one in places.items()]
        if not told:
            return
        rows = [(number, place, one.value) for number, place, one in told]
        core.counts.corrected += len(rows)
        columns = np.array(rows, np.float64).T
        self._emit(
            PartialRecord(
                self._replica.number,
                self._replica.life,
                core.next_partial,
                CORRECTIONS,
                "",
                len(rows),
                at,
                table={name: columns[i].tobytes() for i, name in enumerate(OF_CORRECTIONS)},
                sources=pack([one.source for _, _, one in told]) or b"",
            )
        )

    def _features_window(self, watch: Watch, pieces: Sequence[Piece], at: float) -> None:
        window = encode(watch.reference.features.schema, pieces, watch.reference.seen)
        if self._grid is None or self._grid[0] is not watch:
            self._grid = (watch, grid_of(watch, self._window_rows))
        columns = {c.name: window.columns[c.name].tobytes() for c in window.schema}
        sketches = self._grid[1].sketch(window)
        self._summary(FEATURES, window.rows, at, sketches, columns if self._sends_rows else {})

    def _prediction_window(self, watch: Watch, scores: Sequence[Scores], at: float) -> None:
        del watch
        # As they are: the aggregator alone knows what they will be compared with.
        (window,) = end_to_end([(s.scores[s.start : s.stop],) for s in scores])
        self._summary(PREDICTION, window.shape[0], at, {}, {PREDICTION: window.tobytes()})

    def _summary(
        self,
        stream: str,
        rows: int,
        at: float,
        sketches: dict[str, ColumnSketch],
        table: dict[str, bytes],
    ) -> None:
        core = self._core
        core.last_window_at = at
        core.counts.windows += 1
        self._emit(
            PartialRecord(
                self._replica.number,
                self._replica.life,
                core.next_partial,
                stream,
                core.references[core.champion],
                rows,
                at,
                dict(core.rows_by_version),
                sketches,
                table,
            )
        )

    def _emit(self, record: PartialRecord) -> None:
        if self._core.counts.labels:
            record = replace_field(record, told=dict(labels_by_source(self._core)))
        self._state.put_partial(record.seq, encode_record(record))
        self._core.next_partial += 1


def grid_of(watch: Watch, window_rows: int) -> CellGrid:
    """Return the cells of a reference's features, for windows of so many rows."""
    reference = watch.reference
    return CellGrid(
        reference.features, reference.ranges, Dependence(reference.features, window_rows)
    )


def living(replica: Replica, home: Path, state: State) -> Replica:
    """Give a replica the name of its state's life, made when the state is."""
    if replica.life:
        return replica
    core = state.core()
    if not core.life:
        # A state of an earlier version has its life in a file of its own.
        noted = read_file(home / "life") if core.next_partial > 1 else None
        core.life = uuid4().hex if noted is None else noted.decode("ascii", "replace")
        state.begin(core)
    return replace(replica, life=core.life)
