"""Every query of every dashboard and alert, answered by a real Prometheus."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from monitoring.dashboards import fleet_dashboard, model_dashboard
from monitoring.rules import fleet_groups, rules_of

VALUES = {
    "$__rate_interval": "1m",
    "$__interval": "1m",
    "$namespace": ".*",
    "$model": "flights",
}


def filled(expr: str) -> str:
    for name, value in VALUES.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, expr
    return expr


def targets(dashboard: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target


def test_every_panel_shows_something(prometheus: Any) -> None:
    empty = []
    seen = 0
    for dashboard in (fleet_dashboard(), model_dashboard(prometheus.model)):
        for title, target in targets(dashboard):
            expr = filled(target["expr"])
            ask = prometheus.instant if target["instant"] else prometheus.over_time
            found = ask(expr)
            seen += 1
            numbers = [
                value
                for one in found
                for _, value in ([one["value"]] if "value" in one else one["values"])
            ]
            if not any(number != "NaN" for number in numbers):
                empty.append(f"{dashboard['title']} / {title}: {expr}")
            for name in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                # An absent namespace is a model without one; any other name must be there.
                assert name == "namespace" or all(name in one["metric"] for one in found), title
    assert empty == []
    assert seen > 60


def test_what_happened_is_marked_and_variables_find_the_model(prometheus: Any) -> None:
    for mark in model_dashboard(prometheus.model)["annotations"]["list"]:
        found = prometheus.over_time(filled(mark["target"]["expr"]))
        times = [at for one in found for at, _ in one["values"]]
        if mark["name"] in ("Promoted", "Training", "Drift"):
            assert times, mark["name"]
            assert max(times) - min(times) < prometheus.end - prometheus.start
    for dashboard in (fleet_dashboard(), model_dashboard(prometheus.model)):
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query" and variable["name"] == "model":
                selector, label = re.findall(
                    r"label_values\((.*), (\w+)\)", variable["query"]["query"]
                )[0]
                assert prometheus.label_values(filled(selector), label) == ["flights"]


def test_every_alert_can_be_evaluated_on_real_series(prometheus: Any) -> None:
    # A join that matches many to many shows only here.
    exprs = [rule.expr for rule in rules_of(prometheus.model)]
    exprs += [rule["expr"] for group in fleet_groups()["groups"] for rule in group["rules"]]
    for expr in exprs:
        prometheus.over_time(expr)
        prometheus.instant(expr)
