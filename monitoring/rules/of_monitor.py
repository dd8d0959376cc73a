"""What the monitor sees: the world, and whether it is still looking."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from monitoring.rules.rule import Rule, Scope, SignalLabel, number
from noria.spec.units import format_duration

_OTHER_REFERENCE: Final = "other-reference"
_LOST: Final = f'reason!~"unlabelled|orphan-label|{_OTHER_REFERENCE}"'
"""Not a row or a label without the other: that is label lag. Nor what every promotion costs."""


def rules(scope: Scope) -> Iterator[Rule]:
    """Yield the rules on the monitor's metrics."""
    yield from _the_world(scope)
    yield from _the_view(scope)
    yield from _the_monitor(scope)
    yield from _threads(scope)
    yield from _replicas(scope)


def _the_world(scope: Scope) -> Iterator[Rule]:
    name = scope.model.name
    watch = scope.model.spec.monitoring
    texts = scope.model.spec.is_of_texts
    known = "first asked and answered" if texts else "was trained on"
    if watch.detectors:
        yield Rule(
            name="NoriaDrift",
            expr=scope.worst("noria_monitor_drift", "version", "detector") + " == 1",
            severity="warning",
            signal=_signal(scope, "drift"),
            summary=f"{name}: detector {{{{ $labels.detector }}}} sees drift",
            description=(
                f"The last window of {watch.window.rows} rows differs from what version "
                f"{{{{ $labels.version }}}} {known}, at a level that keeps to the false-alarm "
                f"budget ({watch.false_alarm_budget.probability:g} within "
                f"{watch.false_alarm_budget.horizon} windows)."
            ),
        )
        yield Rule(
            name="NoriaFalseAlarmBudgetSpent",
            expr=scope.worst("noria_monitor_false_alarm_budget_used")
            + f" > {number(watch.false_alarm_budget.probability)}",
            severity="info",
            summary=f"{name}: its reference has been used for longer than the budget's horizon",
            description=(
                "Among all windows tested since this reference came, the probability of a false "
                "alarm may be {{ $value | humanizePercentage }} by now; the budget is "
                f"{watch.false_alarm_budget.probability:g} for every "
                f"{watch.false_alarm_budget.horizon} windows."
            ),
        )
    drop = watch.performance.drop
    if drop is not None:
        since = "in its first labelled window" if texts else "at training"
        least = scope.worst("noria_monitor_performance_drop_low", "version", "metric")
        most = number(drop.most)
        if drop.is_relative:
            # A share of what the metric was at training, which the monitor knows.
            limit = scope.worst("noria_monitor_performance_drop_limit", "metric")
            most = f"on (namespace, model, metric) group_left {limit}"
        yield Rule(
            name="NoriaPerformanceDrop",
            expr=f"{least} > {most}",
            severity="warning",
            signal=_signal(scope, "performance"),
            summary=f"{name}: {{{{ $labels.metric }}}} has dropped",
            description=(
                "{{ $labels.metric }} of version {{ $labels.version }} on labelled traffic is "
                f"worse than {since} by at least "
                "{{ $value | printf `%.3g` }} with confidence "
                f"{drop.confidence:g}; {drop} is allowed."
            ),
        )
    share = scope.worst("noria_monitor_quality_share", "rule")
    limit = scope.worst("noria_monitor_quality_limit", "rule")
    yield Rule(
        name="NoriaDataQuality",
        expr=f"{share}\n> {limit}",
        severity="warning",
        signal=_signal(scope, "quality"),
        summary=f"{name}: too many values are {{{{ $labels.rule }}}}",
        description=(
            "In the worst feature of the last window {{ $value | humanizePercentage }} of the "
            "values are {{ $labels.rule }}, above the limit of spec.monitoring.quality."
        ),
    )


