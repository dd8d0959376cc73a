"""Populations of queries, documents, rows of targets and rows of a family's own metric.

A population is a finite list of samples with what two models say of each; a simulated data set is
drawn from it with replacement. So the population's metric is known exactly: it is the metric of the
list. In a *level* one both models are worth the same by a metric, though they answer differently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from noria.measures.catalog import Metric, OwnMetric
from noria.measures.measuring import compare, measure, metric_of, value_of
from noria.spec import ChampionGate
from noria.tasks.measure import Truth
from noria.tasks.measure import compare as judged
from tests.measures.coverage import Cell

Array = np.ndarray
Samples = tuple[Array, Array, Array]
"""Truth, and what two models say: the first is the candidate."""

Population = Callable[[], Samples]
Worsened = Callable[[Array, Array, float], Array]
"""(truth, what is said, share from 0 to 1) -> worse answers: 0 leaves them as they are."""

_SIZE: Final = 12_000
TARGETS: Final = 4
_LESS: Final = 0.9


# --- rankings: 20 candidates a query --------------------------------------------------------


@cache
def graded() -> Samples:
    """Some five relevant candidates of three grades; the other model shares most of its noise."""
    random = np.random.default_rng(21)
    truth = (random.integers(1, 4, (_SIZE, 20)) * (random.random((_SIZE, 20)) < 0.25)).astype(float)
    common = random.normal(size=truth.shape)
    own = random.normal(size=(2, *truth.shape))
    return truth, 0.6 * truth + common + 0.3 * own[0], 0.5 * truth + common + 0.3 * own[1]


@cache
def seldom() -> Samples:
    """One relevant candidate: one model retrieves it in a fifth of the queries; one ranks all."""
    random = np.random.default_rng(22)
    truth = np.eye(20)[random.integers(0, 20, _SIZE)]
    found = (random.random((2, _SIZE, 1)) < np.array([0.2, 0.17]).reshape(2, 1, 1)) * 4.0
    found[1] = np.where(random.random((_SIZE, 1)) < 0.7, found[0], found[1])
    common = random.normal(size=truth.shape)
    said = [common + one * truth for one in found]
    return truth, np.where((truth > 0) & (found[0] == 0), np.nan, said[0]), said[1]


@cache
def perfect_but() -> Samples:
    """Every query is answered perfectly, but for three in a hundred of which nothing is found."""
    random = np.random.default_rng(23)
    truth = np.zeros((_SIZE, 20))
    truth[:, :3] = 1.0
    lost = random.random((2, _SIZE, 1)) < np.array([0.03, 0.04]).reshape(2, 1, 1)
    said = np.where(lost, -truth, truth) + 0.001 * random.random((2, _SIZE, 20))
    return truth, said[0], said[1]


# --- spans ----------------------------------------------------------------------------------


def _documents(
    random: np.random.Generator, many: Array, right: Array, extra: Array, share: float
) -> Samples:
    """Documents of so many spans, of which each is found with the document's own chance.

    The other model answers a ``share`` of the documents as the first does, the rest by itself, and
    there it finds a tenth less. ``extra`` are the wrong spans that each finds on the mean.
    """
    sides: list[Array] = [np.empty(many.size, dtype=object) for _ in range(3)]
    same = random.random(many.size) < share
    for place, count in enumerate(many):
        there = [(("A", "B")[i % 2], 10 * i, 10 * i + 3) for i in range(count)]
        sides[0][place] = frozenset(there)
        for side in (1, 2):
            if side == 2 and same[place]:
                sides[2][place] = sides[1][place]
                continue
            chance = right[place] * (1.0, 1.0, _LESS)[side]
            found = [one for one in there if random.random() < chance]
            wrong = [("A", 10 * i + 5, 10 * i + 6) for i in range(random.poisson(extra[place]))]
            sides[side][place] = frozenset(found + wrong)
    return sides[0], sides[1], sides[2]


@cache
def clustered() -> Samples:
    """Some eight spans a document, and documents of which nearly all, or hardly any are found."""
    random = np.random.default_rng(31)
    many = random.poisson(random.gamma(2.0, 4.0, _SIZE))
    right = random.beta(1.2, 0.5, _SIZE)
    return _documents(random, many, right, 2.0 * (1.0 - right), 0.4)


@cache
def sparse() -> Samples:
    """Nine documents of ten have no span; in some of them one is seen all the same."""
    random = np.random.default_rng(32)
    many = (random.random(_SIZE) < 0.1) * random.integers(1, 4, _SIZE)
    right = np.full(_SIZE, 0.7)
    return _documents(random, many, right, np.full(_SIZE, 0.03), 0.5)


@cache
def long_ones() -> Samples:
    """Lengths are log-normal: one document in a hundred has a tenth of all spans, and is worse."""
    random = np.random.default_rng(33)
    many = np.minimum(random.lognormal(1.2, 1.0, _SIZE), 80).astype(int)
    right = np.clip(0.95 - 0.012 * many + 0.1 * random.normal(size=_SIZE), 0.02, 0.99)
    return _documents(random, many, right, 0.1 * many, 0.5)


@cache
def nearly_all() -> Samples:
    """All spans are found, but for two documents in a hundred of which none is."""
    random = np.random.default_rng(34)
    right = (random.random(_SIZE) > 0.02).astype(float)
    many = random.poisson(4.0, _SIZE)
    return _documents(random, many, right, np.where(right > 0, 0.01, 2.0), 0.7)


# --- several targets, and metrics of a family's own -----------------------------------------


@cache
def forecast() -> Samples:
    """Four steps ahead, whose errors grow and hang together; the other model is a little wider."""
    random = np.random.default_rng(41)
    truth = random.normal(size=(_SIZE, 4)).cumsum(axis=1) + 3.0 * random.normal(size=(_SIZE, 1))
    errors = 0.6 * random.normal(size=(3, _SIZE, 4)).cumsum(axis=2)
    return truth, truth + errors[0], truth + errors[0] + 0.5 * errors[1] + 0.1


@cache
def tailed() -> Samples:
    """The same with a row's own scale, log-normal: calm rows and wild ones."""
    random = np.random.default_rng(42)
    scale = random.lognormal(0.0, 0.4, (_SIZE, 1))
    truth = 3.0 * random.normal(size=(_SIZE, 4))
    errors = scale * random.normal(size=(3, _SIZE, 4)).cumsum(axis=2)
    return truth, truth + errors[0], truth + errors[0] + 0.5 * errors[1]


