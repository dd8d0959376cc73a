"""The newest rows in blocks, each predicted by fits that have not seen it.

The recipe is chosen by *rolling origins*: each block predicted by what was known before it,
as a bet on the rows to come must be. What is judged against the champion is closer to what
will be served, which learns from all rows: *purged cross-fitting*, each block predicted by
the chosen recipe fitted on what was known before it and on what came after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError, InvalidInput, TrainingError
from noria.tasks.held_out import BASELINE, BLOCK, HeldOut
from noria.tasks.judging import FEW, Recipe, block_starts, errors_of, is_better, known_before
from noria.tasks.protocol import Choice, Tried
from noria.tasks.sources.rows import moments

if TYPE_CHECKING:
    from noria.spec import ModelSpec
    from noria.tasks.protocol import Comparison, TaskFamily

Places: TypeAlias = NDArray[np.int64]

LABEL_KNOWN: Final = "__label_known"
"""Column by which a family says when each row's label is known, where the spec names none."""


class Fitter(Protocol):
    """Fits on rows of one frame: in this process, or on nodes."""

    own_rounds: bool
    """Whether recipes may have rounds of their own: ``TaskFamily.with_rounds``."""

    @property
    def prepared(self) -> Any:
        """The frame, as ``TaskFamily.prepare`` returns it."""
        ...

    def fit(self, places: Places, recipe: Recipe) -> object:
        """Fit on the rows at places; a ``Fitted``, or the folder of a package."""
        ...

    def save(self, fitted: object, package: Path, recipe: Recipe) -> None:
        """Write the package of what ``fit`` returned for a recipe."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """Places in the frame: what was known before a block, the block, and what came after it."""

    train: Places
    block: Places
    later: Places


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Predictions of every judged row, the recipe to serve, and its fit before the last block."""

    held_out: HeldOut
    recipe: Recipe
    last: object


def event_of(spec: ModelSpec, frame: pd.DataFrame) -> Places | None:
    """Return the event times of rows, milliseconds since 1970 UTC; None where there are none."""
    name = spec.data.event_time
    return None if name is None else moments(frame, name)


def origins(spec: ModelSpec, frame: pd.DataFrame, test: Places, blocks: int) -> tuple[Origin, ...]:
    """Return at most ``blocks`` origins of the judged rows at places ``test`` of a frame.

    One if the split is not temporal.

    Raises:
        DataError: Nothing is left to learn from before a block.
    """
    data = spec.data
    if data.split.kind != "temporal" or data.event_time is None:
        rest = np.setdiff1d(np.arange(len(frame)), test)
        return (_refuse_empty(Origin(rest, test, rest[:0])),)
    event = moments(frame, data.event_time)
    told = data.label_time or (LABEL_KNOWN if LABEL_KNOWN in frame else data.event_time)
    known = moments(frame, told)
    gap_ms = int(data.split.gap.total_seconds() * 1000)
    starts = block_starts(event[test], blocks)
    block = np.searchsorted(np.array(starts), event[test], side="right") - 1
    found = []
    for number, start in enumerate(starts):
        mine = test[block == number]
        before = known_before(event, known, start, gap_ms)
        after = event > (event[mine].max() if mine.size else start) + gap_ms
        found.append(_refuse_empty(Origin(np.nonzero(before)[0], mine, np.nonzero(after)[0])))
    return tuple(found)


def judge(
    tasks: TaskFamily,
    spec: ModelSpec,
    frame: pd.DataFrame,
    test: Places,
    recipes: Sequence[Recipe],
    blocks: int,
    fitter: Fitter,
) -> Judged:
    """Choose the recipe by rolling origins, and predict the judged rows by cross-fitting.

    Args:
        tasks: The family.
        spec: The model.
        frame: All rows.
        test: Places of the judged ones.
        recipes: To try; the first is taken unless another is shown better.
        blocks: Most blocks that the judged rows are cut into.
        fitter: Fits one.
    """
    found = origins(spec, frame, test, blocks)
    prepared = fitter.prepared
    tournament = _Tournament(tasks, spec, prepared, recipes)
    fits: dict[Recipe, object] = {}
    said: dict[Recipe, pd.DataFrame] = {}
    for origin in found:
        fits = {recipe: fitter.fit(origin.train, recipe) for recipe in tournament.open}
        said = {
            recipe: tasks.predict(spec, fitted, prepared, origin.block)
            for recipe, fitted in fits.items()
        }
        tournament.play(origin.block, said)
    chosen = tournament.chosen
    baseline = tasks.fit_baseline(spec, prepared, found[0].train)
    predicted: list[pd.DataFrame] = []
    for number, origin in enumerate(found):
        if number + 1 < len(found):
            fitted = fitter.fit(np.concatenate([origin.train, origin.later]), chosen)
            block = tasks.predict(spec, fitted, prepared, origin.block)
        else:
            block = said[chosen]
        block = block.assign(**{BLOCK: number})
        if baseline is not None:
            beside = tasks.predict(spec, baseline, prepared, origin.block)
            block = block.join(beside.add_prefix(BASELINE))
        predicted.append(block.set_index(origin.block))
    rows = pd.concat(predicted).loc[test].reset_index(drop=True)
    worth = None
    if len(recipes) > 1:
        own = rows[[name for name in rows if name in said[chosen]]]
        oldest, event = found[0].train, event_of(spec, frame)
        if event is not None:
            oldest = oldest[np.argsort(event[oldest], kind="stable")]
        worth = _worth(tasks, spec, fitter, oldest, test, own, rows[BLOCK].to_numpy(np.int64))
    choice = Choice(chosen.name, len(found), tournament.tried, worth)
    return Judged(HeldOut(rows, choice), chosen, fits[chosen])


