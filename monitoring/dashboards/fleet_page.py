"""The dashboard of all models."""

from __future__ import annotations

from typing import Final

from monitoring.dashboards.page import Page, Row, query_variable
from monitoring.dashboards.panel import Json, Panel, Query

_SCOPE: Final = 'namespace=~"$namespace", model=~"$model"'
_MODEL: Final = "{{namespace}} {{model}}"


def fleet_dashboard() -> Json:
    """Return the overview of every model that a Prometheus knows."""
    page = Page(
        uid="noria-fleet",
        title="Noria: fleet",
        description="Every model: what it is doing, who needs a person, how it is served.",
        tags=["noria-fleet"],
        variables=[
            query_variable(
                "namespace", "Namespace", "label_values(noria_loop_stage, namespace)", "$__all",
                multi=True,
            ),
            query_variable(
                "model", "Model",
                'label_values(noria_loop_stage{namespace=~"$namespace"}, model)', "$__all",
                multi=True,
            ),
        ],
        links=[
            {
                "type": "dashboards",
                "title": "Models",
                "tags": ["noria-model"],
                "asDropdown": True,
                "includeVars": False,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "",
                "url": "",
            }
        ],
        rows=[
            Row("At a glance", _glance()),
            Row("Who needs a person", _people()),
            Row("Serving", _serving()),
            Row("The world", _world()),
        ],
    )  # fmt: skip
    return page.document()


def _worst(metric: str, *by: str) -> str:
    return f"max by ({', '.join(('namespace', 'model', *by))}) ({metric}{{{_SCOPE}}})"


def _rate(metric: str) -> str:
    return f"sum by (namespace, model) (rate({metric}{{{_SCOPE}}}[$__rate_interval]))"


def _glance() -> list[Panel]:
    small = (4, 4)
    firing = f'ALERTS{{{_SCOPE}, alertstate="firing"'
    return [
        Panel(
            "Models", "Models whose loop turns.",
            [Query(f"count({_worst('noria_loop_retrains_left')}) or vector(0)", "models")],
            "none", "stat", small,
        ),
        Panel(
            "Critical alerts", "Alerts of severity critical that fire now.",
            [Query(f'count({firing}, severity="critical"}}) or vector(0)', "alerts")],
            "none", "stat", small, steps=[("red", 1)],
        ),
        Panel(
            "Other alerts", "Alerts of severity warning or info that fire now.",
            [Query(f'count({firing}, severity!="critical"}}) or vector(0)', "alerts")],
            "none", "stat", small, steps=[("orange", 1)],
        ),
        Panel(
            "Training", "Models with a training run in flight.",
            [Query(f"sum({_worst('noria_loop_run_active')}) or vector(0)", "models")],
            "none", "stat", small,
        ),
        Panel(
            "Rollouts", "Models with a candidate on its way.",
            [Query(f"count({_worst('noria_loop_candidate_info')}) or vector(0)", "models")],
            "none", "stat", small,
        ),
        Panel(
            "Loop-breakers open", "Models whose last candidates were shown worse.",
            [Query(f"sum({_worst('noria_loop_breaker_open')}) or vector(0)", "models")],
            "none", "stat", small, steps=[("red", 1)],
        ),
    ]  # fmt: skip


def _people() -> list[Panel]:
    return [
        Panel(
            "Loop-breakers", "Open: no signal starts a run until enough new rows have come.",
            [Query(_worst("noria_loop_breaker_open"), _MODEL)],
            "none", "state-timeline",
            texts={0: ("closed", "green"), 1: ("OPEN", "red")},
        ),
        Panel(
            "Retrains left", "Runs that each model's budget leaves for signals.",
            [Query(_worst("noria_loop_retrains_left"), _MODEL)],
            "none", "bargauge", least=0,
        ),
        Panel(
            "Promoted, aborted, refused", "Candidates of all models that ended, ever.",
            [Query(
                "sum by (result) (max by (namespace, model, result) "
                f"(noria_loop_rollouts_total{{{_SCOPE}}}))", "{{result}}",
            )],
            "none", least=0,
        ),
    ]  # fmt: skip


def _serving() -> list[Panel]:
    failed, asked = _rate("noria_request_errors_total"), _rate("noria_requests_total")
    buckets = (
        "sum by (namespace, model, le) "
        f"(rate(noria_request_seconds_bucket{{{_SCOPE}}}[$__rate_interval]))"
    )
    return [
        Panel(
            "Requests", "Requests answered per second, stacked.",
            [Query(asked, _MODEL)], "reqps", stacked=True, least=0,
        ),
        Panel(
            "Errors", "Share of requests that failed by the server's fault (5xx).",
            [Query(f"{failed} / {asked}", _MODEL)], "percentunit", least=0,
        ),
        Panel(
            "Latency p99", "Time within which 99 % of requests were answered.",
            [Query(f"histogram_quantile(0.99, {buckets})", _MODEL)], "s", least=0,
        ),
    ]  # fmt: skip


def _world() -> list[Panel]:
    return [
        Panel(
            "Drift", "Whether any detector's last window drifted.",
            [Query(_worst("noria_monitor_drift"), _MODEL)],
            "none", "state-timeline", texts={0: ("no drift", "green"), 1: ("DRIFT", "red")},
        ),
        Panel(
            "Label lag, share of its limit",
            "How far labels are behind predictions; 100 % is maxLabelLag of the spec.",
            [Query(
                f"{_worst('noria_monitor_label_lag_seconds')}\n"
                f"/ {_worst('noria_monitor_label_lag_limit_seconds')}", _MODEL,
            )],
            "percentunit", least=0,
        ),
        Panel(
            "Age of the last window", "Time since each model's last drift window closed.",
            [Query(_worst("noria_monitor_last_window_age_seconds"), _MODEL)], "s", least=0,
        ),
    ]  # fmt: skip
