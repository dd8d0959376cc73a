"""Recommendations of held-out samples: metrics, popularity beside, champion, gates, plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.measures.catalog import OwnMetric
from noria.measures.measurement import Measurement
from noria.measures.measuring import measure
from noria.spec import ChampionGate, ModelSpec
from noria.tasks.champion import recipe_gate
from noria.tasks.gates import ERROR, FAIL, INCONCLUSIVE, PASS
from noria.tasks.held_out import BLOCK, HeldOut
from noria.tasks.measure import Truth, compare
from noria.tasks.package import load_predictor
from noria.tasks.protocol import Comparison, Evaluation, GateRecord
from noria.tasks.recommendation.accuracy import coverage, novelty
from noria.tasks.recommendation.predictor import PREDICTION
from noria.tasks.recommendation.words import POPULARITY, targets_of

if TYPE_CHECKING:
    from noria.tasks.recommendation.fitting import Samples
    from noria.tasks.recommendation.predictor import Recommender

Array = NDArray[np.float64]
Places = NDArray[np.int64]

BETTER: Final = "better-than-popularity"
"""The gate that every model has which is not popularity itself."""


def _given(numbers: Array, _: Array) -> Array:
    """Return a number for each sample, which is known already, (n,)."""
    return numbers[:, 0]


NOVELTY: Final = OwnMetric(
    "novelty",
    greater_is_better=True,
    low=0.0,
    about="mean self-information of what is recommended, in bits",
    per_sample=_given,
)


def to_frame(numbers: Array) -> pd.DataFrame:
    """Return (n, k) numbers of items as columns ``prediction.next-1`` and so on."""
    targets = targets_of(numbers.shape[1])
    return pd.DataFrame(
        {f"{PREDICTION}.{target}": numbers[:, place] for place, target in enumerate(targets)}
    )


def said_of(frame: pd.DataFrame) -> Array:
    """Return what ``to_frame`` wrote, (n, k)."""
    names = [f"{PREDICTION}.{target}" for target in targets_of(frame.shape[1])]
    return np.ascontiguousarray(frame[names].to_numpy(np.float64))


def measured(
    spec: ModelSpec, samples: Samples, places: Places, said: pd.DataFrame
) -> dict[str, Measurement]:
    """Return every metric of the family, with 95 % intervals."""
    truth, ours = samples.truth[places], said_of(said)
    return {metric.name: measure(metric, truth, ours) for metric in spec.metrics}


def shown(said: pd.DataFrame, model: Recommender) -> dict[str, Measurement]:
    """Return how much of the catalogue is recommended, and how little known it is.

    Args:
        said: What was recommended.
        model: Whose catalogue it is.
    """
    numbers = said_of(said)
    bits = dict(zip(model.numbers.tolist(), (-np.log2(model.shares)).tolist(), strict=True))
    each = novelty(numbers, bits)
    known = each[~np.isnan(each), None]
    # Other blocks may have had items of their own.
    share = coverage(numbers[np.isin(numbers, model.numbers)], model.numbers.size)
    found = {
        "coverage": Measurement(
            value=share,
            samples=len(said),
            problem="is of all of these answers together, and has no interval",
        )
    }
    if known.size:
        found["novelty"] = measure(NOVELTY, known, known)
    return found


def compared(
    spec: ModelSpec,
    gates: Sequence[ChampionGate],
    samples: Samples,
    places: Places,
    ours: pd.DataFrame,
    theirs: pd.DataFrame,
    block: Places | None = None,
) -> tuple[Comparison, ...]:
    """Return a paired comparison per gate of two answers to the same samples."""
    truth = Truth(samples.truth[places], 0, spec.train.seed, block)
    return compare(gates, truth, said_of(ours), said_of(theirs), spec.metrics)


def completed(
    spec: ModelSpec,
    found: Evaluation,
    candidate: Path,
    samples: Samples,
    held_out: HeldOut,
    plots_dir: Path | None,
) -> Evaluation:
    """Return an evaluation with coverage and novelty, the gate by popularity, and plots."""
    model = cast("Recommender", load_predictor(candidate))
    beside, others, gates = held_out.baseline, found.baseline, found.gates
    if beside is not None:
        others = {**others, **shown(beside, model)}
        gates += _beats_popularity(spec, samples, held_out, beside, model)
    plots: tuple[str, ...] = ()
    if plots_dir is not None:
        from noria.tasks.recommendation.plots import draw

        plots = draw(plots_dir, samples, held_out, model)
    metrics = {**found.metrics, **shown(held_out.model, model)}
    return msgspec.structs.replace(
        found, metrics=metrics, baseline=others, gates=gates, plots=plots
    )


def _beats_popularity(
    spec: ModelSpec, samples: Samples, held_out: HeldOut, beside: pd.DataFrame, model: Recommender
) -> tuple[GateRecord, ...]:
    """Judge whether it is better by estimate than what everyone would get; nothing of itself."""
    if model.settings.method == POPULARITY:
        return ()
    places, block = np.arange(len(beside)), held_out.rows[BLOCK].to_numpy(np.int64)
    gates = (recipe_gate(spec),)
    (found,) = compared(spec, gates, samples, places, held_out.model, beside, block)
    gain = found.difference
    if gain is None:
        detail = f"{found.metric} {found.problem}"
        return (GateRecord(BETTER, ERROR, detail, None, 0.0, found.samples),)
    verdict = PASS if gain > 0.0 else FAIL
    if found.samples < spec.gates.min_rows:
        verdict = INCONCLUSIVE
    detail = (
        f"{found.metric} {found.candidate:.4g} against popularity's {found.champion:.4g}: "
        f"better by {gain:+.4g}"
        + ("" if found.low is None else f", from {found.low:+.4g} to {found.high:+.4g}")
        + ("" if gain > 0.0 else "; write algorithm: popularity, or auto")
    )
    return (GateRecord(BETTER, verdict, detail, gain, 0.0, found.samples, found.low, found.high),)
