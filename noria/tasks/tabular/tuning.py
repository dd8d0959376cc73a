"""The search of a family that reads a matrix: folds, the metric, and which study it is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from noria.measures.measuring import value_of
from noria.spec import ModelSpec
from noria.tasks.protocol import TuneResult
from noria.tasks.search import search, study_of
from noria.tasks.tabular.fit import Design
from noria.tasks.tabular.folds import Fold, RowFacts
from noria.tasks.tabular.learn import cross_validation

Clock: TypeAlias = Callable[[], float]
Ask: TypeAlias = Callable[[Mapping[str, Any], Fold], NDArray[np.float64]]
"""Fits on one side of a fold and returns what it predicts of the other."""


def tuned(
    spec: ModelSpec,
    design: Design,
    facts: RowFacts,
    ask: Ask,
    workdir: Path,
    code: str = "",
    *,
    held: Sequence[Fold] | None = None,
    seconds: float = math.inf,
    clock: Clock = time.monotonic,
) -> TuneResult:
    """Search hyperparameters as ``spec.train.search`` says; see ``TaskFamily.tune``.

    Args:
        spec: The model.
        design: The rows to tune on.
        facts: About them.
        ask: Fits and predicts.
        workdir: Where the study is kept.
        code: What else the study depends on: the project's own code.
        held: The folds; None: those of the spec.
        seconds: Longest time by the clock, beside the search's own timeout.
        clock: Seconds.
    """
    settings = spec.train.search
    if seconds < settings.timeout.total_seconds():
        settings = settings.model_copy(update={"timeout": timedelta(seconds=max(seconds, 0.0))})
    metric = spec.metric(settings.metric)
    folds = cross_validation(spec, facts) if held is None else held

    def score(params: Mapping[str, Any], place: int) -> float:
        fold = folds[place]
        return value_of(metric, design.target[fold.test], ask(params, fold))

    texts = (
        "\0".join(corpus.texts.tolist()).encode("utf-8", "surrogatepass")
        for corpus in design.corpora.values()
    )
    rows = (design.matrix.tobytes(), design.target.tobytes())
    study = study_of(spec, *rows, *texts, code.encode())
    defaults = dict(spec.train.hyperparameters)
    return search(
        settings,
        defaults,
        score,
        len(folds),
        spec.train.seed,
        workdir,
        study,
        clock=clock,
        metric=metric,
    )
