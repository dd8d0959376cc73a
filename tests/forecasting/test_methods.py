"""Forecasts of one series from its own history."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria.errors import DataError, InvalidInput
from noria.tasks.forecasting.methods import METHODS, Attempt, attempt, forecast
from noria.tasks.forecasting.seasons import pattern
from tests.forecasting.histories import SEASON, Array, any_history, padded, seasonal

# What the search of an ARIMA says of orders that it does not take.
pytestmark = pytest.mark.filterwarnings("ignore:possible convergence problem:UserWarning")

MODELS = [name for name in METHODS if name != "seasonal-naive"]


def test_the_seasonal_naive_repeats_the_last_season() -> None:
    history = np.array([[9.0, 9.0, 9.0, 0.1, 0.2, 0.3]])
    assert forecast("seasonal-naive", history, 3, 5).tolist() == [[0.1, 0.2, 0.3, 0.1, 0.2]]


def test_less_than_a_season_goes_on_as_its_newest_value() -> None:
    found = attempt("seasonal-naive", np.array([[np.nan, 7.0, 8.0]]), 3, 2)
    assert found.values.tolist() == [[8.0, 8.0]]
    assert found.fell_back.tolist() == [True]


@pytest.mark.parametrize("name", METHODS)
def test_forecasts_follow_a_trend_and_a_season(name: str) -> None:
    whole = np.stack([seasonal(120 + SEASON, seed) for seed in range(3)])
    said = forecast(name, whole[:, :120], SEASON, SEASON)
    error = np.abs(said - whole[:, 120:]).mean()
    # The seasonal naive misses the trend of a year, 6; the noise alone is 0.8.
    assert error < (7.0 if name == "seasonal-naive" else 3.0)


@pytest.mark.parametrize("name", MODELS)
def test_a_pure_season_is_forecast_exactly(name: str) -> None:
    whole = 100.0 + 10.0 * np.sin(2.0 * np.pi * np.arange(72) / SEASON)
    said = forecast(name, whole[None, :60], SEASON, SEASON)
    assert np.abs(said - whole[60:]).max() < 1.0


def test_arima_returns_to_the_mean_as_fast_as_its_values_did() -> None:
    chance, values = np.random.default_rng(3), [0.0]
    for _ in range(600):
        values.append(0.8 * values[-1] + chance.normal())
    history = 50.0 + np.array(values)
    history[-1] = 60.0
    said = forecast("arima", history[None], 1, 12)[0]
    # An AR(1): after k steps 0.8^k of the distance is left.
    assert np.abs(said - (50.0 + 10.0 * 0.8 ** np.arange(1, 13))).max() < 1.2, said


def test_the_line_of_a_combination_is_in_its_median() -> None:
    whole = np.arange(1.0, 41.0)
    said = forecast("combination", whole[None, :30], 1, 10)[0]
    # Theta and smoothing are near the line, the naive stays at 30.
    assert np.abs(said - whole[30:]).max() < 4.0


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("factor", [2.0**-30, 2.0**40])
def test_a_unit_changes_nothing(name: str, factor: float) -> None:
    histories = np.stack([seasonal(60, seed) for seed in range(3)])
    said = forecast(name, histories, SEASON, 6)
    assert np.allclose(forecast(name, histories * factor, SEASON, 6), said * factor, rtol=1e-9)


def test_a_shift_moves_the_naive_alone_by_as_much() -> None:
    history = seasonal(60, 0)[None]
    said = forecast("seasonal-naive", history, SEASON, 6)
    assert np.allclose(forecast("seasonal-naive", history - 1e3, SEASON, 6), said - 1e3)


@pytest.mark.parametrize("name", METHODS)
def test_rows_do_not_depend_on_each_other(name: str) -> None:
    long, short = seasonal(80, 1), seasonal(30, 2)
    together = forecast(name, padded(long, short), SEASON, 6)
    assert np.array_equal(together[0], forecast(name, long[None], SEASON, 6)[0])
    assert np.array_equal(together[1], forecast(name, short[None], SEASON, 6)[0])


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("value", [0.0, -3.0, 1e12, 1e-9])
def test_a_constant_goes_on(name: str, value: float) -> None:
    found = attempt(name, np.full((1, 30), value), 7, 5)
    assert found.values.tolist() == [[value] * 5]
    assert not found.fell_back.any()


@pytest.mark.parametrize("name", MODELS)
def test_sparse_demand_is_forecast_by_its_mean(name: str) -> None:
    random = np.random.default_rng(0)
    history = np.where(random.random(400) < 0.2, 5.0, 0.0)[None]
    said = forecast(name, history, 1, 10)
    assert np.ptp(said) < 2.0 * 5.0
    assert (said >= 0.0).all()
    assert forecast("theta", history, 1, 1)[0, 0] == pytest.approx(1.0, abs=0.8)


@pytest.mark.parametrize("name", MODELS)
def test_what_never_fell_below_zero_does_not_in_a_forecast(name: str) -> None:
    history = np.maximum(np.linspace(50.0, 0.0, 40), 0.0)[None]
    assert forecast(name, history, 1, 20).min() >= 0.0


def test_a_season_of_zeros_is_known_beforehand() -> None:
    day = np.array([0.0] * 16 + [5.0, 9.0, 12.0, 9.0, 5.0, 3.0, 2.0, 1.0])
    random = np.random.default_rng(0)
    history = np.tile(day, 15) * (1.0 + 0.1 * random.random(day.size * 15))
    said = forecast("combination", history[None], 24, 24)[0]
    assert np.abs(said - day).mean() < 0.5


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_few_values_fall_back_and_are_counted(length: int) -> None:
    found = attempt("theta", np.arange(1.0, length + 1.0)[None], 1, 3)
    assert found.values.tolist() == [[float(length)] * 3]
    # One value alone is a constant: it goes on by every method.
    assert found.fell_back.tolist() == [length > 1]


def test_a_long_season_is_taken_out_before_the_model() -> None:
    at = np.arange(96 * 6)
    whole = 50.0 + 20.0 * np.sin(2.0 * np.pi * at / 96)
    for name in MODELS:
        said = forecast(name, whole[None, : 96 * 5], 96, 96)[0]
        assert np.abs(said - whole[96 * 5 :]).max() < 2.0, name


@settings(max_examples=60, deadline=None)
@given(
    history=any_history(),
    name=st.sampled_from(list(METHODS)),
    season=st.sampled_from([1, 2, 4, 7, 12, 30]),
    horizon=st.integers(1, 14),
)
def test_every_forecast_is_finite(history: Array, name: str, season: int, horizon: int) -> None:
    found = attempt(name, padded(history, history[-1:]), season, horizon)
    assert isinstance(found, Attempt)
    assert found.values.shape == (2, horizon)
    assert np.isfinite(found.values).all()
    if history.min() == 0.0:
        assert found.values.min() >= 0.0


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([1.0, np.nan, 3.0], "history 0 has a gap or no value"),
        ([np.nan, np.nan, np.nan], "history 0 has a gap or no value"),
        ([1.0, np.inf, 3.0], "history 0 has an infinite value"),
    ],
)
def test_a_gap_is_refused(history: list[float], said: str) -> None:
    with pytest.raises(DataError, match=said):
        forecast("theta", np.array([history]), 1, 2)


def test_what_can_not_be_is_refused() -> None:
    history = np.ones((1, 5))
    with pytest.raises(InvalidInput, match="method prophet: is not known; write one of seasonal-"):
        forecast("prophet", history, 1, 2)
    with pytest.raises(InvalidInput, match="season 0 and horizon 2"):
        forecast("theta", history, 0, 2)


def test_the_library_comes_with_the_first_model() -> None:
    code = (
        "import sys, numpy as np\n"
        "from noria.tasks.forecasting import boosting, choice, methods\n"
        "methods.forecast('seasonal-naive', np.arange(9.0)[None], 2, 3)\n"
        "late = [name for name in ('statsforecast', 'lightgbm', 'pandas') if name in sys.modules]\n"
        "sys.exit(', '.join(late) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_library_that_is_missing_is_said_and_not_fallen_back_from() -> None:
    code = (
        "import sys, numpy as np\n"
        "sys.modules['statsforecast'] = None\n"
        "from noria.errors import NotInstalled\n"
        "from noria.tasks.forecasting import methods\n"
        "try:\n"
        "    methods.forecast('combination', np.arange(9.0)[None], 2, 3)\n"
        "except NotInstalled as error:\n"
        "    print(error.fix)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("install noria[forecasting]\n", "")


@pytest.mark.parametrize("history", [np.arange(30.0), np.random.default_rng(0).normal(size=300)])
def test_what_has_no_season_has_no_pattern(history: Array) -> None:
    assert pattern(history, 1) is None
    assert pattern(history[:20], 12) is None


def test_a_pattern_adds_where_a_value_is_not_positive() -> None:
    wave = np.tile([3.0, -1.0, -2.0, 0.0], 10)
    found = pattern(wave, 4)
    assert found is not None
    assert (found.kind, found.index.tolist()) == ("add", [3.0, -1.0, -2.0, 0.0])
    assert found.removed(wave).tolist() == [0.0] * 40
    assert found.restored(np.zeros(3), 41).tolist() == [-1.0, -2.0, 0.0]


def test_a_pattern_multiplies_where_values_are_positive() -> None:
    found = pattern(np.tile([4.0, 8.0, 12.0, 16.0], 10), 4)
    assert found is not None
    assert found.kind == "multiply"
    assert found.index.tolist() == pytest.approx([0.4, 0.8, 1.2, 1.6])
