"""A loop that runs for long sees the rows that are added to its sources."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from noria.clocks import WallClock
from noria.embedded.home import Home as State
from noria.embedded.system import System
from noria.tasks.sources.feast import OnlineFeatures, OnlineSync, apply

if TYPE_CHECKING:
    from conftest import Home, Lookup, Observations

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights"
FIRST = ("2013-01-05 08:00", "2013-01-05 09:00", 30)
SECOND = ("2013-01-05 09:00", "2013-01-05 10:00", 40)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def temperature(features: OnlineFeatures) -> float:
    instant = np.array([int(at("2013-01-05 12:00").timestamp() * 1000)])
    names = {"origin": "JFK", "dest": "LAX"}
    keys = {name: np.array([value], dtype=object) for name, value in names.items()}
    return float(features.lookup(keys | {"scheduled": instant})["temp"][0])


@pytest.fixture
def base(home: Home, observations: Observations) -> Path:
    """The flights example with one observation."""
    folder = home(observations(FIRST))
    for name in ("model.yaml", "data.py"):
        shutil.copy(EXAMPLE / name, folder / name)
    pd.DataFrame({"flight_id": ["a"]}).to_parquet(folder / "data" / "flights.parquet")
    return folder


@pytest.fixture
def system(base: Path, tmp_path: Path) -> System:
    """The loop's system, nothing of it started."""
    return System(State(tmp_path / "state"), base / "model.yaml", clock=WallClock())


@pytest.mark.parametrize("until", ["2013-01-05 11:00", "2013-01-05 11:30"])
def test_rows_added_while_it_runs_are_seen(
    system: System, base: Path, lookup: Lookup, observations: Observations, until: str
) -> None:
    system.features_until(at("2013-01-05 11:00"))
    features = OnlineFeatures(base, lookup, event_time="scheduled")
    assert temperature(features) == 30
    # Published before the last turn: a sync of the time since then would not see it.
    observations(FIRST, SECOND).to_parquet(base / "data" / "weather.parquet")
    system.features_until(at(until))
    assert temperature(features) == 40


def test_only_a_written_source_is_outdated(
    base: Path, lookup: Lookup, observations: Observations
) -> None:
    apply(base, lookup.repository)
    sync = OnlineSync(base, lookup.repository, lookup.service)
    assert not sync.outdated
    source = base / "data" / "weather.parquet"
    source.unlink()
    assert not sync.outdated
    observations(FIRST, SECOND).to_parquet(source)
    assert sync.outdated
    assert not OnlineSync(base, lookup.repository, lookup.service).outdated
