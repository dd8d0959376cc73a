"""What is trained where nobody has said it: the rounds, and an average of few learners.

Everything is measured on held-out rows of the training rows, once, before the fits; these then
have fixed hyperparameters, so that the same rows give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.errors import InvalidInput
from noria.spec import ModelSpec
from noria.tasks.protocol import TuneResult
from noria.tasks.tabular import deriving, serving_cost
from noria.tasks.tabular.against import against, without_made
from noria.tasks.tabular.describe import TabularOptions
from noria.tasks.tabular.fit import Design
from noria.tasks.tabular.folds import Fold, RowFacts
from noria.tasks.tabular.hyperparameters import DEFAULT_ROUNDS, can_stop, refuse_unknown
from noria.tasks.tabular.members import Recipe, as_params
from noria.tasks.tabular.plans import RESAMPLED, Plan, joined, plan_of, with_plan
from noria.tasks.tabular.stopping import begun, most_rounds
from noria.tasks.tabular.tryout import NO_PLAN, Part, Tried, Tryout, is_few, tryout
from noria.tasks.tabular.tuning import tuned

FAST: Final = 3
"""Most members of the average that is trained by default."""

GOOD: Final = 5
"""Most members with ``effort: good``."""

TIMES: Final = 3.0
"""A prediction of the average costs at most so many times that of the default's."""

VARIANTS: Final[Mapping[str, tuple[Mapping[str, Any], ...]]] = {
    "lightgbm": ({"num_leaves": 8}, {"extra_trees": True}),
}
"""Hyperparameters by which an algorithm errs in other places."""

WORTH: Final = 2e-3
"""Share of the loss that a member of the default's average must save: it costs every prediction
and every fit, of which a retrain has a dozen."""

VARIANT_ROUNDS: Final = 7
"""Of many rows variants are tried where so many times the rounds of the first are affordable: two
need about three times as many each, and all together must not cost more than one may."""

_SKEWED: Final = 1.0
"""Skewness of a positive target over which its logarithm is tried."""

_BEST_TRIALS: Final = 8
_FITS: Final = 2
_FITS_OF_BLOCKS: Final = 8
"""Fits that come after, where the newest rows judge in blocks against a champion."""

_DERIVING: Final = 0.25
"""Share of what is left of a budget that looking for computed columns may take."""

_TRYING: Final = 0.9
"""Share of a budget that is given away; the rest is for measuring what was made."""


@dataclass(frozen=True, slots=True, eq=False)
class Budget:
    """How much of ``spec.train.budget`` is left, in seconds of the clock."""

    deadline: float
    fits: int
    clock: Callable[[], float]

    def left(self, on: Tryout, kept: Sequence[Tried] = ()) -> float:
        """Return the time that is left for trying, when some members are fitted later."""
        return self.deadline - self.clock() - self.fits * sum(on.refit(one) for one in kept)

    def holds(self, refit: float, trying: float) -> bool:
        """Say whether it holds the later fits, of so many seconds each, after so many of trying."""
        return self.clock() + trying + self.fits * refit < self.deadline


def budget_of(spec: ModelSpec, clock: Callable[[], float]) -> Budget:
    """Return the budget that begins now."""
    given = spec.train.budget
    seconds = math.inf if given is None else given.total_seconds() * _TRYING
    blocks = spec.data.split.kind == "temporal"
    return Budget(clock() + seconds, _FITS_OF_BLOCKS if blocks else _FITS, clock)


def chosen(
    spec: ModelSpec, design: Design, facts: RowFacts, budget: Budget, workdir: Path
) -> TuneResult:
    """Return the hyperparameters to train with, or the members of an average.

    Args:
        spec: The model; ``ensemble.kind`` weighted asks for an average.
        design: The rows to train on, not widened.
        facts: About them.
        budget: What it may cost.
        workdir: Where a search is kept.
    """
    asked = requested(spec, design)
    found = _against(spec, design, facts, budget, asked) if design.resampling else {}
    result = _chosen(spec, design, facts, budget, workdir, asked)
    params = with_plan(result.params, joined([asked, plan_of(result.params)]))
    return msgspec.structs.replace(result, params={**params, **found})


