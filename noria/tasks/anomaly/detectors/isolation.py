"""Isolation forest: how few random splits set a row apart.

Liu, Ting and Zhou, ACM Transactions on Knowledge Discovery from Data 6 (2012). The score is
scikit-learn's with its sign turned, so that more anomalous is greater: 2^(-depth / expected depth).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.tasks.anomaly.detectors import Array, Arrays
from noria.tasks.tabular.scorers.trees import TreesScorer

_OF_NODES: Final = ("feature", "threshold", "left", "right", "value")
ARRAYS: Final = (*_OF_NODES, "roots", "depth", "expected")
"""What it is made of: numbers of all nodes of all trees, and where each tree begins."""


@dataclass(frozen=True, slots=True, eq=False)
class IsolationForest:
    """Trees as arrays; ``value`` of a leaf is its depth and what its rows would still take."""

    kept: Arrays
    _trees: TreesScorer = field(init=False, repr=False)
    _unit: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        nodes, trees = self.kept["feature"].size, self.kept["roots"].size
        filled: dict[str, NDArray[Any]] = {
            **{name: self.kept[name] for name in ARRAYS[:-1]},
            "missing_left": np.zeros(nodes, np.bool_),
            "bitset": np.full(nodes, -1, np.int64),
            "bits": np.zeros((0, 256), np.bool_),
            "known": np.zeros((0, 256), np.bool_),
            "output": np.zeros(trees, np.int64),
            "baseline": np.zeros(1),
        }
        object.__setattr__(self, "_trees", TreesScorer(filled))
        object.__setattr__(self, "_unit", trees * float(self.kept["expected"]))

    def score(self, rows: Array) -> Array:
        """See ``Detector.score``."""
        # scikit-learn's trees read float32.
        seen = rows.astype(np.float32).astype(np.float64)
        found: Array = 2.0 ** (-self._trees.raw(seen)[:, 0] / self._unit)
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See ``Detector.arrays``."""
        return dict(self.kept)


def fit(rows: Array, params: Mapping[str, Any], seed: int, threads: int) -> IsolationForest:
    """Fit scikit-learn's forest, and keep its trees as arrays."""
    from sklearn.ensemble import IsolationForest as Forest

    model = Forest(**params, random_state=seed, n_jobs=threads).fit(rows)
    chunks: dict[str, list[NDArray[Any]]] = {name: [] for name in _OF_NODES}
    roots, offset, deepest = [], 0, 0
    for estimator in model.estimators_:
        tree = estimator.tree_
        own = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        depth = np.zeros(tree.node_count)
        for node in own[~leaf]:  # a parent comes before its children
            depth[[tree.children_left[node], tree.children_right[node]]] = depth[node] + 1
        chunks["feature"].append(np.where(leaf, 0, tree.feature).astype(np.int64))
        chunks["threshold"].append(np.where(leaf, np.inf, tree.threshold))
        chunks["left"].append(offset + np.where(leaf, own, tree.children_left))
        chunks["right"].append(offset + np.where(leaf, own, tree.children_right))
        chunks["value"].append(depth + average_path(tree.n_node_samples))
        roots.append(offset)
        offset += tree.node_count
        deepest = max(deepest, int(depth.max()))
    return IsolationForest(
        {
            **{name: np.concatenate(parts) for name, parts in chunks.items()},
            "roots": np.array(roots, np.int64),
            "depth": np.array(deepest, np.int64),
            "expected": average_path(np.array([model._max_samples]))[0],  # noqa: SLF001 - what it drew
        }
    )


def average_path(rows: NDArray[Any]) -> Array:
    """Return the mean depth at which a row of so many is alone, in a random binary tree."""
    n = np.asarray(rows, np.float64)
    harmonic = np.log(np.maximum(n - 1.0, 1.0)) + np.euler_gamma
    found = 2.0 * harmonic - 2.0 * (n - 1.0) / np.maximum(n, 1.0)
    return np.where(n <= 1.0, 0.0, np.where(n == 2.0, 1.0, found))
