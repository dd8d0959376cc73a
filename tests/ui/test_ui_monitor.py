"""What a real monitor saw, as the page of a model shows it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from monitoring.client import MonitorClient
from noria.embedded.monitor import MonitorProcess
from noria.loop.fakes import FakeWorld
from noria.loop.sqlite_store import SqliteStore
from noria.report.svg import label_of, ticks
from noria.spec import load_model
from tests.monitoring.conftest import World, event_headers, model_document, response
from tests.ui.places import Place

WINDOW = 200


@pytest.fixture
def watched(place: Place, tmp_path: Path) -> Iterator[MonitorClient]:
    """A monitor's process that has seen eight windows, the last four of them drifted."""
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(model_document()))
    model = load_model(path)
    place.home.remember(model, path)
    FakeWorld(model, store=SqliteStore(place.home.store)).install("1")
    monitor = MonitorProcess(path, place.home.monitor("flights"))
    monitor.ensure()
    try:
        with monitor.fresh_client() as client, httpx.Client(base_url=monitor.url) as wire:
            world = World()
            reference = world.reference(tmp_path / "reference", auc=0.72)
            client.put_reference("flights", "1", reference, champion=True)
            for number in range(8):
                scores = world.scores(WINDOW)
                shift = 6.0 if number > 3 else 0.0
                identity = f"r{number}"
                bodies = (world.request(WINDOW, shift, number * WINDOW), response(scores))
                for kind, body in zip(("request", "response"), bodies, strict=True):
                    headers = event_headers(identity, kind)
                    wire.post("/", content=json.dumps(body), headers=headers).raise_for_status()
                labels = enumerate(world.labels(scores).tolist())
                client.feedback(
                    "flights",
                    [{"id": f"{identity}:{row}", "label": label} for row, label in labels],
                )
            client.flush()
            yield client
    finally:
        monitor.stop()


def test_drift_and_performance_are_drawn_from_what_the_monitor_says(
    watched: MonitorClient, pages: httpx.Client
) -> None:
    page = pages.get("/models/flights").text
    assert "1,600 rows, 1,600 labels, 1,600 joined, 0 dropped" in page
    drift, *performance = (
        ElementTree.fromstring(svg)  # noqa: S314 - our own
        for svg in re.findall(r'<svg class="plot.*?</svg>', page)
    )
    texts = [element.text for element in drift.iter("text")]
    assert texts[0] == "wind"  # what drifted most comes first
    assert "v1" in texts
    alarms = [e for e in drift.iter("polygon") if e.find("title") is not None]
    told = [e.find("title").text or "" for e in alarms]  # type: ignore[union-attr]
    assert len([said for said in told if said.startswith("wind")]) == 4
    assert not [said for said in told if said.startswith("carrier")]
    names = [svg.get("aria-label") for svg in performance]
    assert names == ["auc", "log-loss", "accuracy"]
    assert len(list(performance[0].iter("circle"))) == 8
    said = [element.text for element in performance[0].iter("text")]
    assert "expected 0.72" in said
    assert "limit 0.69" in said
    overview = pages.get("/").text
    assert "features: wind" in overview
    assert "log-loss" in overview


@pytest.mark.parametrize(
    ("language", "said"), [("en", "class or target"), ("ko", "클래스 또는 타깃")]
)
def test_the_last_window_is_shown_by_class(
    watched: MonitorClient,
    place: Place,
    pages: httpx.Client,
    tmp_path: Path,
    language: str,
    said: str,
) -> None:
    world, classes = World(1), ("cat", "dog", "eel")
    reference = world.reference(tmp_path / "three", classes=classes)
    watched.put_reference("flights", "2", reference, champion=True)
    watched.flush()
    truth, scores = world.classes(WINDOW)
    url = place.home.monitor("flights") / "ready.json"
    with httpx.Client(base_url=json.loads(url.read_text())["url"]) as wire:
        for kind, body in (("request", world.request(WINDOW)), ("response", response(scores))):
            headers = event_headers("three", kind, "2")
            wire.post("/", content=json.dumps(body), headers=headers).raise_for_status()
    labels = [{"id": f"three:{row}", "label": classes[k]} for row, k in enumerate(truth)]
    watched.feedback("flights", labels)
    watched.flush()
    page = pages.get("/models/flights", params={"lang": language}).text
    (table,) = re.findall(
        rf'<table class="evidence"><thead><tr><th scope="col">{said}.*?</table>', page, re.S
    )
    assert re.findall(r'<th scope="row" lang="en">(.*?)</th>', table) == list(classes)
    values = [float(value) for value in re.findall(r'<td class="num">(.*?)</td>', table)]
    expected = [roc_auc_score(truth == k, scores[:, k]) for k in range(3)]
    assert values == pytest.approx(expected, abs=1e-4)


def test_a_monitor_that_does_not_run_leaves_the_rest_of_the_page(
    place: Place, pages: httpx.Client
) -> None:
    place.world().install("1")
    page = pages.get("/models/flights")
    assert page.status_code == 200
    assert "The monitor does not answer: the monitor does not run" in page.text


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.611, 0.668, ["0.62", "0.64", "0.66"]),
        (-3.0, 1200.0, ["0", "250", "500", "750", "1000"]),
        (2.0, 2.0, ["2.00"]),
        (float("nan"), 1.0, ["nan"]),
    ],
)
def test_axes_have_round_numbers(low: float, high: float, labels: list[str]) -> None:
    marks = ticks(low, high)
    step = marks[1] - marks[0] if len(marks) > 1 else 0.0
    assert [label_of(mark, step) for mark in marks] == labels
