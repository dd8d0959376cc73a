"""What is checked wherever a metric and its limits are named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from noria.errors import Problem
from noria.measures.catalog import METRICS, OF_LABELS, Metric
from noria.spec.family import Family
from noria.spec.words import choose, did_you_mean


def unfit(path: str, name: str, family: Family, also: Sequence[str] = ()) -> Iterator[Problem]:
    """Yield a problem if a metric is neither the family's nor one of ``also``."""
    known = (*also, *family.metrics)
    if name in known:
        return
    if name in METRICS:
        yield Problem(path, f"{name} is not a metric of {family.name}", choose(known))
    else:
        fix = did_you_mean(name, known) or choose(known)
        yield Problem(path, f"{name!r} is not a metric", fix)


def unwatched(path: str, name: str, family: Family) -> Iterator[Problem]:
    """Yield a problem for a metric that the monitor, and so the canary, can't measure."""
    metric = family.metric(name)
    if metric is not None and metric.of in ("rankings", "spans", "inputs"):
        said = f"{name} is measured on {metric.of}, and the monitor knows labels of rows alone"
        yield Problem(
            path, said, "remove it here; spec.gates and spec.train.search can judge by it"
        )


def unjudged(path: str, name: str, family: Family) -> Iterator[Problem]:
    """Yield a problem for a metric without an interval: no gate, drop or check can judge by it."""
    metric = family.metric(name)
    if metric is not None and not metric.judges:
        said = f"{name} has no interval to judge by: it is no mean over samples"
        yield Problem(path, said, "judge by another; spec.train.search can go by it")


def unfit_for_texts(path: str, name: str, also: Sequence[str] = ()) -> Iterator[Problem]:
    """Yield a problem if a metric is neither of labels alone nor one of ``also``."""
    known = (*also, *OF_LABELS)
    if name not in known:
        said = "does not measure a text" if name in METRICS else "is not a metric"
        yield Problem(path, f"{name} {said}", choose(known))


def unreachable(
    path: str, metric: Metric | None, *, low: float | None = None, high: float | None = None
) -> Iterator[Problem]:
    """Yield a problem for limits that cross, or that the metric's values can't reach."""
    for key, limit in (("min", low), ("max", high)):
        if metric is not None and limit is not None:
            yield from _outside(f"{path}.{key}", metric, limit)
    if low is not None and high is not None and low > high:
        yield Problem(f"{path}.min", f"{low:g} is over max, {high:g}", "swap them")


def too_wide(path: str, metric: Metric | None, drop: float | None) -> Iterator[Problem]:
    """Yield a problem for a drop that is more than the whole range of the metric."""
    if drop is None or metric is None or metric.low is None or metric.high is None:
        return
    span = metric.high - metric.low
    if abs(drop) >= span:
        yield Problem(
            path,
            f"{drop:g} is the whole range of {metric.name}",
            f"write less than {span:g}, such as 0.02",
        )


def _outside(path: str, metric: Metric, limit: float) -> Iterator[Problem]:
    if metric.high is not None and limit > metric.high:
        share = f", such as {limit / 100:g}" if metric.unit == "share" and limit <= 100 else ""
        yield Problem(
            path,
            f"{limit:g} is over {metric.high:g}, the most that {metric.name} can be",
            f"write at most {metric.high:g}{share}",
        )
    if metric.low is not None and limit < metric.low:
        yield Problem(
            path,
            f"{limit:g} is under {metric.low:g}, the least that {metric.name} can be",
            f"write at least {metric.low:g}",
        )
