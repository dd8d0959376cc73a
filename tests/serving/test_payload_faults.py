"""What one prediction, or the sink, may do to the payload log: it goes on, and counts."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import yaml

from monitoring.events import read_events
from noria.predictions import MEDIA_TYPE, decode
from noria.tasks.package import Feature, Input, Manifest, write_package
from noria.tasks.tabular.hand_made import outputs_of, package_linear
from noria.tasks.tabular.scorers.linear import of_coefficients
from serving.oip.messages import load_messages
from serving.payloads import PayloadLog, PayloadSettings
from serving.predicted import Source
from serving.runner import Outcome

BATCHES = "application/cloudevents-batch+json"
SINGLE = "application/json"
FORMS = (MEDIA_TYPE, BATCHES, SINGLE)
IDS = (
    "주문-1", "a b", "100%25", "50%", "\x00\x01\x7f", "two\r\nlines: x", '"quoted"', "é", "🙂",
    "\\", "a,b;c", "\u2028", "x" * 256, "주" * 256, " padded ", "%FF", "a\tb",
)  # fmt: skip

Behaviour = Callable[[Any, str, bytes, list[str]], bool]


class Sink:
    """A real HTTP server that reads one form of predictions and does what it is told.

    ``behave`` gets the handler, the form, the body and the ids in it; True: it has answered.
    """

    def __init__(self, form: str, behave: Behaviour = lambda *_: False) -> None:
        self.ids: list[str] = []
        self.paths: list[str] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_OPTIONS(self) -> None:
                self.answer(200 if form == MEDIA_TYPE else 405)

            def do_POST(self) -> None:
                sink.paths.append(self.path)
                body = self.rfile.read(int(self.headers["content-length"]))
                kind = self.headers["content-type"]
                if kind != form and kind != SINGLE:
                    return self.answer(415)
                ids = sink.read(kind, self.headers, body)
                if behave(self, kind, body, ids):
                    return None
                sink.ids += ids
                return self.answer(200)

            def answer(self, status: int, **more: str) -> None:
                self.send_response(status)
                self.send_header("content-length", "0")
                self.send_header("accept-post", form)
                for name, value in more.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def read(self, kind: str, headers: Any, body: bytes) -> list[str]:
        """The ids, as Noria's monitor reads them, once per prediction."""
        if kind == MEDIA_TYPE:
            return list(decode(body).ids)
        lower = {name.lower(): value for name, value in headers.items()}
        return [event.id for event in read_events(lower, body) if event.type.endswith("request")]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@contextmanager
def sink_of(form: str, behave: Behaviour = lambda *_: False) -> Iterator[Sink]:
    made = Sink(form, behave)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def log_to(url: str, **given: Any) -> Iterator[PayloadLog]:
    settings = PayloadSettings(url, Source("m", "1", "ns"), linger=0.01, **given)
    log = PayloadLog(settings)
    try:
        yield log
    finally:
        log.close(0.2)


def outcome(*values: Any, dtype: Any = np.float64) -> Outcome:
    return Outcome({"x": np.array(values, dtype)}, {"y": np.zeros(len(values))}, len(values))


def until(seen: Callable[[], Any], what: str = "") -> None:
    deadline = time.monotonic() + 120
    while not seen():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def lost(log: PayloadLog) -> dict[str, int]:
    return {reason: count for reason, count in log.lost().items() if count}


# -- one prediction


@pytest.mark.parametrize("form", FORMS)
def test_any_id_arrives_as_it_was(form: str) -> None:
    with sink_of(form) as sink, log_to(sink.url) as log:
        for identity in IDS:
            log.offer(identity, outcome(1.0), 0.0)
        until(lambda: len(sink.ids) == len(IDS), str(sink.ids))
        assert sink.ids == list(IDS)
        until(lambda: log.sent() == 2 * len(IDS))
        assert lost(log) == {}
        assert log.worker.failures == 0


