"""A metric that a family brings: its value and interval are those of the same metric of Noria's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from noria.errors import InvalidInput
from noria.measures.catalog import OwnMetric
from noria.measures.measuring import compare, measure, value_of
from noria.spec import ChampionGate
from noria.tasks.measure import Truth
from noria.tasks.measure import compare as compare_gates

_RANDOM = np.random.default_rng(4)
TRUTH = _RANDOM.normal(size=400)
OURS = TRUTH + _RANDOM.normal(scale=0.3, size=400)
THEIRS = TRUTH + _RANDOM.normal(scale=0.5, size=400)


def absolute(truth: Any, prediction: Any) -> Any:
    return abs(prediction - truth)


def close(truth: Any, prediction: Any) -> Any:
    return abs(prediction - truth) < 0.5


ERROR = OwnMetric("own-error", False, low=0.0, per_sample=absolute)
CLOSE = OwnMetric("close", True, low=0.0, high=1.0, per_sample=close)
WORST = OwnMetric("worst", False, low=0.0, whole=lambda truth, said: abs(said - truth).max())


def test_a_mean_of_the_same_numbers_is_the_same_metric() -> None:
    ours, noria = measure(ERROR, TRUTH, OURS), measure("mae", TRUTH, OURS)
    assert (ours.metric, ours.value, ours.method) == ("own-error", noria.value, "influence")
    assert ours.low is not None
    assert ours.high is not None
    assert noria.low is not None
    assert noria.high is not None
    # Noria knows what a row costs on which mae is plainly wrong; of an own metric what was seen.
    assert ours.low == pytest.approx(noria.low, rel=0.01)
    assert ours.high == pytest.approx(noria.high, rel=0.01)


def test_the_end_towards_the_longer_tail_lies_further_out() -> None:
    losses = np.random.default_rng(6).exponential(size=400)
    told = OwnMetric("told", False, per_sample=lambda _, said: said)
    right, left = measure(told, losses, losses), measure(told, losses, -losses)
    assert right.value is not None
    assert right.low is not None
    assert right.high is not None
    # Of the mean of 400 exponential numbers: by a twelfth and more, by the skewness of 2.
    assert right.high - right.value > 1.08 * (right.value - right.low)
    assert (left.low, left.high) == pytest.approx((-right.high, -right.low), rel=0.01)


@pytest.mark.parametrize("metric", [ERROR, CLOSE], ids=["unbounded", "bounded"])
def test_the_interval_covers_about_as_often_as_it_says(metric: OwnMetric) -> None:
    random, missed = np.random.default_rng(1), 0
    expected = 0.3 * math.sqrt(2 / math.pi) if metric is ERROR else math.erf(0.5 / 0.3 / 2**0.5)
    for _ in range(400):
        truth = random.normal(size=150)
        found = measure(metric, truth, truth + random.normal(scale=0.3, size=150))
        assert found.low is not None
        assert found.high is not None
        missed += not found.low <= expected <= found.high
    # 5 in 100 may; of 400, more than 32 with a chance of 0.3 in 100.
    assert missed <= 32


def test_two_models_are_compared_in_the_metrics_direction() -> None:
    found = compare(ERROR, TRUTH, OURS, THEIRS)
    assert found.value == value_of(ERROR, TRUTH, OURS) - value_of(ERROR, TRUTH, THEIRS)
    assert found.high is not None
    assert found.high < 0
    gates = [ChampionGate(metric="own-error"), ChampionGate(metric="close")]
    less, greater = compare_gates(gates, Truth(TRUTH, 0, 0), OURS, THEIRS, (ERROR, CLOSE))
    assert (less.metric, greater.metric) == ("own-error", "close")
    for one in (less, greater):
        assert one.low is not None
        assert one.low > 0  # ours is better in both
    with pytest.raises(InvalidInput, match=r"'close' is not one .* a family brings is given as"):
        compare_gates(gates[1:], Truth(TRUTH, 0, 0), OURS, THEIRS)


def test_rows_that_are_all_alike_have_an_interval_where_the_limits_are_known() -> None:
    bounded, unbounded = measure(CLOSE, TRUTH, TRUTH), measure(ERROR, TRUTH, TRUTH)
    assert (bounded.value, bounded.high) == (1.0, 1.0)
    assert bounded.low is not None
    assert 0.95 < bounded.low < 1.0
    assert (unbounded.value, unbounded.low) == (0.0, None)
    assert unbounded.problem == "needs rows that differ: all 400 give the same"


@pytest.mark.parametrize("rows", [0, 99])
def test_few_rows_have_no_interval(rows: int) -> None:
    found = measure(CLOSE, TRUTH[:rows], OURS[:rows])
    assert (found.low, found.high) == (None, None)
    assert found.problem == (
        "needs 100 labelled rows, has 99" if rows else "needs labelled rows, has 0"
    )


def test_a_function_of_all_samples_has_a_value_and_no_interval() -> None:
    for found in (measure(WORST, TRUTH, OURS), compare(WORST, TRUTH, OURS, THEIRS)):
        assert found.value is not None
        assert (found.low, found.high, found.method) == (None, None, "")
        assert found.problem == "has no interval: it is no mean over samples"
    assert value_of(WORST, TRUTH, OURS) == np.abs(TRUTH - OURS).max()


def test_what_is_not_finite_is_no_value() -> None:
    broken = OwnMetric("broken", True, per_sample=lambda truth, said: truth * np.nan + said)
    found = measure(broken, TRUTH, OURS)
    assert (found.value, found.problem) == (None, "is not a finite number")
    assert math.isnan(value_of(broken, TRUTH, OURS))


def _writes(truth: Any, said: Any) -> Any:
    truth[:] = said
    return truth


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"per_sample": lambda truth, _: truth[:-1]}, r"gave the shape \(399,\), not \(400,\)"),
        ({"per_sample": lambda truth, _: truth.mean()}, r"gave the shape \(\), not \(400,\)"),
        ({"whole": lambda truth, _: truth}, r"gave the shape \(400,\), not \(\)"),
        ({"per_sample": lambda truth, _: truth.nothing}, "its function raised AttributeError"),
        ({"per_sample": lambda *_: "a"}, "its function raised ValueError"),
        ({"per_sample": _writes}, "its function raised ValueError: .* read-only"),
        ({"per_sample": absolute, "high": 0.1}, "its limits are None and 0.1"),
        ({"whole": lambda *_: -1, "low": 0}, "gave -1 to -1, and its limits are 0 and None"),
    ],
)
def test_a_function_that_gives_something_else_is_named(own: dict[str, Any], said: str) -> None:
    before = TRUTH.copy()
    with pytest.raises(InvalidInput, match=said) as error:
        measure(OwnMetric("odd", True, **own), TRUTH, OURS)
    assert "metric odd: " in str(error.value)
    assert "mend it in the family that brings it" in str(error.value)
    assert (before == TRUTH).all()


def test_predictions_are_as_many_as_samples() -> None:
    with pytest.raises(InvalidInput, match="400 samples and 399 predictions"):
        measure(CLOSE, TRUTH, OURS[1:])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: OwnMetric("mae", False, per_sample=close), "Noria has a metric of that name"),
        (lambda: OwnMetric("latency-p99", False, per_sample=close), "Noria has a metric of that"),
        (lambda: OwnMetric("My Loss", False, per_sample=close), "'My Loss': is no name"),
        (
            lambda: OwnMetric("loss", False, of="labels", per_sample=close),
            "is of labels, which have",
        ),
        (lambda: OwnMetric("loss", False), "needs one function; give per_sample or whole"),
        (lambda: OwnMetric("loss", False, per_sample=close, whole=close), "needs one function"),
        (lambda: OwnMetric("a", True, low=1, high=1, whole=close), "low 1 is not under high 1"),
    ],
)
def test_what_can_be_no_metric_is_refused_when_it_is_made(
    make: Callable[[], OwnMetric], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        make()
