"""Values of series held against their past: scores by hand, rows, refusals, the whole training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.typing import NDArray

from noria.errors import DataError, IntegrityError, InvalidInput, SpecError
from noria.replay import read_history
from noria.spec import Model, parse_model
from noria.tasks.anomaly.detectors import registry, residual
from noria.tasks.anomaly.family import LEARNER
from noria.tasks.anomaly.series import with_history
from noria.tasks.candidate import Made, make_candidate
from noria.tasks.package import load_predictor

Array = NDArray[np.float64]
START = pd.Timestamp("2026-01-05", tz="UTC")


def model_document(options: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    """Return a model.yaml of meters that are read each hour."""
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "meters"},
        "spec": {
            "task": {
                "family": "anomaly-detection",
                "options": {"history": 96, "season": 24, "alarmRate": 0.02} | (options or {}),
            },
            "data": {
                "source": {"csv": {"paths": ["rows.csv"]}},
                "features": [{"name": "load", "type": "numeric"}],
                "eventTime": "at",
                "entityKey": ["meter"],
            }
            | data,
            "gates": {"bounds": [{"metric": "false-alarm-rate", "max": 0.2}]},
        },
    }


def model_of(options: dict[str, Any] | None = None, **data: Any) -> Model:
    """Return the model of ``model_document``."""
    return parse_model(yaml.safe_dump(model_document(options, **data)))


def readings(hours: int = 900) -> pd.DataFrame:
    """Return the loads of two meters, of ten and of a thousand, with a day and noise of 2 %."""
    rng, hour = np.random.default_rng(0), np.arange(hours)
    at = START + pd.to_timedelta(hour, "h")
    parts = [
        pd.DataFrame(
            {
                "meter": meter,
                "at": at,
                "load": size
                * (2.0 + np.sin(2.0 * np.pi * hour / 24.0) + rng.normal(0.0, 0.02, hours)),
            }
        )
        for meter, size in (("a", 10.0), ("b", 1000.0))
    ]
    return pd.concat(parts).sort_values(["at", "meter"], ignore_index=True)


def detector(**params: Any) -> residual.Residual:
    found = registry.load(
        "residual",
        {name: np.array(value) for name, value in params.items()},
    )
    assert isinstance(found, residual.Residual)
    return found


def test_without_a_season_the_level_is_simple_exponential_smoothing() -> None:
    """The mean while few are known, then level + alpha (value - level): by hand."""
    past = np.array([[4.0, 8.0, 6.0, 10.0]])
    expected, spread = detector(season=1, alpha=0.5).expected(past)
    # Levels 4, 6, 6, 8: errors 4, 0 and 4. Of their squares the mean is 32 / 3.
    assert expected[0] == 8.0
    assert spread[0] == pytest.approx(np.sqrt(32.0 / 3.0))
    row = np.array([[12.0, 4.0, 8.0, 6.0, 10.0]])
    assert detector(season=1, alpha=0.5).score(row)[0] == pytest.approx(4.0 / np.sqrt(32.0 / 3.0))


def test_alpha_one_is_the_value_before_and_alpha_zero_the_mean() -> None:
    past = np.random.default_rng(0).normal(size=(5, 60))
    past = np.clip(past, -1.0, 1.0)  # nothing is far out
    assert np.allclose(detector(season=1, alpha=1.0).expected(past)[0], past[:, -1])
    assert np.allclose(detector(season=1, alpha=0.0).expected(past)[0], past.mean(axis=1))


def test_a_season_is_expected_again_on_a_trend_of_levels_and_after_gaps() -> None:
    season = np.array([1.0, 5.0, 3.0, -2.0])
    past = 100.0 + np.tile(season, 6)
    for end in range(4):  # whichever place in the season comes next
        window = past[end : end + 20]
        expected, _ = detector(season=4, alpha=0.3).expected(window[None])
        assert expected[0] == pytest.approx(100.0 + season[end % 4])
    past[[3, 9, 20]] = np.nan
    expected, spread = detector(season=4, alpha=0.3).expected(past[None])
    assert expected[0] == pytest.approx(101.0)
    assert np.isfinite(spread).all()


def test_one_anomaly_in_the_past_moves_neither_the_season_nor_the_spread_much() -> None:
    rng = np.random.default_rng(1)
    past = np.tile([0.0, 10.0, 20.0, 10.0], 20) + rng.normal(0.0, 1.0, 80)
    struck = past.copy()
    struck[40] += 500.0  # the place in the season that comes next
    one = detector(season=4, alpha=0.0)
    (calm, wide), (moved, wider) = one.expected(past[None]), one.expected(struck[None])
    assert abs(moved[0] - calm[0]) < 1.0
    assert wider[0] < 3.0 * wide[0]


def test_scores_do_not_depend_on_the_unit_of_a_series() -> None:
    rows = np.random.default_rng(2).normal(10.0, 1.0, (20, 49))
    one = detector(season=12, alpha=0.2)
    assert np.allclose(one.score(rows), one.score(rows * 1e6))


def test_a_past_without_any_change_makes_another_value_strange_and_finite() -> None:
    for level in (0.0, 7.0):
        rows = np.full((2, 31), level)
        rows[1, 0] += 1.0
        same, other = detector(season=1, alpha=0.2).score(rows)
        assert same == 0.0
        assert 1e4 < other < np.inf


def test_alpha_is_chosen_by_the_rows() -> None:
    """White noise is its mean, a random walk its last value (Hyndman and Athanasopoulos)."""
    noise = np.random.default_rng(3).normal(size=(400, 61))
    for rows, low, high in ((noise, 0.0, 0.1), (noise.cumsum(axis=1), 0.7, 1.0)):
        ordered = np.column_stack([rows[:, -1], rows[:, :-1]])
        found = registry.fit("residual", ordered, {"season": 1}, 0, 1)
        assert low <= float(found.arrays()["alpha"]) <= high
    with pytest.raises(InvalidInput, match=r"alpha: 2 is not from 0 to 1"):
        registry.fit("residual", noise, {"season": 1, "alpha": 2}, 0, 1)
    with pytest.raises(IntegrityError, match="alpha is missing"):
        registry.load("residual", {"season": np.array(1)})


def test_a_row_knows_the_values_before_it_on_the_steps_of_its_own_series() -> None:
    spec = model_of({"history": 12, "season": 1}).spec
    rows = readings(15).drop(index=[6])  # a, at 3 o'clock
    rows.loc[(rows["meter"] == "a") & (rows["at"] == START + pd.Timedelta("10h")), "load"] = np.nan
    found = with_history(spec, rows)
    assert (found["at"] > START + pd.Timedelta("7h")).all()
    mine = found[found["meter"] == "a"].set_index("at")
    assert START + pd.Timedelta("10h") not in mine.index  # it has no value
    past = mine.loc[START + pd.Timedelta("14h"), "history"]
    own = rows[rows["meter"] == "a"].set_index("at")["load"]
    hours = pd.date_range(START + pd.Timedelta("2h"), periods=12, freq="h")
    assert np.allclose(past, own.reindex(hours), equal_nan=True)
    assert np.isnan(past[[1, 8]]).all()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A candidate of meters, through all steps."""
    folder = tmp_path_factory.mktemp("meters")
    readings().to_csv(folder / "rows.csv", index=False)
    spec = model_of().spec
    rows = LEARNER.ingest(spec, folder, None)
    LEARNER.validate(spec, rows)
    return make_candidate(LEARNER, spec, rows, None, folder / "made", model="meters")


