"""Searching hyperparameters with Optuna, in a study that survives the process.

The study is an sqlite file named after what is searched on what, so that a
killed search carries on and another one starts afresh. Each trial is drawn by
a sampler seeded with the number of finished trials: a search that was killed
ends where the undisturbed one would have.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from noria.deadline import OutOfTime, time_limit
from noria.errors import InvalidInput, TrainingError
from noria.files import sqlite_uri
from noria.measures.measuring import metric_of
from noria.spec import Metric, ModelSpec, Search, SearchRange
from noria.tasks.protocol import Trial, TuneResult

# Fold number -> the metric on that fold.
Score = Callable[[Mapping[str, Any], int], float]


def study_of(spec: ModelSpec, *parts: bytes) -> str:
    """Return the name of a study, by all that its trials depend on.

    More trials or more time carry on with the same study; anything else is another one.

    Args:
        spec: The model.
        parts: The rows, and what else trials depend on.
    """
    exclude: Any = {"compute": True, "budget": True, "search": {"trials", "timeout"}}
    train = spec.train.model_dump(mode="json", exclude=exclude)
    digest = sha256(msgspec.json.encode([train, spec.task.model_dump(mode="json")]))
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def searched(spec: ModelSpec, score: Score, folds: int, workdir: Path, *parts: bytes) -> TuneResult:
    """Search as ``spec.train.search`` says; see ``search``, and ``study_of`` for ``parts``."""
    settings, given = spec.train.search, dict(spec.train.hyperparameters)
    study, metric = study_of(spec, *parts), spec.metric(settings.metric)
    return search(settings, given, score, folds, spec.train.seed, workdir, study, metric=metric)


def search(
    settings: Search,
    defaults: Mapping[str, Any],
    score: Score,
    folds: int,
    seed: int,
    workdir: Path,
    fingerprint: str,
    clock: Callable[[], float] = time.monotonic,
    metric: Metric | None = None,
) -> TuneResult:
    """Find hyperparameters.

    Args:
        settings: Kind, trials, timeout, metric and space.
        defaults: Hyperparameters that every trial starts from; the first trial is they alone.
        score: Fits on a fold and returns the metric.
        folds: Number of folds; the mean over them is what is improved.
        seed: Of the sampler.
        workdir: Where the study is kept.
        fingerprint: Of the rows and of everything that ``score`` depends on.
        clock: Seconds, for the timeout, which also ends a trial under way.
        metric: The one that ``settings`` names, where it may be one of the family's own:
            ``spec.metric(settings.metric)``.

    Returns the defaults, without a metric, when no trial ends in time.

    Raises:
        TrainingError: No trial completed, or the study can't be kept.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    greater = (metric or metric_of(settings.metric)).greater_is_better
    pruner = (
        optuna.pruners.MedianPruner(n_startup_trials=4)
        if settings.kind == "bayesian"
        else optuna.pruners.NopPruner()
    )
    finished = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    grid = list(_grid(settings)) if settings.kind == "grid" else []
    wanted = min(len(grid), settings.trials) if grid else settings.trials
    with _storage(workdir) as storage:
        study = optuna.create_study(
            storage=storage,
            study_name=fingerprint,
            load_if_exists=True,
            direction="maximize" if greater else "minimize",
            pruner=pruner,
        )
        for stale in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            # Its process is gone; what it had drawn is drawn again.
            study.tell(stale.number, state=optuna.trial.TrialState.FAIL)
        deadline = clock() + settings.timeout.total_seconds()

        def timed(params: Mapping[str, Any], fold: int) -> float:
            # Around the fits alone: the alarm must not meet the study's database in a commit.
            with time_limit(deadline - clock()):
                return score(params, fold)

        while True:
            done = len(study.get_trials(deepcopy=False, states=finished))
            if done >= wanted or clock() >= deadline:
                break
            study.sampler = _sampler(optuna, settings, seed + done)
            trial = study.ask()
            if grid:
                drawn = grid[done]
            elif done == 0:
                drawn = {}
            else:
                drawn = _draw(trial, settings.space)
            trial.set_user_attr("params", {**defaults, **drawn})
            try:
                _run(optuna, study, trial, {**defaults, **drawn}, timed, folds)
            except OutOfTime:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                break
        return _result(optuna, study, settings, defaults, 1.0 if greater else -1.0)


def _run(
    optuna: Any,
    study: Any,
    trial: Any,
    params: Mapping[str, Any],
    score: Score,
    folds: int,
) -> None:
    values: list[float] = []
    for fold in range(folds):
        try:
            values.append(score(params, fold))
        except InvalidInput as error:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise InvalidInput(
                f"spec.train.search: trial {trial.number} with {dict(params)}: {error.message}",
                fix=error.fix,
            ) from error
        mean = float(np.mean(values))
        if not np.isfinite(mean):
            # An undefined metric is a bad trial, not the end of the search.
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return
        trial.report(mean, fold)
        if fold + 1 < folds and trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return
    study.tell(trial, float(np.mean(values)))


def _sampler(optuna: Any, settings: Search, seed: int) -> Any:
    if settings.kind == "bayesian":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(10, settings.trials // 2))
    return optuna.samplers.RandomSampler(seed=seed)


def _draw(trial: Any, space: Mapping[str, SearchRange]) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    for name in sorted(space):
        values = space[name]
        if values.choices is not None:
            drawn[name] = trial.suggest_categorical(name, list(values.choices))
        elif values.low is not None and values.high is not None:
            whole = float(values.low).is_integer() and float(values.high).is_integer()
            if whole:
                low, high = int(values.low), int(values.high)
                drawn[name] = trial.suggest_int(name, low, high, log=values.log)
            else:
                drawn[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
    return drawn


def _grid(settings: Search) -> Iterator[dict[str, Any]]:
    names = sorted(settings.space)
    for values in itertools.product(*(settings.space[name].choices or () for name in names)):
        yield dict(zip(names, values, strict=True))


@contextmanager
def _storage(workdir: Path) -> Iterator[Any]:
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    storage = None
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        storage = optuna.storages.RDBStorage(sqlite_uri(workdir / "study.sqlite"))
        yield storage
    except (SQLAlchemyError, OSError, optuna.exceptions.StorageInternalError) as error:
        raise TrainingError(
            f"{workdir}: the study can't be kept: {error}", fix="give a folder that can be written"
        ) from error
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


def _result(
    optuna: Any, study: Any, settings: Search, defaults: Mapping[str, Any], sign: float
) -> TuneResult:
    metric = settings.metric
    complete = optuna.trial.TrialState.COMPLETE
    trials = [trial for trial in study.get_trials(deepcopy=False) if "params" in trial.user_attrs]
    kept = [trial for trial in trials if trial.state.is_finished() and trial.state.name != "FAIL"]
    records = tuple(
        Trial(
            number,
            trial.user_attrs["params"],
            trial.value if trial.state == complete else None,
            trial.state.name.lower(),
        )
        for number, trial in enumerate(kept)
    )
    completed = [record for record in records if record.value is not None]
    if not records:
        # Not one trial ended in time: what is known to be sound is trained with.
        return TuneResult(dict(defaults), metric=metric)
    if not completed:
        raise TrainingError(
            f"spec.train.search: no trial completed; {metric} is not defined on the folds",
            fix="give more rows, fewer folds, or another metric",
        )
    best = max(completed, key=lambda record: sign * (record.value or 0.0))
    return TuneResult(dict(best.params), records, best.value, metric)
