"""What Prometheus scrapes. Labels are bounded: models, versions, detectors, features, rules."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from monitoring.core import MonitorState, labels_by_source
from monitoring.health import Health
from monitoring.service import Monitor
from monitoring.watch import shares
from noria.errors import InvalidInput


class Exposition(Collector):
    """Renders the last commit of a monitor."""

    kind = CONTENT_TYPE_LATEST.encode()

    def __init__(self, monitor: Monitor) -> None:
        """Register with a registry of its own."""
        self._monitor = monitor
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Return the text format."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Return nothing: metrics are made when they are asked for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as of the last commit."""
        core = self._monitor.snapshot
        yield from self._counts(core)
        yield from self._health(core)
        yield from self._drift(core)
        yield from self._quality(core)
        yield from self._performance(core)

    def _counts(self, core: MonitorState) -> Iterator[Metric]:
        counts = core.counts
        yield self._counter(
            "events",
            "Payload events counted once",
            "type",
            {"request": counts.requests, "response": counts.responses},
        )
        yield self._counter("duplicates", "Events that came again", "", {"": counts.duplicates})
        yield self._counter("rows", "Rows predicted", "version", core.rows_by_version)
        yield self._counter("labels", "Labels received", "", {"": counts.labels})
        yield self._counter(
            "source_labels",
            "Labels received by their source, the first sources by name",
            "source",
            labels_by_source(core),
        )
        yield self._counter("labels_joined", "Rows with their label", "", {"": counts.joined})
        yield self._counter("windows", "Windows closed", "", {"": counts.windows})
        yield self._counter(
            "unseen_values", "Categories that training never had", "", {"": counts.unseen}
        )
        yield self._counter(
            "clock_steps", "Times that the clock was set back", "", {"": counts.clock_steps}
        )
        yield self._counter(
            "labels_corrected", "Rows whose label was changed", "", {"": counts.corrected}
        )
        yield self._counter(
            "set_aside", "Exchanges of which a field can't be watched", "field", core.aside
        )
        yield self._counter("signals", "Signals given", "kind", core.signals)
        yield self._counter("dropped", "Lost, by reason", "reason", self._monitor.dropped())

    def _health(self, core: MonitorState) -> Iterator[Metric]:
        monitor = self._monitor
        yield self._gauge("backlog_records", "Logged, not yet processed", monitor.backlog)
        yield self._gauge(
            "last_window_age_seconds", "Since the last drift window", monitor.window_age()
        )
        yield self._gauge(
            "label_lag_seconds", "Labels behind predictions, in arrival time", monitor.label_lag()
        )
        yield self._gauge(
            "label_lag_limit_seconds", "spec: maxLabelLag", monitor.config.max_label_lag
        )
        yield self._gauge("label_delay_seconds", "Prediction to label, last", core.label_delay)
        yield self._gauge(
            "rows_since_window",
            "Rows since the last drift window closed, or its reference came",
            core.counts.rows - core.rows_at_window,
        )
        yield self._gauge("window_rows", "spec: rows of a drift window", monitor.config.window_rows)
        health = monitor.health()
        yield self._gauge(
            "blind", "1 while the champion's reference can't be read", bool(health.blind)
        )
        yield self._gauge(
            "damaged_files", "Files that were set aside as damaged", len(monitor.damaged_files())
        )
        yield from self._workers(health)
        yield self._gauge("processing_held_up", "1 when processing fails", bool(monitor.problem))
        yield self._gauge(
            "log_failing", "1 when the last write to the log failed", bool(monitor.log_problem)
        )
        if monitor.role.replicas:
            yield self._labelled(
                "replica_silence_seconds",
                "Since the replica was heard",
                ("replica",),
                [((str(number),), seconds) for number, seconds in monitor.silence().items()],
            )
            yield self._gauge(
                "window_replicas_missing",
                "Replicas that were silent when the last window closed",
                len(core.incomplete),
            )
        yield self._labelled(
            "detector_problem",
            "1 for a detector that does not run",
            ("detector",),
            [((name,), 1.0) for name in core.problems],
        )

    def _workers(self, health: Health) -> Iterator[Metric]:
        labels = ["model", "worker"]
        age = GaugeMetricFamily(
            "noria_worker_age_seconds", "Since a thread ended its last step", labels=labels
        )
        failures = CounterMetricFamily(
            "noria_worker_failures", "Steps of a thread that failed", labels=labels
        )
        for name, worker in health.workers.items():
            age.add_metric([self._monitor.config.model, name], worker.age_seconds)
            failures.add_metric([self._monitor.config.model, name], worker.failures)
        yield age
        yield failures

    def _drift(self, core: MonitorState) -> Iterator[Metric]:
        reports = core.drift.items()
        names = ("version", "detector")
        for metric, help_text, value in (
            ("drift", "1 when the last window drifted", lambda r: float(r.drift)),
            ("drift_statistic", "Statistic of the last window", lambda r: r.statistic),
            ("drift_p_value", "P-value of the last window", lambda r: r.p_value),
            ("drift_threshold", "Threshold of the last window", lambda r: r.threshold),
            ("drift_effect", "Effect size of the last window", lambda r: r.effect),
        ):
            rows = [((r.version, name), value(r)) for name, r in reports]
            yield self._labelled(metric, help_text, names, rows)
        yield self._labelled(
            "drift_feature_effect",
            "Effect size by feature, the ten strongest of the last window",
            ("version", "detector", "feature"),
            [
                ((r.version, name, str(feature["name"])), feature["effect"])
                for name, r in reports
                for feature in r.features
            ],
        )
        alarms = dict.fromkeys((d.name for d in self._monitor.config.detectors), 0) | core.drifts
        yield self._counter("drift_alarms", "Windows that drifted", "detector", alarms)
        yield self._gauge(
            "false_alarm_budget",
            "spec: falseAlarmBudget, the probability within its horizon",
            self._monitor.config.budget.probability,
        )
        yield self._gauge(
            "false_alarm_budget_used",
            "At most this probable is a false alarm among the windows tested on this reference",
            self._spent(core),
        )

    def _spent(self, core: MonitorState) -> float:
        """Return the union bound over every window tested since the reference came."""
        try:
            parts = shares(self._monitor.config)
        except InvalidInput:
            # Such a spec runs no detector, and the problem metric says so.
            return 0.0
        return min(1.0, sum(parts.get(name, 0.0) * n for name, n in core.judged.items()))

    def _quality(self, core: MonitorState) -> Iterator[Metric]:
        rules = self._monitor.config.quality
        limits = {
            "missing": rules.max_missing,
            "unseen": rules.max_unseen,
            "out-of-range": rules.max_out_of_range,
        }
        yield self._labelled(
            "quality_limit",
            "spec: greatest share of bad values",
            ("rule",),
            [((rule,), limit) for rule, limit in limits.items()],
        )
        quality = core.quality
        if quality is None:
            return
        shares = {
            "missing": quality.missing,
            "unseen": quality.unseen,
            "out-of-range": quality.out_of_range,
        }
        yield self._labelled(
            "quality_share",
            "Share of bad values in the worst feature of the last window",
            ("rule",),
            [((rule,), share) for rule, share in shares.items()],
        )
        yield self._gauge("quality_breaches", "Rules broken", len(quality.breaches))

    def _performance(self, core: MonitorState) -> Iterator[Metric]:
        yield self._counter(
            "metric_failures",
            "Performance windows in which a metric failed",
            "metric",
            # At zero from the start: increase() misses a series that appears late.
            {name: core.failed.get(name, 0) for name in self._monitor.config.metrics},
        )
        yield self._labelled(
            "metric_problem",
            "1 for a metric that can't be measured, or failed in its last performance window",
            ("metric",),
            [((name,), 1.0) for name in self._monitor.failing()],
        )
        for metric, help_text, field in (
            ("performance", "Last performance window", "value"),
            ("performance_low", "Lower bound of its interval", "low"),
            ("performance_high", "Upper bound of its interval", "high"),
        ):
            yield self._labelled(
                metric,
                help_text,
                ("version", "metric"),
                [
                    ((version, name), getattr(found, field))
                    for version, report in core.performance.items()
                    for name, found in report.metrics.items()
                ],
            )
        yield self._labelled(
            "performance_part",
            "Last performance window: a target's or a class's value of a metric that is their mean",
            ("version", "metric", "part"),
            [
                ((version, metric, part), value)
                for version, report in core.performance.items()
                for metric, values in report.parts.items()
                for part, value in values.items()
            ],
        )
        yield self._labelled(
            "performance_expected",
            "The champion's performance on held-out rows",
            ("version", "metric"),
            [((core.champion, name), value) for name, value in core.expected.items()],
        )
        yield self._labelled(
            "performance_drop_low",
            "Least drop since training that the interval leaves, at the spec's confidence",
            ("version", "metric"),
            [
                ((version, report.drop.metric), report.drop.least)
                for version, report in core.performance.items()
                if report.drop is not None
            ],
        )
        drop = self._monitor.config.drop
        yield self._labelled(
            "performance_drop_limit",
            "spec: greatest drop since training",
            ("metric",),
            [((drop.metric,), drop.limit(core.expected.get(drop.metric, math.nan)))]
            if drop is not None and (not drop.relative or drop.metric in core.expected)
            else [],
        )

    def _counter(
        self, name: str, help_text: str, label: str, values: Mapping[str, float]
    ) -> CounterMetricFamily:
        labels = ["model", label] if label else ["model"]
        family = CounterMetricFamily(f"noria_monitor_{name}", help_text, labels=labels)
        for key, value in values.items():
            family.add_metric([self._monitor.config.model, *([key] if label else [])], value)
        return family

    def _gauge(self, name: str, help_text: str, value: float) -> GaugeMetricFamily:
        return self._labelled(name, help_text, (), [((), float(value))])

    def _labelled(
        self,
        name: str,
        help_text: str,
        labels: Sequence[str],
        rows: Sequence[tuple[tuple[str, ...], float | None]],
    ) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"noria_monitor_{name}", help_text, labels=["model", *labels])
        for values, number in rows:
            # What is not known is absent, never zero.
            if number is not None:
                family.add_metric([self._monitor.config.model, *values], number)
        return family
