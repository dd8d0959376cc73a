"""The example on real weather: its kinds, its seasons, and a record that can't be right."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from feature_repo import nycflights
from noria.errors import DataError
from noria.spec import ModelSpec, load_model
from noria.tasks.clustering.family import LEARNER
from tests.clustering.conftest import fitted_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "weather"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, copied elsewhere, with a tenth of the hours."""
    found = Path(shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("examples") / "weather"))
    module_of(found).prepare(found, fraction=0.1)
    return found


def module_of(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("weather_data", folder / "data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def spec(folder: Path) -> ModelSpec:
    return load_model(folder / "model.yaml").spec


def test_three_kinds_are_found_and_their_shares_go_with_the_seasons(
    folder: Path, spec: ModelSpec, tmp_path: Path
) -> None:
    # The whole year, and not the tenth that the module's prepare would replace by all of it.
    data = spec.data.model_copy(update={"module": None})
    spec = spec.model_copy(update={"data": data})
    rows = LEARNER.ingest(spec, folder, None)
    LEARNER.validate(spec, rows)
    frame = LEARNER.features(spec, folder, rows)
    params = LEARNER.tune(spec, frame, tmp_path).params
    assert params == {"clusters": 3}
    model = fitted_of(frame, spec, **params).predictor
    columns = {name: frame[name].to_numpy() for name in module_of(folder).COLUMNS}
    number = model.predict(columns)["prediction"]
    means = frame.groupby(number)[["temp", "humid", "visib"]].mean()
    warm, foggy = means["temp"].idxmax(), means["visib"].idxmin()
    assert warm != foggy
    assert means["humid"].idxmax() == foggy
    month = frame["observed"].dt.month
    share = pd.Series(number == warm).groupby(month.to_numpy()).mean()
    assert share[1] < 0.1
    assert share[7] > 0.9
    assert share.idxmax() in (7, 8)


def test_wind_that_no_one_has_felt_is_refused_by_column_and_value(spec: ModelSpec) -> None:
    rows = nycflights.weather()
    assert rows["wind_speed"].max() > 1000
    with pytest.raises(DataError) as refused:
        LEARNER.validate(spec, rows)
    said = str(refused.value)
    assert "ranges.wind_speed: 1 of 26115 rows are outside 0 to 200, such as 1048.36" in said
    assert "drop or correct them" in said


def test_preparing_twice_does_nothing(folder: Path) -> None:
    file = folder / "data" / "weather.parquet"
    before = file.stat().st_mtime_ns
    module_of(folder).prepare(folder, fraction=0.1)
    assert file.stat().st_mtime_ns == before
    hours = pd.read_parquet(file)
    assert 2_400 < len(hours) < 2_800
    assert np.isfinite(hours["wind_speed"].dropna()).all()
