"""What a real server process tells the monitor about its predictions."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import RFC_4122, UUID

import numpy as np
import pytest

from noria.predictions import MEDIA_TYPE, Block, DictColumn, Output, decode
from serving.blocks import group_by_schema, write_block
from serving.predicted import Predicted, Source
from serving.runner import Outcome

BATCHES = "application/cloudevents-batch+json"
URL = "/v2/models/m/infer"
BODY = {
    "id": "r-7",
    "inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP64", "data": list(range(8))}],
}


class Sink:
    """A real HTTP server that keeps what it is sent.

    Args:
        status: what it answers.
        reads: the media types that it says may be posted, besides single events.
    """

    def __init__(
        self, status: int = 200, *, reads: tuple[str, ...] = (BATCHES,), port: int = 0
    ) -> None:
        sink = self
        self.status = status
        self.reads = reads
        self.blocks: list[Block] = []
        self.refused = 0
        self.turned_away = threading.Event()
        self.events: list[dict[str, Any]] = []
        self.connections = 0
        self.open: list[socket.socket] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                sink.connections += 1
                super().setup()
                sink.open.append(self.connection)

            def do_OPTIONS(self) -> None:
                # A sink of KServe's knows no such method; one that reads blocks says so.
                self.answer(200 if MEDIA_TYPE in sink.reads else 405)

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["content-length"]))
                kind = self.headers["content-type"]
                if kind != "application/json" and kind not in sink.reads:
                    sink.refused += 1
                    return self.answer(415)
                if kind == MEDIA_TYPE:
                    if sink.status == 200:
                        sink.blocks.append(decode(sent))
                    return self.answer(sink.status)
                body = json.loads(sent)
                if sink.status == 200 and kind == BATCHES:
                    sink.events += body
                elif sink.status == 200:
                    named = {
                        key[3:].lower(): value
                        for key, value in self.headers.items()
                        if key.lower().startswith("ce-")
                    }
                    sink.events.append({**named, "data": body})
                return self.answer(sink.status)

            def answer(self, status: int) -> None:
                if status == 503:
                    sink.turned_away.set()
                self.send_response(status)
                self.send_header("content-length", "0")
                self.send_header("accept-post", ", ".join(sink.reads))
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        deadline = time.monotonic() + 120
        while len(self.events) < count:
            assert time.monotonic() < deadline, f"{len(self.events)} events"
            time.sleep(0.02)
        return self.events

    def wait_for_blocks(self, predictions: int) -> list[Block]:
        deadline = time.monotonic() + 120
        while sum(len(block.ids) for block in self.blocks) < predictions:
            assert time.monotonic() < deadline, self.blocks
            time.sleep(0.02)
        return self.blocks

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        for connection in self.open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.thread.join()


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


# -- events


def test_events_hold_the_request_and_the_response_under_one_id(
    start_server: Any, sink: Sink
) -> None:
    server = start_server("--sink", sink.url, "--namespace", "ns", "--redact", "b")
    with server.client() as client:
        answered = client.post(URL, json=BODY).json()
    request, response = sink.wait_for(2)
    for event in (request, response):
        assert event["specversion"] == "1.0"
        assert event["id"] == "r-7"
        assert event["source"] == "http://localhost:9081/"
        assert event["inferenceservicename"] == "m"
        assert event["namespace"] == "ns"
        assert event["component"] == "predictor"
        assert json.loads(event["annotations"]) == {"noria.dev/model-version": "3"}
    assert request["type"] == "org.kubeflow.serving.inference.request"
    assert response["type"] == "org.kubeflow.serving.inference.response"
    columns = {tensor["name"]: tensor["data"] for tensor in request["data"]["inputs"]}
    assert columns == {"a": [0, 4], "c": [2, 6], "d": [3, 7]}
    assert request["data"]["parameters"] == {"redacted": '["b"]'}
    outputs = {tensor["name"]: tensor["data"] for tensor in response["data"]["outputs"]}
    assert outputs == {output["name"]: output["data"] for output in answered["outputs"]}
    assert response["data"]["model_version"] == "3"


def test_every_protocol_logs_under_the_id_that_it_was_given(start_server: Any, sink: Sink) -> None:
    server = start_server("--sink", sink.url)
    with server.client() as client:
        client.post(URL, json=BODY, headers={"ce-id": "from-ce"})
        client.post(URL, json=BODY, headers={"x-request-id": "from-proxy"})
        client.post("/v1/models/m:predict", json={"instances": [[1, 2, 3, 4]]})
        client.post(URL, json={**BODY, "id": ""})
    events = sink.wait_for(8)
    ids = [event["id"] for event in events[::2]]
    assert ids[:2] == ["from-ce", "from-proxy"]
    made = [UUID(identity) for identity in ids[2:]]
    assert [(one.version, one.variant) for one in made] == [(7, RFC_4122)] * 2
    # Later ones sort after, by the millisecond.
    moments = [one.int >> 80 for one in made]
    assert time.time() * 1000 - 60_000 < moments[0] <= moments[1] < time.time() * 1000 + 1
    assert made[0] != made[1]
    assert sink.connections == 1


def test_a_refused_request_is_not_logged_and_sampling_is_by_the_id(
    start_server: Any, sink: Sink
) -> None:
    server = start_server("--sink", sink.url, "--sample", "0.3")
    with server.client() as client:
        client.post(URL, json={"inputs": []})
        for _ in range(2):
            for n in range(200):
                client.post(URL, json={**BODY, "id": f"r-{n}"})
    server.stop()
    logged = [event["id"] for event in sink.events if event["type"].endswith("request")]
    assert 60 < len(logged) < 180
    assert sorted(logged[: len(logged) // 2]) == sorted(logged[len(logged) // 2 :])


def test_a_sink_without_batches_gets_events_one_by_one(start_server: Any) -> None:
    sink = Sink(reads=())
    server = start_server("--sink", sink.url)
    with server.client() as client:
        client.post(URL, json=BODY)
    events = sink.wait_for(2)
    sink.close()
    assert [event["id"] for event in events] == ["r-7", "r-7"]
    assert events[0]["inferenceservicename"] == "m"
    assert events[1]["data"]["outputs"][0]["name"] == "probability"


def test_events_wait_for_a_sink_that_is_away(start_server: Any) -> None:
    sink = Sink(status=503)
    server = start_server("--sink", sink.url)
    with server.client() as client:
        client.post(URL, json=BODY)
        assert sink.turned_away.wait(30)
        sink.status = 200
    assert len(sink.wait_for(2)) == 2
    sink.close()
    assert server.metric("noria_payload_events_dropped_total") == 0
    assert server.metric("noria_payload_events_sent_total") == 2


def test_a_sink_that_never_answers_slows_nothing_and_what_is_lost_is_counted(
    start_server: Any,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = start_server("--sink", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        big = {
            "inputs": [
                {"name": "x", "shape": [10_000, 4], "datatype": "FP64", "data": [1.5] * 40_000}
            ]
        }
        with server.client() as client:
            slowest = 0.0
            for _ in range(90):
                began = time.perf_counter()
                assert client.post(URL, json=big).status_code == 200
                slowest = max(slowest, time.perf_counter() - began)
        assert slowest < 10.0, "a request waited for the sink"
        assert server.metric("noria_payload_events_dropped_total") > 0
        server.process.kill()


# -- blocks


@pytest.fixture
def reader() -> Iterator[Sink]:
    """A sink that reads blocks, as Noria's monitor does."""
    made = Sink(reads=(MEDIA_TYPE, BATCHES))
    yield made
    made.close()


