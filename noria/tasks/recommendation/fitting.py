"""Fitting recommenders: popularity by counting, similar items and factors by ``implicit``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import TrainingError, shorten
from noria.spec import ModelSpec
from noria.tasks.choosing import simplest, some_of
from noria.tasks.fitted import FittedPredictor
from noria.tasks.origins import LABEL_KNOWN
from noria.tasks.package import Feature, Input, Manifest, Output
from noria.tasks.recommendation import EXCLUDE, HISTORY, ONLY
from noria.tasks.recommendation.accuracy import ndcg
from noria.tasks.recommendation.describe import options_of
from noria.tasks.recommendation.interactions import TAKEN, WEIGHTS
from noria.tasks.recommendation.items import listed
from noria.tasks.recommendation.methods import (
    Codes,
    Factors,
    Method,
    Neighbours,
    Popularity,
    Ranked,
)
from noria.tasks.recommendation.predictor import (
    COLD,
    IGNORED,
    ITEMS,
    PREDICTION,
    SCORES,
    Known,
    Recommender,
    Settings,
)
from noria.tasks.recommendation.words import (
    ALS,
    AUTO,
    BPR,
    DESCRIPTORS,
    ITEM_BASED,
    POPULARITY,
    targets_of,
)
from noria.tasks.sources.rows import moments
from noria.tasks.tabular.threads import limited_to

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Array = NDArray[np.float64]
Places = NDArray[np.int64]

NEWEST: Final = 1.0 / 3.0
"""Share of the samples, the newest, that methods are chosen by, and that show what requests will
look like."""

KNOWN_UNTIL: Final = "knownUntil"
"""Parameter of a manifest: when the last interaction that was learnt from was, milliseconds."""

_ENOUGH: Final = 4000
"""Most samples that methods are chosen by."""

_NEIGHBOURS: Final = 50
_FACTORS: Final = 64
_ITERATIONS: Final = 15
_TRIED: Final[Sequence[Mapping[str, float]]] = tuple(
    {"regularization": regularization, "alpha": alpha}
    for regularization in (10.0, 1.0, 0.1)
    for alpha in (1.0, 5.0)
)
"""Of ALS without hyperparameters, the simplest first: how much regularization suits depends on how
much there is."""

_EPOCHS: Final = 60
_RATE: Final = 0.01
"""Of BPR: learning rate, and the weight of its regularization. Chosen with the epochs on the known
part of MovieLens: with more of either the lists get worse."""

_HYPERPARAMETERS: Final[Mapping[str, frozenset[str]]] = {
    ALS: frozenset({"factors", "regularization", "alpha", "iterations"}),
    BPR: frozenset({"factors", "learning_rate", "regularization", "iterations"}),
    ITEM_BASED: frozenset({"neighbours"}),
    POPULARITY: frozenset(),
}
_WHOLE: Final = frozenset({"factors", "iterations", "neighbours"})
_POSITIVE: Final = frozenset({*_WHOLE, "alpha", "learning_rate"})


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples as they are fitted on.

    Of n samples ``truth`` (n, k) are the numbers of the items taken, ``event`` and ``known`` (n,)
    when the first and the last were, and ``users`` (n,) whose they are: places in ``names``. The
    interactions of sample s are at ``starts[s]:starts[s + 1]`` of ``items``, places in
    ``catalogue``, and of ``weights``.
    """

    frame: pd.DataFrame
    truth: Array
    event: Places
    known: Places
    users: Places
    names: NDArray[Any]
    starts: Places
    items: Places
    catalogue: NDArray[Any]
    weights: Array

    @classmethod
    def of(cls, spec: ModelSpec, frame: pd.DataFrame) -> Samples:
        """Return the samples of a frame, as ``interactions.samples_of`` makes it."""
        taken = [listed(text) for text in frame[TAKEN]]
        flat = [name for one in taken for name in one]
        items, catalogue = pd.factorize(np.array(flat, object), sort=True)
        users, names = pd.factorize(frame[spec.data.entity_key[0]].to_numpy(object), sort=True)
        nothing = np.zeros(0)
        return cls(
            frame=frame,
            truth=frame[list(targets_of(options_of(spec).k))].to_numpy(np.float64),
            event=moments(frame, str(spec.data.event_time)),
            known=moments(frame, LABEL_KNOWN),
            users=users.astype(np.int64),
            names=np.asarray(names, object),
            starts=np.cumsum([0, *map(len, taken)]).astype(np.int64),
            items=items.astype(np.int64),
            catalogue=np.asarray(catalogue, object),
            weights=np.concatenate([nothing, *(np.asarray(one) for one in frame[WEIGHTS])]),
        )

    def columns(self, places: Places) -> dict[str, np.ndarray]:
        """Return what is asked at the moments of samples: by their histories, not by names."""
        return {HISTORY: self.frame[HISTORY].to_numpy(object)[places]}

    def interactions(
        self, places: Places, weight: NDArray[np.float64] | None
    ) -> tuple[Places, Places, Array]:
        """Return user, item and weight of each interaction of samples, in the order of time."""
        sizes = np.diff(self.starts)[places]
        first = np.repeat(self.starts[places] - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)
        at = first + np.arange(sizes.sum())
        counts = self.weights[at]
        if weight is not None:
            counts = counts * np.repeat(weight, sizes)
        return np.repeat(self.users[places], sizes), self.items[at], counts


