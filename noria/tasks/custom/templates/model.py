"""The model. Use whatever library you like; this one needs numpy and pandas alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


class Parcels:
    """Logistic regression by gradient descent."""

    def fit(self, train: Any) -> None:
        """Learn from ``train``: features, target, codes, classes, weights, parameters, seed."""
        x = self._matrix(train.features)
        self.center, self.scale = x.mean(axis=0), x.std(axis=0) + 1e-9
        x = (x - self.center) / self.scale
        weights = np.ones(len(x)) if train.weights is None else train.weights
        penalty = train.parameters.get("penalty", 0.001)
        self.coef, self.intercept = np.zeros(x.shape[1]), 0.0
        for _ in range(train.parameters.get("steps", 300)):
            error = weights * (_sigmoid(x @ self.coef + self.intercept) - train.codes)
            self.coef -= 0.5 * (x.T @ error / len(x) + penalty * self.coef)
            self.intercept -= 0.5 * error.mean()

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """Return the probability of ``classes[1]`` for each row."""
        x = (self._matrix(features) - self.center) / self.scale
        return _sigmoid(x @ self.coef + self.intercept)

    def save(self, folder: Path) -> None:
        """Write the model into a folder: arrays, JSON, a library's own format; no pickle."""
        np.savez(folder / "model.npz", **vars(self))

    @classmethod
    def load(cls, folder: Path) -> "Parcels":
        """Return the model that ``save`` wrote."""
        model = cls()
        with np.load(folder / "model.npz") as arrays:
            vars(model).update({name: arrays[name] for name in arrays.files})
        return model

    @staticmethod
    def _matrix(features: pd.DataFrame) -> np.ndarray:
        # A category's table is the same at every call, so these columns are too.
        columns = pd.get_dummies(features, dtype=float)
        return np.asarray(columns.fillna(0.0))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))
