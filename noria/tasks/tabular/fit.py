"""Fitting one algorithm: the library trains, and what is kept is the scorer of its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.errors import InvalidInput, TrainingError, shorten
from noria.tasks.tabular.fit_linear import fit_linear
from noria.tasks.tabular.fit_texts import Corpus
from noria.tasks.tabular.hyperparameters import DEFAULT_ROUNDS, ROUNDS
from noria.tasks.tabular.scorers import Scorer
from noria.tasks.tabular.threads import limited_to
from noria.tasks.tabular.together import ALONE, World

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """Encoded training rows.

    ``matrix`` (n, d); ``target`` (n,) class codes or values; ``classes`` their
    number, 0 for a regression; ``categories`` per column the size of its table,
    0 for a number; ``weight`` (n,) or None; ``seed`` and ``threads`` as for all. A column in
    ``corpora`` has the places of texts in its corpus; ``Reading.dense`` makes numbers of them.
    ``monotone`` holds columns to a direction, 1 or -1, others are 0; empty: none is held.
    ``names`` has each column's feature, and is empty where nothing asks for it. ``resampling`` has
    the names of the classes where rows of the rarer ones are made for a fit; empty: none are.
    ``world`` says which of the processes that fit together this is.
    """

    matrix: Array
    target: Array
    classes: int
    categories: tuple[int, ...]
    weight: Array | None
    seed: int
    threads: int
    corpora: Mapping[int, Corpus] = field(default_factory=dict)
    monotone: tuple[int, ...] = ()
    world: World = ALONE
    names: tuple[str, ...] = ()
    resampling: tuple[str, ...] = ()

    def take(self, places: NDArray[np.int64]) -> Design:
        """Return the design of some of the rows; rows that follow one another are not copied."""
        rows: NDArray[np.int64] | slice = places
        if places.size and bool((np.diff(places) == 1).all()):
            rows = slice(int(places[0]), int(places[-1]) + 1)
        return replace(
            self,
            matrix=self.matrix[rows],
            target=self.target[rows],
            weight=None if self.weight is None else self.weight[rows],
        )

    @property
    def share(self) -> Design:
        """The rows that this process reads: all of them, or each so-many-eth."""
        if self.world.size == 1:
            return self
        return self.take(np.arange(self.world.rank, self.target.shape[0], self.world.size))

    @property
    def outputs(self) -> int:
        """How many scores a row has."""
        return self.classes if self.classes > 2 else 1


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """Held-out rows that say when to stop: after ``patience`` rounds without a gain."""

    rows: Design
    patience: int


@dataclass(frozen=True, slots=True, eq=False)
class Stopped:
    """A scorer, and the rounds of boosting that it has; 0 where there are none."""

    scorer: Scorer
    rounds: int


def fit(algorithm: str, params: Mapping[str, Any], design: Design) -> Scorer:
    """Fit ``algorithm`` and return its scorer. The same design gives the same bytes.

    Raises:
        InvalidInput: The library refuses a hyperparameter's value.
        TrainingError: It fails for another reason.
    """
    with _told_apart(algorithm, params), limited_to(design.threads):
        return _FITTERS[algorithm](dict(params), design, None).scorer


def fit_until(algorithm: str, params: Mapping[str, Any], design: Design, beside: Beside) -> Stopped:
    """Fit a boosted algorithm until rows beside stop to gain.

    Raises:
        InvalidInput: The library refuses a hyperparameter's value.
        TrainingError: It fails for another reason.
    """
    with _told_apart(algorithm, params), limited_to(design.threads):
        return _FITTERS[algorithm](dict(params), design, beside)


@contextmanager
def _told_apart(algorithm: str, params: Mapping[str, Any]) -> Iterator[None]:
    """Tell a value that the library refuses from a failure."""
    try:
        yield
    except (InvalidInput, TrainingError):
        raise
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"spec.train.hyperparameters: {algorithm} refuses {shorten(dict(params))}: {error}",
            fix="correct the value",
        ) from error
    except Exception as error:
        # Both boosting libraries raise an exception class of their own for anything at all.
        raise TrainingError(f"{algorithm} failed: {type(error).__name__}: {error}") from error


def balanced(codes: NDArray[np.int64], classes: int) -> Array:
    """Return the weight of each row when every class weighs the same; their mean is 1."""
    counts = np.bincount(codes, minlength=classes)
    return np.asarray((codes.size / (classes * np.maximum(counts, 1)))[codes])


def _linear(params: dict[str, Any], design: Design, beside: Beside | None) -> Stopped:
    del beside  # there are no rounds to stop
    strength = params.pop("alpha", 1.0) if not design.classes else 1.0 / params.pop("C", 1.0)
    params.pop("alpha", None)
    params.pop("C", None)
    scorer = fit_linear(
        design.matrix,
        design.target,
        design.weight,
        design.classes,
        design.categories,
        strength=float(strength),
        monotone=design.monotone,
        **params,
    )
    return Stopped(scorer, 0)


def _hist(params: dict[str, Any], design: Design, beside: Beside | None) -> Stopped:
    from sklearn.ensemble import (
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
    )

    from noria.tasks.tabular.scorers.trees import of_sklearn

    if "n_estimators" in params:
        params["max_iter"] = params.pop("n_estimators")
    mask = np.array(design.categories) > 0
    estimator = HistGradientBoostingClassifier if design.classes else HistGradientBoostingRegressor
    model = estimator(
        **params,
        categorical_features=mask if mask.any() else None,
        monotonic_cst=list(design.monotone) or None,
        early_stopping=beside is not None,
        random_state=design.seed,
    )
    width = design.matrix.shape[1]
    if beside is None:
        model.fit(design.matrix, _labels(design), sample_weight=design.weight)
        return Stopped(of_sklearn(model, width), model.n_iter_)
    model.set_params(n_iter_no_change=beside.patience, tol=0.0)
    model.fit(
        design.matrix,
        _labels(design),
        sample_weight=design.weight,
        X_val=beside.rows.matrix,
        y_val=_labels(beside.rows),
        sample_weight_val=beside.rows.weight,
    )
    # The first score is that of no tree at all.
    best = max(1, int(np.argmax(model.validation_score_)))
    return Stopped(of_sklearn(model, width, best), best)


def _labels(design: Design) -> NDArray[Any]:
    return design.target.astype(np.int64) if design.classes else design.target


def _rounds(params: dict[str, Any]) -> int:
    given = [params.pop(name) for name in ROUNDS if name in params]
    return int(given[0]) if given else DEFAULT_ROUNDS


def _lightgbm(params: dict[str, Any], design: Design, beside: Beside | None) -> Stopped:
    import lightgbm

    from noria.tasks.tabular.ring import settings_of, without_addresses
    from noria.tasks.tabular.scorers.lightgbm_native import LightgbmScorer

    rounds = _rounds(params)
    objective = {0: "regression", 2: "binary"}.get(design.classes, "multiclass")
    settings: dict[str, Any] = {
        "objective": objective,
        **params,
        # What it is measured by to be stopped is the objective itself.
        **({"metric": "none"} if beside is None else {}),
        "seed": design.seed,
        "num_threads": design.threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
        **settings_of(design.world),
    }
    if design.classes > 2:
        settings["num_class"] = design.classes
    if design.monotone:
        settings["monotone_constraints"] = list(design.monotone)
    own = design if beside is not None else design.share
    data = lightgbm.Dataset(
        own.matrix,
        own.target,
        weight=own.weight,
        categorical_feature=[j for j, size in enumerate(design.categories) if size],
        free_raw_data=True,
    )
    if beside is None:
        booster = lightgbm.train(settings, data, num_boost_round=rounds)
        text = booster.model_to_string()
        if design.world.machines:
            # The next fit of these processes listens at the same ports.
            booster.free_network()
            text = without_addresses(text)
        return Stopped(LightgbmScorer(text.encode()), rounds)
    rows = beside.rows
    held = data.create_valid(rows.matrix, rows.target, weight=rows.weight)
    stop = lightgbm.early_stopping(beside.patience, verbose=False)
    booster = lightgbm.train(
        settings, data, num_boost_round=rounds, valid_sets=[held], callbacks=[stop]
    )
    best = booster.best_iteration
    return Stopped(LightgbmScorer(booster.model_to_string(num_iteration=best).encode()), best)


def gains(design: Design, rounds: int = 60) -> Array:
    """Return (d,) how much of the loss each column saves in a quick fit of LightGBM."""
    import lightgbm

    objective = {0: "regression", 2: "binary"}.get(design.classes, "multiclass")
    settings: dict[str, Any] = {
        "objective": objective,
        "num_leaves": 15,
        "feature_fraction": 0.5,
        "seed": design.seed,
        "num_threads": design.threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
        **({"num_class": design.classes} if design.classes > 2 else {}),
    }
    data = lightgbm.Dataset(
        design.matrix,
        design.target,
        weight=design.weight,
        categorical_feature=[j for j, size in enumerate(design.categories) if size],
    )
    with limited_to(design.threads):
        booster = lightgbm.train(settings, data, num_boost_round=rounds)
    return np.asarray(booster.feature_importance("gain"), dtype=np.float64)


def _xgboost(params: dict[str, Any], design: Design, beside: Beside | None) -> Stopped:
    import xgboost

    from noria.tasks.tabular.scorers.xgboost_native import XgboostScorer

    rounds = _rounds(params)
    objective = {0: "reg:squarederror", 2: "binary:logistic"}.get(design.classes, "multi:softprob")
    settings: dict[str, Any] = {
        "objective": objective,
        "tree_method": "hist",
        **params,
        "seed": design.seed,
        "nthread": design.threads,
        "verbosity": 0,
    }
    if design.classes > 2:
        settings["num_class"] = design.classes
    if design.monotone:
        settings["monotone_constraints"] = design.monotone

    def read(rows: Design) -> Any:
        return xgboost.DMatrix(
            rows.matrix,
            rows.target,
            weight=rows.weight,
            feature_types=["c" if size else "q" for size in design.categories],
            enable_categorical=True,
            nthread=design.threads,
        )

    if beside is None:
        booster = xgboost.train(settings, read(design.share), num_boost_round=rounds)
        return Stopped(XgboostScorer(bytes(booster.save_raw("ubj"))), rounds)
    booster = xgboost.train(
        settings,
        read(design),
        num_boost_round=rounds,
        evals=[(read(beside.rows), "held")],
        early_stopping_rounds=beside.patience,
        verbose_eval=False,
    )
    best = booster.best_iteration + 1
    return Stopped(XgboostScorer(bytes(booster[:best].save_raw("ubj"))), best)


_FITTERS: Final = {
    "linear": _linear,
    "hist-gradient-boosting": _hist,
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
}
