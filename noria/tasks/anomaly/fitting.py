"""Fitting: some of the rows make the detector, the others its threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.errors import DataError
from noria.spec import ModelSpec
from noria.tasks.anomaly import (
    ANOMALY,
    BACKENDS,
    EXPECTED,
    HISTORY,
    LOWER,
    PREDICTION,
    REASONS,
    RESIDUAL,
    UPPER,
    WEIGHTS,
)
from noria.tasks.anomaly.calibration import Calibration
from noria.tasks.anomaly.describe import least_of, options_of, season_of
from noria.tasks.anomaly.detectors import registry, residual
from noria.tasks.anomaly.predictor import Anomalous, AnomalyPredictor
from noria.tasks.anomaly.residuals import LEAST, ResidualPredictor
from noria.tasks.anomaly.space import space_of
from noria.tasks.fitted import FittedPredictor
from noria.tasks.package import Feature, Input, Manifest, Output
from noria.tasks.tabular.family import PreparedTabular, manifest_of
from noria.tasks.tabular.threads import limited_to

Array = NDArray[np.float64]
Places = NDArray[np.int64]

PIECES: Final = 20
"""Pieces of time that calibration rows are taken out of: neighbours in time are alike, and a row
that the detector knows almost as it is would make the threshold too low."""

MOST: Final = 20_000
"""Calibration rows at most: more would not make the threshold better."""

_LEAST: Final = 10
"""Rows that a detector is fitted on at least."""

_THINNEST: Final = 256
"""Rows that are left of weighted ones at least, where there are so many."""


class Fitted(FittedPredictor[Anomalous]):
    """A detector and its threshold between ``fit`` and ``save``."""


def fit(
    spec: ModelSpec,
    prepared: PreparedTabular,
    places: Places,
    params: Mapping[str, Any],
    weight: Array | None,
    algorithm: str = "",
) -> Fitted:
    """Fit on the rows at places; see ``TaskFamily.fit``.

    Rows that weigh less are left out of the detector more often; all of them calibrate.

    Raises:
        DataError: There are too few rows to calibrate the asked alarm rate.
        InvalidInput: A hyperparameter is refused.
    """
    options, design = options_of(spec), prepared.design
    algorithm = algorithm or BACKENDS[options.backend] + spec.train.algorithm
    event = prepared.facts.event
    held = calibrating(
        None if event is None else event[places],
        places.size,
        options.calibration_share,
        design.seed,
    )
    if places.size - held.sum() < _LEAST:
        raise DataError(
            f"{places.size - int(held.sum())} rows are left to fit a detector on",
            fix=f"give {_LEAST} or more beside those that calibrate it",
        )
    kept = ~held
    if weight is not None:
        kept &= thinned(weight, design.seed)
    learnt, apart = design.matrix[places[kept]], design.matrix[places[held]]
    if options.history is not None:
        return Fitted(_of_series(spec, prepared, places, learnt, apart, params))
    with limited_to(design.threads):
        space = space_of(prepared.features, learnt)
        seen = space.of(learnt)
        detector = registry.fit(algorithm, seen, params, design.seed, design.threads)
        scores = detector.score(space.of(apart))
    calibration = Calibration.of(scores, options.alarm_rate)
    manifest = _manifest(spec, prepared, places, algorithm, params, calibration)
    typical = _typical(prepared.features, learnt)
    return Fitted(AnomalyPredictor(manifest, space, detector, calibration, typical))


def _of_series(
    spec: ModelSpec,
    prepared: PreparedTabular,
    places: Places,
    learnt: Array,
    apart: Array,
    params: Mapping[str, Any],
) -> ResidualPredictor:
    """Return the model of values (n, 1 + L) with their past, calibrated by others."""
    options, design = options_of(spec), prepared.design
    asked = {**params, "season": season_of(options)}
    with limited_to(design.threads):
        detector = residual.fit(learnt, asked, design.seed, design.threads)
        calibration = Calibration.of(detector.score(apart), options.alarm_rate)
    manifest = _manifest(spec, prepared, places, RESIDUAL, params, calibration)
    width = int(options.history or 0)
    outputs = (Output(name, "FP64") for name in (EXPECTED, LOWER, UPPER))
    manifest = msgspec.structs.replace(
        manifest,
        inputs=(*manifest.inputs, Input(HISTORY, "FP64", "series", width=width)),
        outputs=(*manifest.outputs[:2], *outputs),
        options={**manifest.options, "reasons": 0, LEAST: least_of(options)},
    )
    return ResidualPredictor(manifest, detector, calibration)


def calibrating(event: Places | None, rows: int, share: float, seed: int) -> NDArray[np.bool_]:
    """Say of n rows which calibrate, (n,): random ones, or whole pieces of time.

    Args:
        event: (n,) event times; None: rows have no time.
        rows: n.
        share: Of the rows that calibrate.
        seed: Chooses them.
    """
    rng = np.random.default_rng(seed)
    wanted = min(int(np.ceil(rows * share)), MOST)
    if event is None:
        held = np.zeros(rows, np.bool_)
        held[rng.choice(rows, wanted, replace=False)] = True
        return held
    # Within each piece of time the middle calibrates, so that old and new rows do.
    rank = np.empty(rows)
    rank[np.argsort(event, kind="stable")] = np.arange(rows) * PIECES / max(rows, 1)
    within = rank % 1.0
    half = wanted / max(rows, 1) / 2.0
    return np.asarray((within >= 0.5 - half) & (within < 0.5 + half))


def thinned(weight: Array, seed: int) -> NDArray[np.bool_]:
    """Say which rows are kept, (n,): each with its weight as a share of the greatest."""
    drawn, share = np.random.default_rng(seed).random(weight.size), weight / weight.max()
    kept: NDArray[np.bool_] = drawn < share
    least = min(weight.size, _THINNEST)
    if kept.sum() < least:
        kept[np.argsort(drawn / np.maximum(share, 1e-300), kind="stable")[:least]] = True
    return kept


def _typical(features: tuple[Feature, ...], matrix: Array) -> Array:
    found, first = np.zeros(matrix.shape[1]), 0
    for feature in features:
        part = matrix[:, first : first + feature.size]
        known = part[~np.isnan(part).any(axis=1)]
        if not known.size:
            found[first : first + feature.size] = np.nan
        elif feature.kind in ("categorical", "boolean"):
            codes, counts = np.unique(known[:, 0], return_counts=True)
            found[first] = codes[counts.argmax()]
        else:
            found[first : first + feature.size] = np.median(known, axis=0)
        first += feature.size
    return found


def _manifest(
    spec: ModelSpec,
    prepared: PreparedTabular,
    places: Places,
    algorithm: str,
    params: Mapping[str, Any],
    calibration: Calibration,
) -> Manifest:
    manifest = manifest_of(spec, prepared, places, algorithm, params)
    count = options_of(spec).reasons
    outputs = [Output(PREDICTION, "FP64"), Output(ANOMALY, "BOOL")]
    if count:
        outputs += [Output(REASONS, "BYTES", (count,)), Output(WEIGHTS, "FP64", (count,))]
    return msgspec.structs.replace(
        manifest,
        outputs=tuple(outputs),
        features=(*manifest.features, Feature(ANOMALY, "boolean", "descriptor")),
        options={
            **manifest.options,
            "threshold": calibration.threshold,
            "calibrationRows": calibration.rows,
        },
    )
