from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as reference

from noria.demo.figures import PREDICTORS, Figures, Scores
from noria.demo.measure import Answers, auc, measure, no_change
from noria.errors import DataError, InvalidInput


@pytest.mark.parametrize("ties", [2, 10, 100_000])
def test_auc_equals_scikit_learns_with_and_without_ties(ties: int) -> None:
    random = np.random.default_rng(ties)
    label = random.integers(0, 2, 5_000)
    score = random.integers(0, ties, 5_000) / ties + 0.1 * label.round(0)
    assert auc(label, score) == pytest.approx(reference.roc_auc_score(label, score), abs=1e-12)


def test_auc_of_one_class_is_not_defined() -> None:
    assert auc(np.ones(5), np.linspace(0, 1, 5)) is None


def test_log_loss_and_accuracy_equal_scikit_learns(answers: Answers) -> None:
    measured = measure(answers)
    expected = reference.log_loss(answers.label, answers.loop)
    assert measured.log_loss.loop == pytest.approx(expected, abs=1e-12)
    assert measured.accuracy.loop == reference.accuracy_score(answers.label, answers.loop >= 0.5)


def test_periods_hold_every_row_once_and_agree_with_a_hand_count(answers: Answers) -> None:
    measured = measure(answers)
    assert sum(month.rows for month in measured.months) == measured.rows == len(answers.label)
    assert sum(week.rows for week in measured.weeks) == measured.rows
    assert [month.name for month in measured.months] == [f"2013-{m:02}" for m in range(2, 13)]
    march = answers.event_time.astype("datetime64[M]") == np.datetime64("2013-03")
    expected = reference.roc_auc_score(answers.label[march], answers.frozen[march])
    assert measured.months[1].auc.frozen == pytest.approx(expected, abs=1e-12)
    assert measured.weeks[0].name == "2013-01-28"  # The Monday before Friday 1 February.
    assert measured.weeks[1].name == "2013-02-04"


def test_rows_may_come_in_any_order(answers: Answers) -> None:
    order = np.random.default_rng(3).permutation(len(answers.label))
    names = ("event_time", "label", *PREDICTORS, "last_outcome")
    shuffled = Answers(**{name: getattr(answers, name)[order] for name in names})
    assert measure(shuffled).months[3].auc.loop == measure(answers).months[3].auc.loop


def test_no_change_knows_only_outcomes_that_were_known_before_the_event() -> None:
    start = np.datetime64("2013-02-01T00:00", "ms")
    hours = np.timedelta64(1, "h")
    event = start + np.array([0, 1, 2, 3, 4]) * hours
    known = start + np.array([2, 9, 3, 9, 9]) * hours  # The first is known at 2:00, not before.
    label = np.array([1, 0, 0, 1, 1])
    last, probability = no_change(event, known, label)
    assert last.tolist() == [0, 0, 0, 1, 0]
    # Row 4, after a 0: rows 0 (late) and 2 (not) were known, both after a 0: (1 + 1) / (2 + 2).
    assert probability.tolist() == [0.5, 0.5, 0.5, 0.5, 0.5]
    assert no_change(event, known, label, before_any=1)[0][0] == 1


def test_no_change_learns_nothing_from_the_future() -> None:
    random = np.random.default_rng(0)
    event = np.datetime64("2013-02-01", "ms") + np.sort(random.integers(0, 10**9, 400))
    known = event + random.integers(10**6, 10**8, 400)
    label = random.integers(0, 2, 400)
    last, probability = no_change(event, known, label)
    for row in range(0, 400, 37):
        past = known < event[row]
        newest = label[past][np.argsort(known[past])[-1]] if past.any() else 0
        assert last[row] == newest
        alike = past & (last == last[row])
        assert probability[row] == (label[alike].sum() + 1) / (alike.sum() + 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"loop": np.array([0.5, np.nan])}, "loop: holds NaN"),
        ({"loop": np.array([0.5])}, r"loop: shape \(1,\)"),
        ({"label": np.array([0, 2])}, "label: values other than 0 and 1"),
    ],
)
def test_answers_that_would_measure_nonsense_are_refused(
    change: dict[str, np.ndarray], said: str
) -> None:
    half = np.array([0.5, 0.5])
    good = {
        "event_time": np.array(["2013-02-01", "2013-02-02"], "datetime64[ms]"),
        "label": np.array([0, 1]),
        **dict.fromkeys(("loop", "frozen", "monthly", "last_outcome", "no_change"), half),
    }
    with pytest.raises(DataError, match=said):
        Answers(**{**good, **change})


def test_figures_survive_json(figures: Figures) -> None:
    data = json.loads(json.dumps(figures.to_json(), allow_nan=False))
    assert Figures.from_json(data) == figures
    assert set(data) == {
        "mode", "seed", "rows", "auc", "log_loss", "accuracy", "retrains", "months", "weeks",
        "drifts", "retrain_log", "traffic", "aims", "seconds",
    }  # fmt: skip
    assert set(data["auc"]) == set(PREDICTORS)
    assert data["months"][0]["month"] == "2013-02"
    assert set(data["months"][0]) == {"month", "rows", "auc", "log_loss", "accuracy"}
    assert data["drifts"][0]["at"] == "2013-02-25T00:00:00Z"
    assert data["retrain_log"][0]["gain"] == {"value": 0.041, "low": 0.028, "high": 0.055}


def test_a_file_that_is_not_figures_is_bad_input() -> None:
    with pytest.raises(InvalidInput, match="not the demo's figures"):
        Figures.from_json({"rows": 3})


def test_aims_are_met_or_missed_by_the_numbers_only(figures: Figures) -> None:
    good = replace(figures, auc=Scores(0.696, 0.60, 0.70, 0.5))
    bad = replace(figures, auc=Scores(0.694, 0.60, 0.70, 0.5))
    assert (good.aims[0].met, bad.aims[0].met) == (True, False)
    assert good.aims[0].value == pytest.approx(0.96)
    assert figures.aims[1].value == 4
    assert figures.aims[2].met == all(
        month.auc.loop - month.auc.frozen >= -0.002 for month in figures.months
    )


def test_a_share_of_no_gain_is_not_defined(figures: Figures) -> None:
    aim = replace(figures, auc=Scores(0.7, 0.70, 0.69, 0.5)).aims[0]
    assert (aim.value, aim.met) == (None, None)