def _worth(
    tasks: TaskFamily,
    spec: ModelSpec,
    fitter: Fitter,
    train: Places,
    test: Places,
    predicted: pd.DataFrame,
    block: Places,
) -> float | None:
    """Return what the newer rows brought, in standard errors; None where it can't be measured.

    Args:
        tasks: The family.
        spec: The model.
        fitter: Fits.
        train: Places of the rows to learn from before the first block, oldest first.
        test: Places of the judged rows.
        predicted: What was predicted of them.
        block: Which rows one fit predicted.
    """
    try:
        few = fitter.fit(train[: max(1, int(train.size * FEW))], Recipe())
        theirs = tasks.predict(spec, few, fitter.prepared, test)
        found = tasks.compare(spec, fitter.prepared, test, predicted, theirs, block)
    except (InvalidInput, TrainingError):  # too few of them to learn from
        return None
    return errors_of(found.difference, found.low)


class _Tournament:
    """The recipes against the first one, block by block."""

    def __init__(
        self, tasks: TaskFamily, spec: ModelSpec, prepared: Any, recipes: Sequence[Recipe]
    ) -> None:
        self._tasks, self._spec, self._prepared = tasks, spec, prepared
        self._base = recipes[0]
        self._said: dict[Recipe, list[pd.DataFrame]] = {recipe: [] for recipe in recipes}
        self._won = dict.fromkeys(recipes, 0)
        self._places: list[Places] = []
        self._result: dict[Recipe, Tried] = {}
        self.open = tuple(recipes)
        self.chosen = self._base

    @property
    def tried(self) -> tuple[Tried, ...]:
        """What the others were measured to be, against the first."""
        return tuple(self._result.values())

    def play(self, block: Places, said: dict[Recipe, pd.DataFrame]) -> None:
        """Take in the predictions of one block by the recipes that are open."""
        if len(self._said) == 1:
            return
        self._places.append(block)
        seen = np.concatenate(self._places)
        for recipe, rows in said.items():
            self._said[recipe].append(rows)
        base = self._said[self._base]
        best, gain, going = self._base, 0.0, [self._base]
        for recipe in self.open[1:]:
            own = self._said[recipe]
            alone = self._compare(block, said[recipe], said[self._base])
            self._won[recipe] += (alone.difference or 0.0) > 0.0
            whole = self._compare(
                seen,
                pd.concat(own, ignore_index=True),
                pd.concat(base, ignore_index=True),
                np.repeat(np.arange(len(self._places)), [part.size for part in self._places]),
            )
            won, blocks = self._won[recipe], len(self._places)
            difference, low, high = whole.difference, whole.low, whole.high
            self._result[recipe] = Tried(recipe.name, whole.metric, difference, low, won, blocks)
            if high is not None and high < 0.0:
                continue  # shown worse: another fit of it would tell nothing new
            going.append(recipe)
            better = is_better(recipe, difference, low) and 2 * won > blocks
            if better and difference is not None and difference > gain:
                best, gain = recipe, difference
        self.open, self.chosen = tuple(going), best

    def _compare(
        self,
        places: Places,
        ours: pd.DataFrame,
        theirs: pd.DataFrame,
        block: Places | None = None,
    ) -> Comparison:
        return self._tasks.compare(self._spec, self._prepared, places, ours, theirs, block)


def _refuse_empty(origin: Origin) -> Origin:
    if not origin.train.size or not origin.block.size:
        side = "learn from before the judged ones" if origin.block.size else "judge on"
        raise DataError(
            f"spec.data.split: no rows are left to {side}",
            fix="give more rows, or a shorter gap",
        )
    return origin
