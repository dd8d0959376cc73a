"""Prometheus rules of a model, made from its spec."""

from monitoring.rules.groups import fleet_groups, prometheus_rule, rule_file, rule_groups, rules_of
from monitoring.rules.rule import Rule, Severity
from monitoring.rules.settings import FAST, RuleSettings

__all__ = [
    "FAST",
    "Rule",
    "RuleSettings",
    "Severity",
    "fleet_groups",
    "prometheus_rule",
    "rule_file",
    "rule_groups",
    "rules_of",
]
