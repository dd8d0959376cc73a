"""Which digit is this? A scikit-learn classifier, saved as plain arrays."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

WHITE = 16.0  # pixels are 0 to 16


class Digits:
    """Multinomial logistic regression on 64 pixels."""

    def fit(self, train: Any) -> None:
        """Learn from ``train``; see docs/custom.md for what it holds."""
        classifier = LogisticRegression(
            C=train.parameters.get("C", 1.0), max_iter=500, random_state=train.seed
        )
        classifier.fit(_pixels(train.features), train.codes, sample_weight=train.weights)
        # A digit that is in none of these rows has no chance.
        self.coef = np.zeros((len(train.classes), classifier.coef_.shape[1]))
        self.intercept = np.full(len(train.classes), -1e3)
        self.coef[classifier.classes_] = classifier.coef_
        self.intercept[classifier.classes_] = classifier.intercept_

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """Return (n, 10) probabilities in the order of ``train.classes``."""
        logits = _pixels(features) @ self.coef.T + self.intercept
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def save(self, folder: Path) -> None:
        """Write two arrays as JSON: numbers alone, no pickle."""
        arrays = {"coef": self.coef.tolist(), "intercept": self.intercept.tolist()}
        (folder / "digits.json").write_text(json.dumps(arrays))

    @classmethod
    def load(cls, folder: Path) -> "Digits":
        """Return the model that ``save`` wrote."""
        model = cls()
        arrays = json.loads((folder / "digits.json").read_text())
        model.coef, model.intercept = np.array(arrays["coef"]), np.array(arrays["intercept"])
        return model


def _pixels(features: pd.DataFrame) -> np.ndarray:
    """Return (n, 64) pixels, 0 to 1; those of a scan that is missing are empty."""
    return np.nan_to_num(np.stack(features["image"])) / WHITE
