"""The monitor's own door: what a stranger, a browser or nonsense may do there."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

MIB = 1 << 20
JSON = {"content-type": "application/json"}


@pytest.fixture
def process(lives: Callable[..., Any]) -> Any:
    found = lives()
    found.start()
    return found


@pytest.fixture
def http(process: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=process.url, timeout=30) as client:
        yield client


def raw(process: Any, data: bytes) -> bytes:
    url = urlsplit(process.url)
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=10) as line:
        with suppress(BrokenPipeError, ConnectionResetError):
            line.sendall(data)  # it may be refused before it is all sent
        return line.recv(65536)


def refused(http: httpx.Client) -> int:
    found: int = http.post("/flush").json()["dropped"]["refused"]
    return found


def test_answers_that_nobody_reads_take_no_memory(process: Any, http: httpx.Client) -> None:
    url = urlsplit(process.url)
    before = process.resident_mib()
    size = 15 * MIB
    head = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    lines = []
    for _ in range(4):
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.settimeout(0.2)
        line.connect((url.hostname, url.port))
        lines.append(line)
    most = 0.0
    for _ in range(8):
        for line in lines:
            with suppress(OSError):
                line.sendall(head + b"content-length: %d\r\n\r\n" % size + b" " * size)
        most = max(most, process.resident_mib() - before)
        assert http.get("/healthz").status_code == 200
    for line in lines:
        line.close()
    # Four bodies while they are read, pieces and whole.
    assert most < 8 * 16 + 40


def test_silent_connections_keep_nobody_out(
    lives: Callable[..., Any], world: Any, wire: Any
) -> None:
    process = lives()
    url = urlsplit(process.start("--max-connections", "60"))
    address = (url.hostname or "", url.port or 0)
    silent = [socket.create_connection(address, timeout=10) for _ in range(100)]
    try:
        with httpx.Client(base_url=process.url, timeout=10) as http:
            assert http.get("/healthz").status_code == 200
            body = json.dumps(world.request(2))
            answer = http.post("/", headers=wire.headers("r", "request"), content=body)
            assert answer.status_code == 200
    finally:
        for line in silent:
            line.close()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip"])
def test_a_coded_event_is_taken_or_counted(
    http: httpx.Client, world: Any, wire: SimpleNamespace, coding: str
) -> None:
    import zlib

    body = json.dumps(world.request(3)).encode()
    packed = zlib.compress(body) if coding == "deflate" else gzip.compress(body)
    headers = {**wire.headers("r", "request"), "content-encoding": coding}
    answer = http.post("/", headers=headers, content=packed)
    if coding in ("gzip", "deflate"):
        assert answer.status_code == 200
        assert http.post("/flush").json()["received"] == 1
    else:
        assert answer.status_code == 415
        assert answer.headers["accept-encoding"] == "gzip, deflate"
        assert refused(http) == 1


def test_an_event_with_binary_tensors_is_taken_as_its_client_sent_it(
    http: httpx.Client, wire: SimpleNamespace
) -> None:
    raw = b"\x00\x00\x80\x3f\x00\x00\x00\x40"
    tensor = {"name": "wind", "datatype": "FP32", "shape": [2]}
    tensor["parameters"] = {"binary_data_size": len(raw)}
    body = json.dumps({"inputs": [tensor]}).encode() + raw
    headers = {**wire.headers("r", "request"), "content-type": "application/octet-stream"}
    assert http.post("/", headers=headers, content=body).status_code == 200
    assert http.post("/flush").json()["requests"] == 1
    assert http.post("/feedback", headers=headers, content=body).status_code == 415


def test_a_gzip_that_unpacks_to_more_than_the_limit_is_refused_and_counted(
    process: Any, http: httpx.Client, wire: SimpleNamespace
) -> None:
    before = process.resident_mib()
    packed = gzip.compress(b" " * (200 * MIB))
    headers = {**wire.headers("r", "request"), "content-encoding": "gzip"}
    assert http.post("/", headers=headers, content=packed).status_code == 413
    assert refused(http) == 1
    assert process.resident_mib() - before < 60


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_a_page_of_another_site_can_send_is_refused(
    http: httpx.Client, wire: SimpleNamespace, kind: str
) -> None:
    body = json.dumps({"model": wire.model, "labels": []})
    headers = {"content-type": kind} if kind else {}
    assert http.post("/feedback", content=body, headers=headers).status_code == 415
    assert http.post("/feedback", content=body, headers=JSON).status_code == 200
    evil = {"origin": "https://evil.example"}
    for method, path in (("POST", "/"), ("POST", "/feedback"), ("POST", "/flush")):
        assert http.request(method, path, headers=JSON | evil, content=body).status_code == 403
    put = f"/models/{wire.model}/versions/1/reference"
    assert http.put(put, content=b"{}", headers=JSON | evil).status_code == 403
    assert http.put(put, content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    assert http.post("/partials", content=b"\x90", headers=JSON).status_code == 415
    assert refused(http) == 1


def test_a_name_that_was_made_to_mean_this_machine_is_refused(
    lives: Callable[..., Any], http: httpx.Client
) -> None:
    for path in ("/healthz", "/metrics", "/models/flights/status"):
        assert http.get(path, headers={"host": "evil.example"}).status_code == 421
    other = lives()
    with httpx.Client(base_url=other.start("--allowed-host", "monitor.example")) as called:
        assert called.get("/healthz", headers={"host": "monitor.example:80"}).status_code == 200


NONSENSE = [
    b"[" * 100_000,
    b'{"labels":' * 1000,
    b'{"inputs":' * 1000 + b"1" + b"}" * 1000,
    b'{"labels":[{"id":"x:0","label":1' + b"0" * 5000 + b"}]}",
    b'{"labels":[{"id":"x:0","label":"\\ud800"}]}',
    b'{"labels":[{"id":"\\ud800:0","label":1}]}',
    b'{"inputs":[{"name":"\\ud800","shape":[1],"datatype":"FP64","data":[1]}]}',
    b'{"labels":[{"id":"x:99999999999999999999999","label":1}]}',
    b'{"labels":"\xff"}',
    b"\x00" * 1000,
    b"",
    b"null",
    b"NaN",
    b'{"path":"\\u0000"}',
    b'{"path":"' + b"a" * 100_000 + b'"}',
    b"PK\x03\x04" + b"\x00" * 100,
]


def test_nonsense_is_the_senders_fault(
    process: Any, http: httpx.Client, wire: SimpleNamespace
) -> None:
    put = f"/models/{wire.model}/versions/1/reference"
    zip_ = {"content-type": "application/zip"}
    posts: list[tuple[str, str, dict[str, str]]] = [
        ("POST", "/", wire.headers("r", "request")),
        ("POST", "/", wire.headers("r", "response")),
        ("POST", "/", {"content-type": "application/cloudevents+json"}),
        ("POST", "/", {"content-type": "application/cloudevents-batch+json"}),
        ("POST", "/feedback", JSON),
        ("POST", "/partials", {"content-type": "application/msgpack"}),
        ("PUT", put, JSON),
        ("PUT", put, zip_),
        ("PUT", put + "?champion=true", zip_),
        ("PUT", "/models/flights/versions/" + "9" * 300 + "/reference", JSON),
    ]
    for body in NONSENSE:
        for method, path, headers in posts:
            answer = http.request(method, path, headers=headers, content=body)
            what = (body[:60], method, path, headers, answer.text[:500])
            assert 400 <= answer.status_code < 500, what
            assert len(answer.content) < 3000, what
    assert "Traceback" not in process.log.read_text()
    assert http.get("/healthz").status_code == 200


TARGETS = [
    "/models/flights/windows?limit=" + "9" * 4000,
    "/models/flights/windows?limit=-1",
    "/models/flights/windows?limit=%D9%A3",
    "/models/flights/windows?stream=%00&limit=x",
    "/models/flights/measure?metric=%00",
    "/models/flights/measure?metric=auc&since=" + "9" * 400,
    "/models/flights/measure?metric=auc&since=%ff",
    "/models/%ff/status",
    "/models/flights/%00",
    "/models//status",
    "/models/flights/status/",
    "/metrics/",
    "/?" + "a&" * 2000,
    "/models/flights/windows?" + "&".join(f"a{i}=1" for i in range(900)),
    "/models/flights/windows?" + "a=1&" * 1_000_000,
]


def test_a_target_of_nonsense_is_the_senders_fault(process: Any) -> None:
    for target in TARGETS:
        answer = raw(process, f"GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        assert 400 <= int(answer.split()[1]) < 500, (target[:60], answer[:500])
    assert "Traceback" not in process.log.read_text()


def test_methods_that_are_not_allowed_are_answered_with_those_that_are(http: httpx.Client) -> None:
    for method, path, allowed in (
        ("GET", "/feedback", "POST"),
        ("HEAD", "/flush", "POST"),
        ("DELETE", "/metrics", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("GET", "/", "OPTIONS, POST"),
        ("POST", "/models/flights/status", "GET, HEAD"),
        ("GET", "/models/flights/versions/1/reference", "PUT"),
    ):
        answer = http.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed), (method, path)
    assert http.head("/metrics").status_code == 200
    assert http.get("/healthz").status_code == 200


def test_one_clients_long_request_leaves_others_answered(http: httpx.Client, process: Any) -> None:
    url = urlsplit(process.url)
    line = socket.create_connection((url.hostname or "", url.port or 0), timeout=10)
    with line, suppress(OSError):
        line.settimeout(1)
        line.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ")
        for _ in range(100):
            line.sendall(b"a" * 65536)
            began = time.monotonic()
            assert http.get("/healthz").status_code == 200
            assert time.monotonic() - began < 5
