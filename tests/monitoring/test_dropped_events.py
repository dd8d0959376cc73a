"""What the monitor can't take is counted, once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitoring.app import App
from monitoring.config import MonitorConfig
from monitoring.service import Monitor, Setting
from noria.asgi import Hosts, Listen, background
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
    listen = Listen()
    with listen.bind() as listener, background(App(full).gate(Hosts(listen.host)), listener):
        async with httpx.AsyncClient(base_url=listen.url(listener)) as client:
            answer = await client.post(
                "/",
                content=json.dumps(body),
                headers={"content-type": "application/cloudevents-batch+json"},
            )
    assert answer.status_code == 503
    assert "too far behind" in answer.json()["error"]
    lost = {reason: count for reason, count in full.dropped().items() if count}
    assert lost == {"backlog": events}
