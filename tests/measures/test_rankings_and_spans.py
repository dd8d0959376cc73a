"""Metrics of rankings and spans: equal to scikit-learn's and seqeval's, and judged like others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk

from noria.errors import InvalidInput
from noria.measures import rankings
from noria.measures.catalog import METRICS
from noria.measures.measuring import compare, measure, parts_of, value_of
from noria.measures.rankings import RANKINGS, per_query
from noria.measures.spans import SPANS, counts, estimate, spans, types_of
from noria.spec import Bound, ChampionGate, Gates
from noria.tasks import gates
from noria.tasks import measure as tasks_measure

Array = np.ndarray


def queries(count: int, seed: int = 0, signal: float = 0.5) -> tuple[Array, Array]:
    """Graded relevances of 20 candidates, most of them 0, and scores with ties."""
    random = np.random.default_rng(seed)
    truth = random.integers(1, 4, (count, 20)) * (random.random((count, 20)) < 0.25)
    scores = np.round(random.normal(size=truth.shape) + signal * truth, 1)
    return truth.astype(float), scores


def one_relevant(count: int) -> tuple[Array, Array, Array]:
    random = np.random.default_rng(3)
    place = random.integers(0, 20, count)
    truth = np.eye(20)[place]
    return place, truth, random.normal(size=truth.shape) + truth


@pytest.mark.parametrize("cutoff", [1, 3, 10, 100])
def test_ndcg_equals_scikit_learns(cutoff: int) -> None:
    truth, scores = queries(300)
    expected = sk.ndcg_score(truth, scores, k=cutoff)
    assert value_of(f"ndcg-at-{cutoff}", truth, scores) == pytest.approx(expected, abs=1e-12)


def test_the_reciprocal_rank_equals_scikit_learns_also_with_ties() -> None:
    _, truth, scores = one_relevant(300)
    for said in (scores, np.round(scores)):
        expected = sk.label_ranking_average_precision_score(truth, said)
        assert value_of("reciprocal-rank", truth, said) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("cutoff", [1, 5, 10])
def test_hits_recall_and_precision_equal_scikit_learns(cutoff: int) -> None:
    place, truth, scores = one_relevant(300)
    expected = sk.top_k_accuracy_score(place, scores, k=cutoff, labels=range(20))
    assert value_of(f"hit-rate-at-{cutoff}", truth, scores) == pytest.approx(expected)
    assert value_of(f"recall-at-{cutoff}", truth, scores) == pytest.approx(expected)
    many, said = queries(50)
    said += np.arange(20) * 1e-6  # scikit-learn has no order for ties here
    kept = np.zeros(many.shape, bool)
    np.put_along_axis(kept, np.argsort(-said, axis=1)[:, :cutoff], values=True, axis=1)
    for name, of in (("precision", sk.precision_score), ("recall", sk.recall_score)):
        expected = of(many > 0, kept, average="samples", zero_division=0)
        assert value_of(f"{name}-at-{cutoff}", many, said) == pytest.approx(expected)


def test_equal_scores_earn_nothing_and_what_was_not_retrieved_is_missed() -> None:
    truth = np.array([[0.0, 0.0, 1.0, 1.0], [1.0, np.nan, np.nan, np.nan]])
    level = np.array([[0.5, 0.5, 0.5, 0.5], [0.5, 9.0, 9.0, 9.0]])
    assert per_query("reciprocal-rank", truth, level).tolist() == [1 / 3, 1.0]
    assert per_query("recall-at-3", truth, level).tolist() == [0.5, 1.0]
    lost = np.array([[0.1, 0.2, np.nan, 0.3], [np.nan] * 4])
    assert per_query("hit-rate-at-1", truth, lost).tolist() == [1.0, 0.0]
    assert per_query("recall-at-10", truth, lost).tolist() == [0.5, 0.0]
    assert per_query("ndcg-at-10", truth, lost)[1] == 0.0
    assert per_query("ndcg-at-3", np.zeros((1, 4)), lost[:1]).tolist() == [0.0]


@pytest.mark.parametrize("metric", RANKINGS)
def test_queries_add_up(metric: str) -> None:
    truth, scores = queries(120)
    whole = per_query(metric, truth, scores)
    parts = [per_query(metric, truth[at], scores[at]) for at in (slice(50), slice(50, None))]
    assert np.concatenate(parts).tolist() == whole.tolist()
    found = measure(metric, truth, scores)
    assert found.value == pytest.approx(whole.mean())
    assert found.low is not None
    assert found.high is not None
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0


def test_an_interval_of_queries_holds_the_truth() -> None:
    truth, scores = queries(50_000, 1)
    for metric in ("ndcg-at-10", "reciprocal-rank", "hit-rate-at-1"):
        all_queries = per_query(metric, truth, scores)
        held = 0
        for first in range(0, 50_000, 100):
            at = slice(first, first + 100)
            found = measure(metric, truth[at], scores[at])
            assert found.low is not None
            assert found.high is not None
            held += found.low <= all_queries.mean() <= found.high
        assert held >= 500 * 0.93, metric


def test_what_is_no_ranking_is_refused_and_few_queries_bound_nothing() -> None:
    truth, scores = queries(20)
    assert measure("ndcg-at-10", truth, scores).problem == "needs 100 queries, has 20"
    assert measure("hit-rate-at-1", truth, scores).method == "exact"
    assert measure("ndcg-at-10", truth[:0], scores[:0]).problem == "needs queries, has 0"
    for wrong in ((truth[0], scores[0]), (truth, scores[:, :3]), (-truth, scores)):
        with pytest.raises(InvalidInput, match="ndcg-at-10"):
            measure("ndcg-at-10", *wrong)
    with pytest.raises(InvalidInput, match="ndcg-at-7"):
        measure("ndcg-at-7", truth, scores)


# Tags and what seqeval 1.2.2 makes of them with mode="strict", scheme=IOB2.
SEQEVAL = [
    (["B-A", "I-A", "O", "B-B"], {("A", 0, 2), ("B", 3, 4)}),
    (["I-C", "B-C", "B-A", "I-A", "B-C", "I-A"], {("C", 1, 2), ("A", 2, 4), ("C", 4, 5)}),
    (["B-A", "I-C", "B-A", "I-A", "I-B", "B-B"], {("A", 0, 1), ("A", 2, 4), ("B", 5, 6)}),
    (["O", "I-A", "I-A", "O"], set()),
    (["B-A", "B-A", "I-A"], {("A", 0, 1), ("A", 1, 3)}),
    ([], set()),
]


@pytest.mark.parametrize(("tags", "expected"), SEQEVAL)
def test_tags_are_read_as_seqeval_does(
    tags: list[str], expected: set[tuple[str, int, int]]
) -> None:
    assert spans([tags])[0] == expected


def documents(count: int, seed: int, right: float) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    kinds = np.array(["O", "B-A", "I-A", "B-B", "I-B"])
    truth = [kinds[random.choice(5, random.integers(3, 12))].tolist() for _ in range(count)]
    said = [
        [tag if random.random() < right else kinds[random.integers(5)] for tag in tags]
        for tags in truth
    ]
    return spans(truth), spans(said)


def test_spans_are_counted_over_all_documents_and_by_type() -> None:
    truth = spans([["B-A", "I-A", "O", "B-B"], ["B-A", "O"]])
    said = spans([["B-A", "I-A", "O", "B-A"], ["O", "B-B"]])
    # One of three found is right, of three that there are; of A one of two, of two; of B none.
    assert counts(truth, said).tolist() == [[1, 2, 2], [0, 1, 1]]
    assert [value_of(name, truth, said) for name in SPANS] == pytest.approx([1 / 3] * 3)
    assert types_of(truth, said) == ("A", "B")
    assert parts_of("span-recall", truth, said) == pytest.approx((0.5, 0.0))


@pytest.mark.parametrize("metric", SPANS)
def test_documents_add_up_and_the_variance_is_the_jackknifes(metric: str) -> None:
    truth, said = documents(200, 0, 0.8)
    whole = counts(truth, said)
    parts = [counts(truth[at], said[at]) for at in (slice(70), slice(70, None))]
    assert np.concatenate(parts).tolist() == whole.tolist()
    found, influence = measure(metric, truth, said), estimate(metric, truth, said).influence
    left_out = np.array(
        [value_of(metric, np.delete(truth, i), np.delete(said, i)) for i in range(200)]
    )
    jackknife = 199 / 200 * float(((left_out - left_out.mean()) ** 2).sum())
    assert float(influence @ influence) / 200**2 == pytest.approx(jackknife, rel=0.1)
    assert found.low is not None
    assert found.high is not None
    assert found.value is not None
    assert found.low < found.value < found.high


def test_what_are_no_spans_is_refused() -> None:
    truth, said = documents(20, 0, 0.8)
    assert measure("span-f1", truth, said).problem == "needs 100 documents, has 20"
    assert measure("span-f1", spans([["O"]]), spans([["O"]])).problem == (
        "needs documents with spans, has none"
    )
    with pytest.raises(InvalidInput, match=r"spans\.spans"):
        measure("span-f1", np.zeros(3), np.zeros(3))
    for tag in ("I", "B-", "PER", "S-A"):
        with pytest.raises(InvalidInput, match="IOB2"):
            spans([[tag]])


@pytest.mark.parametrize(
    ("metric", "better", "worse"),
    [
        ("ndcg-at-10", queries(400, 5, 0.9), queries(400, 5, 0.2)),
        ("span-f1", documents(400, 5, 0.95), documents(400, 5, 0.7)),
    ],
)
def test_a_judge_compares_and_gates_them_like_any_metric(
    metric: str, better: tuple[Array, Array], worse: tuple[Array, Array]
) -> None:
    truth = tasks_measure.Truth(better[0], 0, 0)
    spec = Gates(bounds=(Bound(metric=metric, min=0.1),), champion=(ChampionGate(metric=metric),))
    found = {metric: measure(metric, *better)}
    for ours, theirs, verdict in ((better, worse, "pass"), (worse, better, "fail")):
        said = tasks_measure.compare(spec.champion, truth, ours[1], theirs[1])
        records = gates.judge(spec, found, said)
        assert [record.verdict for record in records] == ["pass", verdict]
    back = compare(metric, better[0], worse[1], better[1])
    there = compare(metric, better[0], better[1], worse[1])
    assert back.value == -(there.value or 0.0)


def test_the_catalog_has_them_all() -> None:
    assert {name for name, metric in METRICS.items() if metric.of == "rankings"} == set(RANKINGS)
    assert {name for name, metric in METRICS.items() if metric.of == "spans"} == set(SPANS)
    for name in (*RANKINGS, *SPANS):
        metric = METRICS[name]
        assert (metric.greater_is_better, metric.unit, metric.is_watched) == (True, "share", False)
        assert replace(metric, of="rows").is_watched
    assert set(rankings.CUTOFFS) >= {1, 5, 10}
