"""What the demo is made of, on its own sample of the real flights."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from noria.clocks import ReplayClock
from noria.demo.rivals import Rivals, month_start
from noria.demo.stage import EXAMPLE, Stage, set_up
from noria.embedded.home import Home
from noria.embedded.system import System
from noria.replay import History, moment, read_history, steps
from noria.spec import load_model, parse_model
from noria.tasks.sources.feast import OnlineFeatures
from noria.tasks.tabular.schema import lookup_of

pytestmark = pytest.mark.slow

_HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return set_up(tmp_path_factory.mktemp("demo") / "model", "quick", seed=0)


@pytest.fixture(scope="module")
def year(stage: Stage) -> History:
    return read_history(stage.model.spec, stage.base, month_start(2), month_start(13))


@pytest.fixture(scope="module")
def rivals(stage: Stage) -> Rivals:
    return Rivals.join(stage, month_start(13))


def test_a_sample_has_the_settings_of_the_example_and_those_are_the_defaults(stage: Stage) -> None:
    spec = load_model(EXAMPLE / "model.yaml").spec
    assert stage.model.spec == spec
    bare = spec.model_dump(mode="json", by_alias=True, include={"task", "data", "train"})
    default = parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "flights"},
            "spec": bare,
        }
    ).spec
    assert spec.retraining == default.retraining
    assert spec.serving == default.serving
    assert spec.gates.champion == default.gates.champion
    assert spec.monitoring.performance.drop == default.monitoring.performance.drop


def test_the_sample_is_a_share_of_the_year_and_the_same_for_a_seed(
    stage: Stage, year: History, tmp_path: Path
) -> None:
    assert len(year) > 40_000
    again = set_up(tmp_path / "again", "quick", seed=0)
    other = set_up(tmp_path / "other", "quick", seed=1)
    flights = [one.base / "data" / "flights.parquet" for one in (stage, again, other)]
    assert flights[0].read_bytes() == flights[1].read_bytes() != flights[2].read_bytes()


def test_the_rivals_are_judged_on_the_rows_that_the_loop_answers(
    rivals: Rivals, year: History
) -> None:
    assert rivals.agrees(year)
    ids = rivals.frame["flight_id"].to_numpy()[-len(year) :]
    assert np.array_equal(ids, year.columns["flight_id"])
    assert np.array_equal(rivals.frame["late"].to_numpy()[-len(year) :], year.label)


def test_a_day_of_requests_sees_what_training_sees(
    stage: Stage, year: History, rivals: Rivals, tmp_path: Path
) -> None:
    """The online lookup of the replay and the point-in-time join agree on every value."""
    data = stage.model.spec.data
    lookup = lookup_of(data)
    assert lookup is not None
    start = month_start(3)
    day = (int(start.timestamp() * 1000), int((start + timedelta(days=1)).timestamp() * 1000))
    system = System(Home(tmp_path / "home"), stage.file, clock=ReplayClock(start))
    system.features_until(start)
    features = OnlineFeatures(stage.base, lookup, event_time=data.event_time)
    joined = rivals.frame.iloc[-len(year) :]
    rows = 0
    for end, part in steps(year, _HOUR_MS):
        if not day[0] < end <= day[1]:
            continue
        system.features_until(moment(end - _HOUR_MS))
        asked = {name: values[part] for name, values in year.columns.items()}
        for name, seen in features.lookup(asked).items():
            np.testing.assert_array_equal(seen, joined[name].to_numpy()[part], err_msg=name)
        rows += part.stop - part.start
    features.close()
    assert rows > 50
