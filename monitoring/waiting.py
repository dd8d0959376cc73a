"""Why something that is watched says nothing yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from monitoring.config import MonitorConfig
from monitoring.core import MonitorState
from monitoring.detectors.build import TAKES_VECTORS


def waiting(
    config: MonitorConfig, core: MonitorState, rows: Callable[[str], int]
) -> Iterator[tuple[str, str]]:
    """Yield what waits (a stream, or ``performance``) and why, as a sentence's rest.

    Args:
        config: what is watched.
        core: as of the last commit.
        rows: of a stream's open window.
    """
    for name in _unwatched_vectors(config):
        yield name, "is a vector, and no detector watches it: add one of kind mmd or classifier"
    for name in core.undescribed:
        yield name, "is not watched: the champion's reference has no rows of it; train again"
    for stream, wanted in core.learning.items():
        yield stream, f"learns its reference: {rows(stream):,} of {wanted:,} rows"
    if core.champion and (why := _performance(config, core, rows)):
        yield "performance", why


def _unwatched_vectors(config: MonitorConfig) -> Iterator[str]:
    """Yield the vectors that no detector watches: tests of one column each have no use of them."""
    joint = [d for d in config.detectors if d.on == "features" and d.kind in TAKES_VECTORS]
    for name, kind in config.features.items():
        if kind == "vector" and not any(not d.columns or name in d.columns for d in joint):
            yield name


def _performance(config: MonitorConfig, core: MonitorState, rows: Callable[[str], int]) -> str:
    drop = config.drop
    if drop is None:
        return ""
    if config.is_of_texts and drop.metric not in core.expected:
        labelled = rows(f"performance/{core.champion}")
        return (
            f"learns what {drop.metric} is held to: {labelled:,} of {config.performance_rows:,} "
            "labelled exchanges"
        )
    if drop.metric not in core.expected:
        return f"{drop.metric} has no value at training to be held to"
    report = core.performance.get(core.champion)
    if report is None:
        labelled = rows(f"performance/{core.champion}")
        return f"no window yet: {labelled:,} of {config.performance_rows:,} labelled rows"
    problem = report.metrics[drop.metric].problem if drop.metric in report.metrics else ""
    return f"{drop.metric} {problem}" if problem else ""
