"""A model of all series."""

from __future__ import annotations

import numpy as np
import pytest

from noria.errors import IntegrityError, InvalidInput, TrainingError
from noria.tasks.forecasting.accuracy import mae
from noria.tasks.forecasting.boosting import FILE, Boosted, fit, load
from noria.tasks.forecasting.methods import forecast
from tests.forecasting.histories import SEASON, Array, padded, seasonal

HORIZON = 6


def _samples(seeds: range) -> tuple[Array, Array]:
    random = np.random.default_rng(seeds.start)
    sizes = np.exp(random.normal(scale=2.0, size=len(seeds)))
    whole = np.stack([seasonal(60, seed) * size for seed, size in zip(seeds, sizes, strict=True)])
    return whole[:, :-HORIZON], whole[:, -HORIZON:]


def _fitted(windows: Array, futures: Array, **given: object) -> Boosted:
    arguments = {"season": SEASON, "seed": 1, "threads": 1, "weight": None, "params": {}}
    return fit(windows, futures, **{**arguments, **given})  # type: ignore[arg-type]


def test_it_beats_the_seasonal_naive_on_series_that_it_has_not_seen() -> None:
    model = _fitted(*_samples(range(200)))
    windows, futures = _samples(range(1000, 1100))
    ours = mae(futures, model.predict(windows))
    naive = mae(futures, forecast("seasonal-naive", windows, SEASON, HORIZON))
    # The naive misses the trend of a year, 6 in a noise of 1.
    assert (ours / naive).mean() < 0.5


def test_another_base_is_corrected() -> None:
    windows, futures = _samples(range(40))
    model = _fitted(windows, futures, base="theta", params={"num_boost_round": 1})
    said = forecast("theta", windows, SEASON, HORIZON)
    assert np.abs(model.predict(windows) / said - 1.0).max() < 0.1


def test_a_package_says_the_same_and_a_seed_gives_the_same_model() -> None:
    windows, futures = _samples(range(60))
    model = _fitted(windows, futures)
    assert _fitted(windows, futures).files() == model.files()
    assert np.array_equal(load(model.files()).predict(windows), model.predict(windows))
    assert np.array_equal(model.predict(windows[:1]), model.predict(windows)[:1])


def test_a_unit_changes_nothing() -> None:
    windows, futures = _samples(range(60))
    model = _fitted(windows, futures)
    assert np.allclose(model.predict(windows * 1024.0), model.predict(windows) * 1024.0)


def test_unknown_steps_and_windows_without_weight_teach_nothing() -> None:
    windows, futures = _samples(range(60))
    futures[30:, 3:] = np.nan
    weight = np.repeat([2.0, 1e-12], 30)
    wrong = futures.copy()
    wrong[30:, :3] *= -50.0
    model = _fitted(windows, wrong, weight=weight)
    assert (mae(futures, model.predict(windows)) / windows.mean(axis=1)).max() < 0.2


def test_short_and_flat_series_have_finite_forecasts() -> None:
    model = _fitted(*_samples(range(60)))
    odd = padded(seasonal(54, 0), np.zeros(9), np.full(20, 1e12), np.array([3.0]))
    assert np.isfinite(model.predict(odd)).all()
    assert model.predict(odd)[1].min() >= 0.0


def test_what_does_not_fit_is_refused() -> None:
    windows, futures = _samples(range(30))
    with pytest.raises(InvalidInput, match=r"are not \(m, L\) and \(m, h\)"):
        _fitted(windows[1:], futures)
    with pytest.raises(TrainingError, match="no step after any window is known"):
        _fitted(windows, np.full_like(futures, np.nan))
    with pytest.raises(InvalidInput, match="method prophet: is not known"):
        _fitted(windows, futures, base="prophet")
    with pytest.raises(TrainingError, match="num_leaves should be of type int"):
        _fitted(windows, futures, params={"num_leaves": "many"})
    model = _fitted(windows, futures)
    with pytest.raises(InvalidInput, match=r"windows \(30, 53\) are not \(m, 54\)"):
        model.predict(windows[:, 1:])
    with pytest.raises(IntegrityError, match=FILE):
        load({})
    with pytest.raises(IntegrityError, match="does not fit the model beside it"):
        load({**model.files(), FILE: b'{"season":1,"horizon":6,"width":3,"base":"theta"}'})
