"""The tests' statistics equal those of scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitoring.detectors.mmd import median_distance, permuted_mmd2, squared_distances
from monitoring.detectors.statistics import chi_square, fisher_exact, ks_p_values, ks_statistic


@given(st.integers(0, 10_000), st.integers(4, 300), st.integers(4, 80), st.booleans())
@settings(max_examples=60, deadline=None)
def test_ks_equals_scipy(seed: int, n: int, m: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    reference, window = random.normal(size=n), random.normal(0.2, 1.2, size=m)
    if ties:
        reference, window = np.round(reference), np.round(window)
    expected = stats.ks_2samp(reference, window, method="asymp")
    found = ks_statistic(np.sort(reference), np.sort(window))
    assert found == pytest.approx(expected.statistic, abs=1e-12)
    p_value = ks_p_values(np.array([found]), np.array([n]), np.array([m]))[0]
    assert p_value == pytest.approx(expected.pvalue, abs=1e-9)


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 60)), min_size=2, max_size=8),
)
@settings(max_examples=80, deadline=None)
def test_chi_square_equals_scipy(pairs: list[tuple[int, int]]) -> None:
    table = np.array(pairs).T
    kept = table[:, table.sum(axis=0) > 0]
    statistic, p_value, _ = chi_square(table[0], table[1])
    if kept.shape[1] < 2 or not kept.sum(axis=1).all():
        assert (statistic, p_value) == (0.0, 1.0)
        return
    expected = stats.chi2_contingency(kept)
    assert statistic == pytest.approx(expected.statistic, abs=1e-9)
    assert p_value == pytest.approx(expected.pvalue, abs=1e-9)


@given(*[st.integers(0, 300)] * 4)
@settings(max_examples=80, deadline=None)
def test_fisher_equals_scipy(a: int, b: int, c: int, d: int) -> None:
    if not (a + b and c + d):
        assert fisher_exact(a, b, c, d)[1] == 1.0
        return
    expected = stats.fisher_exact([[a, b], [c, d]])
    assert fisher_exact(a, b, c, d)[1] == pytest.approx(expected.pvalue, abs=1e-6)


def test_the_effect_of_chi_square_does_not_grow_with_the_rows() -> None:
    small = chi_square(np.array([50, 50]), np.array([60, 40]))
    large = chi_square(np.array([5000, 5000]), np.array([6000, 4000]))
    assert large[0] > 50 * small[0]
    assert large[2] == pytest.approx(small[2])


def test_all_permutations_in_one_product_equal_one_by_one() -> None:
    random = np.random.default_rng(3)
    points = random.normal(size=(30, 3))
    kernel = np.exp(-squared_distances(points, points) / 4.0)
    np.fill_diagonal(kernel, 0.0)
    n, m = 18, 12
    # The same stream draws the same splits.
    order = np.argpartition(np.random.default_rng(7).random((5, 30), dtype=np.float32), n, axis=1)
    found = permuted_mmd2(kernel.astype(np.float32), n, 5, np.random.default_rng(7))
    for split, value in zip(order, found, strict=True):
        first, second = split[:n], split[n:]
        expected = (
            kernel[np.ix_(first, first)].sum() / (n * (n - 1))
            + kernel[np.ix_(second, second)].sum() / (m * (m - 1))
            - 2 * kernel[np.ix_(first, second)].mean()
        )
        assert value == pytest.approx(expected, abs=1e-6)


def test_the_median_heuristic_leaves_out_the_distance_of_a_point_to_itself() -> None:
    points = np.array([[0.0], [1.0], [3.0]])
    assert median_distance(squared_distances(points, points)) == 4.0
