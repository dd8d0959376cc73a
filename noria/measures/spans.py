"""Metrics of spans: a sample is one document, and what is named in it must be found exactly.

A span is (type, first token, token after the last). It counts when type and both ends are right.
Precision, recall and F1 are micro: of all documents' spans together. Each document gives three
counts, which add up over batches: spans that are right, that were found, and that there are.

Tags are IOB2, read strictly, as seqeval does with ``mode="strict", scheme=IOB2``: a span begins
with ``B-TYPE``, goes on with ``I-TYPE`` and ends before anything else; an ``I-`` that continues
nothing is no span.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from noria.errors import InvalidInput, shorten
from noria.measures.estimates import Estimate, unbiased

Span: TypeAlias = tuple[str, int, int]
Spans: TypeAlias = NDArray[Any]
"""(n,) objects: of each document the frozenset of its spans."""

SPANS: Final = ("span-f1", "span-precision", "span-recall")
"""The metrics of spans."""


def spans(documents: Iterable[Sequence[str]]) -> Spans:
    """Return the spans of n documents' IOB2 tags, (n,).

    Raises:
        InvalidInput: A tag is not O, B-TYPE or I-TYPE.
    """
    found = [_spans_of(tags) for tags in documents]
    held = np.empty(len(found), dtype=object)
    held[:] = found
    return held


def types_of(truth: Spans, prediction: Spans) -> tuple[str, ...]:
    """Return the types of all spans, in order of the alphabet: the names of ``parts_of``."""
    return tuple(sorted({kind for side in (truth, prediction) for of in side for kind, *_ in of}))


def check(metric: str, truth: Spans, prediction: Spans) -> None:
    """Refuse what are no spans.

    Raises:
        InvalidInput: Something is not a set of spans for each document.
    """
    shaped = truth.ndim == 1 and truth.shape == prediction.shape
    if not shaped or not all(isinstance(one, frozenset) for one in (*truth, *prediction)):
        raise InvalidInput(
            f"{metric}: these are not the spans of documents",
            fix="give both as noria.measures.spans.spans makes them of tags",
        )


def counts(truth: Spans, prediction: Spans, kind: str | None = None) -> NDArray[np.int64]:
    """Return of each of n documents how many spans are right, found and there, (n, 3).

    ``kind``: of this type alone.
    """
    rows = [
        [len(there & found), len(found), len(there)]
        for there, found in zip(_of(truth, kind), _of(prediction, kind), strict=True)
    ]
    return np.array(rows, np.int64).reshape(-1, 3)


def estimate(metric: str, truth: Spans, prediction: Spans) -> Estimate:
    """Return a metric of n documents; n > 0."""
    return _ratio(metric, counts(truth, prediction))


def parts_of(metric: str, truth: Spans, prediction: Spans) -> list[Estimate]:
    """Return the metric of each of ``types_of`` alone."""
    kinds = types_of(truth, prediction)
    return [_ratio(metric, counts(truth, prediction, kind)) for kind in kinds]


def _ratio(metric: str, counted: NDArray[np.int64]) -> Estimate:
    """Return a ratio of sums, with the influence of each document on it."""
    right, found, there = counted.T.astype(np.float64)
    if metric == "span-precision":
        above, below = right, found
    elif metric == "span-recall":
        above, below = right, there
    else:
        above, below = 2.0 * right, found + there
    n, total = right.size, float(below.sum())
    if not total:
        return Estimate(math.nan, np.zeros(n))
    value = float(above.sum()) / total
    # One more document, as long as the longest: nothing in it is right, or all of it.
    longest = float(below.max())
    reach = longest / (total + longest)
    return Estimate(
        value,
        (above - value * below) * (n / total) * unbiased(n),
        down=-value * reach,
        up=(1.0 - value) * reach,
        most=reach,
    )


def _of(side: Spans, kind: str | None) -> list[frozenset[Span]]:
    if kind is None:
        return list(side)
    return [frozenset(one for one in spans if one[0] == kind) for spans in side]


def _spans_of(tags: Sequence[str]) -> frozenset[Span]:
    found: set[Span] = set()
    open_kind, start = "", 0
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        if tag != "O" and (prefix not in ("B", "I") or not kind):
            raise InvalidInput(
                f"tag {shorten(tag)} is not one of IOB2", fix="write O, B-TYPE or I-TYPE"
            )
        if prefix == "I" and kind == open_kind:
            continue
        if open_kind:
            found.add((open_kind, start, place))
        open_kind, start = (kind, place) if prefix == "B" else ("", 0)
    return frozenset(found)