def floats(values: Any) -> list[float]:
    assert isinstance(values, bytes)
    return np.frombuffer(values, np.float64).tolist()


def counts(block: Block) -> list[int]:
    return np.frombuffer(block.rows, np.int32).tolist()


def test_a_sink_that_reads_blocks_gets_what_was_seen_and_said_in_columns(
    start_server: Any, reader: Sink
) -> None:
    server = start_server("--sink", reader.url, "--redact", "b")
    with server.client() as client:
        answered = client.post(URL, json=BODY).json()
        client.post("/v1/models/m:predict", json={"instances": [[1, 2, 3, 4]]})
        blocks = reader.wait_for_blocks(2)
        ids = [identity for block in blocks for identity in block.ids]
        assert ids[0] == "r-7"
        assert {(block.model, block.version) for block in blocks} == {("m", "3")}
        assert [size for block in blocks for size in counts(block)] == [2, 1]
        columns = {
            name: [value for block in blocks for value in floats(block.inputs[name])]
            for name in blocks[0].inputs
        }
        assert columns == {"a": [0, 4, 1], "c": [2, 6, 3], "d": [3, 7, 4]}
        (said,) = [o for o in answered["outputs"] if o["name"] == "probability"]
        assert floats(blocks[0].outputs["probability"].values)[:2] == said["data"]
    assert server.stop() == 0
    assert reader.events == []
    assert reader.connections == 1


def test_predictions_of_a_moment_are_one_block_and_none_is_lost(
    start_server: Any, reader: Sink
) -> None:
    server = start_server("--sink", reader.url)
    with server.client() as client:
        for n in range(500):
            client.post(URL, json={**BODY, "id": f"r-{n}"})
    assert server.stop() == 0
    assert [i for block in reader.blocks for i in block.ids] == [f"r-{n}" for n in range(500)]
    assert len(reader.blocks) < 250


