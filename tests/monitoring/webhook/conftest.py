"""A receiver over a store with two loops, and what Alertmanager and Grafana send."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitoring.webhook import BOUNDS, Locks, Receiver, WebhookApp
from noria.asgi import Hosts
from noria.loop.fakes import FakeClock
from noria.loop.ports import Store
from noria.loop.sqlite_store import SqliteStore
from noria.loop.state import State

ZERO = "0001-01-01T00:00:00Z"


class Senders:
    """Bodies as the two senders make them."""

    @staticmethod
    def alert(
        labels: Mapping[str, str],
        starts: datetime,
        *,
        ends: datetime | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        text = json.dumps(sorted(labels.items()))
        return {
            "status": "firing" if ends is None else "resolved",
            "labels": dict(labels),
            "annotations": dict(annotations or {"summary": "the inputs have drifted"}),
            "startsAt": starts.isoformat().replace("+00:00", "Z"),
            "endsAt": ZERO if ends is None else ends.isoformat().replace("+00:00", "Z"),
            "generatorURL": "http://prometheus.example:9090/graph?g0.expr=x",
            "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:16],
        }

    @staticmethod
    def alertmanager(alerts: Sequence[Mapping[str, Any]], *, truncated: int = 0) -> dict[str, Any]:
        firing = any(alert["status"] == "firing" for alert in alerts)
        return {
            "receiver": "noria",
            "status": "firing" if firing else "resolved",
            "alerts": copy.deepcopy(list(alerts)),
            "groupLabels": {},
            "commonLabels": {},
            "commonAnnotations": {},
            "externalURL": "http://alertmanager.example:9093",
            "version": "4",
            "groupKey": '{}:{model="flights"}',
            "truncatedAlerts": truncated,
        }

    @classmethod
    def grafana(cls, alerts: Sequence[Mapping[str, Any]], *, truncated: int = 0) -> dict[str, Any]:
        body = cls.alertmanager(alerts, truncated=truncated)
        for alert in body["alerts"]:
            alert |= {
                "values": {"B": 1, "C": 1},
                "silenceURL": "https://grafana.example/alerting/silence/new",
                "dashboardURL": "",
                "panelURL": "",
                "imageURL": "",
            }
        return body | {
            "version": "1",
            "orgId": 1,
            "title": "[FIRING:1] NoriaDrift",
            "state": "alerting",
            "message": "**Firing**",
        }


class Post:
    """The receiver's app, called as a server calls it."""

    def __init__(self, store: Store, clock: FakeClock, locks: Locks | None = None) -> None:
        self.store, self.clock = store, clock
        app = WebhookApp(Receiver(lambda _: store, clock), locks or Locks(), clock)
        self.app = app.gate(Hosts("127.0.0.1", ["webhook"]), replace(BOUNDS, max_body=100_000))
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://webhook"
        )

    async def __call__(
        self, body: Any, headers: Mapping[str, str] | None = None, path: str = "/alerts"
    ) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json", **(headers or {})}
        raw = [(name.encode(), value.encode()) for name, value in sent.items()]
        return await self.client.post(path, content=content, headers=raw)

    async def metrics(self) -> dict[str, float]:
        """Return the samples that are not zero, by name with labels."""
        lines = (await self.client.get("/metrics")).text.splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in samples if float(value)}


@pytest.fixture
def clock() -> FakeClock:
    made = FakeClock()
    made.advance(timedelta(days=1))
    return made


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    """The loops of flights and parcels have turned here."""
    made = SqliteStore(tmp_path / "store.db")
    for model in ("flights", "parcels"):
        made.compare_and_swap(model, State(model, champion="7"), 0, ())
    return made


@pytest.fixture
def post(store: SqliteStore, clock: FakeClock) -> Post:
    return Post(store, clock)


@pytest.fixture
def senders() -> type[Senders]:
    return Senders
