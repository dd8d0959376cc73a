"""Recommend the last fifth of each user's films; a table, and ``bench-recommend.json``.

``python -m tests.bench.recommend FOLDER``; the file comes from ``prepare.py``. Of each user the
first four fifths of the ratings are known. Judged are users with a film that they liked (4 or more)
in the last fifth and that anyone had rated before. What everyone may know is the same: no rating
of the last fifths.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from noria.tasks.recommendation.fitting import Fitted
from noria.tasks.tabular.threads import limited_to
from tests.bench.recommend import family

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Ask = Callable[[Ints], Sequence[Sequence[int]]]

KNOWN: Final = 0.8
LIKED: Final = 4.0
K: Final = family.K
OBVIOUS: Final = "implicit ALS64"
"""The alternative that one would take: the library by itself, with settings as they are found in
tutorials."""
_ONE_BY_ONE: Final = 200
_DRAWS: Final = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Films:
    """What is known (user, item, at), who is judged, and what each of them liked later."""

    user: Ints
    item: Ints
    at: Ints
    judged: Ints
    liked: tuple[frozenset[int], ...]


def read(path: Path) -> Films:
    """Return the ratings, split by the order of each user's."""
    with np.load(path, allow_pickle=False) as found:
        user, item, at, rating = (found[name] for name in ("user", "item", "at", "rating"))
    order = np.lexsort((np.arange(at.size), at, user))
    _, starts, counts = np.unique(user[order], return_index=True, return_counts=True)
    rank = np.empty(at.size)
    rank[order] = np.arange(at.size) - np.repeat(starts, counts) + 1
    share = np.empty(at.size)
    share[order] = rank[order] / np.repeat(counts, counts)
    known = share <= KNOWN
    later = ~known & (rating >= LIKED) & np.isin(item, item[known]) & np.isin(user, user[known])
    judged = np.unique(user[later])
    liked = tuple(frozenset(item[later & (user == one)].tolist()) for one in judged.tolist())
    return Films(user[known], item[known], at[known], judged, liked)


def main(arguments: Sequence[str]) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.recommend", description=__doc__)
    parser.add_argument("folder", type=Path, help="where prepare.py has put the ratings")
    given = parser.parse_args(arguments)
    films = read(given.folder / "movielens.npz")
    _of_library("ALS", films)  # the library's import
    rows: list[dict[str, Any]] = []
    scores: dict[str, Floats] = {}
    for name, make in (
        ("popularity", _popular),
        ("implicit cosine, 100", lambda one: _of_library("cosine", one)),
        ("implicit BPR64", lambda one: _of_library("BPR", one)),
        (OBVIOUS, lambda one: _of_library("ALS", one)),
        ("noria item-based", lambda one: _of_family("item-based", one)),
        ("noria als", lambda one: _of_family("als", one)),
        ("noria bpr", lambda one: _of_family("bpr", one)),
        ("noria auto", lambda one: _of_family("auto", one)),
    ):
        print(f"{name} ...", file=sys.stderr, flush=True)
        with limited_to(1):
            row, scores[name] = _measure(name, films, make)
        rows.append(row)
    for row in rows:
        row |= _against(scores[row["method"]], scores[OBVIOUS])
    Path("bench-recommend.json").write_text(json.dumps(rows, indent=1) + "\n")
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table(rows, films))
    return 0


def _measure(
    name: str, films: Films, make: Callable[[Films], Ask]
) -> tuple[dict[str, Any], Floats]:
    began = time.process_time()
    ask = make(films)
    spent = time.process_time() - began
    lists = ask(films.judged)
    gains, recalls = (
        np.array([of(one, liked) for one, liked in zip(lists, films.liked, strict=True)])
        for of in (_ndcg, _recall)
    )
    alone = []
    for user in films.judged[:: max(1, films.judged.size // _ONE_BY_ONE)]:
        started = time.perf_counter()
        ask(np.array([user]))
        alone.append(time.perf_counter() - started)
    low, high = _interval(gains)
    return {
        "method": name,
        f"nDCG@{K}": float(gains.mean()),
        "low": low,
        "high": high,
        f"recall@{K}": float(recalls.mean()),
        "coverage": len({item for one in lists for item in one}) / np.unique(films.item).size,
        "CPU s": spent,
        "p50 ms": float(np.median(alone) * 1000.0),
    }, gains


def _against(ours: Floats, theirs: Floats) -> dict[str, float]:
    """Return the mean difference in nDCG for the same users, with its interval."""
    low, high = _interval(ours - theirs)
    return {
        f"less {OBVIOUS}": float((ours - theirs).mean()),
        "from": low,
        "to": high,
    }


def _interval(values: Floats) -> tuple[float, float]:
    """Return the 95 % interval of a mean by bootstrap over users."""
    chance = np.random.default_rng(0)
    means = values[chance.integers(0, values.size, (_DRAWS, values.size))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _ndcg(items: Sequence[int], liked: frozenset[int]) -> float:
    gains = 1.0 / np.log2(np.arange(2, K + 2))
    hits = np.array([item in liked for item in items[:K]])
    return float((gains[: hits.size] * hits).sum() / gains[: min(K, len(liked))].sum())


def _recall(items: Sequence[int], liked: frozenset[int]) -> float:
    return len(liked.intersection(items[:K])) / min(K, len(liked))


def _matrix(films: Films) -> tuple[Any, Ints, Ints]:
    from scipy.sparse import csr_matrix

    users, row = np.unique(films.user, return_inverse=True)
    items, column = np.unique(films.item, return_inverse=True)
    ones = np.ones(row.size, np.float32)
    return csr_matrix((ones, (row, column)), (users.size, items.size)), users, items


def _popular(films: Films) -> Ask:
    matrix, users, items = _matrix(films)
    order = np.argsort(-np.asarray(matrix.sum(axis=0)).ravel(), kind="stable")

    def ask(asked: Ints) -> list[list[int]]:
        rows = (set(matrix[place].indices.tolist()) for place in np.searchsorted(users, asked))
        return [[int(items[n]) for n in order if n not in seen][:K] for seen in rows]

    return ask


def _of_library(kind: str, films: Films) -> Ask:
    from implicit.bpr import BayesianPersonalizedRanking
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.nearest_neighbours import CosineRecommender

    matrix, users, items = _matrix(films)
    model: Any = {
        "ALS": lambda: AlternatingLeastSquares(
            factors=64, regularization=0.05, alpha=5, iterations=15, random_state=0, num_threads=1
        ),
        "BPR": lambda: BayesianPersonalizedRanking(
            factors=64, iterations=60, random_state=0, num_threads=1
        ),
        "cosine": lambda: CosineRecommender(K=100, num_threads=1),
    }[kind]()
    model.fit(matrix, show_progress=False)

    def ask(asked: Ints) -> list[list[int]]:
        places = np.searchsorted(users, asked)
        found, _ = model.recommend(places, matrix[places], N=K)
        return [[int(items[n]) for n in row] for row in found]

    return ask


def _of_family(algorithm: str, films: Films) -> Ask:
    model: Fitted = family.fitted(films.user, films.item, films.at, algorithm)
    print(f"  {model.predictor.manifest.parameters}", file=sys.stderr, flush=True)
    return lambda asked: family.answered(model, asked)


def table(rows: Sequence[Mapping[str, Any]], films: Films) -> Table:
    """Return the figures."""
    made = Table(title=f"Films that {films.judged.size} users liked later, {K} recommended")
    for name in rows[0]:
        made.add_column(name, justify="left" if name == "method" else "right")
    for row in rows:
        made.add_row(
            *(f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values())
        )
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