class Odd(dict[str, Any]):
    """Columns that raise when they are looked at."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error
        self.looks = 0

    def values(self) -> Any:
        return ()

    def _fail(self, *_: Any) -> Any:
        raise self._error

    __iter__ = keys = items = __getitem__ = _fail


UNWRITABLE: dict[str, tuple[str, Callable[[], Outcome]]] = {
    "half a surrogate in the id": ("\ud83d", lambda: outcome(1.0)),
    "half a surrogate in a value": ("bad", lambda: outcome("\ud83d", dtype=object)),
    "an object that is no value": ("bad", lambda: outcome(object(), dtype=object)),
    "bytes": ("bad", lambda: outcome(b"\xff", dtype="S1")),
    "columns that raise": ("bad", lambda: Outcome(Odd(RecursionError()), {}, 1)),
    "complex numbers": ("bad", lambda: outcome(1j, dtype=np.complex128)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", UNWRITABLE)
def test_what_can_not_be_written_is_lost_alone(name: str, form: str) -> None:
    identity, made = UNWRITABLE[name]
    with sink_of(form) as sink, log_to(sink.url) as log:
        for place in range(40):
            if place in (0, 17, 39):
                log.offer(identity, made(), 0.0)
            else:
                log.offer(f"r-{place}", outcome(float(place)), 0.0)
        until(lambda: len(sink.ids) >= 37 and lost(log), f"{len(sink.ids)} {log.lost()}")
        until(lambda: lost(log) == {"unwritable": 6}, str(log.lost()))
        assert set(sink.ids) == {f"r-{place}" for place in range(40)} - {"r-0", "r-17", "r-39"}
        assert log.sent() == 2 * 37
        assert log.held() == (0, 0)


def refusing(status: int) -> Behaviour:
    def behave(handler: Any, _kind: str, _body: bytes, ids: list[str]) -> bool:
        if "bad" in ids:
            handler.answer(status)
        return "bad" in ids

    return behave


def resetting(handler: Any, _kind: str, _body: bytes, ids: list[str]) -> bool:
    if "bad" in ids:
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)
    return "bad" in ids


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("behave", "reason"),
    [(refusing(400), "refused"), (refusing(413), "refused"), (refusing(500), "failed"),
     (refusing(503), "failed"), (resetting, "failed")],
)  # fmt: skip
def test_a_sink_that_fails_on_one_prediction_gets_all_others(
    form: str, behave: Behaviour, reason: str
) -> None:
    stop = threading.Event()
    with sink_of(form, behave) as sink, log_to(sink.url) as log:

        def traffic() -> None:
            for place in range(3000):
                log.offer(f"r-{place}", outcome(1.0), 0.0)
                if stop.wait(0.01):
                    return

        log.offer("before", outcome(1.0), 0.0)
        log.offer("bad", outcome(1.0), 0.0)
        more = threading.Thread(target=traffic)
        more.start()
        until(lambda: lost(log) == {reason: 2}, f"{log.lost()} {len(sink.ids)}")
        stop.set()
        more.join()
        until(lambda: log.held() == (0, 0))
        assert "before" in sink.ids
        assert "bad" not in sink.ids
        assert log.sent() == 2 * len(set(sink.ids))


def test_a_sink_that_was_away_gets_everything_once_it_is_back() -> None:
    away = threading.Event()
    away.set()

    def behave(handler: Any, _kind: str, _body: bytes, _ids: list[str]) -> bool:
        if away.is_set():
            handler.answer(503)
        return away.is_set()

    with sink_of(MEDIA_TYPE, behave) as sink, log_to(sink.url) as log:
        for place in range(300):
            log.offer(f"r-{place}", outcome(1.0), 0.0)
        until(lambda: len(sink.paths) > 5)
        assert "does not take them" in log.problem
        away.clear()
        until(lambda: len(sink.ids) == 300)
        until(lambda: log.sent() == 600)
        assert lost(log) == {}
        assert log.problem == ""


# -- the sink


def test_a_redirect_is_not_followed() -> None:
    with sink_of(SINGLE) as elsewhere:

        def behave(handler: Any, *_: Any) -> bool:
            handler.answer(307, location=elsewhere.url)
            return True

        with sink_of(MEDIA_TYPE, behave) as sink, log_to(sink.url) as log:
            log.offer("r", outcome(1.0), 0.0)
            until(lambda: lost(log) == {"redirected": 2}, str(log.lost()))
            assert elsewhere.paths == []
            assert "redirected" in log.problem


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_an_answer_that_trickles_ends_at_the_time_out(start: bytes) -> None:
    """A byte now and then: no single read times out."""
    accepted = 0
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            nonlocal accepted
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    accepted += 1
                    threading.Thread(target=trickle, args=(connection,), daemon=True).start()

        def trickle(connection: socket.socket) -> None:
            with suppress(OSError), connection:
                connection.sendall(start)
                for _ in range(1000):
                    connection.sendall(b"x")
                    time.sleep(0.1)

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with log_to(url, timeout=0.5) as log:
            log.offer("r", outcome(1.0), 0.0)
            until(lambda: accepted >= 3, "it waits for the first answer")
            assert log.worker.age < 5
        listener.close()


def test_an_answer_without_end_is_not_kept() -> None:
    def behave(handler: Any, *_: Any) -> bool:
        handler.send_response(200)
        handler.send_header("content-length", str(1 << 40))
        handler.end_headers()
        with suppress(OSError):
            while True:
                handler.wfile.write(b"0" * 65536)
        handler.close_connection = True
        return True

    with sink_of(MEDIA_TYPE, behave) as sink, log_to(sink.url, timeout=5.0) as log:
        log.offer("r", outcome(1.0), 0.0)
        log.offer("s", outcome(1.0), 0.0)
        until(lambda: log.sent() == 4)
        assert lost(log) == {}


def test_a_sink_that_takes_no_bytes_is_given_up_at_the_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with log_to(url, timeout=0.3) as log:
            log.offer("r", outcome(*range(200_000)), 0.0)
            until(lambda: "does not take them" in log.problem)
            assert log.held()[0] == 2


# -- bounds


def test_one_prediction_that_is_larger_than_the_queue_costs_no_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with log_to(url, max_bytes=1 << 20) as log:
            for place in range(10):
                log.offer(f"r-{place}", outcome(1.0), 0.0)
            log.offer("much", outcome("x" * (2 << 20), dtype=object), 0.0)
            log.offer("many", outcome(*[1.0] * 200_000), 0.0)
            assert lost(log) == {"too-large": 4}
            assert log.held()[0] == 20


def test_texts_count_as_the_bytes_that_they_are() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with log_to(url, max_bytes=10 << 20) as log:
            for place in range(100):
                log.offer(f"r-{place}", outcome("x" * (1 << 20), dtype=object), 0.0)
                assert log.held()[1] <= 10 << 20
            assert lost(log)["full"] >= 180


def test_closing_counts_what_was_not_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        log = PayloadLog(
            PayloadSettings(f"http://127.0.0.1:{silent.getsockname()[1]}/", Source("m", "1"))
        )
        for place in range(10):
            log.offer(f"r-{place}", outcome(1.0), 0.0)
        began = time.monotonic()
        log.close(0.3)
        assert time.monotonic() - began < 5
        assert lost(log) == {"closed": 20}


# -- a real server, and Noria's monitor


def test_metrics_and_health_show_the_worker_and_the_losses(start_server: Any) -> None:
    with sink_of(MEDIA_TYPE, refusing(400)) as sink:
        server = start_server("--sink", sink.url)
        with server.client() as client:
            body = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [0] * 4}]}
            client.post("/v2/models/m/infer", json={**body, "id": "bad"})
            until(lambda: server.metric("noria_payload_events_dropped_total", reason="refused"))
            assert server.metric("noria_payload_events_dropped_total") == 2
            assert server.metric("noria_worker_failures_total", worker="payloads") == 0
            assert 0 <= server.metric("noria_worker_age_seconds", worker="payloads") < 20
            assert server.metric("noria_worker_age_seconds", worker="predict") == 0
            ready = client.get("/v2/health/ready")
            assert ready.status_code == 200  # it predicts all the same
            (problem,) = ready.json()["problems"]
            assert "refused" in problem
            client.post("/v2/models/m/infer", json={**body, "id": "good"})
            until(lambda: client.get("/v2/health/ready").json()["problems"] == [])
        assert sink.ids == ["good"]


MODEL = {
    "apiVersion": "noria.dev/v1alpha1",
    "kind": "Model",
    "metadata": {"name": "m"},
    "spec": {
        "task": {"family": "tabular-classification"},
        "data": {
            "source": {"csv": {"paths": ["rows.csv"]}},
            "features": [{"name": name, "type": "numeric"} for name in "abcd"],
            "target": "y",
        },
    },
}


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[httpx.Client]:
    """Noria's monitor of the model, a real process."""
    model, ready = tmp_path / "model.yaml", tmp_path / "monitor.ready"
    model.write_text(yaml.safe_dump(MODEL))
    process = subprocess.Popen(
        [sys.executable, "-m", "monitoring", "--model", str(model), "--state",
         str(tmp_path / "monitor"), "--ready-file", str(ready)],
    )  # fmt: skip
    until(ready.exists, "the monitor did not get ready")
    with httpx.Client(base_url=json.loads(ready.read_text())["url"], timeout=60) as client:
        yield client
    process.terminate()
    process.wait(30)


