"""Labels find the rows they belong to, whether they come after or before them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from monitoring.core import MonitorState
from monitoring.pairs import IdRows, PairJoiner
from monitoring.records import (
    Label,
    LabelsRecord,
    decode_keys,
    floats,
    key_hashes,
    of_target,
    scores_of,
    target_of,
    width_of,
)
from monitoring.state import Join, Pair, State
from monitoring.table import FloatArray

BY_ID: Final = "id:"
BY_KEY: Final = "key:"


class Outcomes(NamedTuple):
    """Rows of one version with their labels; ``arrivals`` is when each was predicted.

    ``scores`` is (n,), or (n, k) where a row has several numbers. ``labels`` is (n,), or of
    several targets (n, k).
    """

    version: str
    scores: FloatArray
    labels: FloatArray
    arrivals: FloatArray


class Sink(Protocol):
    """Takes rows with their labels."""

    def outcomes(self, found: Outcomes, at: float) -> int:
        """Take rows that got their labels; return the number they are kept under."""
        ...

    def correct(self, found: Mapping[int, Mapping[int, float]], at: float) -> None:
        """Change labels that were taken before.

        Args:
            found: That number, to the label's place (row by row, target by target), to value.
            at: When.
        """
        ...


class Kept(Protocol):
    """Writes down rows that got a label, or another one."""

    def take(self, pair: Pair, values: Mapping[int, float], at: float) -> None:
        """Take rows of a pair: row of the pair to the value of its label, known at ``at``."""
        ...


class LabelJoiner:
    """Joins by prediction id (request id and row) or by entity key.

    A target of a row is labelled once; only a correction changes its label. Where a prediction
    is several numbers, each is a target of its own, and a row counts as labelled when the last
    one of them is. In here labels are counted row by row, target by target.
    """

    def __init__(
        self,
        core: MonitorState,
        state: State,
        pairs: PairJoiner,
        sink: Sink,
        kept: Kept | None = None,
        *,
        classification: bool,
    ) -> None:
        """Start from what is committed; ``sink`` gets every set of new outcomes, ``kept`` its rows.

        Without ``kept`` nobody needs what the rows were. Of a ``classification`` the numbers of a
        prediction are of the classes of one target.
        """
        self._core = core
        self._classification = classification
        self._state = state
        self._pairs = pairs
        self._sink = sink
        self._kept = kept

    def labels(self, record: LabelsRecord, at: float) -> None:
        """Take labels that arrived at ``at``; those without a row yet wait for it."""
        self._pairs.flush()
        self._core.counts.labels += len(record.labels)
        pairs: dict[int, Pair] = {}
        places = self._places(record.labels, pairs)
        found: defaultdict[int, dict[int, float]] = defaultdict(dict)
        corrected: defaultdict[int, dict[int, float]] = defaultdict(dict)
        for label, rows in zip(record.labels, places, strict=True):
            if not rows:
                self._core.waiting_labels += self._state.put_label(label, at)
            target, _ = target_of(label.key)
            for seq, row in rows:
                targets = self._targets(pairs[seq])
                if target >= targets:
                    self._core.counts.orphan_labels += 1
                    continue
                place = row * targets + target
                if not label.correct:
                    found[seq].setdefault(place, label.value)
                elif _is_labelled(pairs[seq], row):
                    corrected[seq][place] = label.value
                else:
                    found[seq][place] = label.value
                    pairs[seq] = self._unlabelled(pairs[seq], place)
        self._write([(pairs[seq], rows) for seq, rows in found.items()], at)
        if corrected:
            self._correct(corrected, at)
            for seq, values in corrected.items():
                self._keep(pairs[seq], values, at)

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
        first, targets = 0, self._targets(pair)
        for identity, rows in requests:
            taken: list[str] = []
            for target in range(targets):
                named = self._state.labels_of_request(identity, target)
                for row, waiting in named.items():
                    if row < rows:
                        found[(first + row) * targets + target] = waiting
                        taken.append(of_target(f"{BY_ID}{identity}:{row}", target))
                for row, key in enumerate(keys[first : first + rows], first):
                    name = of_target(BY_KEY + key, target)
                    value = self._state.label(name)
                    if value is not None:
                        found.setdefault(row * targets + target, value)
                        taken.append(name)
            # Before the next request: one with the same key does not get what this one took.
            for name in dict.fromkeys(taken):
                self._state.drop_label(name)
                self._core.waiting_labels -= 1
            first += rows
        if found:
            self._write([(pair, found)], pair.at)

    def _places(
        self, labels: Sequence[Label], pairs: dict[int, Pair]
    ) -> list[list[tuple[int, int]]]:
        """Return for each label (pair, row) of every row that it is for, and fill ``pairs``.

        Each pair's keys are read once, however many of the labels are for its rows.
        """
        places: list[list[tuple[int, int]]] = [[] for _ in labels]
        by_pair: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        named = [target_of(label.key)[1] for label in labels]
        for number, name in enumerate(named):
            if name.startswith(BY_KEY):
                text = name.removeprefix(BY_KEY)
                for seq, row in self._state.rows_with_key(key_hashes([text])[0]):
                    by_pair[seq].append((number, row))
            else:
                places[number] = self._place(name, pairs)
        for seq in sorted(by_pair):
            pair = self._pair(seq, pairs)
            keys = decode_keys(pair.keys) if pair is not None and pair.keys else ()
            for number, row in by_pair[seq]:
                # The index has hashes only.
                if row < len(keys) and BY_KEY + keys[row] == named[number]:
                    places[number].append((seq, row))
        return places

    def _place(self, name: str, pairs: dict[int, Pair]) -> list[tuple[int, int]]:
        """Return the one (pair, row) of a prediction id, none while it is not known."""
        identity, _, row_text = name.removeprefix(BY_ID).rpartition(":")
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

    def _write(self, found: list[tuple[Pair, dict[int, float]]], at: float) -> None:
        by_version: defaultdict[tuple[str, tuple[int, ...]], list[_Labelled]] = defaultdict(list)
        for pair, values in found:
            labelled = np.frombuffer(pair.labelled or bytes(pair.rows), np.uint8).copy()
            rows, truth = self._complete(pair, values, labelled)
            if not rows:
                continue
            labelled[rows] = 1
            self._state.put_labelled(pair.seq, labelled.tobytes())
            self._keep(pair, dict(zip(rows, truth.tolist(), strict=True)), at)
            scores = scores_of(pair.prediction, pair.rows)[rows]
            alike = (pair.version, scores.shape[1:])
            by_version[alike].append(_Labelled(pair.seq, rows, scores, truth, pair.at))
        for (version, _), parts in by_version.items():
            outcome = self._sink.outcomes(
                Outcomes(
                    version,
                    np.concatenate([part.scores for part in parts]),
                    np.concatenate([part.truth for part in parts]),
                    np.concatenate([np.full(len(part.rows), part.at) for part in parts]),
                ),
                at,
            )
            joins, first = [], 0
            for part in parts:
                joins.append(Join(part.pair, outcome, first, part.rows))
                first += len(part.rows)
            self._state.put_joins(joins)

    def _targets(self, pair: Pair) -> int:
        """Return how many labels a row of a pair has."""
        return 1 if self._classification else width_of(pair.prediction, pair.rows) or 1

    def _complete(
        self, pair: Pair, values: Mapping[int, float], labelled: NDArray[np.uint8]
    ) -> tuple[list[int], FloatArray]:
        """Return the rows that have all of their labels now, and those; keep the other labels."""
        targets = self._targets(pair)
        if targets == 1:
            rows = [row for row in values if not labelled[row]]
            return rows, np.array([values[row] for row in rows], np.float64)
        truth = _truth(pair, targets)
        for place, value in values.items():
            row, target = divmod(place, targets)
            if np.isnan(truth[row, target]):
                truth[row, target] = value
        self._state.put_truth(pair.seq, truth.tobytes())
        rows = [row for row in sorted({place // targets for place in values}) if not labelled[row]]
        rows = [row for row in rows if np.isfinite(truth[row]).all()]
        return rows, truth[rows]

    def _unlabelled(self, pair: Pair, place: int) -> Pair:
        """Return a pair that takes another label at a place: a correction of a row's first ones."""
        targets = self._targets(pair)
        if targets == 1:
            return pair
        truth = _truth(pair, targets)
        truth[divmod(place, targets)] = np.nan
        return pair._replace(truth=truth.tobytes())

    def _keep(self, pair: Pair, values: Mapping[int, Any], at: float) -> None:
        """Let labelled rows be kept; those of several targets are no rows to learn from."""
        if self._kept is None:
            return
        if self._targets(pair) == 1:
            self._kept.take(pair, values, at)
        else:
            self._core.counts.unkept += len(values)

    def _correct(self, corrected: Mapping[int, Mapping[int, float]], at: float) -> None:
        moved: defaultdict[int, dict[int, float]] = defaultdict(dict)
        for seq, values in corrected.items():
            places = self._state.places(seq)
            pair = self._state.pair(seq)
            targets = 1 if pair is None else self._targets(pair)
            for labelled, value in values.items():
                row, target = divmod(labelled, targets)
                if row in places:
                    outcome, place = places[row]
                    moved[outcome][place * targets + target] = value
                else:
                    # It was labelled by an earlier version of this monitor.
                    self._core.counts.uncorrected += 1
        self._sink.correct(moved, at)


class _Labelled(NamedTuple):
    pair: int
    rows: list[int]
    scores: FloatArray
    truth: FloatArray
    at: float


def _truth(pair: Pair, targets: int) -> FloatArray:
    """Return a copy of the labels that a pair's rows have so far, (rows, targets)."""
    if pair.truth is None:
        return np.full((pair.rows, targets), np.nan)
    return floats(pair.truth).reshape(pair.rows, targets).copy()


def _is_labelled(pair: Pair, row: int) -> bool:
    return pair.labelled is not None and bool(pair.labelled[row])
