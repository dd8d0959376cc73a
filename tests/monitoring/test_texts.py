"""Exchanges of texts through the monitor's door, as KServe's logger sends them from vLLM."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from monitoring.app import App
from monitoring.config import MonitorConfig
from monitoring.partials.replica import Replica
from monitoring.processor import Role
from monitoring.service import Monitor, Setting
from noria.asgi import Hosts, Listen, background
from noria.errors import InvalidInput
from noria.exchange.texts import OF_TEXTS
from noria.spec import load_model

MODEL = "helper"
LEARNT, ROWS = 400, 100
PRIVATE = "my card is 4111-1111"
BATCH = {"content-type": "application/cloudevents-batch+json"}


def document(**monitoring: Any) -> dict[str, Any]:
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": MODEL},
        "spec": {
            "task": {"family": "custom", "options": {"predicts": "class"}},
            "data": {
                "source": {"parquet": {"paths": ["rows.parquet"]}},
                "features": [{"name": "topic", "type": "categorical"}],
                "target": "good",
                "entityKey": ["id"],
            },
            "serving": {
                "protocols": ["rest"],
                "runtime": {
                    "name": "kserve-huggingfaceserver",
                    "format": "huggingface",
                    "protocol": "openai",
                    "metrics": {"seconds": "vllm:e2e_request_latency_seconds"},
                },
                "canary": {"analysis": [{"metric": "latency-p99", "max": "8s"}]},
            },
            "monitoring": {
                "window": {"rows": ROWS},
                "performance": {"window": {"rows": ROWS}},
                **monitoring,
            },
        },
    }


def reference(folder: Path) -> Path:
    """What a family writes of rows of columns: nothing of it is of texts."""
    folder.mkdir()
    found = {
        "format": 1,
        "model": MODEL,
        "rows": 3,
        "features": [{"name": "topic", "kind": "categorical", "categories": ["a", "b"]}],
        "prediction": {"kind": "probability", "classes": ["no", "yes"]},
        "performance": {"accuracy": {"value": 0.9, "low": 0.8, "high": 1.0}},
    }
    (folder / "reference.json").write_text(json.dumps(found))
    np.savez(folder / "rows.npz", f0=np.array([0, 1, 0], np.int32), prediction=np.zeros(3))
    return folder


def headers(identity: str, kind: str, version: str = "1") -> dict[str, str]:
    """What KServe 0.20's logger sends: of the request and of the response the request's type."""
    return {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": identity,
        "ce-type": f"org.kubeflow.serving.inference.{kind}",
        "ce-source": "http://localhost:9081/",
        "ce-time": "2026-08-06T10:00:00Z",
        "ce-inferenceservicename": MODEL,
        "ce-namespace": "prod",
        "ce-component": "predictor",
        "ce-endpoint": "",
        "ce-annotations": json.dumps({"noria.dev/model-version": version}),
    }


def question(length: int, **more: Any) -> dict[str, Any]:
    said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "?" * length}]
    return {"model": MODEL, "messages": said, "max_tokens": 64, **more}


def answer(length: int, finish: str = "stop", **more: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": "!" * length, "tool_calls": []}
    return {
        "id": "chatcmpl-8f",
        "object": "chat.completion",
        "created": 1_786_000_000,
        "model": MODEL,
        "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": finish}],
        "usage": {"prompt_tokens": 20, "completion_tokens": length // 4, "total_tokens": 0},
        **more,
    }


def streamed(length: int) -> bytes:
    def data(choices: list[dict[str, Any]], **more: Any) -> bytes:
        body = {"id": "c", "object": "chat.completion.chunk", "model": MODEL, "choices": choices}
        return b"data: " + json.dumps({**body, **more}).encode() + b"\n\n"

    pieces = [{"index": 0, "delta": {"content": "!"}, "finish_reason": None}] * length
    last = data([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    return b"".join(data([piece]) for piece in pieces) + last + b"data: [DONE]\n\n"


class Door:
    """A monitor of a model of texts, and what is sent to it over HTTP."""

    def __init__(self, monitor: Monitor, http: httpx.AsyncClient) -> None:
        self.monitor, self.http = monitor, http
        self.random = np.random.default_rng(7)
        self.sent = 0

    async def event(self, identity: str, kind: str, body: Any, version: str = "1") -> int:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        found = await self.http.post("/", content=content, headers=headers(identity, kind, version))
        return found.status_code

    async def chat(
        self, count: int, *, words: float = 40.0, version: str = "1", **more: Any
    ) -> None:
        """Send so many exchanges whose answers have about so many characters."""
        events = []
        for _ in range(count):
            identity, self.sent = f"c{self.sent}", self.sent + 1
            bodies = {
                "request": question(int(self.random.gamma(4, 10))),
                "response": answer(
                    int(self.random.gamma(4, words)), **{"id": f"chatcmpl-{identity}", **more}
                ),
            }
            for kind, body in bodies.items():
                given = headers(identity, kind, version)
                named = {k[3:]: v for k, v in given.items() if k.startswith("ce-")}
                events.append({**named, "data": body})
        assert (await self.http.post("/", json=events, headers=BATCH)).status_code == 200

    async def rate(self, first: int, ratings: list[float]) -> dict[str, Any]:
        labels = [{"id": f"c{first + i}:0", "label": one} for i, one in enumerate(ratings)]
        found = await self.http.post("/feedback", json={"model": MODEL, "labels": labels})
        body: dict[str, Any] = found.json()
        return body

    async def champion(self, version: str, folder: Path) -> None:
        found = await self.http.put(
            f"/models/{MODEL}/versions/{version}/reference",
            json={"path": str(folder), "champion": True},
        )
        assert found.status_code == 200

    async def status(self) -> dict[str, Any]:
        assert (await self.http.post("/flush")).status_code == 200
        found: dict[str, Any] = (await self.http.get(f"/models/{MODEL}/status")).json()
        return found


class Rooms:
    """Opens monitors on one state, one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reference = reference(folder / "reference")

    def config(self, **monitoring: Any) -> MonitorConfig:
        path = self.folder / "model.yaml"
        path.write_text(yaml.safe_dump(document(**monitoring)))
        return MonitorConfig.from_model(load_model(path))

    async def open(self, **monitoring: Any) -> AsyncIterator[Door]:
        config = self.config(**monitoring)
        monitor = Monitor(config, Setting(self.folder / "state"), lambda: 1_786_000_000.0)
        listen = Listen()
        with listen.bind() as listener, background(App(monitor).gate(Hosts(listen.host)), listener):
            async with httpx.AsyncClient(base_url=listen.url(listener), timeout=60) as http:
                yield Door(monitor, http)
        monitor.close()