def one_by_one(monitor: httpx.Client) -> Behaviour:
    """Pass single events on to the monitor, as they came."""

    def behave(handler: Any, _kind: str, body: bytes, _ids: list[str]) -> bool:
        names = [name for name in handler.headers if name.lower().startswith("ce-")]
        headers = [(name, handler.headers[name]) for name in names]
        answer = monitor.post("/", content=body, headers=[*headers, ("content-type", SINGLE)])
        handler.answer(answer.status_code)
        return True

    return behave


@pytest.mark.parametrize("form", ["blocks", "single events"])
def test_a_label_joins_by_the_id_that_the_client_sent(
    start_server: Any, monitor: httpx.Client, form: str
) -> None:
    with sink_of(SINGLE, one_by_one(monitor)) as relay:
        sink = str(monitor.base_url) if form == "blocks" else relay.url
        server = start_server("--sink", sink, "--grpc-port", "0")
        body = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [0] * 4}]}
        expected = []

        def ask(identity: str, content: dict[str, Any], *headers: tuple[str, bytes]) -> None:
            raw = [(name.encode(), value) for name, value in headers]
            with server.client() as client:
                answer = client.post("/v2/models/m/infer", json=content, headers=raw)
            assert answer.status_code == 200, answer.text
            expected.append(identity)

        ask("주문-1", body, ("x-request-id", "주문-1".encode()))
        ask("commande-é", body, ("x-request-id", "commande-é".encode("latin-1")))
        ask("50%25", body, ("x-request-id", b"50%25"))
        ask("주문-2", body, ("ce-id", b"%EC%A3%BC%EB%AC%B8-2"))
        ask("주문-3", body, ("ce-id", "주문-3".encode()))
        ask('a "b"', body, ("ce-id", b'"a \\"b\\""'))
        ask("주문-4\n%", {**body, "id": "주문-4\n%"})
        ask("주" * 256, body, ("ce-id", b"%EC%A3%BC" * 256))

        pb = load_messages()
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            for identity, metadata in (
                ("주문-5", ()),
                ("주문-6", (("ce-id", "%EC%A3%BC%EB%AC%B8-6"),)),
                ("grpc%20", (("x-request-id", "grpc%20"),)),
            ):
                message = pb.ModelInferRequest(model_name="m", id="주문-5")
                tensor = message.inputs.add(name="x", datatype="FP64", shape=[1, 4])
                tensor.contents.fp64_contents.extend([0.0] * 4)
                infer(message.SerializeToString(), metadata=metadata, timeout=20)
                expected.append(identity)

        until(lambda: server.metric("noria_payload_events_sent_total") == 2 * len(expected))
        labels = [{"id": f"{identity}:0", "label": 1} for identity in expected]
        labels.append({"id": "nobody:0", "label": 1})
        assert monitor.post("/feedback", json={"labels": labels}).json()["accepted"] == len(labels)
        monitor.post("/flush")
        found = monitor.get("/models/m/measure", params={"metric": "labelled-rows"}).json()
        assert found["value"] == len(expected)
        assert server.metric("noria_payload_events_dropped_total") == 0


