"""The example on real flights: its days, its samples, and a candidate against a champion."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from noria.spec import load_model
from noria.tasks.candidate import make_candidate
from noria.tasks.forecasting.describe import options_of
from noria.tasks.forecasting.family import LEARNER
from noria.tasks.forecasting.panel import series_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "departures"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, copied elsewhere; its rows are made when they are first read."""
    return Path(shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("examples") / "departures"))


def test_every_day_of_the_airports_is_one_step(folder: Path) -> None:
    spec = load_model(folder / "model.yaml").spec
    rows = LEARNER.ingest(spec, folder, None)
    LEARNER.validate(spec, rows)
    assert rows["flights"].sum() == 327_346
    series = {one.key: one for one in series_of(spec, options_of(spec), rows)}
    assert len(series) == 35
    # A year with a day of 23 and one of 25 hours has 365 days.
    busy = series["EWR", "UA"]
    assert busy.values.size == 365
    assert busy.gaps == 0
    day = rows.loc[(rows["origin"] == "EWR") & (rows["carrier"] == "UA"), "day"]
    assert day.dt.tz_convert("America/New_York").dt.hour.unique().tolist() == [0]


@pytest.mark.slow
def test_a_candidate_is_judged_on_what_the_champion_could_not_know(
    folder: Path, tmp_path: Path
) -> None:
    spec = load_model(folder / "model.yaml").spec
    rows = LEARNER.ingest(spec, folder, None)
    until = pd.Timestamp("2013-07-01", tz="UTC")
    older = LEARNER.features(spec, folder, rows[rows["day"] < until])
    first = make_candidate(LEARNER, spec, older, None, tmp_path / "1", model="departures")
    assert {"coverage-80", *(metric.name for metric in spec.metrics)} <= set(
        first.evaluation.metrics
    )
    assert set(first.evaluation.baseline) == {metric.name for metric in spec.metrics}
    frame = LEARNER.features(spec, folder, rows)
    plots = tmp_path / "plots"
    second = make_candidate(
        LEARNER, spec, frame, first.package, tmp_path / "2", model="departures", plots=plots
    )
    (compared,) = second.evaluation.comparisons
    assert compared.metric == "mase"
    assert compared.samples == len(second.test)
    # The champion's newest future ends where the judged ones may begin.
    known = pd.to_datetime(first.manifest.trained_until, unit="ms", utc=True)
    assert (second.test["day"] >= known + pd.Timedelta(days=14)).all()
    assert [gate.name for gate in second.evaluation.gates] == ["smape-max", "mase-champion"]
    assert sorted(path.name for path in plots.iterdir()) == sorted(second.evaluation.plots)
