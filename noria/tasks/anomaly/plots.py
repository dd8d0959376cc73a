"""Plots of anomalies, as small PNG files: scores, the threshold, and what the alarms are about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.tasks.anomaly import ANOMALY, PREDICTION
from noria.tasks.anomaly.predictor import Anomalous, AnomalyPredictor
from noria.tasks.plots import BLUE, GREY, INK, write
from noria.tasks.sources.rows import moments
from noria.tasks.tabular.evaluation import encode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from noria.spec import ModelSpec

Array = NDArray[np.float64]

_RED: Final = "#dc2626"
_MOST: Final = 5000
_NAMED: Final = 12
_RATES: Final = np.array([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5])


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """What the plots show: held-out rows in order of time, and what was said of them."""

    model: Anomalous
    rows: pd.DataFrame
    when: NDArray[Any]
    labels: Array
    score: Array
    alarm: NDArray[np.bool_]
    rate: float


def draw(
    folder: Path,
    spec: ModelSpec,
    model: Anomalous,
    test: pd.DataFrame,
    labels: Array,
    said: pd.DataFrame,
) -> tuple[str, ...]:
    """Write the plots and return their file names.

    Raises:
        TrainingError: A file can't be written.
    """
    event_time = spec.data.event_time
    when: NDArray[Any] = np.arange(len(test))
    if event_time is not None:
        when = moments(test, event_time).astype("datetime64[ms]")
    shown = _Drawn(
        model,
        test,
        when,
        labels,
        said[PREDICTION].to_numpy(np.float64),
        said[ANOMALY].to_numpy(np.float64) == 1.0,
        float(model.manifest.options["alarmRate"]),
    )
    plots: dict[str, Callable[[Figure, _Drawn], None]] = {
        "scores.png": _scores,
        "false-alarms.png": _false_alarms,
    }
    if (
        isinstance(model, AnomalyPredictor)
        and shown.alarm.any()
        and model.manifest.options["reasons"]
    ):
        plots["reasons.png"] = partial(_reasons, model)
    return write(folder, plots, shown, (7.0, 3.8))


def _scores(figure: Figure, shown: _Drawn) -> None:
    """How unlike the others each held-out row is, as 1 - prediction on a logarithmic axis."""
    axes = figure.add_subplot()
    kept = np.arange(shown.score.size)
    if kept.size > _MOST:
        kept = np.unique(np.r_[kept[:: kept.size // _MOST + 1], np.flatnonzero(shown.alarm)])
    unlike = np.maximum(1.0 - shown.score, 1e-9)
    known = shown.labels == 1.0
    for mine, colour, name in (
        (~known & ~shown.alarm, GREY, "no alarm"),
        (~known & shown.alarm, BLUE, "alarm"),
        (known, _RED, "labelled as an anomaly"),
    ):
        places = kept[mine[kept]]
        if places.size:
            axes.scatter(
                shown.when[places], unlike[places], s=10, c=colour, linewidths=0, label=name
            )
    limit = 1.0 - shown.model.calibration.threshold
    axes.axhline(limit, color=INK, linewidth=1.0, linestyle="--", label="threshold")
    axes.set_yscale("log")
    axes.invert_yaxis()
    axes.set_ylabel("share of rows that are more unlike")
    axes.set_title(f"Held-out rows; {int(shown.alarm.sum())} of {shown.alarm.size} alarm")
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.tick_params(axis="x", labelrotation=20)


def _false_alarms(figure: Figure, shown: _Drawn) -> None:
    """The share of rows that would alarm against the asked one, at other rates too."""
    axes = figure.add_subplot()
    usual = shown.score[shown.labels != 1.0]
    calibration = shown.model.calibration
    rates = _RATES[_RATES * (calibration.rows + 1) >= 1.0]
    found = np.array([(usual > 1.0 - rate).mean() for rate in rates])
    axes.plot(rates, rates, color=GREY, linestyle="--", label="as asked")
    found = np.where(found > 0.0, found, np.nan)  # none is nowhere on a logarithmic axis
    axes.plot(rates, found, "o-", color=BLUE, label="held-out rows")
    axes.axvline(shown.rate, color=INK, linewidth=1.0, label="alarmRate")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("asked share of alarms")
    axes.set_ylabel("share of alarms")
    labelled = "not labelled as anomalies, " if (shown.labels == 1.0).any() else ""
    axes.set_title(f"{usual.size} held-out rows {labelled}{calibration.rows} calibrated")
    axes.legend(fontsize="small")


def _reasons(model: AnomalyPredictor, figure: Figure, shown: _Drawn) -> None:
    """What the alarms name first."""
    axes = figure.add_subplot()
    places = np.flatnonzero(shown.alarm)[:_MOST]
    matrix = encode(model, shown.rows.iloc[places])
    first = Counter(str(names[0]) for names in model.reasons(matrix)[0])
    best = first.most_common(_NAMED)[::-1]
    axes.barh([name or "none alone" for name, _ in best], [count for _, count in best], color=BLUE)
    axes.set_xlabel("alarms")
    axes.set_title(f"The strongest reason of {places.size} alarms")
