"""The method that forecasts."""

from __future__ import annotations

import numpy as np
import pytest

from noria.errors import InvalidInput
from noria.tasks.forecasting.choice import choose, for_each
from tests.forecasting.histories import Array

NAIVE = "seasonal-naive"


def _errors(level: float, seed: int, samples: int = 200) -> Array:
    return np.abs(np.random.default_rng(seed).normal(level, 0.2, size=(samples, 6)))


def test_a_better_method_is_taken() -> None:
    errors = {NAIVE: _errors(1.5, 0), "theta": _errors(1.0, 1), "combination": _errors(0.8, 2)}
    assert choose(errors) == "combination"


def test_a_method_that_is_better_by_chance_is_not() -> None:
    taken = []
    for seed in range(200):
        errors = {NAIVE: _errors(1.0, 2 * seed, 40), "theta": _errors(1.0, 2 * seed + 1, 40)}
        taken.append(choose(errors))
    # One standard error to one side is passed by 16 % of chance.
    assert 0.06 < taken.count("theta") / len(taken) < 0.26


def test_the_simplest_of_those_that_are_as_good_is_taken() -> None:
    good = _errors(0.8, 1)
    errors = {NAIVE: _errors(1.5, 0), "theta": good, "combination": good - 1e-6 * _errors(1.0, 3)}
    assert choose(errors) == "combination"
    errors["combination"] = good + 0.01 * np.random.default_rng(0).normal(size=good.shape)
    errors["combination"][0] -= 0.001
    assert choose({**errors, "combination": good}) == "theta"


def test_one_sample_says_nothing() -> None:
    assert choose({NAIVE: np.full((1, 3), 9.0), "theta": np.full((1, 3), 1.0)}) == NAIVE


def test_places_say_which_rows_count() -> None:
    errors = {NAIVE: np.ones((20, 2)), "theta": np.ones((20, 2))}
    errors["theta"][:10] = 0.5
    errors["theta"][10:] = 3.0
    assert choose(errors) == NAIVE
    assert choose(errors, np.arange(10)) == "theta"


def test_rows_of_a_group_are_no_more_than_one_witness() -> None:
    errors = {NAIVE: np.ones((60, 1)), "theta": np.ones((60, 1))}
    # One series of three is much better at 20 origins, the two others are a little worse.
    errors["theta"][:20] = 0.1
    errors["theta"][20:] = 1.2
    series = np.repeat(np.arange(3), 20)
    assert choose(errors) == "theta"
    assert choose(errors, groups=series) == NAIVE


def test_an_unknown_error_counts_for_no_method() -> None:
    errors = {NAIVE: np.ones((30, 2)), "theta": np.full((30, 2), 0.9)}
    errors[NAIVE][:, 1] = np.nan
    errors["theta"][:, 1] = 50.0
    assert choose(errors) == "theta"


def test_what_can_not_be_compared_is_refused() -> None:
    with pytest.raises(InvalidInput, match="seasonal-naive is missing"):
        choose({"theta": np.ones((2, 2))})
    with pytest.raises(InvalidInput, match=r"shapes differ: seasonal-naive \(2, 2\), theta"):
        choose({NAIVE: np.ones((2, 2)), "theta": np.ones((2, 3))})
    with pytest.raises(InvalidInput, match="none is known"):
        choose({NAIVE: np.full((2, 2), np.nan)})


def test_each_series_takes_what_is_shown_to_be_better_for_it() -> None:
    series = np.repeat([0, 1, 2, 3], [20, 20, 20, 4])
    chance = np.random.default_rng(0)
    errors = {
        name: np.abs(size[series] + 0.1 * chance.normal(size=series.size))[:, None]
        for name, size in {
            "seasonal-naive": np.array([1.0, 5.0, 2.0, 1.0]),
            "theta": np.array([2.0, 2.0, 2.0, 9.0]),
        }.items()
    }
    found = for_each(errors, series, "theta")
    # As good as each other: what is best for all together. Four forecasts show nothing.
    assert found == {0: "seasonal-naive", 1: "theta", 2: "theta", 3: "theta"}
