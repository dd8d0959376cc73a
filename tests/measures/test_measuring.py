"""Values equal scikit-learn's; nothing is certain that few rows say; what is missing is named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as sk

from noria.errors import InvalidInput
from noria.measures.catalog import METRICS as CATALOG
from noria.measures.estimates import CLASSIFICATION, REGRESSION, estimate
from noria.measures.measuring import METRICS, compare, measure, measure_labels, value_of
from noria.spec.families import describe
from tests.measures.coverage import laplace, logistic, three

Array = np.ndarray


def binary(rows: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Rows with ties in the scores."""
    y, ours, theirs = logistic(np.random.default_rng(seed), rows, 0.3)
    return y, np.round(ours, 2), np.round(theirs, 2)


SKLEARN: dict[str, Callable[[Array, Array], float]] = {
    "auc": sk.roc_auc_score,
    "average-precision": sk.average_precision_score,
    "log-loss": sk.log_loss,
    "brier": sk.brier_score_loss,
    "calibration-gap": lambda y, s: abs(float(s.mean() - y.mean())),
    "accuracy": lambda y, s: sk.accuracy_score(y, s >= 0.5),
    "f1": lambda y, s: sk.f1_score(y, s >= 0.5),
    "class-precision": lambda y, s: sk.precision_score(y, s >= 0.5),
    "class-recall": lambda y, s: sk.recall_score(y, s >= 0.5),
    "balanced-accuracy": lambda y, s: sk.balanced_accuracy_score(y, s >= 0.5),
    "quadratic-kappa": lambda y, s: sk.cohen_kappa_score(y, s >= 0.5, weights="quadratic"),
    "mae": sk.mean_absolute_error,
    "rmse": sk.root_mean_squared_error,
    "r2": sk.r2_score,
}
CLASSES_SKLEARN: dict[str, Callable[[Array, Array], float]] = {
    "auc": lambda y, s: sk.roc_auc_score(y, s, multi_class="ovr"),
    "average-precision": lambda y, s: sk.average_precision_score(np.eye(3)[y.astype(int)], s),
    "log-loss": sk.log_loss,
    "accuracy": lambda y, s: sk.accuracy_score(y, s.argmax(axis=1)),
    "f1": lambda y, s: sk.f1_score(y, s.argmax(axis=1), average="macro"),
    "class-precision": lambda y, s: sk.precision_score(y, s.argmax(axis=1), average="macro"),
    "class-recall": lambda y, s: sk.recall_score(y, s.argmax(axis=1), average="macro"),
    "balanced-accuracy": lambda y, s: sk.balanced_accuracy_score(y, s.argmax(axis=1)),
    "quadratic-kappa": lambda y, s: sk.cohen_kappa_score(y, s.argmax(axis=1), weights="quadratic"),
}


def rows_for(metric: str, rows: int, seed: int = 0) -> tuple[Array, Array, Array]:
    if metric in REGRESSION:
        return laplace(np.random.default_rng(seed), rows, 0.5)
    return binary(rows, seed)


@pytest.mark.parametrize("metric", METRICS)
def test_a_value_equals_scikit_learns_and_lies_in_its_interval(metric: str) -> None:
    y, said, _ = rows_for(metric, 500)
    found = measure(metric, y, said)
    assert found.value == pytest.approx(SKLEARN[metric](y, said), abs=1e-12)
    assert found.value == value_of(metric, y, said)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    assert (found.samples, found.problem) == (500, "")
    wider = measure(metric, y, said, confidence=0.99)
    assert wider.low is not None
    assert wider.high is not None
    assert wider.low < found.low or found.low == 0.0 == wider.low
    assert wider.high > found.high


