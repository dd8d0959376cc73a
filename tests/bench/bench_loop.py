"""``decide`` per CPU second, in the two situations that a loop is in nearly always."""

from __future__ import annotations

import statistics
import time
from typing import Final

from noria.loop.decide import decide
from noria.loop.fakes import FakeWorld, sample_model
from noria.loop.state import Observation, RolloutPhase, State
from tests.bench.rows import Row, row

_ROUNDS: Final = 7
_CALLS: Final = 2000


def run() -> list[Row]:
    """Measure a canary step in progress, and a quiet day."""
    world = FakeWorld(sample_model())
    world.install("1")
    quiet = _rate(world, *_seen(world))
    world.signal("drift-1")
    world.cycle(2)
    world.finish_run("2")
    world.cycle(5)
    world.answer("1", 3000, error_rate=0.0, auc=0.7)
    # Fewer rows than the step asks for: it is judged each time and goes on.
    world.answer("2", 300, error_rate=0.0, auc=0.7)
    world.cycle()
    state, observation = _seen(world)
    if state.rollout is None or state.rollout.phase is not RolloutPhase.STEPPING:
        raise RuntimeError(f"no canary step is in progress: {state.rollout}")
    canary = _rate(world, state, observation)
    return [
        row("loop.decide", canary, "/CPU-s"),
        row("loop.decide.quiet", quiet, "/CPU-s"),
    ]


def _seen(world: FakeWorld) -> tuple[State, Observation]:
    state = world.state
    return state, world.engine().observe(state)


def _rate(world: FakeWorld, state: State, observation: Observation) -> float:
    spec, now = world.model.spec, world.clock.now()
    rates = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        for _ in range(_CALLS):
            decide(spec, state, observation, now)
        rates.append(_CALLS / (time.process_time() - began))
    return statistics.median(rates)
