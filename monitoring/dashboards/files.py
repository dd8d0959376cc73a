"""Everything that Grafana reads from disk: provisioning files, and dashboards beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from monitoring.dashboards.alerting import DATASOURCE, alert_rules, contact_points, policies
from monitoring.dashboards.fleet_page import fleet_dashboard
from monitoring.dashboards.model_page import model_dashboard
from monitoring.dashboards.panel import Json
from monitoring.rules.groups import as_yaml
from monitoring.rules.settings import RuleSettings
from noria.spec import Model

_DEFAULT: Final = RuleSettings()


def grafana_files(
    models: Sequence[Model], settings: RuleSettings = _DEFAULT, comment: str = ""
) -> dict[str, str]:
    """Return the text of each file by its path.

    ``provisioning/`` is a provisioning folder of Grafana; ``dashboards/`` is where the provider
    in it looks, by the environment variable ``NORIA_DASHBOARDS``.
    """
    provisioning = {
        "datasources/noria.yaml": _datasources(),
        "dashboards/noria.yaml": _providers(),
        "alerting/noria-rules.yaml": alert_rules(models, settings),
        "alerting/noria-contact-points.yaml": contact_points(),
        "alerting/noria-policies.yaml": policies(),
    }
    pages = {"fleet": fleet_dashboard()} | {
        "-".join(filter(None, (m.metadata.namespace, m.name))): model_dashboard(
            m, m.metadata.namespace
        )
        for m in models
    }
    return {
        **{f"provisioning/{path}": comment + as_yaml(doc) for path, doc in provisioning.items()},
        **{f"dashboards/{name}.json": as_json(page) for name, page in pages.items()},
    }


def as_json(document: Json) -> str:
    """Return a document as JSON that a diff can show."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _datasources() -> Json:
    source = {
        "orgId": 1,
        "uid": DATASOURCE,
        "name": "Noria Prometheus",
        "type": "prometheus",
        "access": "proxy",
        "url": "$NORIA_PROMETHEUS_URL",
        "isDefault": False,
        "editable": False,
        "jsonData": {"httpMethod": "POST", "timeInterval": "15s"},
    }
    return {"apiVersion": 1, "datasources": [source]}


def _providers() -> Json:
    provider = {
        "orgId": 1,
        "name": "noria",
        "folder": "Noria",
        "type": "file",
        "disableDeletion": True,
        "allowUiUpdates": False,
        "updateIntervalSeconds": 30,
        "options": {"path": "$NORIA_DASHBOARDS"},
    }
    return {"apiVersion": 1, "providers": [provider]}