def test_blocks_wait_for_a_sink_that_is_away(start_server: Any, reader: Sink) -> None:
    reader.status = 503
    server = start_server("--sink", reader.url)
    with server.client() as client:
        client.post(URL, json=BODY)
        assert reader.turned_away.wait(30)
        reader.status = 200
        assert reader.wait_for_blocks(1)[0].ids == ("r-7",)
    deadline = time.monotonic() + 120
    while server.metric("noria_payload_events_sent_total") < 2:
        assert time.monotonic() < deadline
    assert server.metric("noria_payload_events_dropped_total") == 0


def test_a_block_that_is_refused_goes_as_events(start_server: Any, reader: Sink) -> None:
    server = start_server("--sink", reader.url)
    with server.client() as client:
        client.post(URL, json=BODY)
        reader.wait_for_blocks(1)
        # It was replaced by one that does not read them, on the same connection.
        reader.reads = (BATCHES,)
        client.post(URL, json={**BODY, "id": "r-8"})
        assert [event["id"] for event in reader.wait_for(2)] == ["r-8", "r-8"]
    assert reader.refused == 1


def test_who_answers_at_a_new_connection_is_asked_again(start_server: Any, sink: Sink) -> None:
    server = start_server("--sink", sink.url)
    port = sink.server.server_address[1]
    with server.client() as client:
        client.post(URL, json=BODY)
        sink.wait_for(2)
        sink.close()
        later = Sink(reads=(MEDIA_TYPE, BATCHES), port=port)
        try:
            client.post(URL, json={**BODY, "id": "r-8"})
            assert later.wait_for_blocks(1)[0].ids == ("r-8",)
        finally:
            later.close()


def predicted(name: str, columns: dict[str, Any], results: dict[str, Any]) -> Predicted:
    inputs = {key: np.asarray(values) for key, values in columns.items()}
    outputs = {key: np.asarray(values) for key, values in results.items()}
    rows = len(next(iter(inputs.values())))
    return Predicted(name, Outcome(inputs, outputs, rows), 0.0, 0.0)


def written(*given: Predicted) -> Block:
    body = write_block(given, Source("m", "1"))
    assert body is not None
    return decode(body)


def test_every_kind_of_column_has_its_form() -> None:
    one = predicted(
        "one",
        {
            "number": np.array([1.5, np.nan], np.float32),
            "whole": np.array([1, -2]),
            "large": np.array([1 << 60, 3]),
            "flag": np.array([True, False]),
            "text": np.array(["x", None], object),
            "time": np.array(["2013-02-01", "2013-02-02"], "M8[D]"),
        },
        {"probability": [[0.25, 0.75], [0.5, 0.5]], "prediction": np.array(["n", "y"], object)},
    )
    block = written(one, one)
    assert block.ids == ("one", "one")
    assert floats(block.inputs["whole"]) == [1, -2, 1, -2]
    assert np.isnan(floats(block.inputs["number"])).tolist() == [False, True, False, True]

    def texts(found: Any) -> list[str | None]:
        assert isinstance(found, DictColumn)
        table = (*found.values, None)
        return [table[code] for code in np.frombuffer(found.codes, np.int32)]

    assert texts(block.inputs["large"]) == [str(1 << 60), "3"] * 2
    assert texts(block.inputs["flag"]) == ["true", "false"] * 2
    assert texts(block.inputs["text"]) == ["x", None] * 2
    assert texts(block.inputs["time"]) == ["2013-02-01", "2013-02-02"] * 2
    assert block.outputs["probability"].width == 2
    assert floats(block.outputs["probability"].values) == [0.25, 0.75, 0.5, 0.5] * 2
    assert block.outputs["prediction"] == Output(block.outputs["prediction"].values, 1)
    assert texts(block.outputs["prediction"].values) == ["n", "y"] * 2


@pytest.mark.parametrize(
    "columns",
    [
        {"x": np.array([["a"], ["b"]])},
        {"x": np.array([b"a", b"b"])},
        {"x": np.array([1, "b"], object)},
    ],
)
def test_a_column_without_a_form_leaves_its_predictions_to_events(columns: dict[str, Any]) -> None:
    assert write_block([predicted("one", columns, {"y": [1.0, 2.0]})], Source("m", "1")) is None


def test_predictions_are_cut_where_their_columns_differ_and_where_they_are_many() -> None:
    plain = [predicted(f"a{n}", {"x": [1.0] * 10}, {"y": [1.0] * 10}) for n in range(5)]
    other = [predicted(f"b{n}", {"x": [1.0], "z": [1.0]}, {"y": [1.0]}) for n in range(2)]
    parts = group_by_schema([*plain, *other, *plain], 50)
    assert [[one.id for one in part] for part in parts] == [
        ["a0", "a1"], ["a2", "a3"], ["a4"], ["b0", "b1"], ["a0", "a1"], ["a2", "a3"], ["a4"],
    ]  # fmt: skip
    assert list(group_by_schema([], 50)) == []
    (alone,) = group_by_schema(plain[:1], 1)
    assert [one.id for one in alone] == ["a0"]