class Fitted(FittedPredictor[Recommender]):
    """A model between ``fit`` and ``save``."""


def fit(
    spec: ModelSpec,
    samples: Samples,
    places: Places,
    params: Mapping[str, Any],
    weight: NDArray[np.float64] | None,
) -> Fitted:
    """Fit on the samples at places; see ``TaskFamily.fit``.

    Raises:
        TrainingError: A hyperparameter is unknown or out of range.
    """
    algorithm = spec.train.algorithm
    checked(algorithm, params)
    if algorithm == AUTO:
        factorised = [(ALS, one) for one in settings_of(params)]
        tried = [(POPULARITY, {}), (ITEM_BASED, {}), *factorised, (BPR, {})]
    elif algorithm == ALS:
        tried = [(ALS, one) for one in settings_of(params)]
    else:
        tried = [(algorithm, dict(params))]
    method, used = tried[0] if len(tried) == 1 else _chosen(spec, samples, places, tried, weight)
    return learnt(spec, samples, places, method, used, weight)


def settings_of(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the hyperparameters of ALS to try: those given, or some that suit other data."""
    found = [{**one, **params} for one in _TRIED]
    return [one for place, one in enumerate(found) if one not in found[:place]]


def checked(algorithm: str, params: Mapping[str, Any]) -> None:
    """Refuse hyperparameters that nothing reads, or that are none.

    Raises:
        TrainingError: There are some.
    """
    allowed = _HYPERPARAMETERS[ALS if algorithm == AUTO else algorithm]
    for name, value in params.items():
        path = f"spec.train.hyperparameters.{name}"
        if name not in allowed:
            having = f"has {', '.join(sorted(allowed))}" if allowed else "has none"
            raise TrainingError(
                f"{path}: is unknown, {algorithm} {having}", fix="remove it, or correct its name"
            )
        if not _fits(name, value):
            kind = "a whole number" if name in _WHOLE else "a number"
            least = "over 0" if name in _POSITIVE else "of 0 or more"
            raise TrainingError(
                f"{path}: {shorten(value)} is not {kind} {least}", fix="give such a number"
            )


def _fits(name: str, value: object) -> bool:
    """Whether a hyperparameter may have a value."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        return False
    whole = name not in _WHOLE or float(value).is_integer()
    return whole and (value > 0.0 if name in _POSITIVE else value >= 0.0)


def in_time(samples: Samples, places: Places) -> tuple[Places, Places]:
    """Return the samples that were known before the newest ones, and these."""
    event = samples.event[places]
    start = np.quantile(event, 1.0 - NEWEST, method="lower")
    return places[samples.known[places] < start], places[event >= start]


def _chosen(
    spec: ModelSpec,
    samples: Samples,
    places: Places,
    tried: Sequence[tuple[str, Mapping[str, Any]]],
    weight: NDArray[np.float64] | None,
) -> tuple[str, Mapping[str, Any]]:
    """Return the simplest that is within noise of the best for the newest samples.

    Each is fitted on what was known before them; users are the groups of ``simplest``. ``tried``
    has the simplest first.
    """
    older, newer = in_time(samples, places)
    if not older.size or not newer.size:
        return tried[0]
    newer = newer[some_of(newer.size, _ENOUGH, spec.train.seed)]
    before = None if weight is None else weight[np.isin(places, older)]
    losses = []
    for method, params in tried:
        model = learnt(spec, samples, older, method, params, before).predictor
        said = model.predict(samples.columns(newer))[PREDICTION]
        losses.append(-ndcg(samples.truth[newer], said))
    return tried[simplest(np.stack(losses), samples.users[newer])]


def learnt(
    spec: ModelSpec,
    samples: Samples,
    places: Places,
    method: str,
    params: Mapping[str, Any],
    weight: NDArray[np.float64] | None,
) -> Fitted:
    """Return the model of a method on the samples at places."""
    users, items, weights = samples.interactions(places, weight)
    counts = np.bincount(items, weights, minlength=samples.catalogue.size).astype(np.float64)
    # Codes are places in the order of popularity; of equal ones by name.
    present = np.flatnonzero(np.bincount(items, minlength=samples.catalogue.size))
    order = present[np.argsort(-counts[present], kind="stable")]
    code_of = np.full(samples.catalogue.size, -1, np.int64)
    code_of[order] = np.arange(order.size)
    who, row = np.unique(users, return_inverse=True)
    matrix = _matrix(row, code_of[items], weights, (who.size, order.size))
    shares = np.bincount(matrix.indices, minlength=order.size) / who.size
    model = _learn(method, matrix, counts[order], params, spec.train.seed)
    options = options_of(spec)
    known, names = _kept(spec, samples, places, users, code_of[items])
    settings = Settings(
        method=method,
        k=options.k,
        history=options.history,
        seen=options.seen,
        items=[str(name) for name in samples.catalogue[order]],
        users=names,
    )
    manifest = _manifest(spec, samples, places, {**params, "method": method})
    return Fitted(Recommender.of(manifest, settings, model, counts[order], shares, known))


def _matrix(row: Codes, code: Codes, weights: Array, shape: tuple[int, int]) -> csr_matrix:
    """Return how much each user took each item."""
    from scipy.sparse import csr_matrix

    found = csr_matrix((weights.astype(np.float32), (row, code)), shape)
    found.sum_duplicates()
    found.sort_indices()
    return found


def _learn(
    method: str, matrix: csr_matrix, counts: Array, params: Mapping[str, Any], seed: int
) -> Method:
    """Return what a method learns of (users, items).

    Raises:
        TrainingError: It fails.
    """
    if method == POPULARITY:
        return Popularity(counts)
    from implicit.recommender_base import ModelFitError

    try:
        # Several threads on small factors cost more than they bring, and add up in another order.
        with limited_to(1):
            if method == ITEM_BASED:
                return _neighbours(matrix, int(params.get("neighbours", _NEIGHBOURS)))
            return (_ranked if method == BPR else _factors)(matrix, params, seed)
    except (ValueError, ArithmeticError, RuntimeError, ModelFitError) as error:
        raise TrainingError(f"{method}: {error}", fix="choose other hyperparameters") from error


def _neighbours(matrix: csr_matrix, count: int) -> Neighbours:
    from implicit.nearest_neighbours import ItemItemRecommender

    # Of columns of length 1 the products are the cosines. The library's own CosineRecommender
    # makes a matrix of another format, of which it warns by itself.
    lengths = np.sqrt(np.bincount(matrix.indices, matrix.data.astype(np.float64) ** 2))
    cosines = matrix.astype(np.float64)
    cosines.data /= lengths[cosines.indices]
    model = ItemItemRecommender(K=count, num_threads=1)
    model.fit(cosines, show_progress=False)
    found = model.similarity.tocsr()
    found.sort_indices()
    starts, codes = found.indptr.astype(np.int64), found.indices.astype(np.int64)
    return Neighbours(starts, codes, found.data.astype(np.float32).astype(np.float64))


def _factors(matrix: csr_matrix, params: Mapping[str, Any], seed: int) -> Factors:
    from implicit.cpu.als import AlternatingLeastSquares

    alpha, regularization = float(params["alpha"]), float(params["regularization"])
    model = AlternatingLeastSquares(
        factors=int(params.get("factors", _FACTORS)),
        regularization=regularization,
        alpha=alpha,
        iterations=int(params.get("iterations", _ITERATIONS)),
        num_threads=1,
        random_state=seed,
    )
    model.fit(matrix, show_progress=False)
    return Factors.of(model.item_factors.astype(np.float64), regularization, alpha)


def _ranked(matrix: csr_matrix, params: Mapping[str, Any], seed: int) -> Ranked:
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    model = BayesianPersonalizedRanking(
        factors=int(params.get("factors", _FACTORS)),
        learning_rate=float(params.get("learning_rate", _RATE)),
        regularization=float(params.get("regularization", _RATE)),
        iterations=int(params.get("iterations", _EPOCHS)),
        num_threads=1,
        random_state=seed,
    )
    model.fit(matrix, show_progress=False)
    items, users = (one.astype(np.float64) for one in (model.item_factors, model.user_factors))
    taken = matrix.astype(np.bool_).astype(np.float64)
    means = np.column_stack([taken @ items / taken.getnnz(axis=1)[:, None], np.ones(len(users))])
    # A ridge of the size of one user, for there may be fewer of them than factors.
    gram = means.T @ means + means.var() * np.eye(means.shape[1])
    return Ranked(items, np.linalg.solve(gram, means.T @ users))


def _kept(
    spec: ModelSpec, samples: Samples, places: Places, users: Places, codes: Codes
) -> tuple[Known, list[str]]:
    """Return the newest histories, of the users who came last, and their names.

    ``users`` and ``codes`` are of each interaction, in the order of time.
    """
    options = options_of(spec)
    last = np.full(samples.names.size, np.iinfo(np.int64).min)
    np.maximum.at(last, samples.users[places], samples.known[places])
    present = np.unique(users)
    newest = present[np.argsort(-last[present], kind="stable")][: options.users]
    order = np.argsort(users, kind="stable")
    starts = np.searchsorted(users[order], newest, side="left")
    stops = np.searchsorted(users[order], newest, side="right")
    parts = [
        codes[order[max(start, stop - options.history) : stop]]
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
    ]
    ends = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    kept = np.concatenate([np.zeros(0, np.int64), *parts])
    names = [str(samples.names[user]) for user in newest]
    return Known(kept, ends, {name: place for place, name in enumerate(names)}), names


def _manifest(
    spec: ModelSpec, samples: Samples, places: Places, parameters: Mapping[str, Any]
) -> Manifest:
    data, options = spec.data, options_of(spec)
    (user,) = data.entity_key
    texts = (HISTORY, EXCLUDE, ONLY)
    return Manifest(
        model="",
        family=spec.task.family,
        algorithm=spec.train.algorithm,
        inputs=(
            Input(user, "BYTES", "categorical", optional=True),
            Input(str(data.event_time), "INT64", "timestamp", optional=True),
            *(Input(name, "BYTES", "text", optional=True) for name in texts),
        ),
        outputs=(
            Output(PREDICTION, "FP64", (options.k,)),
            Output(ITEMS, "BYTES", (options.k,)),
            Output(SCORES, "FP64", (options.k,)),
            Output(COLD, "BYTES"),
            Output(IGNORED, "INT64"),
        ),
        features=tuple(Feature(name, "numeric", "descriptor") for name in DESCRIPTORS),
        options={**options.model_dump(mode="json", by_alias=True), "allowMissing": True},
        event_time=data.event_time,
        entity_key=tuple(data.entity_key),
        target=str(data.target),
        targets=targets_of(options.k),
        rows=places.size,
        trained_until=int(samples.event[places].max()),
        seed=spec.train.seed,
        parameters={**parameters, KNOWN_UNTIL: int(samples.known[places].max())},
    )
