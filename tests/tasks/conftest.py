"""Small rows with planted structure, and the resource that describes them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from noria.spec import ModelSpec, parse_model
from noria.tasks.families import family
from noria.tasks.held_out import BLOCK, HeldOut
from noria.tasks.protocol import Choice, Evaluation

CITIES = ("Ankara", "Busan", "Cairo", "Delhi")
EFFECT = {"Ankara": 1.2, "Busan": -1.0, "Cairo": 0.2, "Delhi": 0.0}


def trips(rows: int = 1500, seed: int = 0, classes: int = 2) -> pd.DataFrame:
    """Trips whose lateness depends on distance, city, rain and hour; some values are missing."""
    rng = np.random.default_rng(seed)
    minute = np.sort(rng.integers(0, 60 * 24 * 60, rows))
    when = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(minute, unit="min")
    city = rng.choice(CITIES, rows)
    distance = rng.gamma(3.0, 100.0, rows)
    rain = rng.random(rows) < 0.3
    score = (
        (distance - 300.0) / 150.0
        + np.array([EFFECT[name] for name in city])
        + 1.2 * rain
        + 0.8 * np.sin(minute % 1440 / 1440 * 2 * np.pi)
        + rng.logistic(0.0, 0.7, rows)
    )
    frame = pd.DataFrame(
        {
            "trip": [f"t{i}" for i in range(rows)],
            "start": pd.Series(when).dt.as_unit("us"),
            "end": pd.Series(when + pd.Timedelta(hours=2)).dt.as_unit("us"),
            "city": pd.Series(city, dtype=object),
            "distance": distance,
            "rain": rain,
            "minutes": 10.0 * score + 30.0,
            "late": (score > 0.5).astype(int)
            if classes == 2
            else np.array(["early", "fine", "late"], dtype=object)[np.digitize(score, [-0.5, 1.0])],
        }
    )
    frame.loc[rng.random(rows) < 0.05, "distance"] = np.nan
    frame.loc[rng.random(rows) < 0.05, "city"] = None
    return frame


BASE: dict[str, Any] = {
    "task": {"family": "tabular-classification"},
    "data": {
        "source": {"parquet": {"paths": ["rows.parquet"]}},
        "features": [
            {"name": "city", "type": "categorical"},
            {"name": "distance", "type": "numeric"},
            {"name": "rain", "type": "boolean"},
        ],
        "timeFeatures": ["hour-of-day"],
        "target": "late",
        "eventTime": "start",
        "labelTime": "end",
        "entityKey": ["trip"],
        "validation": {"minRows": 100},
    },
    "train": {"algorithm": "lightgbm", "hyperparameters": {}},
    "gates": {"minRows": 100, "bounds": [{"metric": "auc", "min": 0.7}]},
}


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(copy.deepcopy(dict(base)))
    for key, value in change.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and key != "source":
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _resource(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "trips"},
        "spec": spec,
    }


@pytest.fixture
def spec_of() -> Callable[..., ModelSpec]:
    """Return a spec of the trips, with changes given as nested mappings of YAML names."""

    def build(**change: Any) -> ModelSpec:
        return parse_model(_resource(merge(BASE, change))).spec

    return build


@pytest.fixture
def regression_spec(spec_of: Callable[..., ModelSpec]) -> Callable[..., ModelSpec]:
    """Return a spec of the trips' minutes."""

    def build(**change: Any) -> ModelSpec:
        base = {
            "task": {"family": "tabular-regression"},
            "data": {"target": "minutes"},
            "gates": {"bounds": [{"metric": "rmse", "max": 25}], "champion": [{"metric": "rmse"}]},
        }
        return spec_of(**merge(base, change))

    return build


@pytest.fixture
def rows() -> pd.DataFrame:
    return trips()


@pytest.fixture
def make_rows() -> Callable[..., pd.DataFrame]:
    return trips


@pytest.fixture
def evaluated() -> Callable[..., Evaluation]:
    """Return what evaluates a package by its own predictions of held-out rows."""

    def build(
        spec: ModelSpec,
        package: Path,
        test: pd.DataFrame,
        champion: Path | None = None,
        plots: Path | None = None,
    ) -> Evaluation:
        tasks = family(spec.task.family)
        held_out = said_by(spec, package, test)
        return tasks.evaluate(spec, package, test, held_out, champion, plots)

    return build


def said_by(spec: ModelSpec, package: Path, test: pd.DataFrame) -> HeldOut:
    tasks = family(spec.task.family)
    prepared, places = tasks.prepare(spec, test), np.arange(len(test))
    said = tasks.predict(spec, package, prepared, places)
    return HeldOut(said.assign(**{BLOCK: 0}), Choice())


@pytest.fixture
def held_out_by() -> Callable[[ModelSpec, Path, pd.DataFrame], HeldOut]:
    """Return what a package says of rows, as one block."""
    return said_by


@pytest.fixture
def project(tmp_path: Path, rows: pd.DataFrame) -> Path:
    """A folder with the trips as Parquet, and their model.yaml."""
    rows.to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "model.yaml").write_bytes(msgspec.json.encode(_resource(BASE)))
    return tmp_path


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Limit scikit-learn's own fits, whose threads spin when the machine is busy."""
    import sklearn.ensemble  # noqa: F401 - its thread pool must be there to be limited

    from noria.tasks.tabular.threads import limited_to

    with limited_to(1):
        yield
