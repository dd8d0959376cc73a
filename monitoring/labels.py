"""Labels find the rows they belong to, whether they come after or before them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from monitoring.core import Core
from monitoring.pairs import IdRows, PairJoiner
from monitoring.records import (
    Label,
    LabelsRecord,
    decode_keys,
    floats,
    key_hashes,
)
from monitoring.state import Pair, State
from monitoring.table import FloatArray

BY_ID: Final = "id:"
BY_KEY: Final = "key:"


class Outcomes(NamedTuple):
    """Rows of one version with their labels; ``arrivals`` is when each was predicted."""

    version: str
    scores: FloatArray
    labels: FloatArray
    arrivals: FloatArray


class LabelJoiner:
    """Joins by prediction id (request id and row) or by entity key; a row is labelled once."""

    def __init__(
        self,
        core: Core,
        state: State,
        pairs: PairJoiner,
        joined: Callable[[Outcomes, float], None],
    ) -> None:
        """Start from what is committed; ``joined`` is called with every set of new outcomes."""
        self._core = core
        self._state = state
        self._pairs = pairs
        self._joined = joined
        self._last_keys: tuple[int, tuple[str, ...]] = (0, ())

    def labels(self, record: LabelsRecord, at: float) -> None:
        """Take labels that arrived at ``at``; those without a row yet wait for it."""
        self._pairs.flush()
        self._core.counts.labels += len(record.labels)
        found: defaultdict[int, dict[int, float]] = defaultdict(dict)
        pairs: dict[int, Pair] = {}
        for label in record.labels:
            places = self._places(label, pairs)
            if not places:
                self._state.put_label(label, at)
                self._core.waiting_labels += 1
            for seq, row in places:
                found[seq].setdefault(row, label.value)
        self._write([(pairs[seq], rows) for seq, rows in found.items()], at)

    def pair(self, pair: Pair, keys: Sequence[str], requests: Sequence[IdRows]) -> None:
        """Give a new pair the labels that were waiting for it.

        Args:
            pair: the pair.
            keys: the entity keys of its rows, if they have any.
            requests: id and number of rows of each of its requests.
        """
        if not self._core.waiting_labels:
            return
        found: dict[int, float] = {}
        first = 0
        for identity, rows in requests:
            taken: list[str] = []
            for row, waiting in self._state.labels_of_request(identity).items():
                if row < rows:
                    found[first + row] = waiting
                    taken.append(f"{BY_ID}{identity}:{row}")
            for row, key in enumerate(keys[first : first + rows], first):
                value = self._state.label(BY_KEY + key)
                if value is not None:
                    found.setdefault(row, value)
                    taken.append(BY_KEY + key)
            # Before the next request: one with the same key does not get what this one took.
            for name in dict.fromkeys(taken):
                self._state.drop_label(name)
                self._core.waiting_labels -= 1
            first += rows
        if found:
            self._write([(pair, found)], pair.at)

    def _places(self, label: Label, pairs: dict[int, Pair]) -> list[tuple[int, int]]:
        """Return (pair, row) of every row that the label is for."""
        if label.key.startswith(BY_KEY):
            text = label.key.removeprefix(BY_KEY)
            return [
                (seq, row)
                for seq, row in self._state.rows_with_key(key_hashes([text])[0])
                if (pair := self._pair(seq, pairs)) is not None and self._keys_of(pair)[row] == text
            ]
        identity, _, row_text = label.key.removeprefix(BY_ID).rpartition(":")
        seen = self._state.seen(identity)
        row = int(row_text)
        if seen is None or not seen.pair:
            return []
        pair = self._pair(seen.pair, pairs)
        if pair is None or row >= (pair.rows if seen.rows is None else seen.rows):
            return []
        return [(seen.pair, seen.first + row)]

    def _pair(self, seq: int, pairs: dict[int, Pair]) -> Pair | None:
        if seq not in pairs:
            found = self._state.pair(seq)
            if found is None:
                return None
            pairs[seq] = found
        return pairs[seq]

    def _keys_of(self, pair: Pair) -> tuple[str, ...]:
        # Labels come in the order of their rows: the same request many times in a row.
        if self._last_keys[0] != pair.seq:
            self._last_keys = (pair.seq, decode_keys(pair.keys) if pair.keys else ())
        return self._last_keys[1]

    def _write(self, found: list[tuple[Pair, dict[int, float]]], at: float) -> None:
        by_version: defaultdict[str, list[tuple[FloatArray, FloatArray, float]]]
        by_version = defaultdict(list)
        for pair, values in found:
            labelled = np.frombuffer(pair.labelled or bytes(pair.rows), np.uint8).copy()
            rows = np.array([row for row in values if not labelled[row]], np.int64)
            if not rows.size:
                continue
            labelled[rows] = 1
            self._state.put_labelled(pair.seq, labelled.tobytes())
            truth = np.array([values[int(row)] for row in rows], np.float64)
            by_version[pair.version].append((floats(pair.prediction)[rows], truth, pair.at))
        for version, parts in by_version.items():
            arrivals = [np.full(scores.size, when) for scores, _, when in parts]
            self._joined(
                Outcomes(
                    version,
                    np.concatenate([scores for scores, _, _ in parts]),
                    np.concatenate([truth for _, truth, _ in parts]),
                    np.concatenate(arrivals),
                ),
                at,
            )
