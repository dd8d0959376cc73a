"""Judging measurements: only evidence passes."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria.loop.analysis import judge, rows_answered
from noria.loop.state import Judged
from noria.loop.values import Compared, Verdict
from noria.spec import METRICS, Check

ERRORS = Check(metric="error-rate", max=0.01)
AUC = Check(metric="auc", max_drop=0.05)
LOG_LOSS = Check(metric="log-loss", max_drop=0.05)
ANY_FLOAT = st.none() | st.floats()


def judged(check: Check, measurement: Compared | None, min_samples: int = 500) -> Judged:
    return judge(check, METRICS[check.metric], measurement, "2", min_samples)


def verdict(check: Check, measurement: Compared | None, min_samples: int = 500) -> Verdict:
    return judged(check, measurement, min_samples).verdict


def test_nothing_measured_is_inconclusive() -> None:
    assert verdict(ERRORS, None) is Verdict.INCONCLUSIVE
    assert verdict(ERRORS, Compared("error-rate", "2", None, 0)) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_an_error(value: float) -> None:
    assert verdict(ERRORS, Compared("error-rate", "2", value, 5000)) is Verdict.ERROR
    assert verdict(AUC, Compared("auc", "2", 0.7, 5000, baseline=value)) is Verdict.ERROR
    seen = Compared("auc", "2", 0.7, 5000, low=value, high=0.8, baseline=0.7)
    assert verdict(AUC, seen) is Verdict.ERROR


def test_a_source_with_a_problem_is_an_error_whatever_number_it_gives() -> None:
    seen = Compared("error-rate", "2", 0.0, 5000, problem="the monitor is down")
    assert verdict(ERRORS, seen) is Verdict.ERROR


def test_a_check_without_a_limit_can_not_pass() -> None:
    check = Check.model_construct(metric="auc", min=None, max=None, max_drop=None)
    assert verdict(check, Compared("auc", "2", 0.9, 5000)) is Verdict.ERROR


@pytest.mark.parametrize(
    ("value", "wanted"), [(0.0, Verdict.PASS), (0.01, Verdict.PASS), (0.0101, Verdict.FAIL)]
)
def test_a_limit_itself_is_allowed(value: float, wanted: Verdict) -> None:
    assert verdict(ERRORS, Compared("error-rate", "2", value, 500)) is wanted


def test_a_least_value_is_a_limit_too() -> None:
    check = Check(metric="auc", min=0.6)
    assert verdict(check, Compared("auc", "2", 0.59, 500)) is Verdict.FAIL
    assert verdict(check, Compared("auc", "2", 0.6, 500)) is Verdict.PASS


def test_one_sample_less_than_needed_is_too_few() -> None:
    assert verdict(ERRORS, Compared("error-rate", "2", 0.0, 499)) is Verdict.INCONCLUSIVE
    assert verdict(ERRORS, Compared("error-rate", "2", 0.0, 500)) is Verdict.PASS


def test_a_rate_that_can_not_recover_fails_early() -> None:
    # 0.01 of 500 is 5 errors: the sixth decides, the fifth does not.
    assert verdict(ERRORS, Compared("error-rate", "2", 6 / 20, 20)) is Verdict.FAIL
    assert verdict(ERRORS, Compared("error-rate", "2", 5 / 20, 20)) is Verdict.INCONCLUSIVE


def auc(value: float, base: float, width: float) -> Compared:
    return Compared(
        "auc",
        "2",
        value,
        600,
        low=value - width,
        high=value + width,
        baseline=base,
        baseline_low=base - width,
        baseline_high=base + width,
        baseline_samples=600,
    )


def test_a_comparison_needs_the_whole_interval_within_the_limit() -> None:
    assert verdict(AUC, auc(0.70, 0.70, 0.03)) is Verdict.PASS
    assert verdict(AUC, auc(0.70, 0.70, 0.04)) is Verdict.INCONCLUSIVE
    assert verdict(AUC, auc(0.60, 0.70, 0.03)) is Verdict.FAIL
    assert verdict(AUC, auc(0.60, 0.70, 0.04)) is Verdict.INCONCLUSIVE


def known(metric: str, value: float, base: float) -> Compared:
    """A comparison of two values that are known almost exactly."""
    return Compared(
        metric,
        "2",
        value,
        600,
        low=value,
        high=value,
        baseline=base,
        baseline_low=base,
        baseline_high=base,
    )


def test_less_is_better_for_a_loss() -> None:
    def loss(value: float, base: float) -> Compared:
        return known("log-loss", value, base)

    assert verdict(LOG_LOSS, loss(0.3, 0.5)) is Verdict.PASS
    assert verdict(LOG_LOSS, loss(0.5, 0.3)) is Verdict.FAIL


def test_a_comparison_says_better_or_worse_without_a_sign() -> None:
    def said(value: float, base: float, check: Check = AUC) -> str:
        return judged(check, known(check.metric, value, base)).detail

    assert "auc 0.71 against the champion's 0.7: 0.01 better (worse by -0.01" in said(0.71, 0.70)
    assert ": 0.01 worse (worse by 0.01" in said(0.70, 0.71)
    assert ": 0 worse" in said(0.70, 0.70)
    assert ": 0.2 better" in said(0.3, 0.5, LOG_LOSS)


def test_a_comparison_with_nobody_is_inconclusive() -> None:
    assert verdict(AUC, Compared("auc", "2", 0.9, 600)) is Verdict.INCONCLUSIVE


def test_a_comparison_without_an_interval_is_inconclusive() -> None:
    whole = auc(0.9, 0.7, 0.01)
    assert verdict(AUC, whole) is Verdict.PASS
    for missing in ("low", "high", "baseline_low", "baseline_high"):
        seen = msgspec.structs.replace(whole, **{missing: None})
        assert verdict(AUC, seen) is Verdict.INCONCLUSIVE


def test_what_the_rows_lack_is_said_and_decides_nothing() -> None:
    lacks = "needs 10 labelled rows of the rarer class, has 1"
    for check in (AUC, Check(metric="auc", min=0.6), Check(metric="auc", min=0.1, max=0.2)):
        seen = Compared("auc", "2", 0.5, 600, baseline=0.9, lacking=lacks)
        found = judged(check, seen)
        assert found.verdict is Verdict.INCONCLUSIVE
        assert found.detail == f"auc {lacks}"
    champion = msgspec.structs.replace(
        auc(0.9, 0.7, 0.01), baseline_low=None, baseline_high=None, baseline_lacking=lacks
    )
    found = judged(AUC, champion)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.detail == f"auc of the champion {lacks}"


def test_a_champion_with_too_few_samples_proves_nothing() -> None:
    seen = Compared("auc", "2", 0.9, 600, baseline=0.6, baseline_samples=499)
    assert verdict(AUC, seen) is Verdict.INCONCLUSIVE


def test_the_rows_answered_are_counted_by_themselves() -> None:
    def counted(seen: Compared | None) -> Verdict:
        return rows_answered(seen, "2", 500).verdict

    assert counted(Compared("error-rate", "2", 1.0, 5000)) is Verdict.INCONCLUSIVE
    assert counted(Compared("error-rate", "2", 0.1, 556)) is Verdict.PASS
    assert counted(Compared("error-rate", "2", 0.0, 499)) is Verdict.INCONCLUSIVE
    assert counted(Compared("error-rate", "2", 0.0, 500, problem="down")) is Verdict.ERROR
    assert counted(None) is Verdict.INCONCLUSIVE


@given(
    value=ANY_FLOAT,
    samples=st.integers(0, 2000),
    interval=st.tuples(ANY_FLOAT, ANY_FLOAT, ANY_FLOAT, ANY_FLOAT, ANY_FLOAT),
    problem=st.sampled_from(["", "", "down"]),
    check=st.sampled_from([ERRORS, AUC, LOG_LOSS, Check(metric="auc", min=0.5, max_drop=0.1)]),
)
def test_a_pass_always_has_its_evidence(
    value: float | None,
    samples: int,
    interval: tuple[float | None, ...],
    problem: str,
    check: Check,
) -> None:
    low, high, base, base_low, base_high = interval
    seen = Compared(
        check.metric, "2", value, samples, low, high, base, problem, base_low, base_high
    )
    if verdict(check, seen) is Verdict.PASS:
        assert value is not None
        assert math.isfinite(value)
        assert samples >= 500
        assert not problem
        if check.max_drop is not None:
            assert base is not None
            assert math.isfinite(base)
            worse = value - base if check is LOG_LOSS else base - value
            assert worse <= check.max_drop
