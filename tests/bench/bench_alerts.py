"""From the first drifted event to the alert, to the run, to the promotion; and alerts a second.

The real Prometheus and Alertmanager, looking each second, beside ``noria up``; the
canary is measured by PromQL. Sixty answered rows a step, windows of 200 rows at some
200 rows a second. Where Prometheus is not installed there are no ``alert.*`` figures of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx

from monitoring.webhook import Locks, Receiver, WebhookApp
from noria.asgi import Gate, Hosts
from noria.clocks import WallClock
from noria.embedded.home import Home
from noria.embedded.observability import Observability
from noria.loop.sqlite_store import SqliteStore
from noria.loop.state import State
from noria.places.machine import Machine
from tests.bench.rows import Row, row
from tests.e2e.observed import NAME, WINDOW, Seen, Traffic, adapt, alert_at, entry_at

_READY_SECONDS: Final = 500
_ALERTS: Final = 2000
_GROUP: Final = 10


def loop() -> list[Row]:
    """Measure the way of one drift."""
    if not (shutil.which("prometheus") and shutil.which("prometheus-alertmanager")):
        return []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        home = folder / ".noria"
        _noria(folder, "init", NAME)
        adapt(folder / NAME)
        up = ("up", "-f", f"{NAME}/model.yaml", "--observability", "--detach")
        _noria(folder, *up, "--timeout", str(_READY_SECONDS))
        try:
            # A drift waits for labelled rows that are new.
            days = ("--start", "2026-01-01", "--end", "2026-01-05")
            _noria(folder, "replay", "-f", f"{NAME}/model.yaml", *days, "--seen", "mark")
            seen = _seen(home, folder / NAME / "data" / "rows.csv").seconds
        finally:
            _noria(folder, "down")
    names = {"alert": "fires", "run": "run", "promotion": "promotion"}
    return [row(f"alert.{names[what]}.seconds", seconds, "s") for what, seconds in seen.items()]


def receiver() -> list[Row]:
    """Measure durable alerts a second, each new, in groups of ten, one delivery at a time."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "store.db")
        store.compare_and_swap("flights", State("flights"), 0, ())
        clock = WallClock()
        receiver = WebhookApp(Receiver(lambda _: store, clock), Locks(), clock)
        app = receiver.gate(Hosts("127.0.0.1", ["webhook"]))
        seconds = asyncio.run(_deliver(app))
    return [row("webhook.alerts", _ALERTS / seconds, "/s")]


async def _deliver(app: Gate) -> float:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://webhook") as client:
        bodies = [_body(start) for start in range(0, _ALERTS, _GROUP)]
        began = time.perf_counter()
        for body in bodies:
            answer = await client.post(
                "/alerts", content=body, headers={"content-type": "application/json"}
            )
            answer.raise_for_status()
        return time.perf_counter() - began


def _body(first: int) -> bytes:
    labels = {"alertname": "NoriaDrift", "model": "flights", "noria_signal": "drift"}
    alerts: list[dict[str, Any]] = [
        {
            "status": "firing",
            "labels": {**labels, "detector": str(number)},
            "startsAt": datetime.now(UTC).isoformat(),
            "fingerprint": f"{number:016x}",
        }
        for number in range(first, first + _GROUP)
    ]
    return json.dumps({"version": "4", "alerts": alerts}).encode()


def _seen(home: Path, rows: Path) -> Seen:
    (status,) = Machine(home).overview()
    if status.url is None:
        raise RuntimeError(f"{NAME} is not served: {status}")

    def entries() -> Any:
        return Machine(home).entries(NAME)

    prometheus = Observability(Home(home)).prometheus.url
    with Traffic(status.url, rows) as traffic:
        traffic.sent(2 * WINDOW)
        traffic.drift()
        run = entry_at(entries, "drift of alertmanager: alert NoriaDrift")
        alert = alert_at(prometheus, "NoriaDrift")
        promotion = entry_at(entries, "v2 is the champion", _READY_SECONDS)
    if traffic.drifted_at is None:
        raise RuntimeError("nothing drifted was sent")
    return Seen(traffic.drifted_at, alert, run, promotion)


def _noria(folder: Path, *arguments: str) -> None:
    environment = {
        **os.environ,
        "NORIA_HOME": str(folder / ".noria"),
        "NORIA_OBSERVABILITY_PACE": "fast",
    }
    command = [sys.executable, "-m", "noria.cli", *arguments]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE)
