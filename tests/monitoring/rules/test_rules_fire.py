"""Every rule, run by Prometheus' own promtool: firing, quiet, without data, and resolved.

Every series is there twice, from two pods: an alert must have one fingerprint all the same.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from monitoring.rules import fleet_groups, rule_file, rule_groups
from noria.spec import Model, parse_model

EXAMPLE: Final = Path(__file__).parents[3] / "examples" / "flights" / "model.yaml"
PODS: Final = ("a", "b")

Phases = Sequence[tuple[float | None, int]]
"""(value, minutes) of a gauge; None: the series is not there."""


@dataclass(frozen=True)
class Counter:
    """(growth per minute, minutes), one after the other."""

    phases: Sequence[tuple[float, int]]


@dataclass(frozen=True)
class Clock:
    """A gauge of the present time that stops after some minutes and comes back later."""

    stops: int
    back: int


Series = Mapping[str, Phases | Counter | Clock]


@dataclass(frozen=True)
class Case:
    """When the series are as in ``series`` the alert fires at ``fires`` and is over at ``over``.

    Times are minutes. ``quiet``: series with which it must not fire, ever.
    """

    alert: str
    series: Series
    quiet: Series
    labels: Mapping[str, str] = field(default_factory=dict)
    fires: int = 30
    over: int = 75
    step: int = 1
    without_data: bool = False


BREAK: Final = 40
"""Minutes of trouble in most cases."""


def trouble(bad: float | None, good: float | None) -> Phases:
    return ((bad, BREAK), (good, 60))


def steady(value: float) -> Phases:
    return ((value, 100),)


AGE = "noria_monitor_last_window_age_seconds"
ROWS = 'noria_monitor_rows_total{version="3"}'
ERRORS = 'noria_request_errors_total{version="3",protocol="rest"}'
REQUESTS = 'noria_requests_total{version="3",protocol="rest",code="200"}'
UP_TO_100_MS = 'noria_request_seconds_bucket{version="3",protocol="rest",le="0.1"}'
UP_TO_250_MS = 'noria_request_seconds_bucket{version="3",protocol="rest",le="0.25"}'
ALL = 'noria_request_seconds_bucket{version="3",protocol="rest",le="+Inf"}'
STEP_AGE = "noria_loop_rollout_step_age_seconds"
CHAMPION = 'noria_loop_champion_info{version="3"}'
READY = 'noria_ready{version="3"}'
CYCLE = "noria_loop_last_cycle_timestamp_seconds"

CASES: Final = (
    Case(
        "NoriaDrift",
        {'noria_monitor_drift{version="3",detector="features"}': trouble(1, 0)},
        {'noria_monitor_drift{version="3",detector="features"}': steady(0)},
        {"version": "3", "detector": "features", "noria_signal": "drift"},
    ),
    Case(  # a new champion's reference: the old detector's series are gone
        "NoriaDrift",
        {'noria_monitor_drift{version="3",detector="prediction"}': trouble(1, None)},
        {'noria_monitor_drift{version="4",detector="prediction"}': steady(0)},
        {"version": "3", "detector": "prediction", "noria_signal": "drift"},
    ),
    Case(
        "NoriaFalseAlarmBudgetSpent",
        {"noria_monitor_false_alarm_budget_used": trouble(0.06, 0.001)},
        {"noria_monitor_false_alarm_budget_used": steady(0.05)},
    ),
    Case(
        "NoriaPerformanceDrop",
        {
            'noria_monitor_performance_drop_low{version="3",metric="calibration-gap"}': trouble(
                0.07, 0.01
            )
        },
        {  # the value is beyond the limit, its interval is not
            'noria_monitor_performance_drop_low{version="3",metric="calibration-gap"}': steady(
                0.05
            ),
            'noria_monitor_performance{version="3",metric="calibration-gap"}': steady(0.5),
        },
        {"version": "3", "metric": "calibration-gap", "noria_signal": "performance"},
    ),
    Case(
        "NoriaDataQuality",
        {
            'noria_monitor_quality_share{rule="missing"}': trouble(0.4, 0.2),
            'noria_monitor_quality_limit{rule="missing"}': steady(0.3),
            'noria_monitor_quality_share{rule="unseen"}': steady(0.01),
            'noria_monitor_quality_limit{rule="unseen"}': steady(0.05),
        },
        {
            'noria_monitor_quality_share{rule="missing"}': steady(0.3),
            'noria_monitor_quality_limit{rule="missing"}': steady(0.3),
        },
        {"rule": "missing", "noria_signal": "quality"},
    ),
    Case(
        "NoriaStaleWindow",
        {
            "noria_monitor_rows_since_window": trouble(14_500, 100),
            "noria_monitor_window_rows": steady(7000),
        },
        {
            "noria_monitor_rows_since_window": steady(6999),
            "noria_monitor_window_rows": steady(7000),
        },
    ),
    Case(
        "NoriaNoTraffic",
        {AGE: ((3000, 500),), ROWS: Counter(((0, 420), (10, 80)))},
        {AGE: ((3000, 500),), ROWS: Counter(((1, 500),))},
        fires=400,
        over=480,
        step=4,
    ),
    Case(  # it has never seen a row; then it is taken down
        "NoriaNoTraffic",
        {AGE: ((0, 60), (None, 40))},
        {AGE: steady(0), ROWS: Counter(((1, 100),))},
        fires=50,
    ),
    Case(
        "NoriaMonitorBlind",
        {
            'noria_rows_total{version="3"}': Counter(((50, 100),)),
            ROWS: Counter(((0, BREAK), (50, 60))),
        },
        {
            'noria_rows_total{version="3"}': Counter(((50, 100),)),
            ROWS: Counter(((10, 100),)),
        },
    ),
    Case(
        "NoriaLabelLag",
        {
            "noria_monitor_label_lag_seconds": trouble(200_000, 100),
            "noria_monitor_label_lag_limit_seconds": steady(172_800),
        },
        {
            "noria_monitor_label_lag_seconds": steady(172_800),
            "noria_monitor_label_lag_limit_seconds": steady(172_800),
        },
    ),
    Case(
        "NoriaDroppedEvents",
        {'noria_monitor_dropped_total{reason="backlog"}': Counter(((0, 10), (5, 5), (0, 85)))},
        {  # a label that never came is no event that got lost
            'noria_monitor_dropped_total{reason="unlabelled"}': Counter(((5, 100),)),
            'noria_monitor_dropped_total{reason="other-reference"}': Counter(((5, 100),)),
            'noria_monitor_dropped_total{reason="backlog"}': Counter(((0, 100),)),
            'noria_payload_events_dropped_total{version="3",reason="full"}': Counter(((0, 100),)),
        },
        {"reason": "backlog"},
        over=90,
    ),
    Case(
        "NoriaDroppedEvents",
        {
            'noria_payload_events_dropped_total{version="3",reason="full"}': Counter(
                ((0, 10), (5, 5), (0, 85))
            )
        },
        {'noria_payload_events_dropped_total{version="3",reason="full"}': Counter(((0, 100),))},
        {"reason": "not-sent-full"},
        over=90,
    ),
    Case(
        "NoriaDetectorProblem",
        {'noria_monitor_detector_problem{detector="features"}': trouble(1, None)},
        {'noria_monitor_detector_problem{detector="features"}': ((1, 3), (None, 97))},
        {"detector": "features"},
    ),
    Case(
        "NoriaMetricProblem",
        {'noria_monitor_metric_problem{metric="within-half"}': trouble(1, None)},
        {'noria_monitor_metric_problem{metric="within-half"}': ((1, 3), (None, 97))},
        {"metric": "within-half"},
    ),
    Case(
        "NoriaMonitorHeldUp",
        {"noria_monitor_processing_held_up": trouble(1, 0)},
        {"noria_monitor_processing_held_up": ((0, 20), (1, 3), (0, 77))},
    ),
    Case(  # a log that fails holds up processing, and is told once
        "NoriaMonitorHeldUp",
        {
            "noria_monitor_processing_held_up": trouble(1, 0),
            "noria_monitor_log_failing": ((1, 10), (0, 90)),
        },
        {
            "noria_monitor_processing_held_up": steady(1),
            "noria_monitor_log_failing": steady(1),
        },
    ),
    Case(
        "NoriaMonitorLogFailing",
        {"noria_monitor_log_failing": trouble(1, 0)},
        {
            "noria_monitor_log_failing": ((0, 20), (1, 3), (0, 77)),
            "noria_monitor_processing_held_up": steady(1),
        },
    ),
    Case(
        "NoriaReferenceDamaged",
        {"noria_monitor_blind": trouble(1, 0)},
        {"noria_monitor_blind": ((0, 20), (1, 3), (0, 77))},
    ),
    Case(
        "NoriaMonitorFileDamaged",
        {"noria_monitor_damaged_files": trouble(1, 0)},
        {"noria_monitor_damaged_files": steady(0)},
    ),
    Case(
        "NoriaWorkerStuck",
        {
            'noria_worker_age_seconds{worker="log"}': steady(1),
            'noria_worker_age_seconds{worker="processor"}': trouble(400, 1),
        },
        {'noria_worker_age_seconds{worker="processor"}': steady(60)},
        {"worker": "processor"},
    ),
    Case(
        "NoriaWorkerFailing",
        {'noria_worker_failures_total{worker="log"}': Counter(((0, 10), (1, 1), (0, 89)))},
        {'noria_worker_failures_total{worker="log"}': Counter(((0, 100),))},
        {"worker": "log"},
        over=90,
    ),
    Case(
        "NoriaClockSetBack",
        {"noria_monitor_clock_steps_total": Counter(((0, 10), (1, 1), (0, 89)))},
        {"noria_monitor_clock_steps_total": Counter(((0, 100),))},
        over=90,
    ),
    Case(
        "NoriaReplicaSilent",
        {
            'noria_monitor_replica_silence_seconds{replica="1"}': steady(4),
            'noria_monitor_replica_silence_seconds{replica="2"}': trouble(400, 5),
        },
        {'noria_monitor_replica_silence_seconds{replica="2"}': ((5, 20), (90, 3), (30, 77))},
        {"replica": "2"},
    ),
    Case(  # it was never heard
        "NoriaReplicaSilent",
        {'noria_monitor_replica_silence_seconds{replica="3"}': trouble(float("inf"), 0)},
        {'noria_monitor_replica_silence_seconds{replica="3"}': steady(0)},
        {"replica": "3"},
    ),
    Case(
        "NoriaWindowIncomplete",
        {"noria_monitor_window_replicas_missing": trouble(1, 0)},
        {"noria_monitor_window_replicas_missing": ((0, 20), (1, 3), (0, 77))},
    ),
    Case(
        "NoriaReplicaOutdated",
        {'noria_monitor_dropped_total{reason="other-reference"}': Counter(((250, BREAK), (0, 60)))},
        {  # a promotion: some partials were under way
            'noria_monitor_dropped_total{reason="other-reference"}': Counter(
                ((0, 20), (250, 2), (0, 78))
            ),
            'noria_monitor_dropped_total{reason="backlog"}': Counter(((5, 100),)),
        },
    ),
    Case(
        "NoriaMonitorDown",
        {"noria_monitor_window_rows": trouble(None, 7000)},
        {"noria_monitor_window_rows": steady(7000)},
        without_data=True,
    ),
    Case(
        "NoriaErrorRate",
        {ERRORS: Counter(((5, BREAK), (0, 60))), REQUESTS: Counter(((100, 100),))},
        {ERRORS: Counter(((1, 100),)), REQUESTS: Counter(((100, 100),))},
        {"version": "3"},
    ),
    Case(  # one failure of one request is no rate
        "NoriaErrorRate",
        {ERRORS: Counter(((60, BREAK), (0, 60))), REQUESTS: Counter(((60, 100),))},
        {ERRORS: Counter(((1, 100),)), REQUESTS: Counter(((1, 100),))},
        {"version": "3"},
    ),
    Case(
        "NoriaLatency",
        {
            UP_TO_100_MS: Counter(((40, BREAK), (100, 60))),
            UP_TO_250_MS: Counter(((100, 100),)),
            ALL: Counter(((100, 100),)),
            REQUESTS: Counter(((100, 100),)),
        },
        {
            UP_TO_100_MS: Counter(((100, 100),)),
            ALL: Counter(((100, 100),)),
            REQUESTS: Counter(((100, 100),)),
        },
        {"version": "3", "quantile": "0.5"},
    ),
    Case(
        "NoriaModelDown",
        {CHAMPION: steady(1), READY: trouble(0, 1)},
        {CHAMPION: steady(1), READY: steady(1)},
    ),
    Case(  # its servers are not even there
        "NoriaModelDown", {CHAMPION: steady(1), READY: trouble(None, 1)}, {READY: steady(0)}
    ),
    Case(
        "NoriaRolloutStuck",
        {STEP_AGE: trouble(950_000, None)},
        {STEP_AGE: steady(900_000), 'noria_loop_stage{stage="canary"}': steady(1)},
    ),
    Case(
        "NoriaRolloutStuck",
        {STEP_AGE: trouble(1000, None), 'noria_loop_stage{stage="promoting"}': trouble(1, 0)},
        {
            STEP_AGE: steady(1000),
            'noria_loop_stage{stage="promoting"}': steady(0),
            'noria_loop_stage{stage="canary"}': steady(1),
        },
    ),
    Case(
        "NoriaLoopBreakerOpen",
        {"noria_loop_breaker_open": trouble(1, 0)},
        {"noria_loop_breaker_open": steady(0)},
    ),
    Case(
        "NoriaRetrainsExhausted",
        {"noria_loop_retrains_left": trouble(0, 1)},
        {"noria_loop_retrains_left": steady(1)},
    ),
    Case(
        "NoriaRunFailed",
        {'noria_loop_alert{name="run-failed"}': trouble(1, None)},
        {'noria_loop_alert{name="loop-breaker"}': steady(1)},
    ),
    Case(
        "NoriaChampionGone",
        {'noria_loop_alert{name="champion-gone"}': trouble(1, None)},
        {'noria_loop_alert{name="run-failed"}': steady(1)},
    ),
    Case(
        "NoriaActionsFailing",
        {"noria_loop_actions_failing": trouble(2, 0)},
        {"noria_loop_actions_failing": ((0, 20), (2, 10), (0, 70))},
    ),
    Case(
        "NoriaLoopDown",
        {CYCLE: Clock(stops=5, back=BREAK)},
        {CYCLE: Clock(stops=100, back=100)},
        without_data=True,
    ),
    Case("NoriaLoopDown", {CYCLE: trouble(None, 1e9)}, {CYCLE: steady(1e9)}, without_data=True),
)

FLEET: Final = (
    Case(
        "NoriaOperatorGone",
        {CYCLE: ((1, 10), (None, 30), (1, 60))},
        {CYCLE: steady(1)},
    ),
    Case(
        "NoriaModelUnwatched",
        {CHAMPION: steady(1), "noria_monitor_window_rows": trouble(None, 7000)},
        {CHAMPION: steady(1), "noria_monitor_window_rows": steady(7000)},
        {"namespace": "shop", "model": "flights"},
    ),
)


@pytest.fixture(scope="module")
def model() -> Model:
    """The example in a namespace, with limits of its own and every signal of an alert."""
    document = yaml.safe_load(EXAMPLE.read_text())
    document["metadata"]["namespace"] = "shop"
    spec = document["spec"]
    spec["retraining"] = {"signals": ["drift", "performance", "quality"]}
    drop = {"metric": "calibration-gap", "max": 0.05, "confidence": 0.9}
    spec["monitoring"]["performance"]["drop"] = drop
    checks = [{"metric": "error-rate", "max": 0.01}, {"metric": "latency-p50", "max": "100ms"}]
    spec["serving"] = {"canary": {"stepTimeout": "14d", "analysis": checks}}
    return parse_model(document)


def run(promtool: str, folder: Path, groups: Mapping[str, Any], cases: Sequence[Case]) -> None:
    """Test each rule apart, which is many times faster than all of them for each case."""
    rules = {rule["alert"]: rule for group in groups["groups"] for rule in group["rules"]}
    assert {case.alert for case in cases} == set(rules)
    files = []
    for number, case in enumerate(cases):
        rule = rules[case.alert]
        same = [other for g in groups["groups"] for other in g["rules"] if other == rule]
        document = {"groups": [{"name": "one", "interval": "30s", "rules": same}]}
        (folder / f"rule-{number}.yaml").write_text(yaml.safe_dump(document))
        test = {
            "rule_files": [f"rule-{number}.yaml"],
            "evaluation_interval": "30s",
            "tests": groups_for(case, rule["labels"]),
        }
        files.append(f"test-{number}.yaml")
        (folder / files[-1]).write_text(yaml.safe_dump(test))
    done = subprocess.run(
        [promtool, "test", "rules", *files], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") == len(cases)


def groups_for(case: Case, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    about = {"alertname": case.alert, "alertstate": "firing"}
    firing = f"ALERTS{written({**about, **labels, **case.labels})}"
    end = max(case.fires, case.over)
    return [
        {
            "name": f"{case.alert}: fires, and is over",
            "interval": f"{case.step}m",
            "input_series": inputs(case.series, case.step),
            "promql_expr_test": [
                expected(case.alert, case.fires, [firing]),
                expected(case.alert, case.over, []),
            ],
        },
        {
            "name": f"{case.alert}: quiet",
            "interval": f"{case.step}m",
            "input_series": inputs(case.quiet, case.step),
            "promql_expr_test": [expected(case.alert, at, []) for at in (case.fires, end)],
        },
        {
            "name": f"{case.alert}: without data",
            "interval": f"{case.step}m",
            "input_series": [],
            "promql_expr_test": [
                expected(case.alert, case.fires, [firing] if case.without_data else [])
            ],
        },
    ]


def expected(alert: str, minute: int, firing: list[str]) -> dict[str, Any]:
    return {
        "expr": f'ALERTS{{alertname="{alert}", alertstate="firing"}}',
        "eval_time": f"{minute}m",
        "exp_samples": [{"labels": labels, "value": 1} for labels in firing],
    }


def inputs(series: Series, step: int) -> list[dict[str, str]]:
    found = []
    for name, shape in series.items():
        metric, _, rest = name.partition("{")
        labels = rest.removesuffix("}")
        for pod in PODS:
            inside = ",".join(
                filter(None, ['namespace="shop"', 'model="flights"', f'pod="{pod}"', labels])
            )
            text = " ".join(values(shape, step))
            found.append({"series": f"{metric}{{{inside}}}", "values": text})
    return found


def values(shape: Phases | Counter | Clock, step: int) -> list[str]:
    if isinstance(shape, Clock):
        seconds = [60 * m if m < shape.stops or m >= shape.back else 0 for m in range(101)]
        return [str(s) for s in seconds]
    if isinstance(shape, Counter):
        total, out = 0.0, []
        for growth, minutes in shape.phases:
            for _ in range(0, minutes, step):
                out.append(f"{total:g}")
                total += growth * step
        return out
    return [
        "_" if value is None else repr(value)
        for value, minutes in shape
        for _ in range(0, minutes, step)
    ]


def written(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'{k}="{v}"' for k, v in sorted(labels.items())) + "}"


def test_every_rule_of_a_model_fires_when_it_must_and_only_then(
    promtool: str, model: Model, tmp_path: Path
) -> None:
    run(promtool, tmp_path, rule_groups(model), CASES)


def test_every_rule_of_the_fleet_fires_when_it_must_and_only_then(
    promtool: str, tmp_path: Path
) -> None:
    run(promtool, tmp_path, fleet_groups(), FLEET)


def test_an_alert_says_what_and_where(promtool: str, model: Model, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.alert == "NoriaPerformanceDrop")
    (tmp_path / "rules.yaml").write_text(rule_file([model]))
    alert = {
        "exp_labels": {
            "namespace": "shop",
            "model": "flights",
            "severity": "warning",
            **case.labels,
        },
        "exp_annotations": {
            "summary": "flights: calibration-gap has dropped",
            "description": "calibration-gap of version 3 on labelled traffic is worse than at "
            "training by at least 0.07 with confidence 0.9; 0.05 is allowed.",
            "runbook": "docs/alerts.md#noriaperformancedrop",
        },
    }
    document = {
        "rule_files": ["rules.yaml"],
        "tests": [
            {
                "interval": "1m",
                "input_series": inputs(case.series, 1),
                "alert_rule_test": [
                    {"alertname": case.alert, "eval_time": "10m", "exp_alerts": [alert]}
                ],
            }
        ],
    }
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(document))
    command = [promtool, "test", "rules", "tests.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
