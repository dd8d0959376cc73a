"""How long does a policy keep the poles up? The measure that the gates go by."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pandas as pd

STATE = ["position", "velocity", "angle", "angular_velocity"]
STEPS = 500


def returns(
    predict: Callable[[pd.DataFrame], np.ndarray],
    features: pd.DataFrame,
    target: Any,  # noqa: ARG001
) -> np.ndarray:
    """Return (n,) the return of an episode from each row's state with its pole: steps, 1 to 500.

    Args:
        predict: Asks the policy: probabilities of ``right`` for a frame like ``features``.
        features: n rows that the policy has not learnt from.
        target: (n,) the pushes of the log. What they led to is not known, so they are not used.
    """
    length = features["pole_length"].to_numpy()
    carts = gymnasium.make_vec(
        "CartPole-v1", num_envs=len(features), vectorization_mode="vector_entry_point"
    ).unwrapped
    carts.reset(seed=0)
    carts.length, carts.polemass_length = length, carts.masspole * length
    state = features[STATE].to_numpy()
    carts.state = state.T.copy()
    up, steps = np.ones(len(features), dtype=bool), np.zeros(len(features))
    for _ in range(STEPS):
        seen = pd.DataFrame(state, columns=STATE).assign(pole_length=length)
        state, _, fallen, _, _ = carts.step((predict(seen) >= 0.5).astype(np.int64))
        steps += up
        up &= ~fallen
        if not up.any():
            break
    return steps
