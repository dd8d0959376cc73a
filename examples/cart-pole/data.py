"""What the carts of a hall met: short poles for three months, then long ones as well."""

from pathlib import Path

import gymnasium
import numpy as np
import pandas as pd

ROWS = 6_000
STATE = ["position", "velocity", "angle", "angular_velocity"]
DAYS = 120
LONG_FROM = 90  # days
SHORT, LONG = (0.4, 0.6), (1.6, 2.2)  # metres from the cart to the middle of the pole
# By hand: what keeps either kind of pole up, most of the time.
BY_HAND = {"short": [0.1, 0.4, 2.0, 0.8], "long": [0.1, 0.5, 3.0, 3.0]}


def prepare(base: Path, fraction: float = 1.0, seed: int = 0) -> None:
    """Write ``base / "data" / "moments.parquet"``, unless it is there already.

    Args:
        base: Folder of ``model.yaml``.
        fraction: Share of the rows to make, in (0, 1].
        seed: Of what is made up.
    """
    path = base / "data" / "moments.parquet"
    if path.exists():
        return
    rng = np.random.default_rng(seed)
    count = max(1, round(ROWS * fraction))
    day = np.linspace(0, DAYS, count, endpoint=False)
    long = (day >= LONG_FROM) & (rng.random(count) < 0.5)
    length = np.where(long, rng.uniform(*LONG, count), rng.uniform(*SHORT, count))
    gains = np.where(long[:, None], BY_HAND["long"], BY_HAND["short"])
    state, push = _moments(length, gains, rng)
    rows = pd.DataFrame(state.round(5), columns=STATE)
    rows["pole_length"] = length.round(3)
    rows["push"] = np.where(push == 1, "right", "left")
    rows["moment"] = [f"M{place:06}" for place in range(count)]
    rows["at"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(day * 86_400, unit="s")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    rows.to_parquet(draft, index=False)
    draft.replace(path)


def _moments(length: np.ndarray, gains: np.ndarray, rng: np.random.Generator) -> tuple:
    """Return a state (n, 4) of each cart after up to a second, and the push that it then got."""
    count = length.size
    carts = gymnasium.make_vec(
        "CartPole-v1", num_envs=count, vectorization_mode="vector_entry_point"
    ).unwrapped
    state, _ = carts.reset(seed=int(rng.integers(1 << 31)))
    carts.length, carts.polemass_length = length, carts.masspole * length
    moment = rng.integers(0, 50, count)
    seen, pushed = np.zeros((count, 4)), np.zeros(count, dtype=np.int64)
    for step in range(50):
        push = ((state * gains).sum(axis=1) > 0).astype(np.int64)
        now = moment == step
        seen[now], pushed[now] = state[now], push[now]
        state, *_ = carts.step(push)
    return seen, pushed


if __name__ == "__main__":
    prepare(Path(__file__).resolve().parent)
