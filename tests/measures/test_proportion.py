"""The exact interval of a proportion, and that of a quantile by the order of its values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from noria.measures.independent import drop
from noria.measures.proportion import beta, exact, quantile_ranks, samples_for_quantile


@pytest.mark.parametrize("trials", [1, 2, 3, 10, 100, 1000, 100_000])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_the_interval_is_clopper_and_pearsons(trials: int, confidence: float) -> None:
    for hits in sorted({0, 1, 2, trials // 10, trials // 2, trials - 1, trials}):
        if not 0 <= hits <= trials:
            continue
        expected = stats.binomtest(hits, trials).proportion_ci(confidence, method="exact")
        assert exact(hits, trials, confidence) == pytest.approx(
            (expected.low, expected.high), rel=1e-6, abs=1e-12
        )


def test_no_trials_say_nothing() -> None:
    assert exact(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("a", "b"), [(0.5, 3.0), (1.0, 1.0), (20.0, 400.0), (3e4, 7e4)])
def test_the_beta_distribution_is_scipys(a: float, b: float) -> None:
    for x in (0.0, 1e-9, 0.05, 0.3, 0.9, 1.0):
        assert beta(a, b, x) == pytest.approx(float(special.betainc(a, b, x)), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("trials", [1, 2, 3, 5, 10, 100, 1000])
def test_the_interval_covers_every_proportion(trials: int) -> None:
    """Exactly, not by simulation: the chance of each count that the interval misses is added."""
    hits = np.arange(trials + 1)
    ends = np.array([exact(int(count), trials) for count in hits])
    for share in (1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 0.5, 0.8, 0.97, 0.999):
        chance = stats.binom.pmf(hits, trials, share)
        assert chance[ends[:, 0] > share].sum() <= 0.025 + 1e-9
        assert chance[ends[:, 1] < share].sum() <= 0.025 + 1e-9


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_quantile_lies_between_its_ranks(share: float) -> None:
    random = np.random.default_rng(3)
    samples = samples_for_quantile(share)
    truth = float(stats.lognorm.ppf(share, 1.0))
    missed = 0
    for _ in range(1000):
        values = np.sort(random.lognormal(0.0, 1.0, samples))
        ranks = quantile_ranks(share, samples)
        assert ranks is not None
        low, high = (round(rank * samples) for rank in ranks)
        missed += not (values[low - 1] if low else 0.0) <= truth <= values[high - 1]
    assert missed / 1000 <= 0.06
    assert quantile_ranks(share, samples - 1) is None


def test_99_percent_need_368_values_to_be_bounded() -> None:
    assert samples_for_quantile(0.99) == 368


def test_a_drop_between_different_rows_is_less_certain_than_either() -> None:
    worse, least, most = drop(0.7, (0.66, 0.73), 0.8, (0.76, 0.83), greater_is_better=True)
    assert worse == pytest.approx(0.1)
    assert least == pytest.approx(0.1 - 0.05)
    assert most == pytest.approx(0.1 + 0.05)
    loss = drop(0.8, (0.76, 0.83), 0.7, (0.66, 0.73), greater_is_better=False)
    assert loss == pytest.approx((0.1, 0.05, 0.15), abs=1e-9) or loss[1] < loss[0] < loss[2]
