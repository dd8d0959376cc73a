"""When a signal starts a run: at most one at a time, and no more than the limits allow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from noria.loop import runs
from noria.loop.state import CancelRun, RunKind, RunRecord, State
from noria.loop.turn import Turn, name
from noria.loop.values import Moment, Signal, SignalKind
from noria.spec import ModelSpec

KIND: Final = "retraining"
_DAY: Final = timedelta(days=1)
_REMEMBERED_IDS: Final = 256
_MOST_PENDING: Final = 64
_MOST_DETAIL: Final = 120
_MOST_LISTED: Final = 5


class Allowance(msgspec.Struct, frozen=True):
    """What the limits leave for runs that signals start. ``blocked``: every limit in the way."""

    left_in_budget: int
    left_today: int
    cooldown_until: Moment | None
    blocked: tuple[str, ...]


def allowance(spec: ModelSpec, state: State, now: datetime) -> Allowance:
    """Return what the limits leave at ``now``.

    The first run of all is training, not retraining: it starts the cooldown but
    uses no budget. A person's runs use the budget, though it does not stop them.
    Times are from start to start; a clock that went back never allows more.
    """
    limits = spec.retraining
    counted = [r for r in state.runs if r.kind is not RunKind.FIRST]
    per = limits.budget.per
    in_budget = sum(r.as_of > now - per for r in counted)
    today = sum(r.as_of > now - _DAY for r in counted)
    last = _last(state)
    cool = last.as_of + limits.cooldown if last is not None else None
    cool = cool if cool is not None and cool > now else None
    blocked = []
    if state.breaker is not None:
        blocked.append(f"the loop-breaker is open since {state.breaker.opened:%Y-%m-%d %H:%M}")
    if cool is not None:
        blocked.append(f"the cooldown lasts until {cool:%Y-%m-%d %H:%M:%S}")
    if today >= limits.runs_per_day:
        blocked.append(f"{today} of {limits.runs_per_day} runs in 24 hours are used")
    if in_budget >= limits.budget.runs:
        blocked.append(f"{in_budget} of {limits.budget.runs} runs in {per.days} days are used")
    return Allowance(
        max(0, limits.budget.runs - in_budget),
        max(0, limits.runs_per_day - today),
        cool,
        tuple(blocked),
    )


def consider(turn: Turn) -> None:
    """Take note of signals, and start a run when one is wanted and allowed."""
    _gather(turn)
    state = turn.state
    wanted = _wanted(turn)
    if wanted is None:
        return
    kind, cause = wanted
    if state.run is not None:
        turn.hold(KIND, f"a run is in flight; waiting: {cause}")
    elif any(isinstance(p.action, CancelRun) for p in state.outbox):
        turn.hold(KIND, f"a run is still to be cancelled; waiting: {cause}")
    elif state.rollout is not None:
        turn.hold(KIND, f"{name(state.rollout.version)} is being rolled out; waiting: {cause}")
    elif turn.observation.registry is None:
        turn.hold(KIND, f"the registry can't be seen, so no run starts; waiting: {cause}")
    elif kind is RunKind.AUTOMATIC and (blocked := allowance(turn.spec, state, turn.now).blocked):
        turn.hold(KIND, f"no run starts: {'; '.join(blocked)}; waiting: {cause}")
    else:
        used = (*state.used, *(s.id for s in state.pending))[-_REMEMBERED_IDS:]
        runs.start(turn, kind, cause)
        turn.update(pending=(), train_asked="", used=used)


def _wanted(turn: Turn) -> tuple[RunKind, str] | None:
    state, registry = turn.state, turn.observation.registry
    if state.train_asked:
        return RunKind.MANUAL, "; ".join((state.train_asked, *_causes(state.pending)))
    if state.runs_started == 0 and state.champion_as_of is None and state.outcomes == ():
        if registry is not None and registry.champion is None and state.rollout is None:
            return RunKind.FIRST, "there is no version yet"
        return None
    if state.champion is None:
        if not state.pending:
            return None
        turn.hold(KIND, "there is no champion, so no signal starts a run; a person may ask for one")
        return None
    ripe = []
    for signal in state.pending:
        lack = _too_little_is_new(turn, signal)
        if lack:
            turn.hold(KIND, f"{signal.kind} of {signal.source} waits: {lack}")
        else:
            ripe.append(signal)
    return (RunKind.AUTOMATIC, "; ".join(_causes(ripe))) if ripe else None


def _causes(signals: Sequence[Signal]) -> list[str]:
    return [f"{s.kind}: {s.detail or s.source}" for s in signals]


def _too_little_is_new(turn: Turn, signal: Signal) -> str:
    """Say what is missing of ``minGrowth``; empty when there is enough to learn."""
    growth = min_growth(turn.spec, signal.kind)
    registry, labelled = turn.observation.registry, turn.observation.labelled_rows
    if not growth:
        return ""
    info = registry.info if registry is not None else None
    if info is None or labelled is None:
        return "how many rows are new can't be seen"
    needed = growth * info.rows
    return "" if labelled >= needed else f"{labelled} of {needed:.0f} new labelled rows"


def min_growth(spec: ModelSpec, kind: SignalKind) -> float:
    """Return the share of new rows that a signal of this kind needs; 0 for none."""
    limits = spec.retraining.min_growth
    shares = {
        SignalKind.DRIFT: limits.drift,
        SignalKind.PERFORMANCE: limits.performance,
        SignalKind.QUALITY: limits.quality,
    }
    return shares.get(kind, 0.0)


def counts_new_rows(spec: ModelSpec) -> bool:
    """Whether any signal that may start a run depends on how many labelled rows are new."""
    policy = spec.retraining
    if policy.new_data is not None and SignalKind.NEW_DATA in policy.signals:
        return True
    return any(min_growth(spec, SignalKind(kind)) > 0 for kind in policy.signals)


def _gather(turn: Turn) -> None:
    """Keep signals that are still current until a run may start; explain the others."""
    kept = []
    for signal in turn.state.pending:
        stale = _stale(turn, signal)
        if stale:
            turn.change("signal", f"{signal.kind} of {signal.source} is dropped: {stale}")
        else:
            kept.append(signal)
    known = {_about(s) for s in kept}
    ignored: dict[str, list[str]] = {}
    pushed = [m for m in turn.observation.inbox if isinstance(m, Signal)]
    for number, signal in enumerate((*pushed, *turn.observation.signals, *_own(turn))):
        reason = _ignored(turn, signal)
        # What was pushed is told once, so it needs its answer; the monitor repeats itself.
        if not reason and number < len(pushed) and _about(signal) in known:
            reason = "one about the same waits already"
        elif not reason and number < len(pushed) and len(kept) >= _MOST_PENDING:
            reason = f"{_MOST_PENDING} signals wait already"
        if reason:
            # A pushed one with its words: whoever sent it asks for that one.
            said = f" ({_cut(signal.detail)})" if number < len(pushed) else ""
            ignored.setdefault(reason, []).append(f"{signal.kind} of {signal.source}{said}")
        elif _about(signal) not in known and len(kept) < _MOST_PENDING:
            known.add(_about(signal))
            kept.append(signal)
            turn.change(
                "signal",
                f"{signal.kind} of {signal.source}: {signal.detail}",
                id=signal.id,
                version=signal.version,
            )
    # The monitor repeats itself; only what was pushed, and is gone now, is worth an entry.
    for reason, what in ignored.items():
        say = turn.change if pushed else turn.hold
        distinct = list(dict.fromkeys(what))
        listed = "; ".join(distinct[:_MOST_LISTED]) + ("; ..." * (len(distinct) > _MOST_LISTED))
        said = what[0] if len(what) == 1 else f"{len(what)} signals ({listed})"
        say("signal", f"{said} ignored: {reason}")
    if tuple(kept) != turn.state.pending:
        turn.update(pending=tuple(kept))


def _cut(detail: str) -> str:
    return detail if len(detail) <= _MOST_DETAIL else f"{detail[: _MOST_DETAIL - 1]}…"


def _ignored(turn: Turn, signal: Signal) -> str:
    if signal.kind not in turn.spec.retraining.signals:
        return f"spec.retraining.signals does not name {signal.kind}"
    stale = _stale(turn, signal)
    if not stale and signal.id in turn.state.used:
        return "a run has started for it"
    return stale


def _about(signal: Signal) -> tuple[str, str, str | None]:
    return signal.kind, signal.source, signal.version


def _stale(turn: Turn, signal: Signal) -> str:
    state = turn.state
    if signal.version is not None and signal.version != state.champion:
        return f"it is about {name(signal.version)}, the champion is {name(state.champion)}"
    last = _last(state)
    if last is not None and signal.at <= last.as_of:
        return f"it is older than the last run's data ({last.as_of:%Y-%m-%d %H:%M:%S})"
    if state.champion_as_of is not None and signal.at < state.champion_as_of:
        return f"{name(state.champion)} already knows that time"
    return ""


def _own(turn: Turn) -> tuple[Signal, ...]:
    """Compute the signals that need no monitor: new labelled rows, and the calendar."""
    state, policy, registry = turn.state, turn.spec.retraining, turn.observation.registry
    since = data_since(state)
    if state.champion is None or since is None or state.run is not None:
        return ()
    found = []
    labelled = turn.observation.labelled_rows
    info = registry.info if registry is not None else None
    if policy.new_data is not None and labelled is not None and info is not None:
        needed = policy.new_data.growth * info.rows
        if labelled >= needed and labelled > 0:
            said = f"{labelled} labelled rows since {since:%Y-%m-%d}, {needed:.0f} are enough"
            found.append(_signal(turn, SignalKind.NEW_DATA, said))
    if policy.schedule is not None and turn.now - since >= policy.schedule:
        said = f"the last training was at {since:%Y-%m-%d %H:%M}"
        found.append(_signal(turn, SignalKind.SCHEDULE, said))
    on = policy.signals
    return tuple(s for s in found if s.kind in on)


def _signal(turn: Turn, kind: SignalKind, detail: str) -> Signal:
    number = turn.state.runs_started
    return Signal(f"{kind}/{number}", kind, "loop", turn.now, detail, turn.state.champion)


def data_since(state: State) -> datetime | None:
    """Return the newest data that a run has seen, whatever became of the run."""
    last = _last(state)
    seen = [t for t in (state.champion_as_of, last.as_of if last else None) if t is not None]
    return max(seen, default=None)


def _last(state: State) -> RunRecord | None:
    return state.runs[-1] if state.runs else None
