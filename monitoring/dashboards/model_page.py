"""The dashboard of one model, made from its spec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from monitoring.config import MonitorConfig
from monitoring.dashboards.page import (
    Mark,
    Page,
    Row,
    constant_variable,
    query_variable,
    short_uid,
)
from monitoring.dashboards.panel import Json, Panel, Query
from monitoring.rules.rule import number, together
from monitoring.rules.settings import RuleSettings
from noria.spec import Model
from noria.spec.series import Series

SCOPE: Final = 'namespace=~"$namespace", model="$model"'
_UNITS: Final = {"share": "percentunit", "seconds": "s"}
_DEFAULTS: Final = RuleSettings()


def model_dashboard(model: Model, namespace: str = "") -> Json:
    """Return a model's dashboard.

    Args:
        model: The resource.
        namespace: Where it is; empty looks at every namespace, and at series without one.
    """
    name = model.name
    page = Page(
        uid=short_uid("noria", namespace, name),
        title=f"Noria: {name}",
        description=f"Traffic, drift, performance and rollouts of the model {name}."
        + _unseen(model),
        tags=["noria-model"],
        since="now-7d",
        variables=[
            constant_variable("model", "Model", name),
            query_variable(
                "namespace",
                "Namespace",
                f'label_values(noria_loop_stage{{model="{name}"}}, namespace)',
                namespace or "$__all",
                multi=False,
            ),
        ],
        marks=_marks(),
        links=[
            {
                "type": "dashboards",
                "title": "Fleet",
                "tags": ["noria-fleet"],
                "asDropdown": False,
                "includeVars": False,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "",
                "url": "",
            }
        ],
        rows=[
            Row("Now", _now(model)),
            Row("Traffic", _traffic(model)),
            Row("Drift and data quality", _drift(model)),
            Row("Performance on labels", _performance(model)),
            Row("Retraining and rollouts", _loop(model)),
            Row("The monitor itself", _monitor()),
        ],
    )
    return page.document()


def _unseen(model: Model) -> str:
    """Say which panels there are none of, since a server that is not Noria's counts too little."""
    names = model.spec.serving.metrics
    there = {"errors": names.errors and names.counted, "latencies": names.seconds}
    lacks = [what for what, found in there.items() if not found]
    return f" Its servers count no {' and no '.join(lacks)}." if lacks else ""


def of(metric: str, *matchers: str) -> str:
    """Return a selector of the model that the variables name."""
    return f"{metric}{{{', '.join([SCOPE, *matchers])}}}"


def worst(metric: str, *by: str, matchers: tuple[str, ...] = ()) -> str:
    """Return the greatest value over pods."""
    return f"max by ({', '.join(by) or 'model'}) ({of(metric, *matchers)})"


def rates(counters: Sequence[Series], *by: str) -> str:
    """Return the rate of several counters together, summed over pods."""
    return together([rate(one.name, *by, matchers=one.texts) for one in counters])


def rate(metric: str, *by: str, matchers: tuple[str, ...] = ()) -> str:
    """Return a counter's rate summed over pods."""
    return f"sum by ({', '.join(by) or 'model'}) (rate({of(metric, *matchers)}[$__rate_interval]))"


def _marks() -> list[Mark]:
    def after(metric: str, *matchers: str) -> str:
        series = of(metric, *matchers)
        # Each detector counts for itself; pods tell the same.
        now, before = (
            f"sum by (namespace, model) (max by (namespace, model, detector) ({one}))"
            for one in (series, f"{series} offset $__interval")
        )
        return f"{now} - {before} > 0"

    return [
        Mark(
            "Promoted", after("noria_loop_rollouts_total", 'result="promoted"'), "green",
            "Promoted", "A candidate took all the traffic.",
        ),
        Mark(
            "Aborted", after("noria_loop_rollouts_total", 'result="aborted"'), "red",
            "Aborted", "A candidate's traffic went back to the champion.",
        ),
        Mark(
            "Refused", after("noria_loop_rollouts_total", 'result="refused"'), "orange",
            "Refused", "A candidate's gates kept it from any traffic.",
        ),
        Mark(
            "Training", after("noria_loop_runs_started_total"), "blue",
            "Training", "A training run was started.",
        ),
        Mark(
            "Drift", after("noria_monitor_drift_alarms_total"), "purple",
            "Drift", "A window drifted.",
        ),
    ]  # fmt: skip


