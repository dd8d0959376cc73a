"""Texts as numbers: TF-IDF of words and characters, projected on a few directions.

A text is read as term frequencies of its words (one and two in a row) and of the pieces of two
to four characters within its words, each weighed by the inverse of how many training texts have
the term (Salton and Buckley, 1988), both of length 1, and then projected on the right singular
vectors of the training texts (latent semantic analysis: Deerwester et al., 1990). The pieces of
characters are what reads languages whose words are inflected or not set apart, such as Korean.
Only numpy is needed; the numbers are those of scikit-learn's pipeline, which fits them
(``noria.tasks.tabular.fit_texts``).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError
from noria.tasks.arrays import pack, unpack

Array = NDArray[np.float64]

WIDTH: Final = 32
"""Numbers that a text becomes, where the feature says no ``width``."""
MOST_CHARACTERS: Final = 10_000
"""What is read of one text: the CPU of a request is bounded."""
MOST_TERMS: Final = 10_000
"""Words of a column, and as many pieces of characters: the most frequent of the training texts."""
WORDS: Final = (1, 2)
CHARACTERS: Final = (2, 4)
TOKEN: Final = r"(?u)\b\w\w+\b"  # noqa: S105 - a pattern of words

_TOKEN: Final = re.compile(TOKEN)
_MOST_KNOWN: Final = 50_000
_TABLES: Final = "texts.json"
_ARRAYS: Final = "texts.npz"


def plain(text: str) -> str:
    """Return what is read of a text: its beginning, composed (NFC), in lower case."""
    return unicodedata.normalize("NFC", text[:MOST_CHARACTERS]).lower()


@dataclass(frozen=True, slots=True, eq=False)
class TextReader:
    """How a column of texts is read.

    ``words`` and ``characters`` give each term its place, from 0; ``idf`` (v,) weighs the words
    and after them the characters; ``directions`` (v, k) has what a term adds to each of k numbers.
    A text becomes ``width`` of them, those over k are 0. A missing text is an empty one: all 0.
    """

    width: int
    words: Mapping[str, int]
    characters: Mapping[str, int]
    idf: Array
    directions: NDArray[np.float32]

    def read(self, texts: Iterable[str | None]) -> Array:
        """Return the (n, width) numbers of n texts."""
        # Words come again and again: their pieces are looked up once.
        known: dict[str, tuple[int, ...]] = {}
        rows = []
        for text in texts:
            rows.append(self._row(text, known) if text else None)
            if len(known) > _MOST_KNOWN:
                known.clear()
        found = np.zeros((len(rows), self.width))
        for place, row in enumerate(rows):
            if row is not None:
                found[place, : row.size] = row
        return found

    def _row(self, text: str, known: dict[str, tuple[int, ...]]) -> Array | None:
        read = plain(text)
        words = [self.words[term] for term in _words(read) if term in self.words]
        pieces: list[int] = []
        for word in read.split():
            found = known.get(word)
            if found is None:
                found = tuple(self.characters[p] for p in _pieces(word) if p in self.characters)
                known[word] = found
            pieces += found
        places, weights = [], []
        for first, terms in ((0, words), (len(self.words), pieces)):
            counts = Counter(terms)
            if counts:
                at = np.fromiter(counts, np.int64, len(counts)) + first
                often = np.fromiter(counts.values(), np.float64, len(counts))
                weight = (1.0 + np.log(often)) * self.idf[at]
                places.append(at)
                weights.append(weight / np.sqrt(weight @ weight))
        if not places:
            return None
        return np.asarray(np.concatenate(weights) @ self.directions[np.concatenate(places)])


def _words(text: str) -> Iterator[str]:
    words = _TOKEN.findall(text)
    yield from words
    for first, second in pairwise(words):
        yield f"{first} {second}"


def _pieces(word: str) -> Iterator[str]:
    """Yield the pieces of a word with a space around it; a short word is one piece."""
    least, most = CHARACTERS
    padded = f" {word} "
    for size in range(least, most + 1):
        last = len(padded) - size
        if last <= 0:
            yield padded
            break
        for start in range(last + 1):
            yield padded[start : start + size]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    column: str
    width: int
    words: Sequence[str]
    characters: Sequence[str]


def files_of(readers: Mapping[str, TextReader]) -> dict[str, bytes]:
    """Return the files of readers by their columns: tables as JSON, numbers as arrays."""
    if not readers:
        return {}
    tables: list[_Table] = []
    arrays: dict[str, NDArray[Any]] = {}
    for place, (column, reader) in enumerate(readers.items()):
        tables.append(_Table(column, reader.width, list(reader.words), list(reader.characters)))
        arrays[f"idf{place}"] = reader.idf
        arrays[f"directions{place}"] = reader.directions
    return {_TABLES: msgspec.json.encode(tables), _ARRAYS: pack(arrays)}


def load(files: Mapping[str, bytes]) -> dict[str, TextReader]:
    """Build the readers from a package's files; empty where it reads no text.

    Raises:
        IntegrityError: A file is malformed, or tables and arrays are not of one size.
    """
    if _TABLES not in files:
        return {}
    arrays = unpack(files.get(_ARRAYS, b""), _ARRAYS)
    readers: dict[str, TextReader] = {}
    try:
        tables = msgspec.json.decode(files[_TABLES], type=list[_Table])
        for place, table in enumerate(tables):
            reader = TextReader(
                table.width,
                {term: at for at, term in enumerate(table.words)},
                {term: at for at, term in enumerate(table.characters)},
                arrays[f"idf{place}"],
                arrays[f"directions{place}"],
            )
            terms = len(reader.words) + len(reader.characters)
            rows, width = reader.directions.shape
            if reader.idf.shape != (terms,) or rows != terms or width > table.width:
                raise IntegrityError(f"{_ARRAYS}: does not fit {_TABLES}", fix="train again")
            readers[table.column] = reader
    except (msgspec.DecodeError, KeyError, ValueError) as error:
        raise IntegrityError(f"{_TABLES}: {error}", fix="train again") from error
    return readers
