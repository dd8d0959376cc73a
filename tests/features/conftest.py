"""A few days of real flights and weather, in folders that a Feast repository is opened in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_repo import nycflights
from noria.spec import ModelSpec, load_model
from noria.tasks.sources.feast_repository import import_feast

import_feast()

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights"
FIRST = pd.Timestamp("2013-01-05", tz="UTC")
LAST = pd.Timestamp("2013-01-08", tz="UTC")


@dataclass(frozen=True)
class Lookup:
    """What a model package says about its looked-up features."""

    repository: str
    service: str
    features: tuple[str, ...]


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    return load_model(EXAMPLE / "model.yaml").spec


@pytest.fixture(scope="session")
def lookup(spec: ModelSpec) -> Lookup:
    names = tuple(feature.name for feature in spec.data.looked_up_features())
    return Lookup("feature_repo", "flight_delay", names)


@pytest.fixture(scope="session")
def every_flight() -> pd.DataFrame:
    return nycflights.flights()


@pytest.fixture(scope="session")
def flights(every_flight: pd.DataFrame) -> pd.DataFrame:
    days = every_flight["scheduled"].between(FIRST, LAST)
    return every_flight[days].drop(columns=["distance", "arr_delay"]).reset_index(drop=True)


@pytest.fixture(scope="session")
def weather() -> pd.DataFrame:
    rows = nycflights.weather()
    return rows[rows["observed"].between(FIRST - pd.Timedelta(days=1), LAST)]


@pytest.fixture(scope="session")
def routes(every_flight: pd.DataFrame) -> pd.DataFrame:
    return nycflights.routes(every_flight)


def save(frame: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False)


Home = Callable[..., Path]
Correct = Callable[[pd.DataFrame, int], pd.DataFrame]
Observations = Callable[..., pd.DataFrame]


@pytest.fixture
def home(tmp_path: Path, weather: pd.DataFrame, routes: pd.DataFrame) -> Home:
    """Return a maker of folders that hold the sources, with this weather or the real one."""

    def make(observations: pd.DataFrame = weather, name: str = "home") -> Path:
        base = tmp_path / name
        save(observations, base / "data" / "weather.parquet")
        save(routes, base / "data" / "routes.parquet")
        return base

    return make


@pytest.fixture(scope="session")
def corrected() -> Callable[[pd.DataFrame, int], pd.DataFrame]:
    """Leave out some observations, and correct others up to ten hours after publication."""

    def correct(weather: pd.DataFrame, seed: int) -> pd.DataFrame:
        generator = np.random.default_rng(seed)
        kept = weather[generator.random(len(weather)) > 0.3]
        wrong = kept.sample(frac=0.4, random_state=seed)
        delay = pd.to_timedelta(generator.integers(1, 600, len(wrong)), unit="min")
        late = wrong.assign(
            temp=wrong["temp"] + 100, published=wrong["published"] + delay.as_unit("us")
        )
        return pd.concat([kept, late]).sample(frac=1, random_state=seed)

    return correct


@pytest.fixture(scope="session")
def observations() -> Callable[..., pd.DataFrame]:
    """Return a maker of weather at JFK from (observed, published, temperature)."""

    def make(*rows: tuple[str, str, float]) -> pd.DataFrame:
        others = dict.fromkeys(nycflights.OBSERVATIONS, 0.0)
        return pd.DataFrame(
            [
                {
                    "origin": "JFK",
                    "observed": datetime.fromisoformat(observed).replace(tzinfo=UTC),
                    "published": datetime.fromisoformat(published).replace(tzinfo=UTC),
                    **others,
                    "temp": float(temp),
                }
                for observed, published, temp in rows
            ]
        )

    return make