def _against(
    spec: ModelSpec, design: Design, facts: RowFacts, budget: Budget, asked: Plan
) -> dict[str, Any]:
    """Return what made rows bring; nothing where no fold has all classes."""
    on = tryout(spec, design, facts, budget.clock, asked)
    if on is None:
        return {}
    given = dict(spec.train.hyperparameters)
    said = against(on, without_made(on), spec.train.algorithm, given)
    return {RESAMPLED: msgspec.to_builtins(said)}


def _chosen(
    spec: ModelSpec,
    design: Design,
    facts: RowFacts,
    budget: Budget,
    workdir: Path,
    asked: Plan,
) -> TuneResult:
    algorithm, params = spec.train.algorithm, dict(spec.train.hyperparameters)
    averaged, searches = spec.train.ensemble.kind == "weighted", spec.train.search.kind != "none"
    affordable = most_rounds(design) > DEFAULT_ROUNDS
    if not searches and not affordable and can_stop(algorithm, params):
        # Of so many cells no more rounds are affordable, and these don't overfit.
        return TuneResult(_unmeasured(algorithm, params, design))
    on = tryout(spec, design, facts, budget.clock, asked)
    if on is None:
        return TuneResult(params)
    if searches and not averaged:
        # Nothing is fitted before the search, whose timeout binds every fit.
        result, trials = _search(spec, design, facts, on, budget, workdir, (), asked)
        best = trials[0].recipe.parameters if trials else _unmeasured(algorithm, params, design)
        return msgspec.structs.replace(result, params=dict(best))
    tried = [on.member(algorithm, params)]
    plan = NO_PLAN
    if averaged and spec.train.effort == "good" and derives(spec):
        plan, on, tried = _derived(design, on, tried[0], algorithm, params, budget, asked)
    if averaged:
        tried.extend(_variants(spec, design, on, tried[0], budget))
    if not searches:
        kept = _default(tried, on) if averaged else (tried[0].recipe,)
        params = as_params(algorithm, _affordable(kept, tried, on, budget))
        return TuneResult(with_plan(params, plan))
    both = joined([asked, plan])
    result, trials = _search(spec, design, facts, on, budget, workdir, tried[:1], both)
    fast = _default(_fast(tried, design, algorithm), on)
    tried.extend(trials)
    bound = serving_cost.of(fast, on.outputs) * TIMES - serving_cost.of_plan(plan)
    members = average(tried, on, GOOD, bound, budget.left(on) / budget.fits)
    return msgspec.structs.replace(result, params=with_plan(as_params(algorithm, members), plan))


def _default(tried: Sequence[Tried], on: Tryout) -> tuple[Recipe, ...]:
    return average(tried, on, FAST, math.inf, math.inf, least=WORTH)


def _fast(tried: Sequence[Tried], design: Design, algorithm: str) -> Sequence[Tried]:
    """Return what was tried and is tried without more effort, too."""
    if is_few(design):
        return [one for one in tried if one.recipe.algorithm in (algorithm, "linear")]
    own = tried[0].recipe.parameters.keys()
    return [one for one in tried if one.recipe.parameters.keys() == own]


def derives(spec: ModelSpec) -> bool:
    """Say whether columns that are computed from others are tried with more effort."""
    options = spec.task.options
    return isinstance(options, TabularOptions) and options.derive == "auto"


def requested(spec: ModelSpec, design: Design) -> Plan:
    """Return the columns that the model's options ask for.

    Raises:
        InvalidInput: There are fewer numbers than components.
    """
    options = spec.task.options
    if not isinstance(options, TabularOptions) or not options.components:
        return NO_PLAN
    numbers = deriving.numbers_of(design)
    if len(numbers) < options.components:
        raise InvalidInput(
            f"spec.task.options.components: {options.components} components of {len(numbers)} "
            "numbers (those held monotone, categories and texts are not among them)",
            fix=f"write {len(numbers)} at most" if numbers else "remove it",
        )
    return deriving.components(numbers, options.components)


