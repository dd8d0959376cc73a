"""Rules as Prometheus reads them: a rule file, a PrometheusRule, and those of the whole fleet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from monitoring.rules import of_loop, of_monitor, of_serving
from monitoring.rules.rule import Rule, Scope
from monitoring.rules.settings import RuleSettings
from noria.spec import Model
from noria.spec.units import format_duration

_SOURCES: Final = {
    "monitoring": of_monitor.rules,
    "serving": of_serving.rules,
    "loop": of_loop.rules,
}
_DEFAULT: Final = RuleSettings()


def rules_of(model: Model, settings: RuleSettings = _DEFAULT) -> tuple[Rule, ...]:
    """Return every rule of a model."""
    scope = Scope(model, settings)
    return tuple(rule for make in _SOURCES.values() for rule in make(scope))


def rule_groups(model: Model, settings: RuleSettings = _DEFAULT) -> dict[str, Any]:
    """Return a model's rules, as the content of a rule file and of a PrometheusRule's ``spec``."""
    scope = Scope(model, settings)
    return {
        "groups": [
            {
                "name": "-".join(["noria", *scope.labels.values(), source]),
                "interval": format_duration(settings.interval),
                "rules": [rule.document(settings, scope.labels) for rule in make(scope)],
            }
            for source, make in _SOURCES.items()
        ]
    }


def rule_file(models: Sequence[Model], settings: RuleSettings = _DEFAULT) -> str:
    """Return the text of a rule file for Prometheus' ``rule_files``."""
    groups = [group for model in models for group in rule_groups(model, settings)["groups"]]
    return as_yaml({"groups": groups})


def prometheus_rule(
    model: Model,
    namespace: str,
    labels: Mapping[str, str] | None = None,
    settings: RuleSettings = _DEFAULT,
) -> dict[str, Any]:
    """Return a model's rules as an object of the Prometheus Operator.

    Args:
        model: The resource.
        namespace: Where the model is; its rules look at that namespace only.
        labels: Labels by which the Prometheus finds its rules, such as ``release``.
        settings: Times.
    """
    metadata = model.metadata.model_copy(update={"namespace": namespace})
    here = model.model_copy(update={"metadata": metadata})
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": f"noria-{model.name}",
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/part-of": "noria",
                "noria.dev/model": model.name,
                **(labels or {}),
            },
        },
        "spec": rule_groups(here, settings),
    }


def fleet_groups(settings: RuleSettings = _DEFAULT) -> dict[str, Any]:
    """Return what no model's own rules can see: loops that are gone, models nobody watches."""
    turned = "noria_loop_last_cycle_timestamp_seconds"
    champions = "max by (namespace, model) (noria_loop_champion_info)"
    rules = (
        Rule(
            name="NoriaOperatorGone",
            expr=f"count(last_over_time({turned}[1h]))\nunless count({turned})",
            severity="critical",
            hold=settings.hold,
            summary="No loop tells of itself any more",
            description=(
                "{{ $value }} models had a loop within the last hour, and none has now: the "
                "operator is down, or Prometheus can't scrape it."
            ),
        ),
        Rule(
            name="NoriaModelUnwatched",
            expr=f"{champions}\nunless max by (namespace, model) (noria_monitor_window_rows)",
            severity="warning",
            hold=settings.long_hold,
            summary="{{ $labels.model }} is served and nobody watches it",
            description="It has a champion, and no monitor that Prometheus can scrape.",
        ),
    )
    group = {
        "name": "noria-fleet",
        "interval": format_duration(settings.interval),
        "rules": [rule.document(settings, {}) for rule in rules],
    }
    return {"groups": [group]}


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def as_yaml(document: Mapping[str, Any]) -> str:
    """Return a document as YAML that a person can read."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
