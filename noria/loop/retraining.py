"""When a signal starts a run: one at a time, on enough evidence, within the limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import msgspec

from noria.loop import evidence, runs
from noria.loop.evidence import Rows
from noria.loop.outcomes import BREAKER_ALERT
from noria.loop.state import CancelRun, Change, RunKind, RunRecord, State
from noria.loop.turn import Turn, name
from noria.loop.values import Moment, Signal, SignalKind
from noria.spec import ModelSpec
from noria.spec.units import format_duration

KIND: Final = "retraining"
_LOOP: Final = "loop"
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
    used = sum((_took(r, now) for r in counted if r.as_of > now - per), timedelta(0))
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
    if limits.budget.compute is not None and used >= limits.budget.compute:
        whole = format_duration(limits.budget.compute)
        blocked.append(f"runs took {whole} in {per.days} days, which is all that they may")
    return Allowance(
        max(0, limits.budget.runs - in_budget),
        max(0, limits.runs_per_day - today),
        cool,
        tuple(blocked),
    )


def _took(run: RunRecord, now: datetime) -> timedelta:
    return max(timedelta(0), (run.over or (now if run.ended is None else run.as_of)) - run.as_of)


def consider(turn: Turn) -> None:
    """Take note of signals, and start a run when one is wanted and allowed."""
    rows = evidence.rows_of(turn)
    _keep_breaker(turn, rows)
    evidence.follow_change(turn, rows)
    before = turn.state.pending
    _gather(turn, rows)
    _open_change(turn)
    # What holds a signal is in the state; of a new one it is told to the ledger and the log too.
    say = turn.change if turn.state.pending != before else turn.hold
    wanted = _wanted(turn, rows, say)
    if wanted is None:
        return
    kind, cause, kinds = wanted
    state = turn.state
    if state.run is not None:
        say(KIND, f"a run is in flight; waiting: {cause}")
    elif any(isinstance(p.action, CancelRun) for p in state.outbox):
        say(KIND, f"a run is still to be cancelled; waiting: {cause}")
    elif state.rollout is not None:
        say(KIND, f"{name(state.rollout.version)} is being rolled out; waiting: {cause}")
    elif turn.observation.registry is None:
        say(KIND, f"the registry can't be seen, so no run starts; waiting: {cause}")
    elif kind is RunKind.AUTOMATIC and (blocked := _blocked(turn, rows, kinds)):
        say(KIND, f"no run starts: {'; '.join(blocked)}; waiting: {cause}")
    else:
        used = (*state.used, *(s.id for s in state.pending))[-_REMEMBERED_IDS:]
        runs.start(turn, kind, cause, kinds)
        evidence.after_start(turn, kinds, automatic=kind is RunKind.AUTOMATIC)
        turn.update(pending=(), train_asked="", used=used)


_Wanted: TypeAlias = tuple[RunKind, str, tuple[SignalKind, ...]]


def _wanted(turn: Turn, rows: Rows | None, say: Callable[[str, str], None]) -> _Wanted | None:
    state, registry = turn.state, turn.observation.registry
    if state.train_asked:
        causes = (state.train_asked, *_causes(state.pending))
        return RunKind.MANUAL, "; ".join(causes), _kinds(state.pending)
    if state.runs_started == 0 and state.champion_as_of is None and state.outcomes == ():
        if registry is not None and registry.champion is None and state.rollout is None:
            return RunKind.FIRST, "there is no version yet", ()
        return None
    if state.champion is None:
        if not state.pending:
            return None
        turn.hold(KIND, "there is no champion, so no signal starts a run; a person may ask for one")
        return None
    ripe = []
    for signal in state.pending:
        lack = evidence.lacking(turn, signal.kind, rows)
        if lack:
            say(KIND, f"{signal.kind} of {signal.source} waits: {lack}")
        else:
            ripe.append(signal)
    _hold_new_data(turn, rows)
    return (RunKind.AUTOMATIC, "; ".join(_causes(ripe)), _kinds(ripe)) if ripe else None


def _hold_new_data(turn: Turn, rows: Rows | None) -> None:
    """Say when rows alone will start the next run, for as long as they don't."""
    waits = any(s.kind is SignalKind.NEW_DATA for s in turn.state.pending)
    busy = turn.state.run is not None or turn.state.rollout is not None
    if SignalKind.NEW_DATA not in turn.spec.retraining.signals or waits or busy or rows is None:
        return
    lack = evidence.lacking(turn, SignalKind.NEW_DATA, rows)
    if lack:
        turn.hold(KIND, f"new-data waits: {lack}")


