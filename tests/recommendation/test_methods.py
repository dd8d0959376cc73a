"""What the server computes with numpy is what the library answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from noria.errors import IntegrityError
from noria.tasks.recommendation.methods import Factors, best, restored
from noria.tasks.tabular.threads import limited_to
from tests.recommendation.conftest import fitted, rows_of, shelves, spec_of

PARAMS = {"factors": 8, "regularization": 0.7, "alpha": 4.0, "iterations": 10}


def matrix_of(model: Any) -> csr_matrix:
    """Return who took what, with the items in the order of the model's codes."""
    found = model.predictor
    taken = [(reader, found.codes[book]) for reader, book, _ in shelves()]
    readers = {name: row for row, name in enumerate(sorted({reader for reader, _ in taken}))}
    rows = [readers[reader] for reader, _ in taken]
    ones = np.ones(len(taken), np.float32)
    return csr_matrix((ones, (rows, [code for _, code in taken])))


def test_a_user_s_vector_is_the_library_s_of_the_same_history() -> None:
    from implicit.cpu.als import AlternatingLeastSquares

    model = fitted(spec_of(train={"algorithm": "als"}), rows_of(shelves()), PARAMS)
    matrix = matrix_of(model)
    with limited_to(1):
        library = AlternatingLeastSquares(**PARAMS, random_state=42, num_threads=1)
        library.fit(matrix, show_progress=False)
    ours = Factors.of(library.item_factors.astype(float), PARAMS["regularization"], PARAMS["alpha"])
    for user in range(5):
        history = matrix[user].indices.astype(np.int64)
        vector = library.recalculate_user(user, matrix[user])
        np.testing.assert_allclose(ours.user(history), vector, rtol=2e-3, atol=1e-4)
        items, scores = library.recommend(user, matrix[user], N=5, recalculate_user=True)
        rated = ours.rate(history)
        allowed = np.ones(rated.size, bool)
        allowed[history] = False
        assert best(rated, allowed, 5).tolist() == items.tolist()
        np.testing.assert_allclose(rated[items], scores, rtol=2e-3, atol=1e-4)


def test_an_item_that_was_taken_twice_counts_twice_as_in_the_library() -> None:
    from implicit.cpu.als import AlternatingLeastSquares

    matrix = csr_matrix(np.array([[2, 1, 0], [0, 1, 1], [1, 0, 3]], np.float32))
    with limited_to(1):
        library = AlternatingLeastSquares(**PARAMS | {"factors": 2}, random_state=0, num_threads=1)
        library.fit(matrix, show_progress=False)
    ours = Factors.of(library.item_factors.astype(float), PARAMS["regularization"], PARAMS["alpha"])
    vector = library.recalculate_user(0, matrix[0])
    np.testing.assert_allclose(ours.user(np.array([0, 1, 0])), vector, rtol=2e-3, atol=1e-4)


def test_similar_items_are_the_library_s() -> None:
    from implicit.nearest_neighbours import CosineRecommender

    spec = spec_of(train={"algorithm": "item-based"})
    model = fitted(spec, rows_of(shelves()), {"neighbours": 5})
    matrix = matrix_of(model)
    library = CosineRecommender(K=5, num_threads=1)
    with pytest.warns(match="CSR"):
        library.fit(matrix, show_progress=False)
    for user in range(5):
        items, scores = library.recommend(user, matrix[user], N=4)
        rated = model.predictor.method.rate(matrix[user].indices.astype(np.int64))
        # The library fills up with what is not similar, and not new.
        similar = scores > 0
        assert similar.any()
        np.testing.assert_allclose(rated[items[similar]], scores[similar], rtol=1e-5)


def test_ranked_items_are_as_good_for_a_history_as_the_library_s_for_its_user() -> None:
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    params = {"factors": 8, "learning_rate": 0.05, "regularization": 0.01, "iterations": 80}
    spec = spec_of(train={"algorithm": "bpr"})
    model, again = (fitted(spec, rows_of(shelves()), params) for _ in range(2))
    assert model.files() == again.files()
    matrix = matrix_of(model)
    with limited_to(1):
        library = BayesianPersonalizedRanking(**params, random_state=42, num_threads=1)
        library.fit(matrix, show_progress=False)
    shelf = np.array([name[0] for name in model.predictor.settings.items])
    ours, theirs = [], []
    for user in range(matrix.shape[0]):
        history = matrix[user].indices.astype(np.int64)
        allowed = np.ones(shelf.size, bool)
        allowed[history] = False
        own = shelf[history[0]]  # a reader keeps to one
        codes = best(model.predictor.method.rate(history), allowed, 3)
        ours.append((shelf[codes] == own).mean())
        theirs.append((shelf[library.recommend(user, matrix[user], N=3)[0]] == own).mean())
    assert np.mean(theirs) > 0.8
    assert np.mean(ours) >= np.mean(theirs)


def test_of_equal_items_the_more_popular_comes_first() -> None:
    rated = np.array([1.0, 2.0, 1.0, 1.0, 0.0])
    allowed = np.array([True, True, True, True, True])
    assert best(rated, allowed, 3).tolist() == [1, 0, 2]
    assert best(rated, np.array([False, True, False, True, True]), 5).tolist() == [1, 3, 4]
    assert best(rated, ~allowed, 3).tolist() == []


@pytest.mark.parametrize(
    ("method", "arrays"),
    [
        ("als", {"items": np.ones((4, 2)), "settings": np.ones(2)}),
        ("als", {"items": np.ones((3, 2)), "settings": np.ones(3)}),
        ("als", {}),
        ("item-based", {"starts": np.zeros(4, int), "codes": np.ones(1, int),
                        "similarity": np.ones(1)}),
        ("item-based", {"starts": np.array([0, 0, 0, 1]), "codes": np.array([3]),
                        "similarity": np.ones(1)}),
        ("bpr", {}),
        ("bpr", {"items": np.ones((4, 2)), "way": np.ones((3, 2))}),
        ("bpr", {"items": np.ones((3, 2)), "way": np.ones((2, 2))}),
        ("svd", {}),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(method: str, arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(IntegrityError, match=f"the arrays of {method}"):
        restored(method, arrays, np.ones(3))
