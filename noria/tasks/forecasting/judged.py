"""Forecasts of held-out samples: metrics, champion, gates, plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.measures.catalog import OwnMetric
from noria.measures.measurement import Measurement
from noria.measures.measuring import measure
from noria.spec import ChampionGate, ModelSpec
from noria.tasks.forecasting.accuracy import coverage, weighted_quantile_loss
from noria.tasks.forecasting.describe import MASE, NAIVE, RMSSE, SKILL, options_of
from noria.tasks.forecasting.hierarchy import ALL
from noria.tasks.forecasting.panel import targets_of
from noria.tasks.forecasting.predictor import PREDICTION
from noria.tasks.held_out import HeldOut
from noria.tasks.measure import Truth, compare
from noria.tasks.protocol import Comparison, Evaluation

if TYPE_CHECKING:
    from noria.tasks.forecasting.fitting import Samples

Array = NDArray[np.float64]
Places = NDArray[np.int64]


UNRECONCILED: Final = "unreconciled"
"""What a method says of a node before it is made to agree with the others."""


def _given(numbers: Array, _: Array) -> Array:
    """Return a number for each sample, which is known already, (n,)."""
    return numbers[:, 0]


COVERAGE: Final = OwnMetric(
    "coverage",
    greater_is_better=True,
    low=0.0,
    high=1.0,
    about="share of the values that lay in the interval",
    per_sample=_given,
)
WQL: Final = OwnMetric(
    "wql",
    greater_is_better=False,
    low=0.0,
    about="weighted quantile loss of forecast and intervals",
    per_sample=_given,
)


def to_frame(outputs: Mapping[str, Array]) -> pd.DataFrame:
    """Return (n, h) outputs as columns ``prediction.t+1`` and so on."""
    return pd.DataFrame(
        {
            f"{name}.{target}": values[:, step]
            for name, values in outputs.items()
            for step, target in enumerate(targets_of(values.shape[1]))
        }
    )


def said_of(frame: pd.DataFrame, horizon: int, output: str = PREDICTION) -> Array:
    """Return an output that ``to_frame`` wrote, (n, h)."""
    names = [f"{output}.{target}" for target in targets_of(horizon)]
    return np.ascontiguousarray(frame[names].to_numpy(np.float64))


def in_units(metric: str, samples: Samples, places: Places, said: Array) -> tuple[Array, Array]:
    """Return futures and forecasts of samples as a metric reads them, (n, h) each.

    Those of a scaled metric are in units of each history's own scale, so that series of different
    sizes count alike. Of ``skill`` forecasts are (n, h, 2), the seasonal naive's beside them.
    """
    if metric == SKILL.name:
        naive = samples.by(NAIVE, places)
        return samples.futures[places], np.stack([said, naive], axis=-1)
    scales = {MASE.name: samples.scale, RMSSE.name: samples.root_scale}
    unit = scales[metric][places, None] if metric in scales else 1.0
    return samples.futures[places] / unit, said / unit


def measured(
    spec: ModelSpec, samples: Samples, places: Places, said: pd.DataFrame
) -> dict[str, Measurement]:
    """Return every metric of the family, with 95 % intervals."""
    forecasts = said_of(said, samples.futures.shape[1])
    found = {}
    for metric in spec.metrics:
        truth, ours = in_units(metric.name, samples, places, forecasts)
        found[metric.name] = measure(metric, truth, ours)
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
    """Return a paired comparison per gate of two forecasts of the same samples."""
    horizon = samples.futures.shape[1]
    found: list[Comparison] = []
    for gate in gates:
        metric = spec.metric(gate.metric)
        truth, one = in_units(metric.name, samples, places, said_of(ours, horizon))
        _, other = in_units(metric.name, samples, places, said_of(theirs, horizon))
        known = Truth(truth, 0, spec.train.seed, block)
        found.extend(compare([gate], known, one, other, spec.metrics))
    return tuple(found)


def levels_of(spec: ModelSpec, said: pd.DataFrame) -> tuple[int, ...]:
    """Return the levels, in percent, that forecasts have intervals of."""
    return tuple(n for n in options_of(spec).levels if f"lower-{n}.t+1" in said)


def of_intervals(
    spec: ModelSpec, samples: Samples, places: Places, said: pd.DataFrame
) -> dict[str, Measurement]:
    """Return how often the intervals of each level hold, and how good the quantiles are."""
    horizon, truth = samples.futures.shape[1], samples.futures[places]
    found: dict[str, Measurement] = {}
    quantiles = {0.5: said_of(said, horizon)}
    for level in levels_of(spec, said):
        low, high = (said_of(said, horizon, f"{end}-{level}") for end in ("lower", "upper"))
        inside = coverage(truth, low, high)[:, None]
        found[f"coverage-{level}"] = measure(COVERAGE, inside, inside)
        quantiles |= {0.5 - level / 200: low, 0.5 + level / 200: high}
    losses = weighted_quantile_loss(truth, quantiles)[:, None]
    return {**found, "wql": measure(WQL, losses, losses)}


def completed(
    spec: ModelSpec,
    found: Evaluation,
    samples: Samples,
    held_out: HeldOut,
    plots_dir: Path | None,
) -> Evaluation:
    """Return an evaluation with what is measured of levels and intervals, and plots."""
    levels, notes = of_levels(spec, samples, held_out.model)
    shown = of_intervals(spec, samples, np.arange(found.rows), held_out.model)
    plots: tuple[str, ...] = ()
    if plots_dir is not None:
        from noria.tasks.forecasting.plots import draw

        plots = draw(plots_dir, spec, samples, held_out)
    return msgspec.structs.replace(
        found,
        metrics={**found.metrics, **shown, **levels},
        plots=plots,
        notes=(*found.notes, *notes),
    )


def of_levels(
    spec: ModelSpec, samples: Samples, said: pd.DataFrame
) -> tuple[dict[str, Measurement], tuple[str, ...]]:
    """Return MASE of each level of a hierarchy, reconciled, and a sentence of each about before."""
    horizon, options = samples.futures.shape[1], options_of(spec)
    if not options.hierarchy or f"{UNRECONCILED}.t+1" not in said:
        return {}, ()
    key = list(spec.data.entity_key)
    summed = samples.frame[key].to_numpy(object).astype(str) == ALL
    found: dict[str, Measurement] = {}
    notes: list[str] = []
    levels = {"-".join(level) or "all": set(level) for level in ((), *options.hierarchy, key)}
    for name, level in levels.items():
        alike = np.array([column not in level for column in key])
        rows = np.flatnonzero((summed == alike).all(axis=1))
        if not rows.size:
            continue
        after, before = (
            measure(MASE, *in_units(MASE.name, samples, rows, said_of(said, horizon, output)[rows]))
            for output in (PREDICTION, UNRECONCILED)
        )
        found[f"mase-{name}"] = after
        notes.append(
            f"Reconciled by {options.reconcile}, the level {name} has a MASE of {after.value:.3f} "
            f"on {rows.size} held-out forecasts, {before.value:.3f} before."
        )
    return found, tuple(notes)
