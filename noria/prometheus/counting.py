"""PromQL that counts what was counted since a moment, without guessing.

``increase()`` extrapolates to the edges of its range, so it says more than was
seen: by up to 1.1 scrape intervals at either end, which over a short canary step
is a large part of it. And it takes a series' first sample for its zero, so a
server whose first requests all fail shows no error at all. Here instead:

- Rows (what a step's minimum is compared with) are the difference between the
  last and the first sample *inside* the range: a lower bound. Nothing from before
  the range counts, and nothing that no scrape has seen.
- Requests, errors and latency buckets are the same difference, but a series that
  did not exist when the range began counts from zero.
- A counter that started anew within the range counts, for rows, what it has since
  (a lower bound again); for the others ``increase()``, which adds up the parts;
  its extrapolation is the same factor above and below the line of a ratio. If the
  series is new too, its largest value stands for the first, which PromQL can't give.
- A target that two jobs scrape, or two Prometheus servers, counts once: the
  largest by ``instance`` and ``pod``. What one server tells apart by labels of its own
  (protocol, code, reason) is added up before, within one scraping.
- A counter that is chosen by its labels, such as ``requests{code=~"5.."}``, has no series
  before the first of its kind. It is zero where the name has other series.

All quantities come with one query, so they are of one moment.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from noria.spec.runtime import NORIA, MetricNames
from noria.spec.series import Series

KIND: Final = "noria_kind"
"""The label that tells the quantities of the one query apart."""

ROWS, ERRORS, REQUESTS, LIVE = "rows", "errors", "requests", "live"


_SCRAPED_BY: Final = (
    "job", "container", "endpoint", "service", "prometheus", "prometheus_replica", "replica",
)  # fmt: skip
"""Labels by which scrapings of one target differ."""


@dataclass(frozen=True, slots=True)
class Counting:
    """The servers of one version over the time before now.

    ``labels`` select the series beside ``model`` and ``version``, such as ``namespace``;
    ``names`` are the series that the servers count in.
    """

    model: str
    version: str
    over: timedelta
    labels: Mapping[str, str]
    names: MetricNames = NORIA

    def expression(self, quantiles: Mapping[str, float]) -> str:
        """Return the query: one element per quantity, absent where there is no data.

        ``quantiles`` are of the latency, by the kind that they get; requests are then those
        that have a latency.
        """
        names, seconds = self.names, self.names.seconds
        requests = (Series(f"{seconds}_count"),) if quantiles else names.counted
        parts = {
            ROWS: self._sum(names.answered or names.counted, self._rows),
            ERRORS: self._sum(names.failed, self._counted_or_zero),
            REQUESTS: self._sum(requests, self._counted),
            LIVE: self._live(),
        }
        buckets = _once(self._counted(Series(f"{seconds}_bucket")), "le")
        for kind, quantile in quantiles.items():
            parts[kind] = f"histogram_quantile({quantile:.9g}, sum by (le) ({buckets}))"
        return " or ".join(
            f'label_replace({part}, "{KIND}", "{kind}", "", "")'
            for kind, part in parts.items()
            if part
        )

    def _sum(self, series: Sequence[Series], count: Callable[[Series], str]) -> str:
        """Add counters up; absent as long as one of them is."""
        return " + ".join(f"sum({_once(count(one))})" for one in series)

    def _live(self) -> str:
        found = self.names.answered or self.names.counted
        return f"count({' or '.join(self._series(Series(one.name)) for one in found)})"

    def _rows(self, series: Series) -> str:
        """The least that was answered: between two scrapes, or since the last new start."""
        seen = self._range(series)
        return (
            f"(last_over_time({seen}) - min_over_time({seen}))"
            f" unless (resets({seen}) > 0) or last_over_time({seen})"
        )

    def _counted(self, series: Series) -> str:
        seen, before = self._range(series), f"{self._series(series)} offset {self._span}"
        known = f"min_over_time({seen}) and ({before} <= min_over_time({seen}))"
        return (
            f"((last_over_time({seen}) - ({known}) or last_over_time({seen}))"
            f" unless (resets({seen}) > 0))"
            f" or increase({seen}) + (max_over_time({seen}) unless {before})"
            f" or increase({seen})"
        )

    def _counted_or_zero(self, series: Series) -> str:
        counted = self._counted(series)
        if not series.matchers:
            return counted
        return f"{counted} or 0 * last_over_time({self._range(Series(series.name))})"

    @property
    def _span(self) -> str:
        return f"{max(round(self.over.total_seconds() * 1000), 1)}ms"

    def _range(self, series: Series) -> str:
        return f"{self._series(series)}[{self._span}]"

    def _series(self, series: Series) -> str:
        chosen = {"model": self.model, "version": self.version, **self.labels}
        # PromQL's strings are Go's, which reads all that JSON writes.
        matchers = [f"{label}={json.dumps(value)}" for label, value in chosen.items()]
        return f"{series.name}{{{','.join([*matchers, *series.texts])}}}"


def _once(expression: str, *labels: str) -> str:
    target = ("instance", "pod", *labels)
    one = f"sum by ({', '.join((*target, *_SCRAPED_BY))}) ({expression})"
    return f"max by ({', '.join(target)}) ({one})"