def test_training_keeps_the_rate_and_tells_spliced_values(made: Made) -> None:
    found = made.evaluation.metrics
    assert found["false-alarm-rate"].value == pytest.approx(0.02, abs=0.02)
    # Half of the twins are of the other meter, a hundred times as great; the rest of another hour.
    assert (found["splice-detection"].value or 0.0) > 0.9
    assert made.evaluation.gates[0].verdict == "pass"


def test_a_package_says_what_was_expected_and_alarms_outside_of_the_interval(made: Made) -> None:
    predictor, test = load_predictor(made.package), made.test
    columns = {name: test[name].to_numpy() for name in ("load", "history")}
    said = predictor.predict(columns)
    outside = (columns["load"] < said["lower"]) | (columns["load"] > said["upper"])
    assert (said["anomaly"] == outside).all()
    hour, size = test["at"].dt.hour.to_numpy(), np.where(test["meter"] == "a", 10.0, 1000.0)
    truth = size * (2.0 + np.sin(2.0 * np.pi * hour / 24.0))
    assert np.abs(said["expected"] / truth - 1.0).max() < 0.1
    columns["load"] = columns["load"] + 0.2 * size
    assert predictor.predict(columns)["anomaly"].mean() > 0.95
    (given,) = (one for one in predictor.manifest.inputs if one.kind == "series")
    assert (given.name, given.width, given.optional) == ("history", 96, False)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"load": [1.0]}, "history: is missing"),
        ({"load": [1.0], "history": [[1.0] * 47]}, r"history\[0\]: holds 47 values, and 48"),
        ({"load": [np.nan], "history": [[1.0] * 96]}, r"load\[0\]: is missing"),
    ],
)
def test_what_can_t_be_judged_is_refused(
    made: Made, columns: dict[str, list[Any]], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        load_predictor(made.package).predict({k: np.array(v) for k, v in columns.items()})


def test_a_replay_asks_with_the_past(tmp_path: Path) -> None:
    readings(200).to_csv(tmp_path / "rows.csv", index=False)
    asked = read_history(model_of().spec, tmp_path)
    assert asked.columns["history"].shape == (len(asked), 96)
    assert asked.datatypes["history"] == "FP64"


def test_bad_series_get_a_sentence() -> None:
    spec, rows = model_of().spec, readings(200)
    twice = pd.concat([rows, rows.iloc[[50]]], ignore_index=True)
    with pytest.raises(DataError, match="series 'a' has two values in one interval of 1:00:00"):
        with_history(spec, twice)
    with pytest.raises(DataError, match="column load: row 4: inf is not a finite number"):
        with_history(spec, rows.assign(load=rows["load"].mask(rows.index == 3, np.inf)))
    with pytest.raises(DataError, match="no value of load has 48 others before it"):
        with_history(spec, rows.head(60))


@pytest.mark.parametrize(
    ("options", "data", "said"),
    [
        ({"history": 60}, {}, "60 values are too few for a season of 24"),
        ({"history": None}, {}, "season: says nothing without history"),
        ({"backend": "alibi"}, {}, "backend: alibi fits nothing of series"),
        ({}, {"eventTime": None}, "eventTime: is missing, and history needs it"),
        (
            {},
            {
                "features": [
                    {"name": "load", "type": "numeric"},
                    {"name": "volts", "type": "numeric"},
                ]
            },
            "features: history is of one number",
        ),
    ],
)
def test_a_spec_that_can_t_be_met_is_refused(
    options: dict[str, Any], data: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError) as refused:
        model_of(options, **data)
    assert said in str(refused.value)
