"""The same rules for Grafana's own alerting, with where they are sent, as provisioning files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from monitoring.dashboards.panel import Json
from monitoring.rules import Rule, RuleSettings, rules_of
from monitoring.rules.rule import Scope
from noria.spec import Model
from noria.spec.units import format_duration

DATASOURCE: Final = "noria-prometheus"
RECEIVER: Final = "noria"
_FOLDER: Final = "Noria"
_LOOK_BACK_SECONDS: Final = 600
_TICK: Final = timedelta(seconds=10)
"""Grafana evaluates at multiples of this."""


def alert_rules(models: Sequence[Model], settings: RuleSettings) -> Json:
    """Return the rules of models as a file of ``provisioning/alerting``."""
    groups = [
        {
            "orgId": 1,
            "name": "-".join(["noria", *Scope(model, settings).labels.values()]),
            "folder": _FOLDER,
            "interval": format_duration(math.ceil(settings.interval / _TICK) * _TICK),
            "rules": [_rule(model, rule, settings) for rule in rules_of(model, settings)],
        }
        for model in models
    ]
    return {"apiVersion": 1, "groups": groups}


def contact_points() -> Json:
    """Return the webhook that alerts go to; address and token come from Grafana's environment."""
    settings = {
        "url": "$NORIA_WEBHOOK_URL",
        "httpMethod": "POST",
        "authorization_scheme": "Bearer",
        "authorization_credentials": "$NORIA_WEBHOOK_TOKEN",
        "maxAlerts": 0,
    }
    receiver = {
        "uid": "noria-webhook",
        "type": "webhook",
        "disableResolveMessage": False,
        "settings": settings,
    }
    point = {"orgId": 1, "name": RECEIVER, "receivers": [receiver]}
    return {"apiVersion": 1, "contactPoints": [point]}


def policies() -> Json:
    """Return the notification policy. Provisioning it replaces the whole tree of the org."""
    policy = {
        "orgId": 1,
        "receiver": RECEIVER,
        "group_by": ["grafana_folder", "alertname", "namespace", "model"],
        "group_wait": "10s",
        "group_interval": "1m",
        "repeat_interval": "4h",
    }
    return {"apiVersion": 1, "policies": [policy]}


def _rule(model: Model, rule: Rule, settings: RuleSettings) -> Json:
    labels = Scope(model, settings).labels
    document = rule.document(settings, labels)
    # A title is unique in its folder; it is Grafana's ``alertname``.
    extra = "".join(f" {value}" for value in rule.labels.values())
    title = f"{rule.name}{extra} ({' '.join(labels.values())})"
    return {
        "uid": f"noria-{hashlib.sha256(title.encode()).hexdigest()[:20]}",
        "title": title,
        "condition": "B",
        "data": [_query(rule.expr), _there("A")],
        # The rules say themselves when it is absence that is wrong.
        "noDataState": "OK",
        "execErrState": "Error",
        "for": document["for"],
        "annotations": {
            name: text.replace("$value", "$values.A.Value")
            for name, text in document["annotations"].items()
        },
        "labels": document["labels"],
        "isPaused": False,
    }


def _query(expr: str) -> Json:
    return {
        "refId": "A",
        "relativeTimeRange": {"from": _LOOK_BACK_SECONDS, "to": 0},
        "datasourceUid": DATASOURCE,
        "model": {
            "refId": "A",
            "expr": expr,
            "instant": True,
            "range": False,
            "editorMode": "code",
            "intervalMs": 1000,
            "maxDataPoints": 43200,
        },
    }


def _there(ref: str) -> Json:
    """Return a condition: 1 for every series that a query gives, whatever its number is.

    A Prometheus rule fires for each series; a number that is 0 (no retrain left) would not.
    """
    return {
        "refId": "B",
        "relativeTimeRange": {"from": 0, "to": 0},
        "datasourceUid": "__expr__",
        "model": {
            "refId": "B",
            "type": "math",
            "expression": f"${ref} == ${ref}",
            "datasource": {"type": "__expr__", "uid": "__expr__"},
        },
    }
