"""The space: every column weighs the same, and what is missing moves a row nowhere."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from noria.errors import IntegrityError
from noria.tasks.clustering.space import Space, space_of
from noria.tasks.package import Feature

NUMBERS = tuple(Feature(name, "numeric") for name in ("a", "b", "c"))
COLOUR = Feature("colour", "categorical", categories=("blue", "green", "red"))


def rows(count: int = 500, columns: int = 3) -> np.ndarray:
    chance = np.random.default_rng(0)
    return chance.normal(size=(count, columns)) @ chance.normal(size=(columns, columns)) + 5.0


def test_numbers_are_standardised_as_scikit_learn_does() -> None:
    matrix = rows()
    points = Space.of(NUMBERS, matrix, None).points(matrix)
    np.testing.assert_allclose(points, StandardScaler().fit_transform(matrix), atol=1e-9)


def mean_squared_distance(points: np.ndarray) -> float:
    """Of two rows drawn with replacement: twice the total variance."""
    return float(((points[:, None] - points[None]) ** 2).sum(axis=2).mean())


@pytest.mark.parametrize(
    ("feature", "columns"),
    [
        (Feature("n", "numeric"), np.random.default_rng(1).exponential(7.0, (300, 1))),
        (Feature("b", "boolean"), (np.arange(300) % 5 == 0)[:, None].astype(float)),
        (COLOUR, np.repeat([0.0, 1.0, 2.0], [200, 90, 10])[:, None]),
        (Feature("v", "vector", width=8), np.random.default_rng(2).normal(size=(300, 8)) * 9),
    ],
    ids=["number", "boolean", "category", "vector"],
)
def test_two_rows_are_as_far_apart_in_a_column_of_any_kind(
    feature: Feature, columns: np.ndarray
) -> None:
    points = Space.of((feature,), columns, None).points(columns)
    assert mean_squared_distance(points) == pytest.approx(2.0)


def test_a_category_of_two_values_is_a_boolean() -> None:
    flags = (np.random.default_rng(3).random((200, 1)) < 0.3).astype(float)
    two = Feature("f", "categorical", categories=("no", "yes"))
    one, other = (
        Space.of((feature,), flags, None).points(flags)
        for feature in (two, Feature("f", "boolean"))
    )
    apart = np.abs(other[:, None, 0] - other[None, :, 0])
    found = np.sqrt(((one[:, None] - one[None]) ** 2).sum(axis=2))
    np.testing.assert_allclose(found, apart, atol=1e-9)


def test_what_is_missing_lies_at_the_mean_and_moves_no_other_row() -> None:
    matrix = np.column_stack([rows(100, 2), np.repeat([0.0, 1.0], 50)])
    features = (*NUMBERS[:2], COLOUR)
    space = Space.of(features, matrix, None)
    empty = space.points(np.full((1, 3), np.nan))
    np.testing.assert_allclose(empty, 0.0)
    holes = np.vstack([matrix, np.full((20, 3), np.nan)])
    np.testing.assert_allclose(Space.of(features, holes, None).points(matrix), space.points(matrix))


def test_a_column_that_is_the_same_everywhere_counts_nothing() -> None:
    matrix = rows()
    matrix[:, 1] = 0.1 + 0.2
    space = Space.of(NUMBERS, matrix, None)
    other = matrix.copy()
    other[:, 1] = 1e6
    np.testing.assert_array_equal(space.points(other), space.points(matrix))


@pytest.mark.parametrize(("explained", "width"), [(0.5, None), (0.9, None), (1.0, 3)])
def test_components_are_as_few_as_explain_enough(explained: float, width: int | None) -> None:
    matrix = rows()
    points = Space.of(NUMBERS, matrix, explained).points(matrix)
    ours = PCA(3).fit(StandardScaler().fit_transform(matrix))
    few = int(np.searchsorted(np.cumsum(ours.explained_variance_ratio_), explained)) + 1
    assert points.shape[1] == (width or few)
    theirs = ours.transform(StandardScaler().fit_transform(matrix))[:, : points.shape[1]]
    np.testing.assert_allclose(np.abs(points), np.abs(theirs), atol=1e-8)


def test_a_space_comes_back_from_its_arrays_and_refuses_those_of_others() -> None:
    matrix = rows()
    space = Space.of(NUMBERS, matrix, 0.9)
    again = space_of(NUMBERS, space.arrays())
    np.testing.assert_array_equal(again.points(matrix), space.points(matrix))
    with pytest.raises(IntegrityError, match="of other columns"):
        space_of(NUMBERS[:2], space.arrays())
