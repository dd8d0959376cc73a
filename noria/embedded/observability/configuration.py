"""The files that Prometheus and Alertmanager are started with, from what is known of a home."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from noria.embedded.observability.choice import Pace
from noria.embedded.scraping import Target

_SECOND: Final = timedelta(seconds=1)


def scrape_targets(targets: Sequence[Target], namespaces: Mapping[str, str]) -> str:
    """Return the file of targets, which Prometheus reads again whenever it changes.

    The loop's series name their own namespace; a monitor and a server don't know theirs.
    """
    groups = []
    for target in targets:
        namespace = namespaces.get(target.model, "")
        labels = {"job": target.job, **({"namespace": namespace} if namespace else {})}
        groups.append({"targets": [urlsplit(target.url).netloc], "labels": labels})
    return json.dumps(groups, indent=1, sort_keys=True)


def prometheus(pace: Pace, targets: Path, rules: Path, alertmanager: str) -> dict[str, Any]:
    """Return ``prometheus.yml``."""
    return {
        "global": {
            "scrape_interval": _duration(pace.scrape),
            "scrape_timeout": _duration(pace.scrape),
            "evaluation_interval": _duration(pace.rules.interval),
        },
        "rule_files": [_literal(rules)],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [urlsplit(alertmanager).netloc]}]}]
        },
        "scrape_configs": [
            {
                "job_name": "noria",
                "honor_labels": True,
                "file_sd_configs": [{"files": [_literal(targets)], "refresh_interval": "5s"}],
            }
        ],
    }


def alertmanager(pace: Pace, webhook: str, token: Path) -> dict[str, Any]:
    """Return ``alertmanager.yml``: every alert goes to the loop, which sorts them."""
    return {
        "route": {
            "receiver": "noria",
            "group_by": ["model"],
            "group_wait": _duration(pace.group_wait),
            "group_interval": _duration(pace.group_interval),
            "repeat_interval": _duration(pace.repeat),
        },
        "receivers": [
            {
                "name": "noria",
                "webhook_configs": [
                    {
                        "url": f"{webhook}/alerts",
                        "send_resolved": True,
                        "max_alerts": 0,
                        "http_config": {
                            "authorization": {"type": "Bearer", "credentials_file": str(token)}
                        },
                    }
                ],
            }
        ],
    }


def _literal(path: Path) -> str:
    """Return a path that Prometheus, which takes it for a pattern, reads as it is."""
    return re.sub(r"([\\?\[])", r"\\\1", str(path))


def _duration(value: timedelta) -> str:
    return f"{value // _SECOND}s"
