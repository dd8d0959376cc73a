"""What a text column costs: read by itself, and learnt from 10,000 texts, in process.

The baseline is scikit-learn's own pipeline of the same steps (``TfidfVectorizer`` twice,
``TruncatedSVD``), and what it fits is what Noria stores. CPU of this process.
"""

# ruff: noqa: E402 - one thread has to be asked for before numpy starts

from __future__ import annotations

import os

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import random
import resource
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

from noria.tasks.tabular.fit_texts import fit_reader
from noria.tasks.tabular.texts import MOST_TERMS, WIDTH, TextReader, files_of
from tests.bench.rows import Row, row

Found = TypeVar("Found")

_COUNT: Final = 10_000
_ASKED: Final = 1000
_TIMES: Final = 3
_KOREAN: Final = (
    *("배송이", "늦어서", "환불을", "요청합니다"),
    *("감사합니다", "좋아요", "별로", "다시"),
)
_KIB_OF_MIB: Final = 1024


def run() -> Iterator[Row]:
    """Return the figures of fitting, of a row alone and of many rows."""
    texts = made_up(_COUNT)
    before = _peak_mib()
    cost, reader = _cheapest(lambda: _read(texts))
    grown = _peak_mib() - before
    theirs, pipeline = _cheapest(lambda: _pipeline().fit(texts))
    asked = _cheapest(lambda: pipeline.transform(texts))[0]
    yield row("texts.train.cpu", cost, "s", theirs + asked)
    yield row("texts.train.rss.mb", grown, "MiB")
    yield row("texts.package.mb", sum(map(len, files_of({"text": reader}).values())) / 2**20, "MiB")
    few = texts[:_ASKED]
    ours = _cheapest(lambda: [reader.read([text]) for text in few])[0]
    their = _cheapest(lambda: [pipeline.transform([text]) for text in few])[0]
    yield row("texts.row.1", ours / _ASKED * 1e6, "us", their / _ASKED * 1e6)
    ours = _cheapest(lambda: reader.read(few))[0]
    their = _cheapest(lambda: pipeline.transform(few))[0]
    yield row("texts.row.1000", ours / _ASKED * 1e6, "us", their / _ASKED * 1e6)


def made_up(count: int) -> list[str]:
    """Return texts of up to 60 words, one in five Korean; few words are frequent, most are rare."""
    chance = random.Random(0)
    letters = "abcdefghijklmnoprstuv"
    known = ["".join(chance.choices(letters, k=chance.randint(1, 9))) for _ in range(5000)]

    def word() -> str:
        if chance.random() < 0.2:
            return chance.choice(_KOREAN)
        return known[int(chance.paretovariate(0.7)) % len(known)]

    return [" ".join(word() for _ in range(chance.randint(0, 60))) for _ in range(count)]


def _read(texts: list[str]) -> TextReader:
    reader = fit_reader(texts, WIDTH, 0)
    reader.read(texts)
    return reader


def _pipeline() -> Pipeline:
    settings = {"min_df": 2, "max_features": MOST_TERMS, "sublinear_tf": True}
    words = TfidfVectorizer(ngram_range=(1, 2), **settings)
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), **settings)
    union = FeatureUnion([("words", words), ("pieces", pieces)])
    return make_pipeline(union, TruncatedSVD(WIDTH, random_state=0))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB_OF_MIB


def _cheapest(work: Callable[[], Found]) -> tuple[float, Found]:
    runs = []
    for _ in range(_TIMES):
        before = time.process_time()
        found = work()
        runs.append((time.process_time() - before, found))
    return min(runs, key=lambda one: one[0])
