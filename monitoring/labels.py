"""Labels find the rows they belong to, whether they come after or before them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple, Protocol, TypeAlias

import numpy as np

from monitoring.core import MonitorState
from monitoring.pairs import IdRows, PairJoiner
from monitoring.records import (
    Dated,
    Label,
    LabelsRecord,
    Outcomes,
    Told,
    beside_each_other,
    decode_keys,
    key_hashes,
    of_target,
    scores_of,
    target_of,
    width_of,
)
from monitoring.state import Join, Pair, State, baseline_of
from monitoring.table import FloatArray
from monitoring.truths import Truths
from noria.labels import FEEDBACK

BY_ID: Final = "id:"
BY_KEY: Final = "key:"


class Sink(Protocol):
    """Takes rows with their labels."""

    def outcomes(self, found: Outcomes, at: float) -> int:
        """Take rows that got their labels; return the number they are kept under."""
        ...

    def correct(self, found: Mapping[int, Mapping[int, Told]], at: float) -> None:
        """Change labels that were taken before.

        Args:
            found: That number, to the label's place (row by row, target by target), to what it is.
            at: When.
        """
        ...


class Kept(Protocol):
    """Writes down rows that got a label, or another one."""

    def take(self, pair: Pair, rows: Mapping[int, Sequence[Dated | None]], at: float) -> None:
        """Take rows of a pair as they are known at ``at``: row to the label of each target."""
        ...


class LabelJoiner:
    """Joins by prediction id (request id and row) or by entity key.

    A target of a row is labelled once; a correction changes its label, and so does feedback where
    a judge has labelled it. Where a prediction is several numbers, each is a target of its own,
    and a row counts as labelled when the last one of them is. In here labels are counted row by
    row, target by target.
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
        counts: Callable[[str], bool],
    ) -> None:
        """Start from what is committed; ``sink`` gets every set of new outcomes, ``kept`` its rows.

        Without ``kept`` nobody needs what the rows were. Of a ``classification`` the numbers of a
        prediction are of the classes of one target. ``counts`` says whether labels of a source
        count in the performance.
        """
        self._core = core
        self._counts = counts
        self._classification = classification
        self._state = state
        self._pairs = pairs
        self._sink = sink
        self._kept = kept

    def labels(self, record: LabelsRecord, at: float) -> None:
        """Take labels that arrived at ``at``; those without a row yet wait for it."""
        self._pairs.flush()
        for label in record.labels:
            self._core.count_label(label.source)
        pairs: dict[int, Pair] = {}
        places = self._places(record.labels, pairs)
        found: dict[int, Truths] = {}
        for label, rows in zip(record.labels, places, strict=True):
            if not rows:
                self._core.waiting_labels += self._state.put_label(label, at)
            target, _ = target_of(label.key)
            for seq, row in rows:
                if seq not in found:
                    found[seq] = self._truths(pairs[seq], at)
                if target < found[seq].targets:
                    found[seq].tell(row, target, label)
                else:
                    self._core.counts.orphan_labels += 1
        self._write(list(found.values()), at)
        changed = [one for one in found.values() if one.changed]
        if changed:
            self._correct(changed, at)

    def pair(self, pair: Pair, keys: Sequence[str], requests: Sequence[IdRows]) -> None:
        """Give a new pair the labels that were waiting for it.

        Args:
            pair: the pair.
            keys: the entity keys of its rows, if they have any.
            requests: id and number of rows of each of its requests.
        """
        if not self._core.waiting_labels:
            return
        found = self._truths(pair, pair.at)
        first = 0
        for identity, rows in requests:
            taken: list[str] = []
            for target in range(found.targets):
                named = self._state.labels_of_request(identity, target)
                for row, waiting in named.items():
                    if row < rows:
                        name = of_target(f"{BY_ID}{identity}:{row}", target)
                        found.tell(first + row, target, waiting.of(name))
                        taken.append(name)
                for row, key in enumerate(keys[first : first + rows], first):
                    name = of_target(BY_KEY + key, target)
                    by_key = self._state.label(name)
                    if by_key is not None:
                        found.tell(row, target, by_key.of(name))
                        taken.append(name)
            # Before the next request: one with the same key does not get what this one took.
            for name in dict.fromkeys(taken):
                self._state.drop_label(name)
                self._core.waiting_labels -= 1
            first += rows
        self._write([found], pair.at)

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

    def _write(self, found: Sequence[Truths], at: float) -> None:
        """Hand on the rows that have all of their labels now; keep the labels of the others."""
        batches: defaultdict[_Alike, list[_Labelled]] = defaultdict(list)
        for one in found:
            if not one.first:
                continue
            told = one.first_rows
            rows = one.complete()
            self._state.put_truths(one.pair.seq, *one.kept)
            # As far as it is known: of a row whose other labels never come nothing else is left.
            self._keep(one, told, at)
            if rows:
                self._batch(one, rows, batches)
        self._hand_on(batches, at, again=False)

    def _batch(
        self, one: Truths, rows: Sequence[int], batches: defaultdict[_Alike, list[_Labelled]]
    ) -> None:
        """Put rows with those that they can be handed on with, in their order."""
        pair = one.pair
        scores = scores_of(pair.prediction, pair.rows)
        baseline = baseline_of(pair.baseline, pair.rows)
        for measured in (True, False):
            if one.is_judged:
                alike = [row for row in rows if self._measures(one, row) == measured]
            else:
                alike = list(rows) if self._counts(FEEDBACK) == measured else []
            if alike:
                sources = list(chain.from_iterable(map(one.sources_of, alike)))
                batches[pair.version, scores.shape[1:], measured].append(
                    _Labelled(
                        pair.seq,
                        alike,
                        scores[alike],
                        one.labels(alike),
                        pair.at,
                        sources,
                        None if baseline is None else baseline[alike],
                    )
                )

    def _hand_on(
        self, batches: Mapping[_Alike, Sequence[_Labelled]], at: float, *, again: bool
    ) -> None:
        for (version, *_), parts in batches.items():
            outcome = self._sink.outcomes(
                Outcomes(
                    version,
                    np.concatenate([part.scores for part in parts]),
                    np.concatenate([part.truth for part in parts]),
                    np.concatenate([np.full(len(part.rows), part.at) for part in parts]),
                    list(chain.from_iterable(part.sources for part in parts)),
                    again,
                    beside_each_other([(part.scores, part.baseline) for part in parts]),
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

    def _truths(self, pair: Pair, at: float) -> Truths:
        """Return what is known of a pair's labels while some come, at ``at``."""
        return Truths(pair, self._targets(pair), None if self._kept is None else at)

    def _keep(self, one: Truths, rows: Sequence[int], at: float) -> None:
        if self._kept is not None:
            self._kept.take(one.pair, {row: one.known(row) for row in rows}, at)

    def _correct(self, found: Sequence[Truths], at: float) -> None:
        """Change labels of rows that have all of theirs: where they are, or by new outcomes."""
        moved: defaultdict[int, dict[int, Told]] = defaultdict(dict)
        batches: defaultdict[_Alike, list[_Labelled]] = defaultdict(list)
        for one in found:
            places = self._state.places(one.pair.seq)
            measured = {row: self._was_measured(one, row, places) for row in one.changed_rows}
            changed = one.take_changes()
            self._state.put_truths(one.pair.seq, *one.kept)
            again: list[int] = []
            for row, told in changed.items():
                if row not in places:
                    # It was labelled by an earlier version of this monitor.
                    self._core.counts.uncorrected += len(told)
                elif self._measures(one, row) != measured[row]:
                    again.append(row)
                else:
                    outcome, place = places[row]
                    for target, value in told.items():
                        moved[outcome][place * one.targets + target] = value
            self._keep(one, list(changed), at)
            if again:
                self._batch(one, again, batches)
        self._sink.correct(moved, at)
        self._hand_on(batches, at, again=True)

    def _was_measured(self, one: Truths, row: int, places: Mapping[int, tuple[int, int]]) -> bool:
        """Whether a row counts in the performance with the labels that it has so far."""
        known = self._state.is_measured(places[row][0]) if row in places else None
        return self._measures(one, row) if known is None else known

    def _measures(self, one: Truths, row: int) -> bool:
        """Whether the labels of a row, as they are now, count in the performance."""
        return all(map(self._counts, one.sources_of(row)))


_Alike: TypeAlias = tuple[str, tuple[int, ...], bool]
"""What rows that are handed on together share: version, shape of scores, whether they count."""


class _Labelled(NamedTuple):
    pair: int
    rows: list[int]
    scores: FloatArray
    truth: FloatArray
    at: float
    sources: list[str]
    baseline: FloatArray | None