def _derived(
    design: Design,
    on: Tryout,
    first: Tried,
    algorithm: str,
    params: Mapping[str, Any],
    budget: Budget,
    asked: Plan,
) -> tuple[Plan, Tryout, list[Tried]]:
    """Return the columns that pay, the tryout with them, and the first member there."""
    most = budget.left(on, [first]) * _DERIVING
    until = budget.clock() + most
    found = deriving.found(
        design,
        on,
        first,
        lambda other: other.member(algorithm, params),
        lambda: until - budget.clock(),
        asked,
    )
    return found.plan, found.on, [found.first]


def _unmeasured(algorithm: str, params: dict[str, Any], design: Design) -> dict[str, Any]:
    """Return what is trained where no fit was measured."""
    if not can_stop(algorithm, params):
        return params
    return {**begun(algorithm, params, design), "n_estimators": DEFAULT_ROUNDS}


def _affordable(
    members: Sequence[Recipe], tried: Sequence[Tried], on: Tryout, budget: Budget
) -> Sequence[Recipe]:
    if budget.left(on, [one for one in tried if one.recipe in members]) > 0.0:
        return members
    return average(tried[:1], on, 1, math.inf, math.inf)


def average(
    tried: Sequence[Tried],
    on: Tryout,
    most: int,
    microseconds: float,
    seconds: float,
    *,
    least: float = 0.0,
) -> tuple[Recipe, ...]:
    """Return members with weights, by greedy selection with replacement.

    (Caruana et al., 2004, "Ensemble selection from libraries of models".)

    Args:
        tried: The first one may always be taken.
        on: Where they were tried.
        most: Greatest number of members.
        microseconds: What one prediction may cost.
        seconds: What a fit of all of them may take.
        least: Share of the loss that each member must save.
    """
    counts = np.zeros(len(tried), dtype=np.int64)
    kept, best = counts.copy(), math.inf
    total: NDArray[np.float64] = np.zeros_like(tried[0].said)

    def fits(place: int) -> bool:
        taken = [one for one, count in zip(tried, counts, strict=True) if count]
        if tried[place] in taken:
            return True
        both = [*taken, tried[place]]
        if not place and not taken:
            return True
        return (
            len(both) <= most
            and serving_cost.of([one.recipe for one in both], on.outputs) <= microseconds
            and sum(on.refit(one) for one in both) <= seconds
        )

    for pick in range(_PICKS):
        costs = {
            place: on.cost((total + one.said) / (pick + 1))
            for place, one in enumerate(tried)
            if fits(place)
        }
        place = min(costs, key=lambda one: costs[one])
        counts[place] += 1
        total = total + tried[place].said
        if costs[place] < best * (1.0 - _GAIN):
            best, kept = costs[place], counts.copy()
    kept = _needed(tried, kept, on, least)
    return tuple(
        msgspec.structs.replace(one.recipe, weight=float(count / kept.sum()))
        for one, count in zip(tried, kept, strict=True)
        if count
    )


_PICKS: Final = 20
_GAIN: Final = 1e-4
"""Share of the loss that more picks must save."""


def _needed(
    tried: Sequence[Tried], counts: NDArray[np.int64], on: Tryout, least: float
) -> NDArray[np.int64]:
    """Return the counts without members that save less, the least needed first."""

    def cost(counts: NDArray[np.int64]) -> float:
        taken = zip(tried, counts, strict=True)
        return on.cost(sum(count * one.said for one, count in taken if count) / counts.sum())

    while np.count_nonzero(counts) > 1:
        whole, without = cost(counts), {}
        for place in np.nonzero(counts)[0]:
            fewer = counts.copy()
            fewer[place] = 0
            without[cost(fewer)] = fewer
        cheapest = min(without)
        if cheapest > whole * (1.0 + least):
            break
        counts = without[cheapest]
    return counts


