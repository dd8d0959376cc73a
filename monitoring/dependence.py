"""How much rows that come together tell: what dependence in order of arrival adds to a variance.

A test of a window takes its rows as independent. Rows of one household, one request or one
hour are alike, so that the share of a window's rows under a threshold varies more from window to
window than the test thinks. By how much is its *design effect* (Kish, "Survey Sampling", 1965):
rows / design effect independent rows would tell as much.

It is measured from batch means, by the differences of neighbouring batches (von Neumann,
"Distribution of the Ratio of the Mean Square Successive Difference to the Variance", Annals of
Mathematical Statistics 12, 1941), so that a change of level within a window adds next to nothing:
a drift must not hide itself. Batches of several lengths are measured, and the largest effect
counts that is more than chance. What windows have shown adds up, and is forgotten slowly.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitoring.table import Column, ColumnArray, FloatArray, Table, missing_vectors
from noria.errors import MonitoringError

Sums: TypeAlias = Mapping[str, FloatArray]
"""By column, a row for each length of batches: pairs of neighbours, what independent rows would
vary, and what these vary, of each direction; each summed over the pairs."""

_SCALES: Final = 4
_BATCHES: Final = 96
_LEAST: Final = 4
_PARTS: Final = 8
_AXIS_ROWS: Final = 1000
"""Vectors that a direction is found from, about."""
_REMEMBERED: Final = 50
"""Windows after which half and more of what counts is of newer ones."""
_CHANCE: Final = 2.0
"""Standard errors above 1 from which an effect is more than chance."""


@dataclass(frozen=True, slots=True)
class _Cells:
    """Where a column is cut: rows become codes 0..size - 1; -1 is left out.

    A vector is cut along ``axis`` (width,), the direction in which the reference varies most.
    """

    column: Column
    edges: FloatArray
    size: int
    axis: FloatArray | None = None

    @property
    def is_numeric(self) -> bool:
        return self.column.kind != "categorical"

    def codes(self, values: ColumnArray) -> NDArray[np.int64]:
        if self.axis is not None:
            values = values[~missing_vectors(values)].astype(np.float64) @ self.axis
        if self.is_numeric:
            kept = values[~np.isnan(values)]
            return self.edges.searchsorted(kept, side="left").astype(np.int64)
        last = len(self.column.categories)
        # Missing, rare and unseen are one cell, as they are to the test.
        return np.where((values < 0) | (values > last), last, values).astype(np.int64)


class Dependence:
    """The design effects of the columns of one stream of rows."""

    def __init__(
        self, reference: Table, window_rows: int, *, streams: int = 1, live: bool = False
    ) -> None:
        """Cut each column at the reference's octiles, or into its categories.

        Args:
            reference: rows in order of arrival, as far as their order is known.
            window_rows: rows of a window; a tenth of them is about the longest batch.
            streams: into how many the traffic is dealt out before it is measured: rows that
                came together are then that much rarer side by side.
            live: the reference is of the traffic, too.
        """
        least = max(_LEAST, window_rows // _BATCHES)
        self._lengths = tuple(least << step for step in range(_SCALES))
        self._cells = tuple(_cut(c, reference.columns[c.name]) for c in reference.schema)
        self._sums: dict[str, FloatArray] = {}
        self._streams = streams
        self.reference: Mapping[str, float] = {
            name: 1.0 + (streams if live else 1) * (_effect(one, numeric=numeric) - 1.0)
            for name, one, numeric in self._with_kind(self.measure(reference))
        }
        if live:
            self.learn(self.measure(reference))

    def measure(self, window: Table) -> dict[str, FloatArray]:
        """Return the sums of one stretch of rows in order of arrival; those of several add up."""
        return {c.column.name: self._measured(c, window) for c in self._cells}

    def learn(self, sums: Sums) -> None:
        """Add what a window has shown."""
        kept = 1.0 - 1.0 / _REMEMBERED
        for name, found in sums.items():
            before = self._sums.get(name)
            self._sums[name] = found if before is None else kept * before + found

    def effects(self) -> dict[str, float]:
        """Return each column's design effect in the traffic, 1 or more."""
        return {
            name: 1.0 + self._streams * (_effect(one, numeric=numeric) - 1.0)
            for name, one, numeric in self._with_kind(self._sums)
        }

    def joint(self, names: Collection[str] = ()) -> float:
        """Return the design effect of these columns (none: of all) together in the traffic."""
        found = [one for name, one in self._sums.items() if not names or name in names]
        if not found:
            return 1.0
        pairs = np.mean([one[:, 0] for one in found], axis=0)
        mean = np.mean([_ratio(one[:, 2:].sum(axis=1), one[:, 1]) for one in found], axis=0)
        return 1.0 + self._streams * (_beyond_chance(mean, pairs) - 1.0)

    def fits(self, name: str, body: bytes) -> bool:
        """Whether sums that came from outside, as float64 bytes or none, can be of this column."""
        size = next((_SCALES * _width(c) for c in self._cells if c.column.name == name), 0)
        if len(body) not in (0, size * _FLOAT_BYTES):
            return False
        sums = np.frombuffer(body, np.float64)
        return bool((np.isfinite(sums) & (sums >= 0)).all())

    @staticmethod
    def shaped(sums: FloatArray) -> FloatArray:
        """Return sums that were flat in the shape that ``measure`` gives."""
        return sums.reshape(_SCALES, -1)

    def state(self) -> bytes:
        """Return what the windows so far have shown."""
        said = {name: one.ravel().tolist() for name, one in self._sums.items()}
        return msgspec.msgpack.encode(said)

    def restore(self, state: bytes | None) -> None:
        """Go back to what ``state()`` returned; of None, and of other columns, nothing is known.

        Raises:
            MonitoringError: it is damaged.
        """
        try:
            said = {} if state is None else msgspec.msgpack.decode(state, type=_STATE)
        except msgspec.MsgspecError as error:
            raise MonitoringError(f"the dependence of rows can't be read: {error}") from error
        widths = {c.column.name: _width(c) for c in self._cells}
        self._sums = {
            name: np.array(values).reshape(_SCALES, -1)
            for name, values in said.items()
            if name in widths and len(values) == _SCALES * widths[name]
        }

    def _with_kind(self, sums: Sums) -> list[tuple[str, FloatArray, bool]]:
        numeric = {c.column.name: c.is_numeric for c in self._cells}
        return [(name, one, numeric[name]) for name, one in sums.items()]

    def _measured(self, cells: _Cells, window: Table) -> FloatArray:
        codes = cells.codes(window.columns[cells.column.name])
        found = np.zeros((_SCALES, _width(cells)))
        least = self._lengths[0]
        batches = codes.size // least
        if not batches:
            return found
        of_batch = np.repeat(np.arange(batches), least) * cells.size
        counts = np.bincount(of_batch + codes[: batches * least], minlength=batches * cells.size)
        counts = counts.reshape(batches, cells.size)
        totals = np.bincount(codes, minlength=cells.size)
        weights = np.ones(cells.size)
        if cells.is_numeric:
            # Of rows at or under each edge.
            counts = counts.cumsum(axis=1)[:, :-1]
            shares = totals.cumsum()[:-1] / codes.size
            weights = weights[:-1]
        else:
            shares = totals / codes.size
            weights = np.divide(1.0, shares, out=np.zeros(cells.size), where=shares > 0)
        alone = float((weights * shares * (1.0 - shares)).sum())
        for step, length in enumerate(self._lengths):
            usable = batches >> step
            if usable > 1:
                longer = counts[: usable << step].reshape(usable, 1 << step, -1).sum(axis=1)
                squares = (np.diff(longer, axis=0).astype(np.float64) ** 2).sum(axis=0)
                vary = weights * squares / (2.0 * length)
                pairs = float(usable - 1)
                found[step, :2] = pairs, pairs * alone
                found[step, 2:] = vary if cells.is_numeric else vary.sum()
        return found


