"""scikit-learn's HistGradientBoosting as plain arrays, evaluated without scikit-learn.

The trees of all iterations lie in one set of arrays; a prediction walks all
trees at once, level by level, for a block of rows. The rules at a node are
those of scikit-learn's ``_predictor.pyx``: a missing, negative or unknown
category goes where missing values went in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError
from noria.tasks.arrays import pack, unpack
from noria.tasks.tabular.scorers import required

Array = NDArray[np.float64]
_FILE: Final = "trees.npz"
_CATEGORIES: Final = 256
# (rows x trees) cells walked together: the work arrays then stay in the cache.
_BLOCK: Final = 200_000


class TreesScorer:
    """Sums of trees, per output.

    Arrays over all nodes of all trees: ``value``, ``feature``, ``threshold``,
    ``missing_left``, ``left``, ``right``, ``bitset`` (row of ``bits``, or -1
    for a numeric split). A leaf is its own child. ``roots`` (trees,) with
    ``output`` (trees,) saying which column a tree adds to; ``baseline`` (k,).
    ``bits`` (b, 256) tells which categories go left; ``known`` (d, 256) which
    categories training saw, per feature.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = dict(arrays)
        self._value = arrays["value"]
        self._feature = arrays["feature"]
        self._threshold = arrays["threshold"]
        self._missing_left = arrays["missing_left"]
        # left child, right child: one gather by (node, went right).
        self._children = np.ascontiguousarray(
            np.column_stack([arrays["left"], arrays["right"]])
        ).ravel()
        self._bitset = arrays["bitset"]
        self._categorical = self._bitset >= 0
        self._any_categorical = bool(self._categorical.any())
        self._bits = arrays["bits"]
        self._known = arrays["known"]
        self._roots = arrays["roots"]
        self._output = arrays["output"]
        self._baseline = arrays["baseline"]
        self._depth = int(arrays["depth"])

    def raw(self, matrix: Array) -> Array:
        """Return (n, k) scores."""
        rows = matrix.shape[0]
        scores = np.empty((rows, self._baseline.shape[0]))
        step = max(1, _BLOCK // max(1, self._roots.shape[0]))
        for start in range(0, rows, step):
            block = matrix[start : start + step]
            leaves = self._value[self._leaves(block)]
            part = scores[start : start + step]
            if scores.shape[1] == 1:
                part[:, 0] = leaves.sum(axis=1)
            else:
                for k in range(scores.shape[1]):
                    part[:, k] = leaves[:, self._output == k].sum(axis=1)
        scores += self._baseline
        return scores

    def _leaves(self, block: Array) -> NDArray[np.int64]:
        """Return the (n, trees) nodes where the rows end."""
        rows, width = block.shape
        flat = np.ascontiguousarray(block).ravel()
        offset = (np.arange(rows) * width)[:, None]
        nodes = np.broadcast_to(self._roots, (rows, self._roots.shape[0]))
        for _ in range(self._depth):
            values = flat[self._feature[nodes] + offset]
            missing = np.isnan(values)
            right = ~(values <= self._threshold[nodes])  # also where it is NaN
            if self._any_categorical:
                self._route_categories(nodes, values, missing, right)
            if missing.any():
                right[missing] = ~self._missing_left[nodes[missing]]
            nodes = self._children[2 * nodes + right]
        return np.asarray(nodes)

    def _route_categories(
        self,
        nodes: NDArray[np.int64],
        values: Array,
        missing: NDArray[np.bool_],
        right: NDArray[np.bool_],
    ) -> None:
        """Set ``right`` and ``missing`` where the node splits on a category."""
        where = np.nonzero(self._categorical[nodes] & ~missing)
        node, value = nodes[where], values[where]
        inside = (value >= 0) & (value < _CATEGORIES)
        code = np.where(inside, value, 0).astype(np.int64)
        left = self._bits[self._bitset[node], code] & inside
        known = self._known[self._feature[node], code] & inside
        right[where] = ~left
        missing[where] = ~(left | known)

    def files(self) -> dict[str, bytes]:
        """Return ``trees.npz``."""
        return {_FILE: pack(self._arrays)}


def load(files: Mapping[str, bytes], prefix: str = "") -> TreesScorer:
    """Build the scorer from ``trees.npz``.

    Raises:
        IntegrityError: The file is missing or malformed.
    """
    path = prefix + _FILE
    try:
        return TreesScorer(unpack(required(files, path), path))
    except (KeyError, TypeError) as error:
        raise IntegrityError(f"{path}: {error} is missing", fix="train again") from error


def of_sklearn(model: Any, features: int, rounds: int | None = None) -> TreesScorer:
    """Return the scorer of a fitted ``HistGradientBoosting`` classifier or regressor.

    Before its trees, scikit-learn moves the categorical columns to the front
    and numbers the categories that it met from 0; both are undone here, so
    that the trees read the matrix as it is.

    Args:
        model: The estimator, fitted on a float64 matrix whose categorical
            columns hold codes of 0 to 255.
        features: d, the width of that matrix.
        rounds: How many of its rounds are kept; None: all.
    """
    places, met = _layout(model, features)
    chunks: dict[str, list[NDArray[Any]]] = {}
    roots: list[int] = []
    output: list[int] = []
    nodes_before, bitsets_before, depth = 0, 0, 0
    for iteration in model._predictors[:rounds]:  # noqa: SLF001 - there is no public door
        for place, tree in enumerate(iteration):
            nodes = tree.nodes
            own = np.arange(nodes.shape[0])
            leaf = nodes["is_leaf"].astype(bool)
            split = nodes["is_categorical"].astype(bool) & ~leaf
            feature = np.where(leaf, 0, places[nodes["feature_idx"]])
            bitset = nodes["bitset_idx"].astype(np.int64)
            bits = np.zeros((len(tree.raw_left_cat_bitsets), _CATEGORIES), dtype=bool)
            unfolded = _unfold(tree.raw_left_cat_bitsets)
            for of_feature, row in zip(feature[split], bitset[split], strict=True):
                codes = met[of_feature]
                bits[row, codes] = unfolded[row, : len(codes)]
            part = {
                "value": np.where(leaf, nodes["value"], 0.0),
                "feature": feature,
                "threshold": np.where(leaf, np.inf, nodes["num_threshold"]),
                "missing_left": nodes["missing_go_to_left"].astype(bool),
                "left": np.where(leaf, own, nodes["left"]) + nodes_before,
                "right": np.where(leaf, own, nodes["right"]) + nodes_before,
                "bitset": np.where(split, bitset + bitsets_before, -1),
                "bits": bits,
            }
            for name, array in part.items():
                chunks.setdefault(name, []).append(array)
            roots.append(nodes_before)
            output.append(place)
            nodes_before += nodes.shape[0]
            bitsets_before += bits.shape[0]
            depth = max(depth, int(nodes["depth"].max()))
    known = np.zeros((features, _CATEGORIES), dtype=bool)
    for of_feature, codes in met.items():
        known[of_feature, codes] = True
    return TreesScorer(
        {
            **{name: np.concatenate(arrays) for name, arrays in chunks.items()},
            "known": known,
            "roots": np.array(roots, dtype=np.int64),
            "output": np.array(output, dtype=np.int64),
            "baseline": np.asarray(model._baseline_prediction, dtype=np.float64).ravel(),  # noqa: SLF001
            "depth": np.array(depth, dtype=np.int64),
        }
    )


def _layout(model: Any, features: int) -> tuple[NDArray[np.int64], dict[int, NDArray[np.int64]]]:
    """Return the place in the matrix of each column the trees read, and the codes they met."""
    flags = model.is_categorical_
    if flags is None or not flags.any():
        return np.arange(features), {}
    categorical, others = np.nonzero(flags)[0], np.nonzero(~flags)[0]
    encoder = model._preprocessor.named_transformers_["encoder"]  # noqa: SLF001
    met = {
        int(place): values[~np.isnan(values)].astype(np.int64)
        for place, values in zip(categorical, encoder.categories_, strict=True)
    }
    return np.concatenate([categorical, others]), met


def _unfold(bitsets: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Return (b, 256) booleans of (b, 8) bitsets of 32 bits each."""
    shifts = np.arange(32, dtype=np.uint32)
    unfolded = (np.asarray(bitsets, dtype=np.uint32).reshape(-1, 8, 1) >> shifts) & np.uint32(1)
    return unfolded.reshape(-1, _CATEGORIES).astype(bool)
