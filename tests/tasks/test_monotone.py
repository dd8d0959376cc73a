"""Features that a prediction may only rise, or only fall, with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noria.errors import DataError, SpecError
from noria.spec import ModelSpec
from noria.tasks.candidate import fit_all
from noria.tasks.families import family

MakeSpec = Callable[..., ModelSpec]
ALGORITHMS = ("linear", "hist-gradient-boosting", "lightgbm", "xgboost")


def features(price: str | None, age: str | None) -> list[dict[str, Any]]:
    held = ({} if one is None else {"monotone": one} for one in (price, age))
    named = [{"name": name, "type": "numeric", **one}
             for name, one in zip(("price", "age"), held, strict=True)]  # fmt: skip
    return [*named, {"name": "city", "type": "categorical"}]


def wavy(count: int = 1500, classes: int = 0) -> pd.DataFrame:
    """Rows whose target waves with both numbers, so that a free model is not monotone."""
    rng = np.random.default_rng(0)
    price, age = rng.random((2, count))
    y = price + np.sin(12 * price) - age + np.sin(12 * age) + rng.normal(0.0, 0.2, count)
    edges = np.quantile(y, np.arange(1, classes) / classes) if classes else ()
    return pd.DataFrame(
        {
            "start": pd.date_range("2024-01-01", periods=count, freq="h", tz="UTC"),
            "trip": [f"t{place}" for place in range(count)],
            "price": np.where(rng.random(count) < 0.05, np.nan, price),
            "age": age,
            "city": rng.choice(["A", "B"], count),
            "y": np.searchsorted(edges, y) if classes else y,
        }
    )


def curve(fitted: Any, name: str) -> np.ndarray[Any, Any]:
    """Return the predictions on a grid of one number, of 20 settings of the others: (20, 101)."""
    rng = np.random.default_rng(1)
    lines = []
    for _ in range(20):
        asked: dict[str, Any] = {
            other: np.full(101, rng.random()) for other in ("price", "age") if other != name
        }
        asked |= {name: np.linspace(-0.2, 1.2, 101), "city": np.full(101, rng.choice(["A", "B"]))}
        said = fitted.predictor.predict(asked)
        lines.append(said.get("probability", said.get("prediction")))
    return np.array(lines)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("classes", [0, 2], ids=["a number", "two classes"])
def test_predictions_rise_and_fall_as_they_are_held_to(
    algorithm: str, classes: int, regression_spec: MakeSpec, spec_of: MakeSpec
) -> None:
    build = spec_of if classes else regression_spec
    rounds = {} if algorithm == "linear" else {"n_estimators": 40}
    frame = wavy(classes=classes)

    def fitted(price: str | None, age: str | None) -> Any:
        spec = build(
            data={"features": features(price, age), "timeFeatures": [], "target": "y",
                  "labelTime": None},
            train={"algorithm": algorithm, "hyperparameters": {}},
        )  # fmt: skip
        return fit_all(family(spec.task.family), spec, frame, rounds)

    held = fitted("increasing", "decreasing")
    rises, falls = np.diff(curve(held, "price")), np.diff(curve(held, "age"))
    assert rises.min() >= -1e-12
    assert falls.max() <= 1e-12
    turned = fitted("decreasing", "increasing")
    assert np.diff(curve(turned, "price")).max() <= 1e-12
    assert np.diff(curve(turned, "age")).min() >= -1e-12
    if algorithm != "linear":
        free = fitted(None, None)
        assert np.diff(curve(free, "price")).min() < -0.01
        assert rises.max() > 0.01


def test_three_classes_have_no_direction(spec_of: MakeSpec) -> None:
    spec = spec_of(
        data={"features": features("increasing", None), "timeFeatures": [], "target": "y",
              "labelTime": None}
    )  # fmt: skip
    with pytest.raises(DataError, match="price is held monotone, and of 3 classes none"):
        fit_all(family(spec.task.family), spec, wavy(classes=3), {})


def test_what_can_not_be_held_is_refused(spec_of: MakeSpec) -> None:
    city = {"name": "city", "type": "categorical", "monotone": "increasing"}
    with pytest.raises(SpecError, match="city is categorical, and only numbers rise and fall"):
        spec_of(data={"features": [city]})
    with pytest.raises(SpecError, match="stacking weighs its members"):
        spec_of(
            data={"features": features("increasing", None)},
            train={"ensemble": {"kind": "stacking"}},
        )
    with pytest.raises(SpecError, match="custom can't be held to increasing"):
        spec_of(
            task={"family": "custom"},
            data={"features": features("increasing", None)},
            train={"algorithm": "own-class"},
        )
