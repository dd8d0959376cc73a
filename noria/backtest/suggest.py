"""Choosing the policy's few numbers on the first part of a history, shown on the rest.

Each setting in turn takes the value that was better by more than one standard error of the
paired difference, on rows that come before all that are reported. What was written stays else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from noria.backtest.history import History
from noria.backtest.pool import Pool
from noria.backtest.progress import Progress
from noria.backtest.run import Backtest, Looped
from noria.measures.catalog import Metric
from noria.measures.measuring import compare
from noria.spec import Model, parse_model

FIRST_PART: Final = 0.6
"""The share of the streamed rows that settings are chosen on."""

_FACTORS: Final = (0.5, 2.0)
_ONE_ERROR: Final = 0.6826895

SETTINGS: Final = (
    ("retraining", "newData", "growth"),
    ("retraining", "change", "rows"),
    ("monitoring", "performance", "drop", "max"),
)
"""What is chosen: half, as it is, and twice."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The model as it is suggested, and which of its settings that changed, by path."""

    model: Model
    changed: Mapping[str, float]

    def yaml(self) -> str:
        """Return the settings as they are written in model.yaml."""
        tree: dict[str, Any] = {}
        for path, value in self.changed.items():
            _put(tree, tuple(path.split(".")), value)
        return yaml.safe_dump({"spec": tree}, sort_keys=False)


def parts(history: History) -> tuple[History, History]:
    """Return the history to choose on, and the one to report: it starts where the other ends."""
    cut = history.start + int(history.streamed * FIRST_PART)
    return history.until(cut), history.starting_at(cut)


def suggest(
    model: Model, history: History, pool: Pool, cache: Path, progress: Progress
) -> Suggestion:
    """Choose settings on all of a history; give it only what may be looked at."""
    metric = model.spec.metrics[0]
    best = Backtest(model, history, pool, cache).loop(progress)
    changed: dict[str, float] = {}
    for path in SETTINGS:
        now = _at(model, path)
        if not isinstance(now, int | float):
            continue
        for factor in _FACTORS:
            value = type(now)(now * factor)
            other = _with(model, path, value)
            tried = Backtest(other, history, pool, cache).loop(progress)
            if _clearly_better(metric, tried, best):
                best, model = tried, other
                changed[".".join(path)] = value
    return Suggestion(model, changed)


def _clearly_better(metric: Metric, ours: Looped, theirs: Looped) -> bool:
    found = compare(metric, ours.truth, ours.said, theirs.said, _ONE_ERROR)
    if found.low is None or found.high is None:
        return False
    return found.low > 0 if metric.greater_is_better else found.high < 0


def _at(model: Model, path: tuple[str, ...]) -> Any:
    value: Any = model.spec.model_dump(mode="json", by_alias=True)
    for key in path:
        value = None if value is None else value.get(key)
    return value


def _with(model: Model, path: tuple[str, ...], value: float) -> Model:
    tree = model.model_dump(mode="json", by_alias=True)
    _put(tree["spec"], path, value)
    return parse_model(tree)


def _put(tree: dict[str, Any], path: tuple[str, ...], value: float) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value