@pytest.fixture
def rooms(tmp_path: Path) -> Rooms:
    return Rooms(tmp_path)


@pytest.fixture
async def door(rooms: Rooms) -> AsyncIterator[Door]:
    async for found in rooms.open():
        await found.champion("1", rooms.reference)
        yield found


async def test_every_shape_of_an_exchange_is_a_row_and_no_text_is_kept(
    door: Door, rooms: Rooms
) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    parts = [{"type": "text", "text": PRIVATE}, picture]
    exchanges: list[tuple[Any, Any]] = [
        (question(5), answer(9)),
        (question(5, stream=True), streamed(12)),
        ({"model": MODEL, "messages": [{"role": "user", "content": parts}]}, answer(3)),
        (
            {"model": MODEL, "prompt": PRIVATE},
            answer(0, choices=[{"index": 0, "text": PRIVATE, "finish_reason": "length"}]),
        ),
    ]
    for number, (request, response) in enumerate(exchanges):
        assert await door.event(f"r{number}", "request", request) == 200
        assert await door.event(f"r{number}", "response", response) == 200
    status = await door.status()
    assert status["counts"]["rows"] == len(exchanges)
    assert status["counts"]["versions"] == {"1": len(exchanges)}
    assert status["aside"] == {}
    assert status["waiting"]["features"] == "learns its reference: 4 of 400 rows"
    kept = b"".join(path.read_bytes() for path in (rooms.folder / "state").rglob("*.db*"))
    assert b"prompt.length" in kept
    assert PRIVATE.encode() not in kept


