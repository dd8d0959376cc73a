"""What the monitor can't take is counted, once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitoring.app import READ_HEADERS, App
from monitoring.config import MonitorConfig
from monitoring.service import Monitor, Setting
from noria.http import HttpLimits, HttpServer
from noria.spec import load_model


@pytest.fixture
def full(model_file: Callable[..., Path], tmp_path: Path) -> Iterator[Monitor]:
    """A monitor without room for a single record."""
    config = MonitorConfig.from_model(load_model(model_file()))
    monitor = Monitor(config, Setting(tmp_path / "full", max_backlog=0), lambda: 0.0)
    yield monitor
    monitor.close()


@pytest.mark.parametrize("events", [1, 3])
async def test_a_refusal_for_the_backlog_counts_each_event_once(
    full: Monitor, world: Any, wire: Any, events: int
) -> None:
    body = [wire.structured(f"r{i}", "request", world.request(2)) for i in range(events)]
    app = App(full)
    server = HttpServer(app, app.refuse, HttpLimits(1 << 20), READ_HEADERS)
    listener = await server.listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url) as client:
        answer = await client.post(
            "/",
            content=json.dumps(body),
            headers={"content-type": "application/cloudevents-batch+json"},
        )
    listener.close()
    await server.drain(1.0)
    assert answer.status_code == 503
    assert "too far behind" in answer.json()["error"]
    lost = {reason: count for reason, count in full.dropped().items() if count}
    assert lost == {"backlog": events}
