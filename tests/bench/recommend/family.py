"""The family as a user has it: a long table in, a method chosen, every user answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.spec import parse_model
from noria.tasks.recommendation.family import LEARNER
from noria.tasks.recommendation.fitting import Fitted

K = 10


def fitted(
    user: NDArray[np.int64], item: NDArray[np.int64], at: NDArray[np.int64], algorithm: str
) -> Fitted:
    """Return the model that default settings make of interactions, (n,) each."""
    spec = parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "films"},
            "spec": {
                "task": {"family": "recommendation", "options": {"k": K}},
                "train": {"algorithm": algorithm},
                "data": {
                    "source": {"csv": {"paths": ["rows.csv"]}},
                    "entityKey": ["user"],
                    "eventTime": "at",
                    "target": "film",
                },
            },
        }
    ).spec
    rows = pd.DataFrame(
        {
            "user": user.astype(str).astype(object),
            "film": item.astype(str).astype(object),
            "at": pd.Series(at.astype("datetime64[s]")).dt.tz_localize("UTC"),
        }
    ).sort_values(["at", "user"], kind="stable", ignore_index=True)
    LEARNER.validate(spec, rows)
    samples = LEARNER.features(spec, Path(), rows)
    prepared = LEARNER.prepare(spec, samples)
    return LEARNER.fit(spec, prepared, np.arange(len(samples)), {}, None)


def answered(model: Fitted, users: NDArray[Any]) -> list[list[int]]:
    """Return the films for each user, by the history that the package has of them."""
    found = model.predictor.predict({"user": users.astype(str).astype(object)})
    return [[int(name) for name in row if name] for row in found["items"]]