async def test_what_can_not_be_read_is_named_and_stops_nothing(door: Door) -> None:
    whole = json.dumps(question(5)).encode()
    broken = {
        "a": (whole[:40], answer(5)),
        "b": (b"\xff\xfe", answer(5)),
        "c": ({"model": MODEL, "input": "embed"}, {"object": "list", "data": []}),
        "d": (b"", {"object": "list", "data": []}),
    }
    for identity, (request, response) in broken.items():
        for _ in range(2):  # a logger may send an event again
            assert await door.event(identity, "request", request) == 200
            assert await door.event(identity, "response", response) == 200
    assert await door.event("e", "request", question(5)) == 200
    assert await door.event("e", "response", streamed(9)[:120]) == 200
    assert await door.event("f", "request", question(5)) == 200
    assert await door.event("f", "response", answer(5)) == 200
    status = await door.status()
    assert status["aside"] == {
        "request: truncated": 1,
        "request: malformed": 1,
        "request: unknown": 2,
        "answer: truncated": 1,
    }
    counts = status["counts"]
    assert (counts["rows"], counts["duplicates"]) == (2, 8)
    assert counts["dropped"]["unpaired"] == counts["dropped"]["mismatched"] == 0
    assert counts["dropped"]["unreadable"] == 0


async def test_a_body_that_is_too_large_is_refused_and_counted(door: Door) -> None:
    assert await door.event("a", "request", b"x" * (17 << 20)) == 413
    await door.chat(1)
    counts = (await door.status())["counts"]
    assert (counts["rows"], counts["dropped"]["refused"]) == (1, 1)


async def test_answers_that_grow_are_drift_once_their_reference_is_learnt(door: Door) -> None:
    await door.chat(LEARNT + 4 * ROWS)
    status = await door.status()
    assert "features" not in status["waiting"]
    assert status["windows"]["features"] == {"index": 5, "rows": 0}
    assert status["signals"] == []
    assert status["drift"]["exchanges"]["window"] == 4
    await door.chat(ROWS, words=120.0)
    (signal,) = (await door.status())["signals"]
    assert (signal["kind"], signal["source"]) == ("drift", "exchanges")
    assert "answer.length" in signal["detail"]
    metrics = (await door.http.get("/metrics")).text
    assert 'detector="exchanges"' in metrics


