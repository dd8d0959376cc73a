"""How much there is to learn from, and how much each signal needs: counted in labelled rows.

A *try* is a run that a signal started. The floor is a try whenever the labelled rows have
grown by ``newData.growth`` since the last one; everything else is measured by it. Time says
nothing here: two tries on nearly the same rows make nearly the same model.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final

import msgspec

from noria.loop.state import Breaker, Change, State
from noria.loop.turn import Turn
from noria.loop.values import GateResult, SignalKind
from noria.spec import ModelSpec

WORTH: Final = 1.3
"""Standard errors by which many more rows must have helped, for retraining to be worth a try
whenever the rows have grown."""

CLEAR_GAIN: Final = 0.6
"""A gain is clear when it is over this share of its distance to the lower bound: at the 95 % of
a gate, which are 1.64 standard errors, about one of them."""

_DAY: Final = timedelta(days=1)
_MOST_ANSWERED: Final = 1e15
_MOST_THIN: Final = 6
_MOST_OPENINGS: Final = 6
_GREATEST_EXPONENT: Final = 100.0
_CLOSE: Final = 1e-9


class Rows(msgspec.Struct, frozen=True):
    """Labelled rows: the champion's own, those at the last try, and those that came since."""

    champion: int
    base: int
    fresh: int

    @property
    def known(self) -> int:
        """All labelled rows that there are."""
        return self.base + self.fresh


def rows_of(turn: Turn) -> Rows | None:
    """Return the rows as they are now; None while they can't be seen."""
    state, registry = turn.state, turn.observation.registry
    labelled = turn.observation.labelled_rows
    info = registry.info if registry is not None else None
    before = turn.before
    # What was observed is counted from the champion that there was then.
    moved = (before.champion, before.champion_as_of) != (state.champion, state.champion_as_of)
    if info is None or labelled is None or moved:
        return None
    if labelled > 0 and not state.labels_come:
        turn.update(labels_come=True)
    elif not state.labels_come:
        labelled = _answered(turn)
    served = turn.spec.data.served
    if served is not None and served.use == "alone":
        # Of those only the sample can be learned from.
        labelled = math.floor(labelled * served.sample)
    champion = max(0, info.rows)
    base = champion if state.tried is None else max(0, state.tried)
    return Rows(champion, base, max(0, champion + labelled - base))


def _answered(turn: Turn) -> int:
    """Return about how many rows were answered since the champion's data.

    Where nobody ever told the monitor a label, labels come with the source alone: then the rows
    answered stand for those that will have one.
    """
    rate, since = turn.observation.rows_per_day, turn.state.champion_as_of
    served = turn.spec.data.served
    if rate is None or since is None or (served is not None and served.use == "alone"):
        # Of what is learned from what was served alone, no label comes by another way.
        return 0
    days = max(0.0, (turn.now - since) / _DAY)
    return int(min(rate * days, _MOST_ANSWERED))


def change_rows(turn: Turn) -> int | None:
    """Return the labelled rows since the open change began; None while they can't be seen."""
    before, change = turn.before.change, turn.state.change
    if before is None or change is None or before.since != change.since:
        return None
    return turn.observation.change_rows


def floor_need(spec: ModelSpec, state: State, rows: Rows, kind: SignalKind) -> int:
    """Return the rows since the last try that the floor asks for, thinned as ``kind`` is."""
    policy = spec.retraining
    thin = min(state.thin.get(kind, 0), _MOST_THIN)
    return _share_of(policy.new_data.growth * policy.thinning**thin, rows.base)


def change_need(spec: ModelSpec, change: Change) -> int:
    """Return the rows since a change began that the next try needs."""
    policy = spec.retraining.change
    return math.ceil(max(policy.rows, policy.factor * change.tried))


def lacking(turn: Turn, kind: SignalKind, rows: Rows | None) -> str:
    """Say what a signal of a kind lacks; empty when it has what it needs."""
    if kind in (SignalKind.SCHEDULE, SignalKind.MANUAL):
        return ""
    share = min_growth(turn.spec, kind)
    if kind is SignalKind.QUALITY and not share:
        return ""
    change, seen = turn.state.change, change_rows(turn)
    if rows is None or (change is not None and seen is None):
        return "how many rows are new can't be seen"
    least = _share_of(share, rows.base) if share else 0
    if kind is SignalKind.QUALITY:
        return _of(rows.fresh, least)
    floor = max(floor_need(turn.spec, turn.state, rows, kind), least)
    if kind is not SignalKind.PERFORMANCE or change is None or seen is None:
        return _of(rows.fresh, floor)
    needed = change_need(turn.spec, change)
    if rows.fresh >= floor or (seen >= needed and rows.fresh >= least):
        return ""
    since = f" since the change of {change.since:%Y-%m-%d %H:%M}"
    return _of(seen, needed, since) or _of(rows.fresh, least)


def min_growth(spec: ModelSpec, kind: SignalKind) -> float:
    """Return the share of new rows that a signal of this kind needs besides; 0 for none."""
    limits = spec.retraining.min_growth
    shares = {
        SignalKind.DRIFT: limits.drift,
        SignalKind.PERFORMANCE: limits.performance,
        SignalKind.QUALITY: limits.quality,
    }
    return shares.get(kind, 0.0)