# -- redaction


def shown(block: Any) -> set[str]:
    return {*block.inputs, *block.outputs}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_redacted_stays_whatever_its_name_is(
    start_server: Any, tmp_path: Path, form: str
) -> None:
    names = ("소득, 연간", "a,b", '"x"', "{{.Name}}", "plain")
    package_linear(tmp_path / "package", "m", names, [0.1] * 5, 0.0)
    seen: list[bytes] = []

    def behave(_handler: Any, _kind: str, body: bytes, _ids: list[str]) -> bool:
        seen.append(body)
        return False

    hidden = names[:4]
    with sink_of(form, behave) as sink:
        redact = [f"--redact={name}" for name in hidden]
        server = start_server("--sink", sink.url, *redact, of=tmp_path / "package")
        values = [11111.5, 22222.5, 33333.5, 44444.5, 55555.5]
        inputs = [
            {"name": name, "shape": [1], "datatype": "FP64", "data": [value]}
            for name, value in zip(names, values, strict=True)
        ]
        with server.client() as client:
            assert client.post("/v2/models/m/infer", json={"inputs": inputs}).status_code == 200
        until(lambda: server.metric("noria_payload_events_sent_total") == 2)
    sent = b"".join(seen)
    for value in values[:4]:
        assert str(value).encode() not in sent
        assert np.float64(value).tobytes() not in sent
    assert str(values[4]).encode() in sent or np.float64(values[4]).tobytes() in sent


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("redact", [[], ["--redact=joined"]], ids=["shown", "redacted"])
def test_what_is_made_of_a_redacted_moment_stays_too(
    start_server: Any, tmp_path: Path, redact: list[str], form: str
) -> None:
    features = (
        Feature("joined", "timestamp", width=5),
        Feature("joined.days", "numeric", "descriptor"),
    )
    times = (Input("joined", "INT64", "timestamp"), Input("at", "INT64", "timestamp"))
    manifest = Manifest(
        *("m", "tabular-regression", "linear", times, outputs_of(()), features), event_time="at"
    )
    files = of_coefficients(np.zeros((5, 1)), np.zeros(1)).files()
    write_package(tmp_path / "package", manifest, files)
    seen: list[bytes] = []

    def behave(_handler: Any, _kind: str, body: bytes, _ids: list[str]) -> bool:
        seen.append(body)
        return False

    days, at = 1234.5, 1_700_000_000_000
    with sink_of(form, behave) as sink:
        server = start_server("--sink", sink.url, *redact, of=tmp_path / "package")
        inputs = [
            {"name": name, "shape": [1], "datatype": "INT64", "data": [value]}
            for name, value in (("joined", at - int(days * 86_400_000)), ("at", at))
        ]
        with server.client() as client:
            assert client.post("/v2/models/m/infer", json={"inputs": inputs}).status_code == 200
        until(lambda: server.metric("noria_payload_events_sent_total") == 2)
    sent = b"".join(seen)
    assert (str(days).encode() in sent or np.float64(days).tobytes() in sent) is not bool(redact)


@pytest.mark.parametrize("name", ["a,b", "nope", "A", "", "a "])
def test_a_redaction_that_names_nothing_lets_nothing_out(start_server: Any, name: str) -> None:
    with sink_of(MEDIA_TYPE) as sink:
        server = start_server("--sink", sink.url, f"--redact={name}", "--redact=b")
        body = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [0] * 4}]}
        with server.client() as client:
            assert client.post("/v2/models/m/infer", json=body).status_code == 200
            (problem,) = client.get("/v2/health/ready").json()["problems"]
        assert problem.startswith(f"no prediction is sent to the sink: --redact: {name!r} is no")
        assert server.metric("noria_payload_events_dropped_total", reason="redaction") == 2
        assert server.stop() == 0
        assert sink.paths == []
        assert "no prediction is sent to the sink" in server.log.read_text()