@cache
def skewed() -> Samples:
    """One value a row, exponential, and two forecasts of its upper decile."""
    random = np.random.default_rng(43)
    level = random.uniform(1.0, 3.0, _SIZE)
    truth = level * random.exponential(size=_SIZE)
    upper = level * np.log(10.0)
    return truth, upper * 0.95, upper * np.exp(0.2 * random.normal(size=_SIZE))


def pinball(truth: Array, said: Array) -> Array:
    """Return the loss of the upper decile, (n,)."""
    return np.maximum(0.9 * (truth - said), 0.1 * (said - truth))


def under(truth: Array, said: Array) -> Array:
    """Return whether the value lies under the forecast and over a tenth of it, (n,)."""
    return (truth <= said) & (truth > 0.1 * said)


PINBALL: Final = OwnMetric("pinball", False, low=0.0, per_sample=pinball)
WITHIN: Final = OwnMetric("within", True, low=0.0, high=1.0, per_sample=under)


# --- counting -------------------------------------------------------------------------------

RANKED: Final[tuple[Metric | str, ...]] = (
    "ndcg-at-10", "reciprocal-rank", "recall-at-5", "precision-at-5", "hit-rate-at-3"
)  # fmt: skip
SPANNED: Final[tuple[Metric | str, ...]] = ("span-precision", "span-recall", "span-f1")
TARGETED: Final[tuple[Metric | str, ...]] = ("mae", "rmse", "r2")
OWN: Final[tuple[Metric | str, ...]] = (PINBALL, WITHIN)


def name_of(metric: Metric | str) -> str:
    """Return a metric's name."""
    return metric if isinstance(metric, str) else metric.name


@cache
def ordered(metric: Metric | str, population: Population) -> Samples:
    """Return the population with the model that is better by the metric first."""
    truth, ours, theirs = population()
    sides = sorted((ours, theirs), key=lambda said: _worth(metric, truth, said), reverse=True)
    return truth, sides[0], sides[1]


@cache
def level(metric: Metric | str, population: Population, worsened: Worsened) -> Samples:
    """Return the population with its better model worsened until it is worth what the other is.

    What is left of the difference is less than one sample's share.
    """
    truth, better, other = ordered(metric, population)
    target = _worth(metric, truth, other)
    low, high = 0.0, 1.0
    for _ in range(15):
        middle = (low + high) / 2.0
        ahead = _worth(metric, truth, worsened(truth, better, middle)) > target
        low, high = (middle, high) if ahead else (low, middle)
    return truth, worsened(truth, better, high), other


