"""The family as a user has it: a long table in, a method chosen, every series forecast."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.spec import parse_model
from noria.tasks.forecasting import methods
from noria.tasks.forecasting.family import LEARNER
from noria.tasks.forecasting.fitting import Fitted

Array = NDArray[np.float64]

_STEPS: Final = {"yearly": "year", "quarterly": "quarter", "monthly": "month", "other": "day"}
_STARTS: Final = {"yearly": "YS", "quarterly": "QS", "monthly": "MS", "other": "D"}


def fitted(kind: str, histories: Array, horizon: int, algorithm: str) -> Fitted:
    """Return the model that an algorithm with default settings makes of histories (m, L)."""
    spec = parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "series"},
            "spec": {
                "task": {
                    "family": "forecasting",
                    "options": {
                        "horizon": horizon,
                        "step": _STEPS[kind],
                        # Nobody knows what the steps of "other" are.
                        **({"season": 1} if kind == "other" else {}),
                        "levels": [80],
                    },
                },
                "data": {
                    "source": {"csv": {"paths": ["rows.csv"]}},
                    "entityKey": ["series"],
                    "eventTime": "at",
                    "target": "value",
                    "validation": {"minRows": 1},
                },
                "train": {"algorithm": algorithm},
            },
        }
    ).spec
    width = histories.shape[1]
    ends = pd.date_range("1950-01-01", periods=width, freq=_STARTS[kind], tz="UTC")
    series, steps = np.nonzero(~np.isnan(histories))
    rows = pd.DataFrame(
        {
            "series": np.char.mod("s%05d", series).astype(object),
            "at": ends[steps].astype("datetime64[us, UTC]"),
            "value": histories[series, steps],
        }
    )
    LEARNER.validate(spec, rows)
    samples = LEARNER.features(spec, Path(), rows)
    prepared = LEARNER.prepare(spec, samples)
    return LEARNER.fit(spec, prepared, np.arange(len(samples)), {}, None)


def answered(model: Fitted, histories: Array) -> tuple[methods.Attempt, Array, Array]:
    """Return the forecasts of histories and the ends of their 80 % intervals, (m, h) each."""
    said = model.forecaster.predict({"history": histories})
    values = said["prediction"]
    found = methods.Attempt(values, np.zeros(len(values), np.bool_))
    return found, said["lower-80"], said["upper-80"]
