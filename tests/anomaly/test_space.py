"""Rows on one scale: numbers by their middle half, categories by how rare they are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from noria.tasks.anomaly.space import MOST_CATEGORIES, rarity, space_of, squashed
from noria.tasks.package import Feature

NUMBER = Feature("x", "numeric")
CATEGORY = Feature("c", "categorical", categories=("a", "b"))


def test_a_number_is_measured_from_the_median_by_the_middle_half() -> None:
    values = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])
    space = space_of((NUMBER,), values)
    # Median 2, quartiles 1 and 3.
    assert space.of(np.array([[2.0], [3.0]]))[:, 0].tolist() == pytest.approx(
        [0.0, 1 / 1.4826], 1e-3
    )


def test_of_a_normal_distribution_the_unit_is_the_standard_deviation() -> None:
    values = np.random.default_rng(0).normal(10.0, 4.0, (20_000, 1))
    assert space_of((NUMBER,), values).of(values)[:, 0].std() == pytest.approx(1.0, abs=0.02)


def test_one_wild_value_changes_nothing_of_the_others() -> None:
    values = np.r_[np.random.default_rng(0).normal(size=1000), 1e9][:, None]
    assert space_of((NUMBER,), values).of(values)[:1000, 0].std() == pytest.approx(1.0, abs=0.05)


def test_far_values_keep_their_order_and_grow_slowly() -> None:
    far = squashed(np.array([-1e300, -4.0, -3.0, 0.5, 3.0, 4.0, 1e6, np.inf]))
    assert (np.diff(far) > 0).all()
    assert far[2:6].tolist() == pytest.approx([-3.0, 0.5, 3.0, 3.0 + math.log(2.0)])
    assert np.isfinite(far).all()
    assert far[6] < 20.0


def test_a_category_is_as_far_out_as_a_normal_value_that_is_so_rare() -> None:
    codes = np.r_[np.zeros(98), np.ones(2)][:, None]
    wide = space_of((CATEGORY,), codes).of(np.array([[0.0], [1.0]]))
    assert wide[0].tolist() == pytest.approx([math.sqrt(-2 * math.log(0.98)), 0, 0, 0])
    assert wide[1].tolist() == pytest.approx([0, math.sqrt(-2 * math.log(0.02)), 0, 0])


def test_more_categories_than_columns_share_one() -> None:
    codes = np.repeat(np.arange(30.0), np.arange(31, 1, -1))[:, None]
    feature = Feature("c", "categorical", categories=tuple(f"c{n:02}" for n in range(30)))
    space = space_of((feature,), codes)
    wide = space.of(np.array([[0.0], [28.0], [29.0]]))
    assert wide.shape[1] == MOST_CATEGORIES + 2
    assert wide[1].tolist() == wide[2].tolist()
    assert np.flatnonzero(wide[1]).tolist() == [MOST_CATEGORIES]


@pytest.mark.parametrize("feature", [NUMBER, CATEGORY, Feature("b", "boolean")])
def test_a_missing_value_is_rare_where_it_was_rare(feature: Feature) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, (1000, 1)).astype(float)
    never = space_of((feature,), values).of(np.array([[np.nan]]))
    values[rng.random(1000) < 0.5] = np.nan
    often = space_of((feature,), values).of(np.array([[np.nan]]))
    assert never[0, -1] == pytest.approx(rarity(1 / 1002))
    assert often[0, -1] == pytest.approx(rarity(0.5), abs=0.1)
    assert np.flatnonzero(often[0]).tolist() == [often.shape[1] - 1]


def test_a_vectors_numbers_keep_their_proportions() -> None:
    values = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 0.1, 0.0] + 7.0
    space = space_of((Feature("v", "vector", width=3),), values)
    wide = space.of(values)
    assert wide[:, 0].std() / wide[:, 1].std() == pytest.approx(10.0, rel=0.2)
    assert wide[:, 2].tolist() == [0.0] * 500
    assert space.of(np.full((1, 3), np.nan))[0].tolist() == pytest.approx(
        [0, 0, 0, rarity(1 / 502)]
    )


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_column_that_says_nothing_is_no_column_of_nothing(value: float) -> None:
    values = np.full((100, 1), value)
    for feature in (NUMBER, CATEGORY, Feature("b", "boolean")):
        wide = space_of((feature,), values).of(np.array([[0.0], [1.0], [np.nan]]))
        assert np.isfinite(wide).all()
