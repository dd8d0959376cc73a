"""Held-out rows of several labels: metrics, champion, gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError
from noria.spec import ModelSpec
from noria.tasks.champion import against, not_compared
from noria.tasks.gates import judge
from noria.tasks.held_out import BLOCK, HeldOut
from noria.tasks.measure import Truth
from noria.tasks.multilabel.predictor import PREDICTION
from noria.tasks.multilabel.rows import alone, labels_of
from noria.tasks.package import load_predictor, read_manifest
from noria.tasks.protocol import Comparison, Evaluation
from noria.tasks.tabular.deciding import told
from noria.tasks.tabular.evaluation import (
    compared,
    measured,
    said_of,
    to_frame,
    with_limits,
)
from noria.tasks.tabular.schema import columns_of
from noria.tasks.tabular.seen import refuse_seen, unseen

Array = NDArray[np.float64]


def answered(said: Array, limits: Sequence[float]) -> pd.DataFrame:
    """Return (n, k) probabilities as columns, with the thresholds of the model that said them."""
    return with_limits(limits, to_frame(said, {}))


def asked(package: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Return what the model of a package says of rows."""
    model = load_predictor(package)
    manifest = model.manifest
    columns: Mapping[str, np.ndarray] = columns_of(manifest.features, manifest.event_time, rows)
    return answered(model.predict(columns)[PREDICTION], manifest.limits)


def evaluate(
    spec: ModelSpec, candidate: Path, test: pd.DataFrame, held_out: HeldOut, champion: Path | None
) -> Evaluation:
    """Measure what was said of held-out rows; see ``TaskFamily.evaluate``."""
    if test.empty:
        raise DataError("there are no held-out rows", fix="raise spec.data.split.testFraction")
    manifest = read_manifest(candidate)
    block = held_out.rows[BLOCK].to_numpy(np.int64)
    refuse_seen(spec, manifest, test.iloc[np.flatnonzero(block == block.max())])
    truth = Truth(labels_of(spec, test), 0, spec.train.seed, block)
    said, beside = held_out.model, held_out.baseline
    values = measured(spec, truth, said)
    comparisons, broken = against(champion, partial(_against, spec, said, truth, test))
    return Evaluation(
        rows=truth.rows,
        metrics=values,
        baseline={} if beside is None else measured(spec, truth, beside),
        comparisons=comparisons,
        gates=judge(spec.gates, values, comparisons, broken, held_out.choice),
        choice=held_out.choice,
        notes=_told(spec, manifest.target_names, manifest.limits, truth.values, said_of(said)),
    )


def _told(
    spec: ModelSpec, labels: Sequence[str], limits: Sequence[float], truth: Array, said: Array
) -> tuple[str, ...]:
    """Return what each label's threshold brought, a sentence for each."""
    return tuple(
        f"{label}: {sentence}"
        for place, label in enumerate(labels)
        for sentence in told(
            alone(spec, place), limits[place : place + 1], truth[:, place], said[:, place]
        )
    )


def _against(
    spec: ModelSpec, said: pd.DataFrame, truth: Truth, test: pd.DataFrame, champion: Path
) -> tuple[Comparison, ...]:
    """Compare with the champion on the rows that it has not been fitted on."""
    manifest = read_manifest(champion)
    if manifest.family != spec.task.family:
        raise DataError(f"it is of the family {manifest.family}")
    labels = tuple(spec.task.options.labels)  # type: ignore[attr-defined]
    if manifest.target_names != labels:
        theirs = ", ".join(manifest.target_names)
        raise DataError(f"it predicts {theirs}, the candidate {', '.join(labels)}")
    fresh = unseen(spec, manifest, test)
    if not fresh.size:
        return not_compared(spec, "no labelled row is newer than the champion")
    other, ours, known = asked(champion, test.iloc[fresh]), said.iloc[fresh], truth.take(fresh)
    return tuple(compared(spec, gate, known, ours, other) for gate in spec.gates.champion)