def lost(truth: Array, said: Array, share: float) -> Array:
    """Answer a share of the samples as a model that knows nothing of them: the harder null.

    The model stays better in most samples and is far worse in a few.
    """
    count = round(share * truth.shape[0])
    return np.concatenate([_nothing(truth[:count]), said[count:]])


def wider(truth: Array, said: Array, share: float) -> Array:
    """Err by so much more in every sample."""
    return truth + (1.0 + share) * (said - truth)


@dataclass(frozen=True, slots=True)
class Kind:
    """Metrics of one kind of sample, its populations, and how a model is worsened to a null.

    ``runs`` is how many data sets of 200, and of 1,000 samples a test draws: scoring queries and
    documents takes long.
    """

    name: str
    metrics: tuple[Metric | str, ...]
    populations: tuple[Population, ...]
    worsened: Worsened = lost
    runs: tuple[int, int] = (400, 400)


KINDS: Final = (
    Kind("rankings", RANKED, (graded, seldom, perfect_but), runs=(150, 50)),
    Kind("spans", SPANNED, (clustered, sparse, long_ones, nearly_all), runs=(150, 50)),
    Kind("several targets", TARGETED, (forecast, tailed), wider),
    Kind("a family's own", OWN, (skewed,)),
)


def _worth(metric: Metric | str, truth: Array, said: Array) -> float:
    value = value_of(metric, truth, said)
    return value if metric_of(metric).greater_is_better else -value


def _nothing(truth: Array) -> Array:
    """Return the answers of a model that knows nothing of the samples."""
    if truth.dtype == object:
        none = np.empty(truth.size, dtype=object)
        none[:] = [
            frozenset(("A", 10 * i + 7, 10 * i + 8) for i in range(len(spans))) for spans in truth
        ]
        return none
    if truth.ndim == 2 and truth.shape[1] > TARGETS:
        return -truth
    return np.zeros_like(truth)


def _drawn(random: np.random.Generator, samples: Samples, count: int) -> Samples:
    at = random.integers(0, samples[0].shape[0], count)
    return samples[0][at], samples[1][at], samples[2][at]


def holds(
    metric: Metric | str, population: Population, count: int, runs: int, *, paired: bool = False
) -> Cell:
    """Count how often the 95 % interval of ``count`` samples holds the population's value."""
    samples = ordered(metric, population)
    truth, ours, theirs = samples
    known = value_of(metric, truth, ours)
    if paired:
        known -= value_of(metric, truth, theirs)
    random = np.random.default_rng([count, len(name_of(metric)), int(paired)])
    given = below = over = 0
    for _ in range(runs):
        y, mine, other = _drawn(random, samples, count)
        found = compare(metric, y, mine, other) if paired else measure(metric, y, mine)
        if found.low is None or found.high is None:
            continue
        given += 1
        below += known < found.low - 1e-12
        over += known > found.high + 1e-12
    name = population.__name__
    return Cell(name_of(metric), name, count, 0, runs, given, below, over)


@dataclass(frozen=True, slots=True)
class Told:
    """Of ``runs`` comparisons, how often the first model was shown better, and the second."""

    metric: str
    population: str
    samples: int
    runs: int
    given: int
    better: int
    worse: int


def told(
    metric: Metric | str,
    population: Population,
    count: int,
    runs: int,
    worsened: Worsened | None = None,
) -> Told:
    """Compare as a champion gate does, at its one-sided 95 %: is a bound of the gain beyond 0?

    ``worsened``: how the better model is made worth what the other is; None: it stays better.
    """
    samples = level(metric, population, worsened) if worsened else ordered(metric, population)
    own = () if isinstance(metric, str) else (metric,)
    gate = ChampionGate(metric=name_of(metric))
    random = np.random.default_rng([count, len(name_of(metric)), 2])
    given = better = worse = 0
    for _ in range(runs):
        y, mine, other = _drawn(random, samples, count)
        (found,) = judged([gate], Truth(y, 0, 0), mine, other, own)
        if found.low is None or found.high is None:
            continue
        given += 1
        better += found.low > 0
        worse += found.high < 0
    return Told(name_of(metric), population.__name__, count, runs, given, better, worse)
