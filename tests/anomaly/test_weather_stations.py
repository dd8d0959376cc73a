"""The example on real readings: its planted faults, its detector, and a candidate."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from noria.spec import ModelSpec, load_model
from noria.tasks.anomaly.family import LEARNER
from noria.tasks.anomaly.judged import open_package
from noria.tasks.candidate import Made, make_candidate

EXAMPLE = Path(__file__).parents[2] / "examples" / "weather-stations"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, copied elsewhere; its rows are made when they are first read."""
    return Path(shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("examples") / EXAMPLE.name))


@pytest.fixture(scope="module")
def rows(folder: Path) -> pd.DataFrame:
    spec = load_model(folder / "model.yaml").spec
    found = LEARNER.ingest(spec, folder, None)
    LEARNER.validate(spec, found)
    return found


@pytest.fixture(scope="module")
def made(folder: Path, rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Made:
    spec = load_model(folder / "model.yaml").spec
    out = tmp_path_factory.mktemp("made")
    return make_candidate(LEARNER, spec, rows, None, out, model="stations", plots=out / "plots")


def test_one_reading_in_a_hundred_is_faulty_and_the_wind_of_the_records_is_one(
    rows: pd.DataFrame,
) -> None:
    assert len(rows) == 26_115
    assert rows["fault"].mean() == pytest.approx(0.01, abs=0.002)
    (wild,) = rows.index[rows["wind_speed"] > 200.0]
    assert rows.loc[wild, "wind_speed"] == pytest.approx(1048.36)
    assert rows.loc[wild, "fault"] == 1.0


def test_the_detector_finds_more_than_the_tails_of_each_column(made: Made) -> None:
    found, beside = made.evaluation.metrics, made.evaluation.baseline
    assert found["average-precision"].value > 0.4 > 0.1 > beside["average-precision"].value
    assert 0.005 < found["false-alarm-rate"].value < 0.03
    assert [gate.verdict for gate in made.evaluation.gates] == ["pass"]
    assert set(made.evaluation.plots) == {"scores.png", "false-alarms.png", "reasons.png"}


def test_the_impossible_wind_is_its_reason(made: Made, rows: pd.DataFrame) -> None:
    model = open_package(made.package)
    wild = rows[rows["wind_speed"] > 200.0]
    columns = {
        feature.name: wild[feature.name].to_numpy(object if feature.categories else float)
        for feature in model.manifest.features
        if feature.origin == "input"
    }
    said = model.predict(columns)
    assert said["anomaly"].all()
    assert said["reasons"][0][0] == "wind_speed"


@pytest.mark.slow
def test_a_candidate_is_judged_on_readings_that_the_champion_has_not_seen(
    folder: Path, rows: pd.DataFrame, tmp_path: Path
) -> None:
    spec: ModelSpec = load_model(folder / "model.yaml").spec
    until = pd.Timestamp("2013-06-01", tz="UTC")
    winter = rows[rows["observed"] < until]
    first = make_candidate(LEARNER, spec, winter, None, tmp_path / "1", model="stations")
    second = make_candidate(LEARNER, spec, rows, first.package, tmp_path / "2", model="stations")
    (compared,) = second.evaluation.comparisons
    assert compared.metric == "net-detection"
    assert compared.low is not None
    # Known faults are no false alarms.
    assert compared.samples == (second.test["fault"] == 0.0).sum() < len(second.test)
    assert (second.test["observed"] >= until).all()
    names = [gate.name for gate in second.evaluation.gates]
    assert names == ["false-alarm-rate-max", "net-detection-champion"]
