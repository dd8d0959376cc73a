"""A replay by the clock of the events as a report: the loop beside its first version."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from noria.backtest.rivals import periods
from noria.embedded.answers import Answers, is_whole
from noria.embedded.chronicle import Chronicle
from noria.embedded.replaying import Replayed
from noria.errors import InvalidInput
from noria.measures.measuring import value_of
from noria.replay import Answer, infer_body, moment
from noria.report.figures import Metric, Predictor, Prose, Report, Stretch
from noria.report.words import count, day, number
from noria.spec import Metric as Measured
from noria.tasks.package import load_predictor
from serving.columns import InputBinder
from serving.oip.rest import decode

_PART: Final = 2000
_MOST_METRICS: Final = 3
_WEEK_MS: Final = 7 * 24 * 3_600_000
_POINTS: Final = (10, 160)
"""As few and as many points as a line over the weeks has."""
_NAMES: Final = {"auc": "AUC", "r2": "R²", "mae": "MAE", "rmse": "RMSE"}
_PROSE: Final = Prose(
    how_to_read=(
        (
            "Prequential",
            (
                "Every row was answered before its label was known, then used to keep score. Rows "
                "that the version that answered was fitted on are in no number here."
            ),
        ),
        (
            "The loop",
            (
                "The answer that a client got: from whichever version the traffic split chose, "
                "canaries and mistakes included."
            ),
        ),
        (
            "First version",
            (
                "The version that the replay began with, never touched, asked about the same rows. "
                "It is not asked where features are looked up online."
            ),
        ),
        (
            "Marks under the lines",
            (
                "A diamond is a drift noticed. A triangle up is a new version promoted to all "
                "traffic, a cross is a candidate that a gate refused, a triangle down is a canary "
                "taken back."
            ),
        ),
    ),
    measured=("A label counts from the moment it was known.",),
    not_measured=(
        "Latency and throughput: the rows are replayed far faster than they happened.",
        "What other rules would have reached on the same rows: `noria backtest` tells.",
    ),
)
Scored = Mapping[str, Callable[[Measured], npt.NDArray[np.float64]]]


def report_of(done: Replayed, command: Sequence[object]) -> Report:
    """Return what the page shows.

    Raises:
        InvalidInput: The replay went by the wall's clock: it has no story of its own to tell. Or
            the family measures no rows.
    """
    chronicle = done.chronicle
    if chronicle is None:
        raise InvalidInput(
            "--report: by the wall's clock the loop runs elsewhere", fix="add --clock event"
        )
    spec, history = done.model.spec, done.history
    metrics = spec.watched_metrics[:_MOST_METRICS]
    if not metrics:
        raise InvalidInput(
            f"--report: no metric of {spec.family.name} is measured on rows", fix="leave it out"
        )
    truth, said = _said(done)
    rows = np.flatnonzero(is_whole(truth) & ~done.answers.seen)

    def values(part: npt.NDArray[np.int64]) -> dict[str, dict[str, float | None]]:
        return {m.name: _values(m, truth[part], said, part) for m in metrics}

    found, first = values(rows), metrics[0].name
    log = chronicle.retrain_log()
    months, weeks = _cuts(history.event_ms)
    return Report(
        title=f"Noria: {done.model.name} through the loop",
        headline=_headline(chronicle, first, found[first]),
        facts=(
            f"{done.model.name} · {day(moment(history.event_ms[0]))} to "
            f"{day(moment(history.event_ms[-1]))} · {count(len(rows))} rows"
        ),
        predictors=(
            Predictor("loop", "The loop", "loop", len(log)),
            Predictor("frozen", "First version", "first version", 0),
        ),
        metrics=tuple(
            Metric(m.name, _NAMES.get(m.name, m.name.capitalize()), m.greater_is_better)
            for m in metrics
        ),
        values=found,
        rows=len(rows),
        share=None,
        no_share="No other rule was run on these rows; noria backtest runs several.",
        share_aim=None,
        aims=(),
        period=periods(history.event_ms).kind,
        months=_stretches(months, history.event_ms, rows, values),
        weeks=_stretches(weeks, history.event_ms, rows, values),
        drifts=tuple(chronicle.drifts),
        retrains=log,
        traffic=tuple(chronicle.traffic),
        prose=_PROSE,
        made_by=shlex.join(map(str, command)),
        origin="",
        seconds=done.seconds,
    )


def _said(done: Replayed) -> tuple[npt.NDArray[np.float64], Scored]:
    """Return the labels (n,), and what the loop and its first version said, by metric."""
    truth, loop = done.answers.scored()
    family = done.model.spec.family
    found: dict[str, Any] = {"loop": partial(done.answers.as_read, score=loop, family=family)}
    frozen = _asked(done)
    if frozen is None:
        return truth, found
    known, score = frozen.scored()
    if score.shape != loop.shape:  # later versions knew other classes
        return truth, found
    found["frozen"] = partial(frozen.as_read, score=score, family=family)
    # A class that the first version did not know is measured for neither.
    return np.where(np.isfinite(known), truth, np.nan), found


def _asked(done: Replayed) -> Answers | None:
    """Ask the first version about every row, as its server would; None with online lookups."""
    if done.first is None:
        return None
    predictor = load_predictor(done.first)
    manifest, history = predictor.manifest, done.history
    if manifest.lookup is not None:
        return None
    binder = InputBinder(manifest)
    answers = Answers(history, lambda _: manifest)
    for start in range(0, len(history), _PART):
        rows = slice(start, min(start + _PART, len(history)))
        body = json.dumps(infer_body(history, rows), allow_nan=False).encode()
        outputs = predictor.predict(binder.bind(decode(body, None).tensors).columns)
        answers.take(rows, Answer("", "first", outputs))
    return answers


def _values(
    metric: Measured,
    truth: npt.NDArray[np.float64],
    said: Scored,
    rows: npt.NDArray[np.int64],
) -> dict[str, float | None]:
    found: dict[str, float | None] = {"loop": None, "frozen": None}
    for name, score in said.items():
        value = value_of(metric, truth, score(metric)[rows])
        found[name] = value if math.isfinite(value) else None
    return found


def _cuts(event_ms: npt.NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Return where the months (or parts) and the weeks (or as many points) begin, epoch ms."""
    first, last = int(event_ms[0]), int(event_ms[-1])
    weeks = list(range(first, last + 1, _WEEK_MS))
    if not _POINTS[0] <= len(weeks) <= _POINTS[1]:
        weeks = np.linspace(first, last + 1, 54).astype(np.int64)[:-1].tolist()
    return list(periods(event_ms).starts), weeks


def _stretches(
    starts: list[int], event_ms: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], values: Any
) -> tuple[Stretch, ...]:
    places = np.split(rows, np.searchsorted(event_ms[rows], np.array(starts[1:], np.int64)))
    ends = [*starts[1:], int(event_ms[-1]) + 1]
    return tuple(
        Stretch(
            f"{moment(start):%Y-%m-%d %H:%M}".removesuffix(" 00:00"),
            moment(start),
            moment(end),
            len(part),
            values(part),
        )
        for start, end, part in zip(starts, ends, places, strict=True)
        if len(part)
    )


def _headline(chronicle: Chronicle, metric: str, found: Mapping[str, float | None]) -> str:
    retrains = chronicle.retrains
    runs = f"{retrains} retrain{'' if retrains == 1 else 's'}"
    name = _NAMES.get(metric, metric)
    said = f"With {runs} of its own the loop reached {name} {number(found['loop'], 4)}"
    if found["frozen"] is None:
        return f"{said}."
    return f"{said}; the version that it began with, {number(found['frozen'], 4)}."
