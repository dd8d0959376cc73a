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
  largest by ``instance`` and ``pod``.

All quantities come with one query, so they are of one moment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

KIND: Final = "noria_kind"
"""The label that tells the quantities of the one query apart."""

ROWS, ERRORS, REQUESTS, LIVE = "rows", "errors", "requests", "live"


@dataclass(frozen=True, slots=True)
class Counting:
    """The servers of one version over the time before now.

    ``labels`` select the series beside ``model`` and ``version``, such as ``namespace``.
    """

    model: str
    version: str
    over: timedelta
    labels: Mapping[str, str]

    def expression(self, quantiles: Mapping[str, float]) -> str:
        """Return the query: one element per quantity, absent where there is no data.

        ``quantiles`` are of the latency, by the kind that they get.
        """
        requests = "noria_request_seconds_count"
        parts = {
            ROWS: f"sum({_once(self._rows())})",
            ERRORS: f"sum({_once(self._counted('noria_request_errors_total'), 'protocol')})",
            REQUESTS: f"sum({_once(self._counted(requests), 'protocol')})",
            LIVE: f"count({self._series('noria_rows_total')})",
        }
        buckets = _once(self._counted("noria_request_seconds_bucket"), "protocol", "le")
        for kind, quantile in quantiles.items():
            parts[kind] = f"histogram_quantile({quantile:.9g}, sum by (le) ({buckets}))"
        return " or ".join(
            f'label_replace({part}, "{KIND}", "{kind}", "", "")' for kind, part in parts.items()
        )

    def _rows(self) -> str:
        """The least that was answered: between two scrapes, or since the last new start."""
        seen = self._range("noria_rows_total")
        return (
            f"(last_over_time({seen}) - min_over_time({seen}))"
            f" unless (resets({seen}) > 0) or last_over_time({seen})"
        )

    def _counted(self, name: str) -> str:
        seen, before = self._range(name), f"{self._series(name)} offset {self._span}"
        known = f"min_over_time({seen}) and ({before} <= min_over_time({seen}))"
        return (
            f"((last_over_time({seen}) - ({known}) or last_over_time({seen}))"
            f" unless (resets({seen}) > 0))"
            f" or increase({seen}) + (max_over_time({seen}) unless {before})"
            f" or increase({seen})"
        )

    @property
    def _span(self) -> str:
        return f"{max(round(self.over.total_seconds() * 1000), 1)}ms"

    def _range(self, name: str) -> str:
        return f"{self._series(name)}[{self._span}]"

    def _series(self, name: str) -> str:
        chosen = {"model": self.model, "version": self.version, **self.labels}
        # PromQL's strings are Go's, which reads all that JSON writes.
        matchers = ",".join(f"{label}={json.dumps(value)}" for label, value in chosen.items())
        return f"{name}{{{matchers}}}"


def _once(expression: str, *labels: str) -> str:
    return f"max by ({', '.join(('instance', 'pod', *labels))}) ({expression})"
