"""Fitting how texts are read, on the rows that a model is fitted on and on no others.

While a model is trained, a text stands in the matrix as one number: its place in the ``Corpus``
of its column. Whoever fits on some rows fits the reading on the same rows; so no fold, split or
block learns terms or weights from rows that are held out of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from noria.tasks.tabular import texts as reading
from noria.tasks.tabular.texts import TextReader
from noria.tasks.tabular.threads import limited_to

if TYPE_CHECKING:
    from noria.tasks.tabular.fit import Design
    from noria.tasks.tabular.scorers import Scorer

Array = NDArray[np.float64]
One = TypeVar("One", int, str)

MOST_ROWS: Final = 50_000
"""Rows from which the terms and directions of a column are learnt: a seeded sample of more."""
_MEMO_BYTES: Final = 256 << 20
_MEMO: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """The different texts of a column, which its rows name by their places.

    ``name`` is the column's, ``texts`` (m,) str; ``width`` numbers are made of each. What was
    fitted on the same rows before is remembered, for a search fits on the same folds many times.
    """

    name: str
    texts: NDArray[Any]
    width: int
    seed: int
    _memo: dict[bytes, tuple[TextReader, Array]] = field(default_factory=dict, repr=False)

    def read_by(self, codes: Array) -> tuple[TextReader, Array]:
        """Return the reader fitted on rows, and the (m + 1, width) numbers of every text.

        The last row is that of a missing text. ``codes`` (n,) are places, NaN where missing.
        """
        places = codes[~np.isnan(codes)].astype(np.int64)
        key = places.tobytes()
        found = self._memo.get(key)
        if found is None:
            reader = fit_reader(self.texts[places].tolist(), self.width, self.seed)
            found = reader, reader.read([*self.texts.tolist(), None])
            most = min(_MEMO, max(1, _MEMO_BYTES // max(1, found[1].nbytes)))
            while len(self._memo) >= most:
                self._memo.pop(next(iter(self._memo)))
            self._memo[key] = found
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """How the texts of a coded matrix become numbers.

    ``columns``: by its place in the coded matrix, the name of a text, its reader, and the numbers
    of each code.
    """

    columns: Mapping[int, tuple[str, TextReader, Array]] = field(default_factory=dict)

    @property
    def readers(self) -> dict[str, TextReader]:
        """The readers by the name of their column."""
        return {name: reader for name, reader, _ in self.columns.values()}

    def matrix(self, coded: Array) -> Array:
        """Return the (n, d) matrix of rows of which ``coded`` has a place for each text."""
        if not self.columns:
            return coded
        parts: list[Array] = []
        for place in range(coded.shape[1]):
            if place in self.columns:
                codes = np.nan_to_num(coded[:, place], nan=-1.0).astype(np.int64)
                parts.append(self.columns[place][2][codes])
            else:
                parts.append(coded[:, place : place + 1])
        return np.ascontiguousarray(np.hstack(parts))

    def dense(self, design: Design) -> Design:
        """Return a design whose texts are numbers."""
        if not self.columns:
            return design
        return replace(
            design,
            matrix=self.matrix(design.matrix),
            categories=self._wide(design.categories),
            corpora={},
            monotone=self._wide(design.monotone),
            names=self._wide(design.names),
        )

    def _wide(self, each: Sequence[One]) -> tuple[One, ...]:
        """Repeat what is said of a text's column for each of its numbers."""
        sizes = {place: numbers.shape[1] for place, (_, _, numbers) in self.columns.items()}
        return tuple(one for place, one in enumerate(each) for _ in range(sizes.get(place, 1)))


@dataclass(frozen=True, slots=True, eq=False)
class CodedScorer:
    """A scorer of the coded matrix, within training alone; its files read the dense one."""

    reading: Reading
    scorer: Scorer

    def raw(self, matrix: Array) -> Array:
        """See ``Scorer.raw``."""
        return self.scorer.raw(self.reading.matrix(matrix))

    def files(self) -> dict[str, bytes]:
        """See ``Scorer.files``."""
        return self.scorer.files()


def reading_of(design: Design) -> Reading:
    """Return how the texts of a design are read, fitted on its rows."""
    if not design.corpora:
        return Reading()
    with limited_to(design.threads):
        return Reading(
            {
                place: (corpus.name, *corpus.read_by(design.matrix[:, place]))
                for place, corpus in design.corpora.items()
            }
        )


def fit_reader(texts: Sequence[str], width: int, seed: int) -> TextReader:
    """Fit how texts are read.

    Terms are those that two texts have at least, the ``MOST_TERMS`` most frequent. Where texts
    share none, every text is 0.

    Args:
        texts: Of the training rows, none missing.
        width: Numbers that a text becomes.
        seed: Of the sample of more than ``MOST_ROWS`` texts, and of the singular vectors.
    """
    from scipy.sparse import hstack
    from sklearn.decomposition import TruncatedSVD

    if len(texts) > MOST_ROWS:
        kept = np.random.default_rng(seed).choice(len(texts), MOST_ROWS, replace=False)
        texts = [texts[place] for place in np.sort(kept).tolist()]
    plain = [reading.plain(text) for text in texts]
    fitted = [_fitted(plain, **settings) for settings in SETTINGS]
    tables = [vocabulary for vocabulary, _, _ in fitted]
    counted = hstack([matrix for _, _, matrix in fitted]).tocsr()
    few = min(width, *counted.shape)
    directions = np.zeros((counted.shape[1], few), np.float32)
    if few:
        svd = TruncatedSVD(few, random_state=seed).fit(counted)
        directions = np.ascontiguousarray(svd.components_.T, np.float32)
    idf = np.concatenate([weights for _, weights, _ in fitted])
    return TextReader(width, tables[0], tables[1], idf, directions)


SETTINGS: Final[Iterable[Mapping[str, Any]]] = (
    {"analyzer": "word", "ngram_range": reading.WORDS, "token_pattern": reading.TOKEN},
    {"analyzer": "char_wb", "ngram_range": reading.CHARACTERS},
)
"""What scikit-learn's vectorizer is told of words, and of characters."""


def _fitted(texts: Sequence[str], **settings: Any) -> tuple[dict[str, int], Array, Any]:
    """Return the terms with their places, their weights, and the (n, v) matrix of the texts."""
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        **settings, min_df=2, max_features=reading.MOST_TERMS, sublinear_tf=True
    )
    try:
        matrix = vectorizer.fit_transform(texts)
    except ValueError:  # no term is in two texts
        return {}, np.zeros(0), csr_matrix((len(texts), 0))
    table = {str(term): int(place) for term, place in vectorizer.vocabulary_.items()}
    return dict(sorted(table.items(), key=lambda one: one[1])), vectorizer.idf_, matrix