async def test_ends_that_change_are_drift_and_a_new_one_is_a_matter_of_quality(door: Door) -> None:
    await door.chat(LEARNT // 2)
    await door.chat(LEARNT // 2, finish="length")
    await door.chat(ROWS // 2, finish="length")
    await door.chat(ROWS // 2)
    assert (await door.status())["signals"] == []
    await door.chat(ROWS, finish="content_filter")
    signals = {one["source"]: one for one in (await door.status())["signals"]}
    assert set(signals) == {"exchanges", "quality"}
    assert "answer.finish is unseen" in signals["quality"]["detail"]


async def test_another_version_is_in_no_window_of_the_champion(door: Door, rooms: Rooms) -> None:
    await door.chat(LEARNT)
    await door.chat(3 * ROWS, words=200.0, version="2")
    status = await door.status()
    assert status["signals"] == []
    assert status["windows"]["features"] == {"index": 1, "rows": 0}
    assert status["counts"]["versions"] == {"1": LEARNT, "2": 3 * ROWS}
    # Once it leads, its own answers are what is usual.
    await door.champion("2", rooms.reference)
    await door.chat(LEARNT + ROWS, words=200.0, version="2")
    status = await door.status()
    assert status["signals"] == []
    assert "features" not in status["waiting"]


async def test_what_was_learnt_and_the_open_window_survive_a_restart(rooms: Rooms) -> None:
    async for door in rooms.open():
        await door.champion("1", rooms.reference)
        # A response may be logged before its request.
        await door.event("late", "response", answer(30))
        await door.event("late", "request", question(30))
        await door.chat(LEARNT - 1)
        await door.chat(ROWS // 2, words=120.0)
        await door.status()
    async for door in rooms.open():
        door.sent = 10_000
        status = await door.status()
        assert "features" not in status["waiting"]
        assert status["windows"]["features"] == {"index": 1, "rows": ROWS // 2}
        await door.chat(ROWS // 2, words=120.0)
        (signal,) = (await door.status())["signals"]
        assert "answer.length" in signal["detail"]


async def test_a_columns_detector_watches_that_column_alone(rooms: Rooms) -> None:
    detectors = [{"name": "asked", "kind": "ks", "columns": ["prompt.length"]}]
    async for door in rooms.open(detectors=detectors):
        await door.champion("1", rooms.reference)
        await door.chat(LEARNT)
        await door.chat(ROWS, words=200.0)
        status = await door.status()
        assert status["signals"] == []
        (feature,) = status["drift"]["asked"]["features"]
        assert feature["name"] == "prompt.length"


async def test_ratings_are_the_performance_and_a_drop_of_their_mean_is_a_signal(
    door: Door,
) -> None:
    await door.chat(3 * ROWS)
    status = await door.status()
    said = "learns what rating is held to: 0 of 100 labelled exchanges"
    assert status["waiting"]["performance"] == said
    good = [4.0, 5.0] * (ROWS // 2)
    assert await door.rate(0, good) == {"accepted": ROWS, "duplicates": 0}
    status = await door.status()
    assert status["expected"] == {"rating": 4.5}
    assert status["performance"]["1"]["metrics"]["rating"]["value"] == 4.5
    assert "performance" not in status["waiting"]
    await door.rate(ROWS, good[::-1])
    assert (await door.status())["signals"] == []
    await door.rate(2 * ROWS, [3.0, 4.0] * (ROWS // 2))
    (signal,) = (await door.status())["signals"]
    assert (signal["kind"], signal["version"]) == ("performance", "1")
    assert signal["detail"].startswith("rating is 3.5, 4.5 in its first window: worse by ")
    asked = await door.http.get(f"/models/{MODEL}/measure?metric=rating")
    assert asked.json()["samples"] == 3 * ROWS
    metrics = (await door.http.get("/metrics")).text
    assert "performance{" in metrics
    assert 'metric="rating"' in metrics


async def test_a_rating_may_name_the_answer_by_the_id_that_its_client_knows(door: Door) -> None:
    labels = [{"key": f"chatcmpl-{name}", "label": 4} for name in "ab"]
    assert (
        await door.http.post("/feedback", json={"model": MODEL, "labels": labels[:1]})
    ).status_code == 200
    for name in "ab":
        assert await door.event(f"r{name}", "request", question(5)) == 200
        said = answer(5, id=f"chatcmpl-{name}")
        assert await door.event(f"r{name}", "response", said) == 200
    assert (await door.http.post("/feedback", json={"model": MODEL, "labels": labels})).json() == {
        "accepted": 1,
        "duplicates": 1,
    }
    counts = (await door.status())["counts"]
    assert (counts["joined"], counts["orphan_labels"]) == (2, 0)


async def test_a_mean_rating_that_was_learnt_survives_a_restart(rooms: Rooms) -> None:
    async for door in rooms.open():
        await door.champion("1", rooms.reference)
        await door.chat(2 * ROWS)
        await door.rate(0, [4.0, 5.0] * (ROWS // 2))
        await door.status()
    async for door in rooms.open():
        assert (await door.status())["expected"] == {"rating": 4.5}
        await door.rate(ROWS, [2.0, 3.0] * (ROWS // 2))
        (signal,) = (await door.status())["signals"]
        assert signal["detail"].startswith("rating is 2.5, 4.5 in its first window")


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ({"id": "c0:0", "label": "great"}, "labels[0].label: 'great' is not a finite number"),
        ({"key": ["a", "b"], "label": 1}, "labels[0].key: ['a', 'b'] has 2 values; send one for"),
    ],
)
async def test_a_rating_is_a_number_by_the_requests_id(
    door: Door, label: dict[str, Any], said: str
) -> None:
    found = await door.http.post("/feedback", json={"model": MODEL, "labels": [label]})
    assert found.status_code == 400
    assert found.json()["error"].startswith(said)


def test_what_is_watched_of_texts_needs_not_be_written(rooms: Rooms) -> None:
    config = rooms.config()
    assert set(config.features) == {field.name for field in OF_TEXTS.fields}
    assert [(d.name, d.kind, d.on, d.columns) for d in config.detectors] == [
        ("exchanges", "tabular", "features", ())
    ]
    assert (config.metrics, config.classification, config.keeping) == (("rating",), False, None)
    assert config.drop is not None
    assert (config.drop.metric, config.drop.limit(4.0)) == ("rating", 0.2)


def test_texts_have_no_replicas(rooms: Rooms) -> None:
    for role in (Role(Replica(1, 2)), Role(replicas=2)):
        with pytest.raises(InvalidInput, match="exchanges of texts are watched by one monitor"):
            Monitor(rooms.config(), Setting(rooms.folder / "s", role=role), lambda: 0.0)
