"""Sums of series, and forecasts of parts and sums that agree: what a server needs of it.

A *node* is a series: a part, or the sum of all parts that are alike in some columns of the key, the
other columns of which are ``ALL``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Places = NDArray[np.int64]
Key = tuple[str, ...]

ALL: Final = "*"
"""Stands in a key for every value of its column."""

NOWHERE: Final = -1


def sums_of(key: Key, levels: Sequence[Sequence[int]]) -> Iterator[Key]:
    """Yield the keys of the sums that a part is in, the sum of all first.

    Args:
        key: The part's.
        levels: For each level but that of all, the places of its columns in the key.
    """
    for level in ((), *(level for level in levels if level)):
        yield tuple(text if place in level else ALL for place, text in enumerate(key))


@dataclass(frozen=True, slots=True, eq=False)
class Hierarchy:
    """The nodes of a model, s of them.

    Attributes:
        method: ``min-trace``, ``bottom-up`` or ``top-down``.
        members: For each node the places of its parts, rising; of a part none.
        covariance: (s, s) of the errors of forecasts, NaN where a node's are not known: where one
            of those that are asked about is such a node, the parts are added up.
        shares: (s,) how much of the sum of all a part is.
    """

    method: str
    members: tuple[Places, ...]
    covariance: Array
    shares: Array

    @property
    def sums(self) -> tuple[int, ...]:
        """The places of the sums."""
        return tuple(place for place, own in enumerate(self.members) if own.size)

    def whole(self, parts: set[int]) -> list[int]:
        """Return the sums whose parts are all among these."""
        return [place for place in self.sums if parts.issuperset(self.members[place].tolist())]

    def reconciled(self, said: Array, places: Places) -> tuple[Array, NDArray[np.bool_]]:
        """Return forecasts that agree, and which were reconciled.

        Every sum whose parts are all there is then what they add up to. Nodes that are in no such
        sum keep their forecast. One that is not negative stays so.

        Args:
            said: (n, h) forecasts of nodes from one origin.
            places: (n,) which node each row is, ``NOWHERE``: none; of one twice the last counts.
        """
        found, changed = said.copy(), np.zeros(len(said), np.bool_)
        rows = {place: row for row, place in enumerate(places.tolist()) if place != NOWHERE}
        parts = {place for place in rows if not self.members[place].size}
        sums = [place for place in self.whole(parts) if place in rows]
        below = sorted({int(part) for place in sums for part in self.members[place]})
        if not sums:
            return found, changed
        belongs = np.array([np.isin(below, self.members[place]) for place in sums], np.float64)
        base = said[[rows[place] for place in below]]
        above = said[[rows[place] for place in sums]]
        agreed = self._parts(base, above, belongs, np.array([*sums, *below], np.int64))
        agreed = np.where(base >= 0.0, np.maximum(agreed, 0.0), agreed)
        answers = dict(zip(below, agreed, strict=True))
        answers |= dict(zip(sums, belongs @ agreed, strict=True))
        for row, place in enumerate(places.tolist()):
            if place in answers:
                found[row], changed[row] = answers[place], True
        return found, changed

    def _parts(self, base: Array, above: Array, belongs: Array, nodes: Places) -> Array:
        """Return the forecasts of the parts (b, h); ``belongs`` (a, b) says which sum has which."""
        if self.method == "bottom-up":
            return base
        if self.method == "top-down":
            return self._shared_out(base, above, belongs, nodes[len(above) :])
        # Minimum trace: Wickramasuriya, Athanasopoulos and Hyndman, Journal of the American
        # Statistical Association 114 (2019), in the form that inverts a matrix of the sums alone.
        covariance = self.covariance[np.ix_(nodes, nodes)]
        known = np.isfinite(np.diag(covariance))
        if not known.all():
            return base
        constraint = np.concatenate([np.eye(len(above)), -belongs], axis=1)
        weighted = constraint @ covariance
        away = np.linalg.solve(weighted @ constraint.T, above - belongs @ base)
        return np.asarray(base - weighted[:, len(above) :].T @ away)

    def _shared_out(self, base: Array, above: Array, belongs: Array, parts: Places) -> Array:
        """Return each part's share of the widest sum that it is in."""
        found = base.copy()
        order = np.argsort(-belongs.sum(axis=1), kind="stable")
        widest = order[np.argmax(belongs[order] > 0.0, axis=0)]
        for place in dict.fromkeys(widest.tolist()):
            own = np.flatnonzero(widest == place)
            shares = self.shares[parts[own]]
            total = shares.sum()
            each = shares / total if total > 0.0 else np.full(own.size, 1.0 / own.size)
            # Only what is left: a part of a wider sum has its share of that.
            rest = belongs[place].astype(bool) & (widest != place)
            found[own] = each[:, None] * (above[place] - found[rest].sum(axis=0))
        return found