def _blocked(turn: Turn, rows: Rows | None, kinds: Sequence[SignalKind]) -> list[str]:
    """Return every reason why a signal that has its rows may not start a run now."""
    state = turn.state
    blocked = list(allowance(turn.spec, state, turn.now).blocked)
    if state.breaker is not None:
        blocked.append(evidence.breaker_lacks(state.breaker, rows))
    if SignalKind.SCHEDULE not in kinds:
        blocked.append(evidence.too_fast(turn.spec, state, rows))
    return [said for said in blocked if said]


def _keep_breaker(turn: Turn, rows: Rows | None) -> None:
    """Close the loop-breaker when enough rows have come to try anew."""
    breaker = turn.state.breaker
    if breaker is None or rows is None:
        return
    if breaker.closes is None:
        closes = evidence.closes_at(turn.spec, max(1, turn.state.openings), rows)
        turn.update(breaker=msgspec.structs.replace(breaker, closes=closes))
    elif not evidence.breaker_lacks(breaker, rows):
        turn.update(breaker=None, losses=0)
        since = f"{breaker.opened:%Y-%m-%d %H:%M}"
        said = f"{rows.known} labelled rows are enough to try anew after {since}"
        turn.change("breaker", f"the loop-breaker closes: {said}; signals may start runs again")
        turn.clear_alert(BREAKER_ALERT)


def _open_change(turn: Turn) -> None:
    """Take a measured loss of performance as the beginning of something new to learn."""
    told = next((s for s in turn.state.pending if s.kind is SignalKind.PERFORMANCE), None)
    if told is not None and turn.state.change is None and told.source != _LOOP:
        turn.update(change=Change(min(told.since or told.at, turn.now)))


def _kinds(signals: Sequence[Signal]) -> tuple[SignalKind, ...]:
    return tuple(dict.fromkeys(s.kind for s in signals))


def _causes(signals: Sequence[Signal]) -> list[str]:
    return [f"{s.kind}: {s.detail or s.source}" for s in signals]


def _gather(turn: Turn, rows: Rows | None) -> None:
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
    for number, signal in enumerate((*pushed, *turn.observation.signals, *_own(turn, rows))):
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


def _own(turn: Turn, rows: Rows | None) -> tuple[Signal, ...]:
    """Compute the signals that need no monitor: new rows, those of a change, the calendar."""
    state, policy = turn.state, turn.spec.retraining
    since = data_since(state)
    if state.champion is None or since is None or state.run is not None:
        return ()
    found = []
    # What the spec does not listen to is not even worked out: this runs in every turn.
    if SignalKind.NEW_DATA in policy.signals and rows is not None:
        needed = evidence.floor_need(turn.spec, state, rows, SignalKind.NEW_DATA)
        if rows.fresh >= needed:
            said = f"{rows.fresh} labelled rows since {since:%Y-%m-%d}, {needed} are enough"
            found.append(_signal(turn, SignalKind.NEW_DATA, said))
    change, seen = state.change, evidence.change_rows(turn)
    waits = any(s.kind is SignalKind.PERFORMANCE for s in state.pending)
    listens = SignalKind.PERFORMANCE in policy.signals
    if listens and change is not None and seen is not None and not waits:
        needed = evidence.change_need(turn.spec, change)
        if seen >= needed:
            began = f"{change.since:%Y-%m-%d %H:%M}"
            said = f"{seen} labelled rows since the change of {began}, {needed} are enough"
            found.append(_signal(turn, SignalKind.PERFORMANCE, said))
    scheduled = policy.schedule if SignalKind.SCHEDULE in policy.signals else None
    if scheduled is not None and turn.now - since >= scheduled:
        said = f"the last training was at {since:%Y-%m-%d %H:%M}"
        found.append(_signal(turn, SignalKind.SCHEDULE, said))
    return tuple(found)


def _signal(turn: Turn, kind: SignalKind, detail: str) -> Signal:
    number = turn.state.runs_started
    return Signal(f"{kind}/{number}", kind, _LOOP, turn.now, detail, turn.state.champion)


def data_since(state: State) -> datetime | None:
    """Return the newest data that a run has seen, whatever became of the run."""
    last = _last(state)
    seen = [t for t in (state.champion_as_of, last.as_of if last else None) if t is not None]
    return max(seen, default=None)


def _last(state: State) -> RunRecord | None:
    return state.runs[-1] if state.runs else None