# Pace: the rows pay for the tries.


def earned(spec: ModelSpec, rows: Rows | None) -> float:
    """Return how many tries of the floor the rows since the last try are worth."""
    if rows is None:
        return 0.0
    growth = math.log1p(spec.retraining.new_data.growth)
    return math.log1p(rows.fresh / max(1, rows.base)) / growth


def too_fast(spec: ModelSpec, state: State, rows: Rows | None) -> str:
    """Say how many rows a further try must wait for; empty when the rows have paid for it."""
    owed = 1.0 - spec.retraining.pace.ahead - state.credit
    if earned(spec, rows) >= owed - _CLOSE:
        return ""
    said = "the tries are ahead of the rows"
    if rows is None:
        return said
    exponent = min(owed * math.log1p(spec.retraining.new_data.growth), _GREATEST_EXPONENT)
    needed = math.ceil(max(1, rows.base) * math.expm1(exponent))
    return f"{said}: {_of(rows.fresh, max(needed, rows.fresh + 1))}"


def after_start(turn: Turn, kinds: tuple[SignalKind, ...], *, automatic: bool) -> None:
    """Write down what the try that starts now has to learn from, and pay for it."""
    rows, change, seen = rows_of(turn), turn.state.change, change_rows(turn)
    # The calendar asks whatever the rows are, so they don't pay for it.
    price = 1.0 if automatic and SignalKind.SCHEDULE not in kinds else 0.0
    credit = turn.state.credit + earned(turn.spec, rows) - price
    turn.update(credit=credit, tried=turn.state.tried if rows is None else rows.known)
    if change is not None and seen is not None:
        turn.update(change=msgspec.structs.replace(change, tried=max(0, seen)))


# What a try has taught.


def won(turn: Turn, gates: tuple[GateResult, ...]) -> None:
    """A candidate became the champion: whoever was shown worse before it counts no more."""
    turn.update(losses=0, openings=0, tried=None)
    learn(turn, gates, (), promoted=True)


def learn(
    turn: Turn, gates: tuple[GateResult, ...], kinds: tuple[SignalKind, ...], *, promoted: bool
) -> None:
    """Thin the tries out, or no more, by what one has taught about the worth of retraining.

    Many more rows that have helped end the thinning. Where they have not, the next of
    ``kinds``, and the floor, need more of them, whether the candidate was let in or not. Where
    that is not known, a clear gain over the champion ends it, another promotion takes a step
    of it back, and a refusal thins out. While a change is open its own rows space the tries,
    and what the rows before it brought says nothing of those after it.
    """
    worth = next((g.worth for g in gates if g.worth is not None), None)
    pays = promoted and is_clear(gates) if worth is None else worth >= WORTH
    if pays:
        turn.update(thin={})
        return
    thin = dict(turn.state.thin)
    if promoted and worth is None:
        thin = {kind: steps - 1 for kind, steps in thin.items() if steps > 1}
    elif turn.state.change is None:
        for kind in {SignalKind.NEW_DATA, *kinds}:
            thin[kind] = min(thin.get(kind, 0) + 1, _MOST_THIN)
    turn.update(thin=dict(sorted(thin.items())))


def is_clear(gates: tuple[GateResult, ...]) -> bool:
    """Whether the first comparison with the champion shows a gain that is hardly chance."""
    gate = next((g for g in gates if g.low is not None and g.value is not None), None)
    if gate is None or gate.value is None or gate.low is None:
        return False
    return gate.value > CLEAR_GAIN * (gate.value - gate.low)


# The change and the loop-breaker, as rows come.


def follow_change(turn: Turn, rows: Rows | None) -> None:
    """Close the change when its rows are so many that the floor does as well."""
    change, seen = turn.state.change, change_rows(turn)
    if change is None or seen is None or rows is None or not change.tried:
        return
    if seen > turn.spec.retraining.new_data.growth * rows.champion:
        turn.update(change=None)
        said = f"the change of {change.since:%Y-%m-%d %H:%M} has {seen} labelled rows"
        turn.change("signal", f"{said}: from now on new rows are counted as before it")


def closes_at(spec: ModelSpec, openings: int, rows: Rows | None) -> int | None:
    """Return how many labelled rows close the loop-breaker that opens now."""
    if rows is None:
        return None
    share = spec.retraining.new_data.growth * 2.0 ** min(openings, _MOST_OPENINGS)
    return rows.known + _share_of(share, rows.champion)


def breaker_lacks(breaker: Breaker, rows: Rows | None) -> str:
    """Say how many rows the open loop-breaker waits for; empty when they have come."""
    if breaker.closes is None or rows is None:
        return "how many rows are new can't be seen"
    left = breaker.closes - rows.known
    return f"{_about(left)} more labelled rows close it" if left > 0 else ""


def _share_of(share: float, rows: int) -> int:
    return max(1, math.ceil(share * rows - _CLOSE))


def _of(have: int, need: int, since: str = "") -> str:
    """Say ``have`` of ``need``, rounded so that a state is not written for each row."""
    step = max(1, need // 100)
    return "" if have >= need else f"{have - have % step} of {need} new labelled rows{since}"


def _about(left: int) -> int:
    step: int = 10 ** max(0, len(str(left)) - 2)
    return -(-left // step) * step
