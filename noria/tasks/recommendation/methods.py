"""What is learnt, and how it rates items for a history; numpy alone, for the server has no more.

An item's code is its place in the catalogue, the most popular first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError
from noria.tasks.recommendation.words import ALS, BPR, ITEM_BASED, POPULARITY

Array = NDArray[np.float64]
Codes = NDArray[np.int64]


class Method(Protocol):
    """Rates all items of the catalogue for one history."""

    def rate(self, history: Codes) -> Array:
        """Return how much each of m items suits who has taken these, (m,)."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a package keeps of it, by name."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Popularity:
    """Everyone gets what most have taken. ``counts`` (m,): how much each item was taken."""

    counts: Array

    def rate(self, history: Codes) -> Array:  # noqa: ARG002 - whatever it is
        """See ``Method.rate``."""
        return self.counts

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Method.arrays``."""
        return {}


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """Items are taken by those who took similar ones: the sum of their similarities.

    ``similarity`` of ``codes``, row by row from ``starts`` (m + 1,), to each item.
    """

    starts: Codes
    codes: Codes
    similarity: Array

    def rate(self, history: Codes) -> Array:
        """See ``Method.rate``."""
        items = self.starts.size - 1
        found = np.zeros(items)
        for code in history.tolist():
            row = slice(int(self.starts[code]), int(self.starts[code + 1]))
            found[self.codes[row]] += self.similarity[row]
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Method.arrays``."""
        return {
            "starts": self.starts,
            "codes": self.codes.astype(np.int32),
            "similarity": self.similarity.astype(np.float32),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """Matrix factorisation of implicit feedback: ``items`` (m, f) vectors.

    A user's vector is the closed form of one step of alternating least squares, from the history
    alone (Hu, Koren and Volinsky, ICDM 2008): who was not there in training has one too.
    """

    items: Array
    regularization: float
    confidence: float
    gram: Array

    @classmethod
    def of(cls, items: Array, regularization: float, confidence: float) -> Factors:
        """Return it; ``confidence`` is that of one item taken, 1 of one not taken."""
        return cls(items, regularization, confidence, items.T @ items)

    def rate(self, history: Codes) -> Array:
        """See ``Method.rate``."""
        return self.items @ self.user(history)

    def user(self, history: Codes) -> Array:
        """Return the vector of who has taken these, (f,)."""
        codes, times = np.unique(history, return_counts=True)
        taken, confidence = self.items[codes], self.confidence * times
        left = self.gram + (taken.T * (confidence - 1.0)) @ taken
        left += self.regularization * np.eye(taken.shape[1])
        return np.asarray(np.linalg.solve(left, confidence @ taken))

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Method.arrays``."""
        return {
            "items": self.items.astype(np.float32),
            "settings": np.array([self.regularization, self.confidence]),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Bayesian personalised ranking: ``items`` (m, f) vectors by which taken ones outrank others.

    Rendle and others, UAI 2009. It has no closed form of a user's vector. One is the linear
    ``way`` (f + 1, f) from the mean of the vectors of the history, and a one, that came nearest to
    those of the users in training: who was not there has one too.
    """

    items: Array
    way: Array

    def rate(self, history: Codes) -> Array:
        """See ``Method.rate``."""
        return self.items @ self.user(history)

    def user(self, history: Codes) -> Array:
        """Return the vector of who has taken these, (f,)."""
        mean = self.items[np.unique(history)].mean(axis=0)
        return np.asarray(np.append(mean, 1.0) @ self.way)

    def arrays(self) -> dict[str, np.ndarray]:
        """See ``Method.arrays``."""
        return {"items": self.items.astype(np.float32), "way": self.way.astype(np.float32)}


def restored(method: str, arrays: Mapping[str, np.ndarray], counts: Array) -> Method:
    """Return the method that ``arrays`` are of.

    Args:
        method: One of ``METHODS``.
        arrays: As ``Method.arrays`` returned them.
        counts: (m,) how much each item was taken.

    Raises:
        IntegrityError: They are of no method, or not of so many items.
    """
    try:
        if method == ALS:
            regularization, confidence = arrays["settings"].tolist()
            items = arrays["items"].astype(np.float64)
            fits = items.shape[0] == counts.size
            found: Method = Factors.of(items, regularization, confidence)
        elif method == BPR:
            items, way = (arrays[name].astype(np.float64) for name in ("items", "way"))
            width = items.shape[1]
            fits = items.shape[0] == counts.size and way.shape == (width + 1, width)
            found = Ranked(items, way)
        elif method == ITEM_BASED:
            starts, codes = (arrays[name].astype(np.int64) for name in ("starts", "codes"))
            similarity = arrays["similarity"].astype(np.float64)
            fits = (
                starts.size == counts.size + 1
                and codes.shape == similarity.shape == (int(starts[-1]),)
                and (not codes.size or 0 <= codes.min() <= codes.max() < counts.size)
                and bool((np.diff(starts) >= 0).all())
            )
            found = Neighbours(starts, codes, similarity)
        else:
            fits, found = method == POPULARITY, Popularity(counts)
    except (KeyError, ValueError, IndexError) as error:
        raise IntegrityError(f"the arrays of {method}: {error}", fix="train again") from error
    if not fits:
        raise IntegrityError(f"the arrays of {method} do not fit the catalogue", fix="train again")
    return found


def best(rated: Array, allowed: NDArray[np.bool_], count: int) -> Codes:
    """Return the codes of the best of the items that are allowed, at most ``count``.

    Of equal ones the more popular comes first.
    """
    codes = np.flatnonzero(allowed)
    values = rated[codes]
    if codes.size > count:
        least = np.partition(values, codes.size - count)[codes.size - count]
        kept = values >= least
        codes, values = codes[kept], values[kept]
    return codes[np.argsort(-values, kind="stable")][:count]