def _variants(
    spec: ModelSpec, design: Design, on: Tryout, first: Tried, budget: Budget
) -> Iterator[Tried]:
    """Try what may go with the first one, as far as the rows are few and the budget lasts."""
    algorithm, params = spec.train.algorithm, dict(spec.train.hyperparameters)
    done = [first]

    def tried(name: str, values: Mapping[str, Any], *, log: bool) -> Iterator[Tried]:
        if budget.left(on, done) > len(done) * first.seconds:
            one = on.member(name, values, log=log)
            done.append(one)
            yield one

    log, skewed, rounds = False, is_skewed(design), _rounds(first)
    if skewed:
        for second in tried(algorithm, params, log=True):
            log = on.cost(second.said) < on.cost(first.said)
            rounds = max(rounds, _rounds(second))
            yield second
    alone = not is_few(design) and spec.train.effort == "fast"
    if alone and VARIANT_ROUNDS * rounds > most_rounds(design):
        return
    for more in VARIANTS.get(algorithm, ()):
        yield from tried(algorithm, {**params, **more}, log=log)
    if alone:
        return
    for name in spec.train.ensemble.members:
        # A line fits the logarithm where trees do without it, so both are tried.
        for of_log in (False, True) if skewed else (False,):
            if name != algorithm:
                yield from tried(name, {}, log=of_log)


def _search(
    spec: ModelSpec,
    design: Design,
    facts: RowFacts,
    on: Tryout,
    budget: Budget,
    workdir: Path,
    kept: Sequence[Tried],
    plan: Plan,
) -> tuple[TuneResult, list[Tried]]:
    """Search hyperparameters on the folds; return the best trials too, the best one first.

    ``kept`` are members whose fits must still fit into the budget; ``plan`` has the columns that
    are computed.
    """
    algorithm = spec.train.algorithm
    parts: dict[bytes, list[Part]] = {}
    given: dict[bytes, dict[str, Any]] = {}
    spent: dict[bytes, float] = {}

    def ask(params: Mapping[str, Any], fold: Fold) -> NDArray[np.float64]:
        refuse_unknown(algorithm, spec.task.family, params)
        began = budget.clock()
        name = msgspec.json.encode(params, order="sorted")
        given.setdefault(name, on.begun(algorithm, params))
        part = on.on(on.folds.index(fold), algorithm, given[name])
        parts.setdefault(name, []).append(part)
        spent[name] = spent.get(name, 0.0) + budget.clock() - began
        return part.said[:, 0] if part.said.shape[1] == 1 else part.said

    # Half of what is left is for the fits of what is found.
    seconds = budget.left(on, kept) / 2.0
    result = tuned(
        spec,
        design,
        facts,
        ask,
        workdir,
        msgspec.json.encode(plan).decode() if plan else "",
        held=on.folds,
        seconds=seconds,
        clock=budget.clock,
    )
    whole = [name for name, found in parts.items() if len(found) == len(on.folds)]
    found = [on.joined(algorithm, given[name], parts[name], spent[name]) for name in whole]
    if result.trials:
        best = msgspec.json.encode(result.params, order="sorted")
        if best not in whole:  # of a search that was killed
            found.append(on.member(algorithm, result.params))
            whole.append(best)
        costs = [on.cost(one.said) for one in found]
        order = sorted(range(len(found)), key=lambda one: (whole[one] != best, costs[one]))
        found = [found[one] for one in order]
    return result, found[:_BEST_TRIALS]


def _rounds(tried: Tried) -> int:
    return int(tried.recipe.parameters.get("n_estimators", DEFAULT_ROUNDS))


def is_skewed(design: Design) -> bool:
    """Say whether the target is positive and has a long upper tail."""
    if design.classes or float(design.target.min()) <= 0.0:
        return False
    centred = design.target - design.target.mean()
    spread = float((centred**2).mean()) ** 1.5
    return bool(spread > 0.0 and float((centred**3).mean()) > _SKEWED * spread)