def _the_view(scope: Scope) -> Iterator[Rule]:
    """Silence is not health: no window, no row, no label, events that get lost."""
    name, settings = scope.model.name, scope.settings
    if scope.model.spec.serving.payload_log.sample > 0:
        yield from _rows(scope)
    yield Rule(
        name="NoriaLabelLag",
        expr=f"{scope.worst('noria_monitor_label_lag_seconds')}\n"
        f"> {scope.worst('noria_monitor_label_lag_limit_seconds')}",
        severity="warning",
        hold=settings.hold,
        summary=f"{name}: labels are {{{{ $value | humanizeDuration }}}} behind",
        description=(
            "The newest labelled row is older than spec.monitoring.performance.maxLabelLag. "
            "Performance is measured on the past only."
        ),
    )
    lost = scope.grown(
        "noria_monitor_dropped_total", "reason", over=settings.lost, matchers=(_LOST,)
    )
    unsent = scope.grown("noria_payload_events_dropped_total", "reason", over=settings.lost)
    yield Rule(
        name="NoriaDroppedEvents",
        expr=f"{lost} > 0\n"
        f'or label_replace({unsent} > 0, "reason", "not-sent-$1", "reason", "(.*)")',
        severity="warning",
        summary=f"{name}: events get lost ({{{{ $labels.reason }}}})",
        description=(
            f"Within {format_duration(settings.lost)} about {{{{ $value | printf `%.3g` }}}} "
            "payload events or labels were lost, reason {{ $labels.reason }}. Windows hold fewer "
            "rows than the traffic had."
        ),
    )


def _rows(scope: Scope) -> Iterator[Rule]:
    name, settings = scope.model.name, scope.settings
    silence = format_duration(settings.silence)
    age = scope.worst("noria_monitor_last_window_age_seconds")
    yield Rule(
        name="NoriaStaleWindow",
        expr=f"{scope.worst('noria_monitor_rows_since_window')}\n"
        f"> {number(settings.late_windows)} * {scope.worst('noria_monitor_window_rows')}",
        severity="warning",
        hold=settings.hold,
        summary=f"{name}: rows come, and no drift window closes",
        description=(
            "{{ $value }} rows have come since the last window closed, enough for "
            f"{number(settings.late_windows)} windows. Drift can't be seen until one closes."
        ),
    )
    yield Rule(
        name="NoriaNoTraffic",
        expr=f"{age}\nunless {scope.grown('noria_monitor_rows_total', over=settings.silence)} > 0",
        severity="warning",
        hold=settings.long_hold,
        summary=f"{name}: the monitor has seen no row for {silence}",
        description=(
            f"Not one prediction arrived within {silence}: there is no traffic, or its events get "
            "lost. No data means unknown, not healthy."
        ),
    )
    served = scope.rate("noria_rows_total", over=settings.rate)
    seen = scope.rate("noria_monitor_rows_total", over=settings.rate)
    yield Rule(
        name="NoriaMonitorBlind",
        expr=f"{served} > 0\nunless {seen} > 0",
        severity="critical",
        hold=settings.long_hold,
        summary=f"{name}: it is served, and the monitor sees none of it",
        description=(
            "The model servers answer {{ $value | printf `%.3g` }} rows a second, and none of them "
            "reaches the monitor."
        ),
    )


def _the_monitor(scope: Scope) -> Iterator[Rule]:
    name, settings = scope.model.name, scope.settings
    yield Rule(
        name="NoriaDetectorProblem",
        expr=scope.worst("noria_monitor_detector_problem", "detector") + " == 1",
        severity="warning",
        hold=settings.hold,
        summary=f"{name}: detector {{{{ $labels.detector }}}} does not run",
        description="It can't be fitted or fails on its windows; the others go on without it.",
    )
    yield Rule(
        name="NoriaMetricProblem",
        expr=scope.worst("noria_monitor_metric_problem", "metric") + " == 1",
        severity="warning",
        hold=settings.hold,
        summary=f"{name}: metric {{{{ $labels.metric }}}} can't be measured",
        description=(
            "It can't be had where the monitor is, or failed on its last window of labelled rows: "
            "no drop of it is seen. The others go on without it."
        ),
    )
    failing = scope.worst("noria_monitor_log_failing") + " == 1"
    yield Rule(
        name="NoriaMonitorLogFailing",
        expr=failing,
        severity="critical",
        hold=settings.hold,
        summary=f"{name}: the monitor can't write its log",
        description=(
            "Events and labels are refused with 503, and lost once their sender gives up. What "
            "was acknowledged before is kept."
        ),
    )
    yield Rule(
        name="NoriaMonitorHeldUp",
        # A log that fails holds up everything, and has its own alert.
        expr=f"{scope.worst('noria_monitor_processing_held_up')} == 1\nunless {failing}",
        severity="critical",
        hold=settings.hold,
        summary=f"{name}: the monitor logs events and can't process them",
        description="Nothing is lost, but windows, performance and signals stand still.",
    )
    yield Rule(
        name="NoriaReferenceDamaged",
        expr=f"{scope.worst('noria_monitor_blind')} == 1",
        severity="critical",
        hold=settings.hold,
        summary=f"{name}: its monitor is blind",
        description=(
            "The champion's reference is not what was put, so nothing can be compared with it: "
            "rows are counted, and are in no window. The loop sends it again by itself."
        ),
    )
    yield Rule(
        name="NoriaMonitorFileDamaged",
        expr=f"{scope.worst('noria_monitor_damaged_files')} > 0",
        severity="warning",
        summary=f"{name}: its monitor set damaged files aside",
        description=(
            "{{ $value }} of its files were not what it wrote; it made them again from what it "
            "had. What is lost with them is counted or named in its status."
        ),
    )
    yield Rule(
        name="NoriaClockSetBack",
        expr=scope.grown("noria_monitor_clock_steps_total", over=settings.lost) + " > 0",
        severity="info",
        summary=f"{name}: the clock of its monitor was set back",
        description=(
            f"About {{{{ $value | printf `%.3g` }}}} times in {format_duration(settings.lost)}. "
            "Ages go on by the monotonic clock; times of windows and signals repeat themselves."
        ),
    )
    yield Rule(
        name="NoriaMonitorDown",
        expr=f"absent({scope.of('noria_monitor_window_rows')})",
        severity="critical",
        hold=settings.hold,
        summary=f"{name}: its monitor can't be scraped",
        description="No drift, no drop and no bad data can be seen while this lasts.",
    )


