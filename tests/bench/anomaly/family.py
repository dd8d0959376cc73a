"""The family as a user has it, and what one would write without it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from noria.spec import ModelSpec, parse_model
from noria.tasks.anomaly.family import LEARNER
from noria.tasks.anomaly.predictor import AnomalyPredictor

Array = NDArray[np.float64]

IMAGES: Final = 784


def fitted(rows: Array, algorithm: str, rate: float = 0.05) -> AnomalyPredictor:
    """Return the model that default settings make of rows (n, d)."""
    frame = _frame(rows)
    backend, _, name = algorithm.rpartition("/")
    spec = _spec(rows.shape[1], name, rate, backend or "native")
    prepared = LEARNER.prepare(spec, frame)
    model = LEARNER.fit(spec, prepared, np.arange(len(rows)), {}, None)
    return model.predictor


def _frame(rows: Array) -> pd.DataFrame:
    if rows.shape[1] == IMAGES:
        return pd.DataFrame({"image": list(rows)})
    return pd.DataFrame({f"c{place}": column for place, column in enumerate(rows.T)})


def _spec(width: int, algorithm: str, rate: float, backend: str) -> ModelSpec:
    features: list[dict[str, Any]] = [
        {"name": f"c{place}", "type": "numeric"} for place in range(width)
    ]
    if width == IMAGES:
        features = [{"name": "image", "type": "vector"}]
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "rows"},
            "spec": {
                "task": {
                    "family": "anomaly-detection",
                    "options": {"alarmRate": rate, "backend": backend},
                },
                "data": {
                    "source": {"parquet": {"paths": ["rows.parquet"]}},
                    "features": features,
                    "validation": {"minRows": 1},
                },
                "train": {"algorithm": algorithm},
            },
        }
    ).spec


class Forest:
    """scikit-learn's isolation forest with its defaults; its threshold is of the fitted rows."""

    def __init__(self, rows: Array) -> None:
        self._model = IsolationForest(random_state=0).fit(rows)
        self._own = self.score(rows)

    def score(self, rows: Array) -> Array:
        """Return scores, (n,); greater is more anomalous."""
        return np.asarray(-self._model.score_samples(rows))

    def alarms(self, rows: Array, rate: float) -> NDArray[np.bool_]:
        """Say which rows score more than all but a share of the fitted ones."""
        return np.asarray(self.score(rows) > np.quantile(self._own, 1.0 - rate))


class Neighbours:
    """The distance to the fifth neighbour, columns standardised; a threshold of the same kind."""

    def __init__(self, rows: Array) -> None:
        self._scale = StandardScaler().fit(rows)
        self._model = NearestNeighbors(n_neighbors=5).fit(self._scale.transform(rows))
        self._own = self._model.kneighbors()[0][:, -1]

    def score(self, rows: Array) -> Array:
        """Return scores, (n,); greater is more anomalous."""
        found: Array = self._model.kneighbors(self._scale.transform(rows))[0][:, -1]
        return found

    def alarms(self, rows: Array, rate: float) -> NDArray[np.bool_]:
        """Say which rows score more than all but a share of the fitted ones."""
        return np.asarray(self.score(rows) > np.quantile(self._own, 1.0 - rate))


def asked(predictor: AnomalyPredictor, rows: Array) -> Array:
    """Return the detector's score of rows, (n,)."""
    return predictor.score(rows)
