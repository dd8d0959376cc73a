"""Metrics of lists of items, by hand and against scikit-learn and Noria's metrics of rankings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from noria.measures.rankings import per_query
from noria.tasks.recommendation.accuracy import coverage, hit_rate, ndcg, novelty, recall
from noria.tasks.recommendation.items import NOTHING, joined, listed, number_of

A, B, C, D, E, F = map(float, range(6))


def test_the_metrics_of_one_list_by_hand() -> None:
    # The second and the third place are hits; two of two items were taken.
    truth, said = np.array([[B, C, NOTHING]]), np.array([[A, B, C]])
    best = 1 + 1 / math.log2(3)
    assert ndcg(truth, said) == pytest.approx([(1 / math.log2(3) + 1 / 2) / best])
    assert recall(truth, said).tolist() == [1.0]
    assert hit_rate(truth, said).tolist() == [1.0]


def test_more_was_taken_than_a_list_can_hold() -> None:
    truth, said = np.array([[A, B, C, D]]), np.array([[A, F]])
    assert ndcg(truth, said) == pytest.approx([1 / (1 + 1 / math.log2(3))])
    assert recall(truth, said).tolist() == [0.5]


def test_nothing_taken_nothing_answered_and_nothing_right_are_no_hit() -> None:
    truth = np.array([[NOTHING, NOTHING], [A, NOTHING], [A, B]])
    said = np.array([[A, B], [NOTHING, NOTHING], [C, D]])
    for metric in (ndcg, recall, hit_rate):
        assert metric(truth, said).tolist() == [0.0, 0.0, 0.0]


def test_they_are_those_of_scikit_learn_and_of_norias_rankings() -> None:
    chance = np.random.default_rng(0)
    items = 30
    scores = chance.permuted(np.tile(np.arange(items, dtype=float), (40, 1)), axis=1)
    relevant = (chance.random((40, items)) < 0.1).astype(float)
    relevant[:, 0] = 1.0  # scikit-learn has no gain of nothing
    said = np.argsort(-scores, axis=1)[:, :10].astype(float)
    truth = np.where(relevant > 0, np.arange(items), NOTHING)
    ours = ndcg(truth, said)
    assert ours.mean() == pytest.approx(ndcg_score(relevant, scores, k=10))
    np.testing.assert_allclose(ours, per_query("ndcg-at-10", relevant, scores))
    np.testing.assert_allclose(recall(truth, said), per_query("recall-at-10", relevant, scores))
    np.testing.assert_allclose(hit_rate(truth, said), per_query("hit-rate-at-10", relevant, scores))


def test_novelty_is_self_information_and_coverage_a_share_of_the_catalogue() -> None:
    bits = {A: 1.0, B: 3.0}  # half and an eighth of the users took them
    said = np.array([[A, B], [A, NOTHING], [NOTHING, NOTHING]])
    found = novelty(said, bits)
    assert found[:2].tolist() == [2.0, 1.0]
    assert math.isnan(found[2])
    assert coverage(said, 8) == 0.25
    assert coverage(said[2:], 8) == 0.0


def test_a_list_is_one_text_and_an_item_one_number() -> None:
    assert listed(joined(["a", "b c", "7"])) == ["a", "b c", "7"]
    assert listed(" a | b ||") == ["a", "b"]
    assert listed(None) == listed("") == listed("|") == []
    assert number_of("318") == 318.0
    assert number_of("0") == 0.0
    # These are other names than 318, and have other numbers, as exact as a float64 can hold.
    others = ["0318", "318.0", "-318", "+318", "³18", "x318", str(2**60)]
    numbers = [number_of(name) for name in (*others, "318")]
    assert len(set(numbers)) == len(numbers)
    assert all(2**52 <= number < 2**53 and number == int(number) for number in numbers[:-1])
