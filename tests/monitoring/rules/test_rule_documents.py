"""What the rules are made of: limits of the spec, labels that keep a fingerprint, freshness."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from monitoring.rules import FAST, RuleSettings, prometheus_rule, rule_file, rule_groups
from monitoring.rules.__main__ import GENERATOR
from monitoring.rules.of_serving import left_out
from noria.spec import Model, load_model

ROOT: Final = Path(__file__).parents[3]


def flights(**sections: dict[str, Any]) -> Model:
    document = load_model(ROOT / "examples/flights/model.yaml").model_dump(
        mode="json", by_alias=True
    )
    for name, section in sections.items():
        document["spec"][name] = {**document["spec"][name], **section}
    return Model.model_validate(document)


def by_name(model: Model, settings: RuleSettings | None = None) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for group in rule_groups(model, settings or RuleSettings())["groups"]:
        for rule in group["rules"]:
            found.setdefault(rule["alert"], []).append(rule)
    return found


def canary(*analysis: dict[str, Any]) -> dict[str, Any]:
    return {"canary": {"steps": [10], "stepTimeout": "1h", "analysis": list(analysis)}}


def test_the_files_in_the_repository_are_fresh() -> None:
    for path, text in GENERATOR.of_examples(ROOT).items():
        assert (ROOT / path).read_text() == text, f"{path}: run python -m monitoring.rules"


def test_promtool_has_nothing_to_say(promtool: str, tmp_path: Path) -> None:
    for name, settings in (("usual", RuleSettings()), ("fast", FAST)):
        file = tmp_path / f"{name}.yaml"
        models = [load_model(found) for found in sorted(ROOT.glob("examples/*/model.yaml"))]
        file.write_text(rule_file(models, settings))
    files = [*tmp_path.glob("*.yaml"), *ROOT.glob("monitoring/rules/generated/*.yaml")]
    command = [promtool, "check", "rules", "--lint=all", "--lint-fatal", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("signals", "labelled"),
    [
        (["manual"], {}),
        (["drift"], {"NoriaDrift": "drift"}),
        (
            ["drift", "performance", "quality"],
            {
                "NoriaDrift": "drift",
                "NoriaPerformanceDrop": "performance",
                "NoriaDataQuality": "quality",
            },
        ),
    ],
)
def test_only_what_the_spec_lets_retrain_carries_a_signal(
    signals: list[str], labelled: dict[str, str]
) -> None:
    rules = by_name(flights(retraining={"signals": signals}))
    found = {
        name: rule["labels"]["noria_signal"]
        for name, same in rules.items()
        for rule in same
        if "noria_signal" in rule["labels"]
    }
    assert found == labelled


def test_limits_of_the_canary_are_the_limits_of_the_alerts() -> None:
    rules = by_name(
        flights(
            serving=canary(
                {"metric": "error-rate", "max": 0.002},
                {"metric": "latency-p50", "max": "20ms"},
                {"metric": "latency-p99", "max": "1500ms"},
            )
        )
    )
    assert "\n> 0.002\n" in rules["NoriaErrorRate"][0]["expr"]
    shown = {rule["labels"]["quantile"]: rule["expr"] for rule in rules["NoriaLatency"]}
    assert "\n> 0.02\n" in shown["0.5"]
    assert "\n> 1.5\n" in shown["0.99"]


def test_without_a_limit_the_documented_defaults_hold() -> None:
    rules = by_name(flights(serving=canary({"metric": "auc", "maxDrop": 0.1})))
    assert "\n> 0.01\n" in rules["NoriaErrorRate"][0]["expr"]
    (latency,) = rules["NoriaLatency"]
    assert "histogram_quantile(0.99" in latency["expr"]
    assert "\n> 1\n" in latency["expr"]


def test_a_limit_beyond_the_last_bucket_can_still_be_reached() -> None:
    rules = by_name(flights(serving=canary({"metric": "latency-p99", "max": "30s"})))
    assert "\n>= 10\n" in rules["NoriaLatency"][0]["expr"]


def test_what_the_spec_leaves_out_has_no_rule() -> None:
    performance = flights().spec.monitoring.performance.model_dump(mode="json", by_alias=True)
    rules = by_name(
        flights(
            monitoring={"performance": {**performance, "drop": None}, "detectors": []},
            serving={"payloadLog": {"sample": 0.0}},
            retraining={"signals": [], "budget": {"runs": 0, "per": "30d"}},
        )
    )
    absent = {
        *("NoriaDrift", "NoriaFalseAlarmBudgetSpent", "NoriaPerformanceDrop"),
        *("NoriaNoTraffic", "NoriaMonitorBlind", "NoriaStaleWindow", "NoriaRetrainsExhausted"),
    }
    assert not absent & set(rules)
    assert "NoriaMonitorDown" in rules


def test_no_series_is_looked_at_by_pod_and_every_one_by_model() -> None:
    for same in by_name(flights()).values():
        for rule in same:
            expr = rule["expr"]
            for labels in re.findall(r"by \(([^)]*)\)", expr):
                assert {"namespace", "model"} <= set(labels.split(", "))
                assert not {"pod", "instance", "job"} & set(labels.split(", "))
            for selector in re.findall(r"noria_\w+(\{[^}]*\}|)", expr):
                assert 'model="flights"' in selector
            assert not re.search(r"value", str(rule["labels"]))


def test_every_runbook_is_written() -> None:
    text = (ROOT / "docs/alerts.md").read_text()
    anchors = {line.removeprefix("### ").lower() for line in text.splitlines() if "### " in line}
    for file in ROOT.glob("monitoring/rules/generated/*.yaml"):
        for page, anchor in re.findall(r"runbook: (\S+)#(\w+)", file.read_text()):
            assert page == "docs/alerts.md"
            assert anchor in anchors


def test_a_prometheus_rule_looks_at_its_own_namespace_only() -> None:
    made = prometheus_rule(flights(), "shop", {"release": "kube-prometheus-stack"})
    assert made["kind"] == "PrometheusRule"
    assert made["metadata"]["name"] == "noria-flights"
    assert made["metadata"]["namespace"] == "shop"
    assert made["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    for group in made["spec"]["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["namespace"] == "shop"
            assert 'namespace="shop"' in rule["expr"]


def test_the_fast_rules_wait_for_nothing() -> None:
    rules = by_name(flights(), FAST)
    assert {rule["for"] for same in rules.values() for rule in same} == {"0s"}
    assert {group["interval"] for group in rule_groups(flights(), FAST)["groups"]} == {"1s"}


def of_another_server(**metrics: Any) -> Model:
    runtime = {"name": "k", "format": "f", "metrics": metrics}
    return flights(serving={"runtime": runtime, **canary({"metric": "auc", "min": 0.5})})


def test_rules_watch_the_series_of_another_server(promtool: str, tmp_path: Path) -> None:
    model = of_another_server(
        requests=["ok_total", 'all_total{kind="rest"}'],
        errors=['http_requests_total{code=~"5.."}'],
        seconds="vllm:e2e_request_latency_seconds",
    )
    found = by_name(model)
    (failed,) = found["NoriaErrorRate"]
    assert 'http_requests_total{model="flights", code=~"5.."}[5m]' in failed["expr"]
    assert 'all_total{model="flights", kind="rest"}' in failed["expr"]
    (slow,) = found["NoriaLatency"]
    assert 'vllm:e2e_request_latency_seconds_bucket{model="flights"}' in slow["expr"]
    (down,) = found["NoriaModelDown"]
    assert down["expr"].endswith('(ok_total{model="flights"})')
    assert not any("noria_request" in rule["expr"] for rules in found.values() for rule in rules)
    file = tmp_path / "rules.yaml"
    file.write_text(rule_file([model]))
    command = [promtool, "check", "rules", "--lint=all", "--lint-fatal", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_another_server_does_not_count_has_no_rule() -> None:
    model = of_another_server(requests=["ok_total"])
    assert not {"NoriaErrorRate", "NoriaLatency"} & set(by_name(model))
    assert left_out(model) == ("NoriaErrorRate", "NoriaLatency")
    assert left_out(flights()) == ()


def test_errors_of_another_server_fire_though_one_of_its_counters_is_not_there(
    promtool: str, tmp_path: Path
) -> None:
    failed = ['http_requests_total{code=~"5.."}', "never_total"]
    model = of_another_server(
        requests=['http_requests_total{kind="rest"}', "no_total"], errors=failed
    )
    (tmp_path / "rules.yaml").write_text(rule_file([model]))
    of_it = 'model="flights",version="3",kind="rest"'
    series = [
        {"series": f'http_requests_total{{{of_it},code="{code}"}}', "values": f"0+{growth}x60"}
        for code, growth in ((200, 60), (503, 40))
    ]
    fired = {"severity": "critical", "model": "flights", "version": "3"}
    expected = {"alertname": "NoriaErrorRate", "eval_time": "30m"}
    case = {"interval": "1m", "input_series": series}
    annotations = by_name(model)["NoriaErrorRate"][0]["annotations"]
    said = {
        **annotations,
        "summary": "flights: version 3 fails",
        "description": annotations["description"].replace(
            "{{ $value | humanizePercentage }}", "40%"
        ),
    }
    alert = {**expected, "exp_alerts": [{"exp_labels": fired, "exp_annotations": said}]}
    document = {"rule_files": ["rules.yaml"], "tests": [{**case, "alert_rule_test": [alert]}]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(document))
    command = [promtool, "test", "rules", str(tmp_path / "test.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