def _now(model: Model) -> list[Panel]:
    budget = model.spec.retraining.budget.runs
    small = (4, 4)
    return [
        Panel(
            "Stage", "What the loop is doing.",
            [Query(of("noria_loop_stage") + " == 1", "{{stage}}")],
            "none", "stat", small, names=True,
        ),
        Panel(
            "Champion", "The version that users should get.",
            [Query(worst("noria_loop_champion_info", "version"), "v{{version}}")],
            "none", "stat", small, names=True,
        ),
        Panel(
            "Alerts", "Alerts of this model that fire now.",
            [Query(f'count(ALERTS{{{SCOPE}, alertstate="firing"}}) or vector(0)', "alerts")],
            "none", "stat", small, steps=[("orange", 1)],
        ),
        Panel(
            "Loop-breaker", "Open: no signal starts a run until enough new rows have come.",
            [Query(worst("noria_loop_breaker_open"), "breaker")],
            "none", "stat", small, texts={0: ("closed", "green"), 1: ("OPEN", "red")},
        ),
        Panel(
            "Retrains left", f"Runs that the budget of {budget} leaves for signals.",
            [Query(worst("noria_loop_retrains_left"), "left")],
            "none", "stat", small, least=0, most=max(budget, 1),
        ),
        Panel(
            "False-alarm budget left",
            "Share of the budget that the windows tested on this reference leave. At 0 the "
            "reference has been used for longer than the horizon.",
            [Query(
                f"clamp_min(1 - {worst('noria_monitor_false_alarm_budget_used')} "
                f"/ {worst('noria_monitor_false_alarm_budget')}, 0)", "left",
            )],
            "percentunit", "stat", small, least=0, most=1,
        ),
    ]  # fmt: skip


def _traffic(model: Model) -> list[Panel]:
    """Return the panels of the servers' own numbers; what a server does not count has none."""
    names = model.spec.serving.metrics
    asked, failed = rates(names.counted, "version"), rates(names.failed, "version")
    limits = {check.metric: check.max for check in model.spec.serving.canary.analysis}
    errors = limits.get("error-rate")
    allowed = _DEFAULTS.error_rate if errors is None else errors
    panels = []
    if asked:
        panels.append(Panel(
            "Requests by version", "Requests answered per second, stacked.",
            [Query(asked, "v{{version}}")], "reqps", stacked=True, least=0,
        ))  # fmt: skip
    panels.append(Panel(
        "Traffic split that the loop wants", "Percent of the traffic by version.",
        [Query(worst("noria_loop_weight_percent", "version"), "v{{version}}")],
        "percent", stacked=True, least=0, most=100,
    ))  # fmt: skip
    if asked and failed:
        panels.append(Panel(
            "Errors by version",
            "Share of requests that failed by the server's fault (5xx). Limit: the canary's, or "
            "the alert's default.",
            [Query(f"{failed} / {asked}", "v{{version}}"), _limit(allowed)],
            "percentunit", least=0,
        ))  # fmt: skip
    if names.seconds:
        panels += [
            _latency(names.seconds, quantile, limits.get(f"latency-p{quantile * 100:g}"))
            for quantile in (0.5, 0.99)
        ]
    served = rates(names.answered or names.counted)
    panels.append(Panel(
        "Rows predicted and rows monitored",
        "Rows per second that the servers answered, and those that reached the monitor. With "
        "a payload log of less than all requests the second is smaller.",
        [Query(served, "served"), Query(rate("noria_monitor_rows_total"), "monitored")],
        "suffix: rows/s", least=0,
    ))  # fmt: skip
    return panels


def _latency(seconds: str, quantile: float, limit: float | None) -> Panel:
    buckets = rate(f"{seconds}_bucket", "version", "le")
    said = "" if limit is None else " Limit: the canary's."
    return Panel(
        f"Latency p{quantile * 100:g} by version",
        f"Time within which {quantile:.0%} of requests were answered.{said}",
        [
            Query(f"histogram_quantile({quantile:g}, {buckets})", "v{{version}}"),
            *([] if limit is None else [_limit(limit)]),
        ],
        "s",
        least=0,
    )


