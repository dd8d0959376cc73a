"""Series whose future is known, and histories of any kind."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Array = NDArray[np.float64]

SEASON: Final = 12


def seasonal(length: int, seed: int, noise: float = 1.0) -> Array:
    """A level of 100, a trend of 0.5 a step and a wave of 10 over 12 steps."""
    at = np.arange(length)
    random = np.random.default_rng(seed)
    wave = 10.0 * np.sin(2.0 * np.pi * at / SEASON)
    return 100.0 + 0.5 * at + wave + noise * random.normal(size=length)


def padded(*histories: Array) -> Array:
    """Histories of different lengths as one array, NaN in front."""
    longest = max(one.size for one in histories)
    return np.stack(
        [np.concatenate([np.full(longest - one.size, np.nan), one]) for one in histories]
    )


def any_history() -> st.SearchStrategy[Array]:
    """Constants, zeros, sparse demand, steps, growth, noise; of any size and sign."""
    value = st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 50.0]) | st.floats(-1e3, 1e3)
    unit = st.sampled_from([1e-300, 1e-9, 1.0, 1e12, 1e300])
    plain = st.lists(value, min_size=1, max_size=60)
    growing = st.builds(_growing, st.integers(1, 60), st.floats(0.5, 2.0))
    return st.builds(_scaled, plain | growing, unit)


def _growing(length: int, factor: float) -> list[float]:
    return [factor**step for step in range(length)]


def _scaled(values: Any, unit: float) -> Array:
    return np.asarray(values, np.float64) * min(unit, 1e307 / max(1.0, np.abs(values).max()))