def _threads(scope: Scope) -> Iterator[Rule]:
    """Of the model's monitor and of its servers: both name their threads the same way."""
    name, settings = scope.model.name, scope.settings
    yield Rule(
        name="NoriaWorkerStuck",
        expr=scope.worst("noria_worker_age_seconds", "worker")
        + f" > {number(settings.worker_silence.total_seconds())}",
        severity="critical",
        summary=f"{name}: its thread {{{{ $labels.worker }}}} does not move",
        description=(
            "It has been at one step for {{ $value | humanizeDuration }}, and what it does stands "
            "still. A monitor whose thread is stuck for long ends by itself, to be started again."
        ),
    )
    yield Rule(
        name="NoriaWorkerFailing",
        expr=scope.grown("noria_worker_failures_total", "worker", over=settings.lost) + " > 0",
        severity="warning",
        summary=f"{name}: steps of its thread {{{{ $labels.worker }}}} fail",
        description=(
            f"About {{{{ $value | printf `%.3g` }}}} within {format_duration(settings.lost)}, by "
            "something nobody foresaw. The thread goes on; its log has the reason."
        ),
    )


def _replicas(scope: Scope) -> Iterator[Rule]:
    """Only an aggregator has these series."""
    name, settings = scope.model.name, scope.settings
    yield Rule(
        name="NoriaReplicaSilent",
        expr=scope.worst("noria_monitor_replica_silence_seconds", "replica")
        + f" > {number(settings.replica_silence.total_seconds())}",
        severity="warning",
        hold=settings.hold,
        summary=f"{name}: replica {{{{ $labels.replica }}}} of its monitor is silent",
        description=(
            "The aggregator has not heard it for {{ $value | humanizeDuration }}. Windows close "
            "without its part of the traffic."
        ),
    )
    yield Rule(
        name="NoriaWindowIncomplete",
        expr=scope.worst("noria_monitor_window_replicas_missing") + " > 0",
        severity="warning",
        hold=settings.hold,
        summary=f"{name}: its last window lacks replicas",
        description=(
            "{{ $value }} replicas were silent when it closed, so it tells of the others' traffic. "
            "Rows that come later count in a later window."
        ),
    )
    # A promotion costs a few partials; here they don't end.
    refused = scope.rate(
        "noria_monitor_dropped_total",
        over=settings.rate,
        matchers=(f'reason="{_OTHER_REFERENCE}"',),
    )
    yield Rule(
        name="NoriaReplicaOutdated",
        expr=f"{refused} > 0",
        severity="warning",
        hold=settings.long_hold,
        summary=f"{name}: a replica of its monitor has another reference",
        description=(
            "{{ $value | printf `%.3g` }} rows a second were counted against another reference "
            "than the champion's, and are in no window."
        ),
    )


def _signal(scope: Scope, kind: SignalLabel) -> SignalLabel | None:
    return kind if kind in scope.model.spec.retraining.signals else None