def _drift(model: Model) -> list[Panel]:
    quality = worst("noria_monitor_quality_share", "rule")
    panels = [
        Panel(
            "Detectors", "Whether each detector's last window drifted.",
            [Query(worst("noria_monitor_drift", "detector"), "{{detector}}")],
            "none", "state-timeline", (12, 6),
            texts={0: ("no drift", "green"), 1: ("DRIFT", "red")},
        ),
        Panel(
            "False-alarm budget used",
            "At most this probable is a false alarm among all windows tested on the reference in "
            "use. It grows with each window and starts anew with each champion.",
            [
                Query(worst("noria_monitor_false_alarm_budget_used"), "used"),
                Query(worst("noria_monitor_false_alarm_budget"), "limit"),
            ],
            "percentunit", size=(12, 6), least=0,
        ),
        Panel(
            "Effect by detector",
            "How large the change of the last window is, in the detector's own effect size.",
            [Query(worst("noria_monitor_drift_effect", "detector"), "{{detector}}")],
            "none", least=0,
        ),
        Panel(
            "Drift by feature",
            "Effect size of the ten strongest features of the last window.",
            [Query(
                worst("noria_monitor_drift_feature_effect", "feature", "detector"),
                "{{feature}} ({{detector}})",
            )],
            "none", least=0,
        ),
        Panel(
            "Data quality",
            "Share of bad values in the worst feature of the last window, with the limits of "
            "spec.monitoring.quality.",
            [
                Query(quality, "{{rule}}"),
                Query(worst("noria_monitor_quality_limit", "rule"), "limit {{rule}}"),
            ],
            "percentunit", least=0,
        ),
    ]  # fmt: skip
    return panels if model.spec.monitoring.detectors else panels[-1:]


def _performance(model: Model) -> list[Panel]:
    metrics = MonitorConfig.from_model(model).metrics
    lag = [
        Panel(
            "Label lag",
            "How far labels are behind predictions. Limit: maxLabelLag of the spec.",
            [
                Query(worst("noria_monitor_label_lag_seconds"), "lag"),
                Query(worst("noria_monitor_label_lag_limit_seconds"), "limit"),
            ],
            "s", least=0,
        ),
        Panel(
            "Rows with their label", "Rows per second that got their label.",
            [Query(rate("noria_monitor_labels_joined_total"), "joined")],
            "suffix: rows/s", least=0,
        ),
    ]  # fmt: skip
    return [*(_measured(model, metric) for metric in metrics), *lag]


def _measured(model: Model, metric: str) -> Panel:
    which = (f'metric="{metric}"',)
    drop = model.spec.monitoring.performance.drop
    known = model.spec.metric(metric)
    sign = "-" if known.greater_is_better else "+"
    expected = worst("noria_monitor_performance_expected", matchers=which)
    bound = []
    if drop is not None and drop.metric == metric:
        # Of what the metric was, so of its size, whatever its sign.
        most = f"{number(drop.most)} * abs({expected})" if drop.is_relative else number(drop.most)
        bound = [Query(f"{expected} {sign} {most}", "limit")]
    better = "higher" if known.greater_is_better else "lower"
    held = "the champion's value on held-out rows"
    if model.spec.is_of_texts:
        held = "there is nothing of texts, so the champion's first labelled window"
    said = "" if not bound else " Beyond the limit with all of its interval it is a signal."
    return Panel(
        f"{metric} by version",
        f"Of the last window of labelled rows, with its 95 % interval; {better} is better. At "
        f"training: {held}.{said}",
        [
            Query(worst("noria_monitor_performance", "version", matchers=which), "v{{version}}"),
            Query(
                worst("noria_monitor_performance_low", "version", matchers=which),
                "v{{version}} low",
            ),
            Query(
                worst("noria_monitor_performance_high", "version", matchers=which),
                "v{{version}} high",
            ),
            Query(expected, "at training"),
            *bound,
        ],
        _UNITS.get(known.unit, "none"),
    )


