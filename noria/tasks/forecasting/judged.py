"""Forecasts of held-out samples: metrics, champion, gates, plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError, LeakageError, NoriaError
from noria.measures.catalog import OwnMetric
from noria.measures.measurement import Measurement
from noria.measures.measuring import measure
from noria.spec import ChampionGate, ModelSpec
from noria.tasks.forecasting.family import known_until, options_of
from noria.tasks.forecasting.panel import targets_of
from noria.tasks.forecasting.predictor import PREDICTION
from noria.tasks.forecasting.steps import Steps
from noria.tasks.gates import judge
from noria.tasks.held_out import BLOCK, HeldOut
from noria.tasks.measure import Truth, compare
from noria.tasks.package import read_manifest
from noria.tasks.protocol import Comparison, Evaluation
from noria.tasks.sources.rows import moments

if TYPE_CHECKING:
    from noria.tasks.forecasting.family import Forecasting, Samples

Array = NDArray[np.float64]
Places = NDArray[np.int64]

OF_SERIES: Final = "series"

COVERAGE: Final = OwnMetric(
    "coverage",
    greater_is_better=True,
    low=0.0,
    high=1.0,
    about="share of the values that lay in the interval",
    per_sample=lambda _, inside: inside[:, 0],
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


def in_units(of: str, samples: Samples, places: Places, said: Array) -> tuple[Array, Array]:
    """Return futures and forecasts of samples as a metric reads them, (n, h) each.

    Those of a metric ``of`` series are in units of the size of each history's own seasonal
    differences, so that series of different sizes count alike.
    """
    unit = samples.scale[places, None] if of == OF_SERIES else 1.0
    return samples.futures[places] / unit, said / unit


def measured(
    spec: ModelSpec, samples: Samples, places: Places, said: pd.DataFrame
) -> dict[str, Measurement]:
    """Return every metric of the family, with 95 % intervals."""
    forecasts = said_of(said, samples.futures.shape[1])
    found = {}
    for metric in spec.metrics:
        truth, ours = in_units(metric.of, samples, places, forecasts)
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
        truth, one = in_units(metric.of, samples, places, said_of(ours, horizon))
        _, other = in_units(metric.of, samples, places, said_of(theirs, horizon))
        known = Truth(truth, 0, spec.train.seed, block)
        found.extend(compare([gate], known, one, other, spec.metrics))
    return tuple(found)


def levels_of(spec: ModelSpec, said: pd.DataFrame) -> tuple[int, ...]:
    """Return the levels, in percent, that forecasts have intervals of."""
    return tuple(n for n in options_of(spec).levels if f"lower-{n}.t+1" in said)


def covered(samples: Samples, places: Places, said: pd.DataFrame, level: int) -> Measurement:
    """Return the share of values that lay in the intervals of a level, 0 to 1."""
    horizon = samples.futures.shape[1]
    low, high = (said_of(said, horizon, f"{end}-{level}") for end in ("lower", "upper"))
    truth = samples.futures[places]
    inside = ((truth >= low) & (truth <= high)).mean(axis=1)
    return measure(COVERAGE, np.ones((len(places), 1)), inside[:, None])


def evaluate(
    tasks: Forecasting,
    spec: ModelSpec,
    candidate: Path,
    test: pd.DataFrame,
    held_out: HeldOut,
    champion: Path | None,
    plots_dir: Path | None,
) -> Evaluation:
    """Measure forecasts; see ``TaskFamily.evaluate``."""
    if test.empty:
        raise DataError("there are no held-out samples", fix="raise spec.data.split.testFraction")
    samples, places = tasks.prepare(spec, test.reset_index(drop=True)), np.arange(len(test))
    event = moments(test, str(spec.data.event_time))
    block = held_out.rows[BLOCK].to_numpy(np.int64)
    steps = Steps.of(options_of(spec))
    until = known_until(read_manifest(candidate), steps)
    if until is not None and until > int(event[block == block.max()].min()):
        raise LeakageError(
            "the model was fitted on values later than the held-out origins",
            fix="evaluate the package that predicted them, before the refit (spec.train.refit)",
        )
    values = measured(spec, samples, places, held_out.model)
    comparisons: tuple[Comparison, ...] = ()
    broken = ""
    if champion is not None:
        try:
            comparisons = _against(tasks, spec, samples, event, held_out, champion)
        except NoriaError as error:
            broken = f"the champion can't be asked: {error}"
    beside = held_out.baseline
    shown = {
        f"coverage-{level}": covered(samples, places, held_out.model, level)
        for level in levels_of(spec, held_out.model)
    }
    plots: tuple[str, ...] = ()
    if plots_dir is not None:
        from noria.tasks.forecasting.plots import draw

        plots = draw(plots_dir, spec, samples, held_out)
    return Evaluation(
        rows=len(test),
        metrics={**values, **shown},
        baseline={} if beside is None else measured(spec, samples, places, beside),
        comparisons=comparisons,
        gates=judge(spec.gates, values, comparisons, broken, held_out.choice),
        plots=plots,
        choice=held_out.choice,
    )


def _against(
    tasks: Forecasting,
    spec: ModelSpec,
    samples: Samples,
    event: Places,
    held_out: HeldOut,
    champion: Path,
) -> tuple[Comparison, ...]:
    """Compare with the champion on the samples whose futures it does not know."""
    manifest = read_manifest(champion)
    if manifest.family != spec.task.family:
        raise DataError(f"it is of the family {manifest.family}")
    horizon = samples.futures.shape[1]
    if len(manifest.target_names) != horizon:
        raise DataError(f"it forecasts {len(manifest.target_names)} steps, the candidate {horizon}")
    until = known_until(manifest, Steps.of(options_of(spec)))
    fresh = np.arange(len(event)) if until is None else np.flatnonzero(event >= until)
    if not fresh.size:
        said = "no origin is newer than what the champion knows"
        return tuple(
            Comparison(gate.metric, 0, gate.confidence, problem=said)
            for gate in spec.gates.champion
        )
    theirs = tasks.predict(spec, champion, samples, fresh)
    ours = held_out.model.iloc[fresh].reset_index(drop=True)
    block = held_out.rows[BLOCK].to_numpy(np.int64)[fresh]
    return compared(spec, spec.gates.champion, samples, fresh, ours, theirs, block)