@pytest.mark.parametrize("metric", CLASSES_SKLEARN)
def test_a_value_of_three_classes_equals_scikit_learns(metric: str) -> None:
    y, said, _ = three(np.random.default_rng(1), 400, 0.2)
    found = measure(metric, y, said)
    assert found.value == pytest.approx(CLASSES_SKLEARN[metric](y, said), abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


@pytest.mark.parametrize("metric", METRICS)
def test_the_variance_is_the_jackknifes(metric: str) -> None:
    y, said, _ = rows_for(metric, 250, 5)
    influence = estimate(metric, y, said).influence
    left_out = np.array(
        [value_of(metric, np.delete(y, i), np.delete(said, i, 0)) for i in range(y.size)]
    )
    jackknife = (y.size - 1) / y.size * float(((left_out - left_out.mean()) ** 2).sum())
    assert float(influence @ influence) / y.size**2 == pytest.approx(jackknife, rel=0.1)


@pytest.mark.parametrize("rows", [12, 50, 300])
def test_the_variance_of_the_auc_is_delongs(rows: int) -> None:
    y, ours, theirs = binary(rows, rows)
    y[:2] = [0, 1]
    found = [estimate("auc", y, said).influence for said in (ours, theirs)]
    covariance = np.array([[float(a @ b) for a in found] for b in found]) / rows**2
    components = []
    for said in (ours, theirs):
        pairs = said[y == 1][:, None] - said[y == 0][None, :]
        psi = (pairs > 0) + 0.5 * (pairs == 0)
        components.append((psi.mean(axis=1), psi.mean(axis=0)))
    of_up, of_down = (np.cov([c[side] for c in components]) for side in (0, 1))
    expected = of_up / int(y.sum()) + of_down / int((1 - y).sum())
    np.testing.assert_allclose(covariance, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("metric", METRICS)
def test_a_comparison_narrows_with_rows_and_turns_with_its_sides(metric: str) -> None:
    widths = []
    for rows in (500, 8000):
        y, ours, theirs = rows_for(metric, rows, 2)
        found, turned = compare(metric, y, ours, theirs), compare(metric, y, theirs, ours)
        assert found.low is not None
        assert found.high is not None
        assert found.value == value_of(metric, y, ours) - value_of(metric, y, theirs)
        assert found.low < found.value < found.high
        assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 3


# --- nothing is certain that few rows say -----------------------------------------------------


@pytest.mark.parametrize("positives", [0, 1, 2, 3, 5, 9])
@pytest.mark.parametrize(
    "metric", ["auc", "average-precision", "log-loss", "brier", "calibration-gap"]
)
def test_few_rows_of_the_rarer_class_have_no_interval_and_say_so(
    metric: str, positives: int
) -> None:
    y = np.zeros(100)
    y[:positives] = 1.0
    score = np.linspace(0.0, 0.9, 100)  # every positive is scored lowest
    lacks = f"needs 10 labelled rows of the rarer class, has {positives}"
    for truth, said in ((y, score), (1 - y, 1 - score)):
        for found in (measure(metric, truth, said), compare(metric, truth, said, said[::-1])):
            assert (found.low, found.high, found.problem) == (None, None, lacks)
            assert found.samples == 100


def test_a_rare_third_class_counts_too() -> None:
    y, said, _ = three(np.random.default_rng(0), 300, 0.3)
    y[y == 2] = 0
    y[:4] = 2
    for metric in ("auc", "average-precision", "log-loss", "brier", "calibration-gap", "f1"):
        found = measure(metric, y, said)
        assert found.problem == "needs 10 labelled rows of the rarer class, has 4"
        assert found.low is None
    assert measure("accuracy", y, said).low is not None


@pytest.mark.parametrize("positives", [10, 30, 100])
@pytest.mark.parametrize("metric", ["auc", "average-precision", "accuracy", "f1"])
def test_perfect_separation_is_not_certain(metric: str, positives: int) -> None:
    y = np.zeros(1000)
    y[:positives] = 1.0
    score = np.where(y > 0, 0.9, 0.1)
    found = measure(metric, y, score)
    assert found.value == found.high == 1.0
    assert found.low is not None
    trials = 1000 if metric == "accuracy" else positives
    # At least what the rule of three leaves: 3 in n are not excluded by n without a failure. F1
    # counts a failure half.
    assert found.low < 1.0 - (1.4 if metric == "f1" else 2.9) / (trials + 1)
    worst = measure(metric, 1 - y, score)
    if metric != "average-precision":
        assert worst.value == worst.low == 0.0
        assert worst.high is not None
        assert worst.high > 3.0 / 1001
    same = compare(metric, y, score, score)
    assert same.value == 0.0
    assert same.low is not None
    assert same.low < 0.0


@pytest.mark.parametrize("metric", CLASSIFICATION)
def test_constant_predictions_and_ties_have_a_width(metric: str) -> None:
    y = np.repeat([0.0, 1.0], [450, 50])
    for score in (np.full(500, 0.1), np.full(500, 0.5), np.tile([0.1, 0.6], 250)):
        found = measure(metric, y, score)
        if found.problem:
            assert metric in ("f1", "class-precision", "log-loss")
            assert found.low is None
            continue
        assert found.low is not None
        assert found.high is not None
        assert found.high - found.low > 0.001


@pytest.mark.parametrize("rows", [1, 2, 3, 10, 99])
@pytest.mark.parametrize("metric", REGRESSION)
def test_few_rows_of_values_have_no_interval_and_say_so(metric: str, rows: int) -> None:
    y, ours, theirs = laplace(np.random.default_rng(rows), rows, 0.5)
    for found in (measure(metric, y, ours), compare(metric, y, ours, theirs)):
        assert (found.low, found.high) == (None, None)
        assert "needs" in found.problem
        assert (metric, rows) == (
            "r2",
            1,
        ) or found.problem == f"needs 100 labelled rows, has {rows}"


@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_a_few_great_errors_that_outweigh_the_rest_have_no_interval(metric: str) -> None:
    y, ours, _ = laplace(np.random.default_rng(0), 400, 0.5)
    ours[:2] += 1e4
    found = measure(metric, y, ours)
    assert found.low is None
    assert found.problem.startswith("needs about ")
    assert found.problem.endswith("has 400: a few great errors outweigh the rest")


@pytest.mark.parametrize("metric", REGRESSION)
def test_answers_without_any_difference_prove_nothing(metric: str) -> None:
    y, ours, _ = laplace(np.random.default_rng(0), 400, 0.5)
    assert measure(metric, y, y).problem == "needs rows that differ: all 400 give the same"
    same = compare(metric, y, ours, ours)
    assert (same.value, same.low) == (0.0, None)
    assert same.problem == "needs rows that differ: all 400 give the same"


def test_what_is_not_defined_says_why() -> None:
    nothing = np.empty(0)
    for metric in METRICS:
        assert measure(metric, nothing, nothing).problem == "needs labelled rows, has 0"
    assert measure("r2", np.ones(200), np.arange(200.0)).problem == (
        "needs labels that vary: all 200 are the same"
    )
    assert measure("f1", np.zeros(200), np.zeros(200)).problem == (
        "needs rows that are positive or called so, has 0"
    )
    broken = measure("mae", np.arange(200.0), np.full(200, np.nan))
    assert (broken.value, broken.problem) == (None, "is not a finite number")


def test_ratings_are_measured_by_themselves() -> None:
    ratings = np.random.default_rng(3).integers(1, 6, 400).astype(np.float64)
    found = measure_labels("rating", ratings)
    error = float(ratings.std(ddof=1)) / 20.0
    assert found.value == pytest.approx(ratings.mean())
    assert found.low is not None
    assert found.high is not None
    # A little wider than Student's: one more may be as bad, or as good, as any.
    assert 1.96 * error < found.value - found.low < 2.2 * error
    assert 1.96 * error < found.high - found.value < 2.2 * error
    assert CATALOG["rating"].greater_is_better


@pytest.mark.parametrize(
    ("ratings", "value", "problem"),
    [
        (np.empty(0), None, "needs labelled rows, has 0"),
        (np.arange(99.0), 49.0, "needs 100 labelled rows, has 99"),
        (np.full(200, 5.0), 5.0, "needs rows that differ: all 200 give the same"),
        (np.full(200, 1.7e308), None, "is not a finite number"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_ratings_that_bound_no_mean_say_why(
    ratings: Array, value: float | None, problem: str
) -> None:
    found = measure_labels("rating", ratings)
    assert (found.value, found.low, found.problem) == (value, None, problem)


def test_a_certain_mistake_costs_a_finite_log_loss() -> None:
    found = measure("log-loss", np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert found.value is not None
    assert np.isfinite(found.value)


@pytest.mark.parametrize("metric", ["aucc", "recall", "mape", "silhouette", "error-rate"])
def test_a_metric_that_is_not_measured_is_refused(metric: str) -> None:
    y, ours, theirs = binary(50)
    for ask in (
        lambda: measure(metric, y, ours),
        lambda: compare(metric, y, ours, theirs),
        lambda: value_of(metric, y, ours),
    ):
        with pytest.raises(InvalidInput, match="auc"):
            ask()


def test_every_metric_that_is_measured_has_its_direction_and_its_families_have_it_all() -> None:
    assert set(METRICS) <= set(CATALOG)
    for family in ("tabular-classification", "tabular-regression"):
        assert set(describe(family).metrics) <= set(METRICS)


@pytest.mark.parametrize("metric", REGRESSION)
def test_targets_that_say_the_same_are_worth_one(metric: str) -> None:
    """Rows are the sample, not their targets: more of these that move alike make nothing surer."""
    y, ours, theirs = rows_for(metric, 300)
    one, wide = (
        measure(metric, y, ours),
        measure(metric, *(np.column_stack([a] * 4) for a in (y, ours))),
    )
    assert (wide.value, wide.low, wide.high) == pytest.approx((one.value, one.low, one.high))
    assert wide.samples == 300
    apart = compare(metric, y, ours, theirs)
    both = compare(metric, *(np.column_stack([a] * 4) for a in (y, ours, theirs)))
    assert (both.value, both.low, both.high) == pytest.approx((apart.value, apart.low, apart.high))


def test_a_target_that_never_varies_has_no_r2() -> None:
    y = np.column_stack([np.arange(200.0), np.ones(200)])
    assert measure("r2", y, y + 0.5).problem == "needs labels that vary: all 200 are the same"