_FLOAT_BYTES: Final = 8
_STATE: Final = dict[str, list[float]]


def _width(cells: _Cells) -> int:
    return 2 + (cells.size - 1 if cells.is_numeric else 1)


def _cut(column: Column, values: ColumnArray) -> _Cells:
    if column.kind == "categorical":
        return _Cells(column, np.empty(0), len(column.categories) + 1)
    axis = None
    if column.kind == "vector":
        known = values[~missing_vectors(values)].astype(np.float64)
        axis = _main_axis(known)
        values = known @ axis
    kept = values[~np.isnan(values)].astype(np.float64)
    shares = np.arange(1, _PARTS) / _PARTS
    # Edges that are values: a column of few distinct ones is cut between them.
    edges = np.quantile(kept, shares, method="lower") if kept.size else np.zeros(_PARTS - 1)
    return _Cells(column, edges, _PARTS, axis)


def _main_axis(points: FloatArray) -> FloatArray:
    """Return the direction (d,) in which n points vary most, the first principal axis."""
    some = points[:: max(1, points.shape[0] // _AXIS_ROWS)]
    if not some.size:
        return np.ones(points.shape[1])
    scale = float(np.abs(some).max()) or 1.0
    centred = some / scale - (some / scale).mean(axis=0)
    axis: FloatArray = np.linalg.svd(centred, full_matrices=False)[2][0]
    # Its sign is nobody's: the same on every machine all the same.
    return axis * (np.sign(axis[np.argmax(np.abs(axis))]) or 1.0)


def _effect(sums: FloatArray, *, numeric: bool) -> float:
    """Return the design effect of one column.

    The far tail of the largest distance is that of the direction that varies most, against a
    variance of 1/4 that the KS test takes for granted (Adler, "An Introduction to Continuity,
    Extrema, and Related Topics for General Gaussian Processes", 1990). Of categories it is the
    mean over directions, weighted as chi-square weights them (Rao and Scott, "The Analysis of
    Categorical Data from Complex Sample Surveys", JASA 76, 1981).
    """
    pairs = np.maximum(sums[:, 0], 1.0)
    found = 4.0 * sums[:, 2:].max(axis=1) / pairs if numeric else _ratio(sums[:, 2], sums[:, 1])
    return _beyond_chance(found, sums[:, 0])


def _ratio(found: FloatArray, alone: FloatArray) -> FloatArray:
    return np.divide(found, alone, out=np.ones_like(found), where=alone > 0)


def _beyond_chance(effects: FloatArray, pairs: FloatArray) -> float:
    """Return the largest effect that is more than chance; 1 where none is.

    One that still grows with the longest batches is too small by about what it grew: batches cut
    the blocks at their ends (Vats and Flegal, "Lugsail lag windows for estimating
    time-average covariance matrices", Biometrika 109, 2022).
    """
    # The variance of a mean of squared neighbouring differences is three by the number of pairs.
    error = np.sqrt(3.0 / np.maximum(pairs, 1.0))
    limit = 1.0 + _CHANCE * error
    # One standard error more: an effect that is taken for too small costs more than one too large.
    found = effects * (1.0 + np.minimum(error, 1.0))
    found[-1] += max(0.0, effects[-1] - effects[-2])
    return float(np.max(found, initial=1.0, where=effects > limit))
