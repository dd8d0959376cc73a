"""What Prometheus can scrape of a home on one machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from noria import embedded
from noria.embedded.home import Home
from noria.embedded.monitor import MonitorProcess
from noria.embedded.scraping import Endpoint
from noria.files import write_json
from noria.loop.state import State
from noria.process import start_time
from noria.spec import load_model
from noria.telemetry import Turned


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home").create()
    yield made
    embedded.down(made.root)


@pytest.fixture
def supervised(home: Home) -> Iterator[Home]:
    """A home that this process supervises."""
    write_json(home.supervisor, {"pid": os.getpid(), "started": start_time(os.getpid())})
    yield home
    home.supervisor.unlink()


def test_the_loop_tells_of_its_last_turn(supervised: Home, parcels: Path) -> None:
    endpoint = Endpoint(supervised)
    try:
        (target,) = embedded.targets(supervised.root)
        assert target == ("noria-loop", "", None, endpoint.url)
        assert httpx.get(target.url).text == ""
        at = datetime(2026, 1, 1, tzinfo=UTC)
        endpoint.publish(Turned(load_model(parcels), State("parcels", champion="3"), at))
        answer = httpx.get(target.url)
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert 'noria_loop_champion_info{model="parcels",version="3"} 1.0' in answer.text
        assert httpx.get(target.url.replace("metrics", "other")).status_code == 404
    finally:
        endpoint.close()


def test_a_loop_that_comes_back_listens_where_it_did(home: Home) -> None:
    first = Endpoint(home)
    first.close()
    second = Endpoint(home)
    try:
        assert second.url == first.url
        third = Endpoint(home)  # the port is taken: another one
        third.close()
        assert third.url != first.url
    finally:
        second.close()


def test_without_a_supervisor_the_loop_is_no_target(home: Home) -> None:
    endpoint = Endpoint(home)
    try:
        assert embedded.targets(home.root) == []
    finally:
        endpoint.close()


def test_a_monitor_is_a_target_while_it_runs(home: Home, parcels: Path) -> None:
    home.remember(load_model(parcels), parcels)
    monitor = MonitorProcess(parcels, home.monitor("parcels"))
    assert embedded.targets(home.root) == []
    monitor.ensure()
    (target,) = embedded.targets(home.root)
    assert (target.job, target.model, target.version) == ("noria-monitor", "parcels", None)
    assert 'noria_monitor_window_rows{model="parcels"}' in httpx.get(target.url).text
    monitor.stop()
    assert embedded.targets(home.root) == []
