"""Autoencoder: how badly a small neural network gives a row back through a narrow layer.

Hawkins, He, Williams and Baxter, DaWaK 2002. scikit-learn's ``MLPRegressor`` learns it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.tasks.anomaly.detectors import Array, Arrays
from noria.tasks.anomaly.detectors.components import components_of, onto

KEPT: Final = 50_000
"""Rows that it learns from at most."""

FAR: Final = 10.0
"""Values are given to the network no farther out than that: it would learn the few beyond alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Autoencoder:
    """``weights0``, ``biases0`` and on, a layer each, of components where there are many columns.

    Between layers is tanh.
    """

    kept: Arrays

    def score(self, rows: Array) -> Array:
        """See ``Detector.score``: the root of the mean squared error."""
        seen = onto(self.kept, rows)
        layers = sum(name.startswith("weights") for name in self.kept)
        found = np.clip(seen, -FAR, FAR)
        for layer in range(layers):
            found = found @ self.kept[f"weights{layer}"] + self.kept[f"biases{layer}"]
            if layer + 1 < layers:
                found = np.tanh(found)
        return np.asarray(np.sqrt(((found - seen) ** 2).mean(axis=1)))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See ``Detector.arrays``."""
        return dict(self.kept)


def fit(rows: Array, params: Mapping[str, Any], seed: int, threads: int) -> Autoencoder:
    """Learn the network."""
    del threads
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    if len(rows) > KEPT:
        rows = rows[np.random.default_rng(seed).choice(len(rows), KEPT, replace=False)]
    components = components_of(rows, seed)
    seen = np.clip(onto(components, rows), -FAR, FAR)
    width = seen.shape[1]
    given = dict(params)
    narrow = int(given.pop("bottleneck", max(1, width // 4)))
    model = MLPRegressor(
        **{
            "hidden_layer_sizes": (2 * width, narrow, 2 * width),
            "activation": "tanh",
            "max_iter": 200,
            "early_stopping": seen.shape[0] >= 100,
            "random_state": seed,
            **given,
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(seen, seen if width > 1 else seen[:, 0])
    kept = {f"weights{place}": part for place, part in enumerate(model.coefs_)}
    kept |= {f"biases{place}": part for place, part in enumerate(model.intercepts_)}
    return Autoencoder({**components, **kept})