def _loop(model: Model) -> list[Panel]:
    retraining = model.spec.retraining
    return [
        Panel(
            "Rollout timeline", "What the loop was doing, stage by stage.",
            [Query(of("noria_loop_stage") + " > 0", "{{stage}}")],
            "none", "state-timeline", (16, 7), texts={1: ("now", "blue")},
        ),
        Panel(
            "Gain of each candidate",
            "How much better than its champion on the same held-out rows, in the metric's unit; "
            "the candidates that the loop remembers.",
            [Query(
                worst("noria_loop_gate_gain", "version", "metric"), "v{{version}} {{metric}}"
            )],
            "none", "bargauge", (8, 7),
        ),
        Panel(
            "Step's age",
            "Time in the rollout's present step. Limit: the step's timeout, which aborts it.",
            [
                Query(worst("noria_loop_rollout_step_age_seconds"), "age"),
                Query(worst("noria_loop_rollout_step_timeout_seconds"), "limit"),
            ],
            "s", least=0,
        ),
        Panel(
            "Candidates by result", "Candidates that ended, ever.",
            [Query(worst("noria_loop_rollouts_total", "result"), "{{result}}")],
            "none", least=0,
        ),
        Panel(
            "Training runs", "Runs that ended, ever, by what started them and how they ended.",
            [Query(
                worst("noria_loop_runs_total", "kind", "ended") + " > 0", "{{kind}}, {{ended}}"
            )],
            "none", least=0,
        ),
        Panel(
            "Retrains left",
            f"Runs that the budget of {retraining.budget.runs} leaves for signals.",
            [
                Query(worst("noria_loop_retrains_left"), "left"),
                Query(worst("noria_loop_retrains_limit"), "budget"),
            ],
            "none", least=0,
        ),
        Panel(
            "Losses in a row",
            "Candidates in a row that were shown worse or failed in canary; "
            f"{retraining.give_up_after} open the loop-breaker.",
            [
                Query(worst("noria_loop_losses"), "losses"),
                Query(worst("noria_loop_losses_limit"), "limit"),
            ],
            "none", least=0,
        ),
        Panel(
            "Signals waiting", "Signals that wait until a run may start.",
            [Query(worst("noria_loop_signals_pending"), "waiting")],
            "none", least=0,
        ),
    ]  # fmt: skip


def _monitor() -> list[Panel]:
    silence = _DEFAULTS.replica_silence.total_seconds()
    silent = worst("noria_monitor_replica_silence_seconds", "model", "replica")
    # None, and not nothing, as long as the monitor tells of itself.
    none = f"0 * {worst('noria_monitor_window_rows')}"
    return [
        Panel(
            "Age of the last window", "Time since the last drift window closed.",
            [Query(worst("noria_monitor_last_window_age_seconds"), "age")],
            "s", least=0, size=(6, 7),
        ),
        Panel(
            "Rows of the open window",
            "Rows since the last drift window closed, and the rows that one takes.",
            [
                Query(worst("noria_monitor_rows_since_window"), "rows"),
                Query(worst("noria_monitor_window_rows"), "limit"),
            ],
            "none", least=0, size=(6, 7),
        ),
        Panel(
            "Lost events", "Events and rows lost per second, by reason.",
            [
                Query(rate("noria_monitor_dropped_total", "reason"), "{{reason}}"),
                Query(rate("noria_payload_events_dropped_total"), "not sent by the server"),
            ],
            "suffix: events/s", least=0, size=(6, 7),
        ),
        Panel(
            "Backlog", "Events logged and not processed yet.",
            [Query(worst("noria_monitor_backlog_records"), "records")],
            "none", least=0, size=(6, 7),
        ),
        Panel(
            "Time since the loop turned", "It turns every few seconds.",
            [Query(f"time() - {worst('noria_loop_last_cycle_timestamp_seconds')}", "age")],
            "s", least=0, size=(6, 7),
        ),
        Panel(
            "Log and processing", "Whether the monitor can write events down, and work on them.",
            [
                Query(worst("noria_monitor_log_failing"), "log"),
                Query(worst("noria_monitor_processing_held_up"), "processing"),
            ],
            "none", "state-timeline", (6, 7), texts={0: ("well", "green"), 1: ("FAILING", "red")},
        ),
        Panel(
            "Silent replicas",
            f"Not heard for {number(silence)} s; missing from the last window; 0 without any.",
            [
                Query(f"count by (model) ({silent} > {number(silence)})\nor {none}", "silent now"),
                Query(f"{worst('noria_monitor_window_replicas_missing')}\nor {none}", "missing"),
            ],
            "none", least=0, size=(6, 7),
        ),
    ]  # fmt: skip


def _limit(value: float) -> Query:
    return Query(f"vector({number(value)})", "limit")
