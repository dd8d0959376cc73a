"""The model-quality part of the loop's ``Metrics`` port, answered by the monitor."""

from __future__ import annotations

from monitoring.client import MonitorClient
from noria.errors import InvalidInput, MetricsError, MonitoringError, Unavailable
from noria.loop.ports import LABELLED_ROWS, ROWS_PER_DAY
from noria.loop.values import Compared, MetricQuery, Signal
from noria.measures.measurement import Measurement


class MonitorMetrics:
    """Measures versions on the labels that came back, and relays the monitor's signals.

    Error rates and latencies are the model server's to tell, not this adapter's:
    asked for one of them, it answers with a ``problem``.
    """

    def __init__(self, client: MonitorClient) -> None:
        """Ask the monitor that ``client`` talks to."""
        self._client = client

    def measure(self, query: MetricQuery) -> Compared:
        """Measure the version, and the champion over the same time when it is named.

        Raises:
            MetricsError: the monitor can't answer.
        """
        try:
            # Rows of every version count as new data, and as traffic.
            of_all = query.metric in (LABELLED_ROWS, ROWS_PER_DAY)
            version = None if of_all else query.version
            found = self._ask(query, version)
            champion = None if query.champion is None else self._ask(query, query.champion)
        except InvalidInput as error:
            return Compared(query.metric, query.version, None, 0, problem=str(error))
        except (Unavailable, MonitoringError) as error:
            raise MetricsError(f"metric {query.metric}: {error}") from error
        return Compared(
            metric=query.metric,
            version=query.version,
            value=found.value,
            samples=found.samples,
            low=found.low,
            high=found.high,
            baseline=None if champion is None else champion.value,
            baseline_low=None if champion is None else champion.low,
            baseline_high=None if champion is None else champion.high,
            baseline_samples=None if champion is None else champion.samples,
            lacking=found.problem,
            baseline_lacking="" if champion is None else champion.problem,
        )

    def signals(self, model: str) -> tuple[Signal, ...]:
        """Return the signals about the present champion, oldest first.

        Raises:
            MetricsError: the monitor can't answer.
        """
        try:
            return self._client.signals(model)
        except (InvalidInput, Unavailable, MonitoringError) as error:
            raise MetricsError(f"signals: {error}") from error

    def _ask(self, query: MetricQuery, version: str | None) -> Measurement:
        return self._client.measure(query.model, query.metric, version=version, since=query.since)
