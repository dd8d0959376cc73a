"""Which way should the cart be pushed? A policy that is found by trying it in Gymnasium."""

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pandas as pd

STATE = ["position", "velocity", "angle", "angular_velocity"]
POLICIES, BEST, EPISODES = 40, 8, 12


class Policy:
    """A push to the right where a weighted sum of the state is over 0.

    The weights depend on the pole's length. They are found by the cross-entropy method
    (Rubinstein 1999): policies are drawn at random, and the next ones near those that did best.
    """

    def fit(self, train: Any) -> None:
        """Try policies on carts with the poles of ``train.features``; the pushes are not used."""
        rng = np.random.default_rng(train.seed)
        lengths = train.features["pole_length"].to_numpy()
        chance = None if train.weights is None else train.weights / train.weights.sum()
        centre, spread = np.zeros(8), np.ones(8)
        for _ in range(train.parameters.get("rounds", 12)):
            drawn = centre + spread * rng.standard_normal((POLICIES, 8))
            length = rng.choice(lengths, EPISODES, p=chance)
            best = drawn[np.argsort(returns_of(drawn, length, int(rng.integers(1 << 31))))[-BEST:]]
            centre, spread = best.mean(axis=0), best.std(axis=0) + 0.05
        self.weights = centre / np.linalg.norm(centre)

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """Return (n,) probabilities of ``right``, over a half where that is the better push."""
        state = np.nan_to_num(features[STATE].to_numpy())
        length = np.nan_to_num(features["pole_length"].to_numpy())
        return 1.0 / (1.0 + np.exp(-10.0 * sums(self.weights, state, length)))

    def save(self, folder: Path) -> None:
        """Write eight numbers as JSON."""
        (folder / "policy.json").write_text(json.dumps(self.weights.tolist()))

    @classmethod
    def load(cls, folder: Path) -> "Policy":
        """Return the policy that ``save`` wrote."""
        policy = cls()
        policy.weights = np.array(json.loads((folder / "policy.json").read_text()))
        return policy


def sums(weights: np.ndarray, state: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return (n,) weighted sums of (n, 4) states; weights (8,), or (n, 8) of n policies."""
    return (np.hstack([state, state * length[:, None]]) * weights).sum(axis=1)


def returns_of(policies: np.ndarray, lengths: np.ndarray, seed: int) -> np.ndarray:
    """Return (p,) for how many of 500 steps each of (p, 8) policies keeps poles up, on average."""
    length = np.tile(lengths, len(policies))
    carts = gymnasium.make_vec(
        "CartPole-v1", num_envs=length.size, vectorization_mode="vector_entry_point"
    ).unwrapped
    state, _ = carts.reset(seed=seed)
    carts.length, carts.polemass_length = length, carts.masspole * length
    weights = np.repeat(policies, lengths.size, axis=0)
    up, steps = np.ones(length.size, dtype=bool), np.zeros(length.size)
    for _ in range(500):
        push = sums(weights, state, length) > 0
        state, _, fallen, _, _ = carts.step(push.astype(np.int64))
        steps += up
        up &= ~fallen
    return steps.reshape(len(policies), lengths.size).mean(axis=1)
