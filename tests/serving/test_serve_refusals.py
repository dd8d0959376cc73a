"""What a client can get wrong over REST: always a 4xx that names the field."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest

from serving.oip.rest import parse_object
from serving.refusal import Refusal

URL = "/v2/models/m/infer"
JSON = {"content-type": "application/json"}


def tensor(name: str = "x", shape: Any = (1, 4), data: Any = (1, 2, 3, 4), **more: Any) -> Any:
    return {"name": name, "datatype": "FP64", "shape": shape, "data": data, **more}


def columns(**changed: Any) -> dict[str, Any]:
    made = {name: tensor(name, [1], [1.0]) for name in "abcd"}
    made.update(changed)
    return {"inputs": [value for value in made.values() if value is not None]}


GOOD = json.dumps({"inputs": [tensor()]}).encode()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "inputs: null is not a list"),
        ({"inputs": []}, "inputs: [] is not a list"),
        ({"inputs": [1]}, "inputs[0]: 1 is not an object"),
        ({"inputs": [tensor(name="")]}, "inputs[0].name: '' is not a name"),
        ({"inputs": [tensor(shape=None)]}, "inputs[0].shape: null is not a list"),
        ({"inputs": [tensor(shape=[1.0, 4])]}, "inputs[0].shape: 1.0 is not"),
        ({"inputs": [tensor(shape=[True, 4])]}, "inputs[0].shape: true is not"),
        ({"inputs": [tensor(shape=[2**40, 2**40])]}, "elements"),
        ({"inputs": [tensor(shape=[1, 3], data=[1, 2, 3])]}, "inputs[0].shape: [1, 3]; this"),
        ({"inputs": [tensor(shape=[0, 4], data=[])]}, "inputs[0].shape: no rows"),
        ({"inputs": [tensor(shape=[4], data=[1, 2, 3, 4])]}, "inputs[0].name: 'x' is not an"),
        ({"inputs": [tensor(datatype="BYTES", data=list("abcd"))]}, "inputs[0].datatype: BYTES"),
        ({"inputs": [tensor(data=[1, None, 3, 4])]}, "inputs[0].data[1]: NaN or null, and b may"),
        (columns(b=None), "inputs: no tensor for 'b'"),
        (columns(b=None, a=None), "inputs: no tensor for 'a', 'b'"),
        (columns(e=tensor("e", [1], [1])), "inputs[4].name: 'e' is not an input"),
        (columns(e=tensor("a", [1], [1])), "inputs[4].name: 'a' was given before"),
        (columns(c=tensor("c", [2], [1, 2])), "shape: 2 rows; inputs[0] has 1: send as many"),
        (columns(c=tensor("c", [1, 2], [1, 2])), "inputs[2].shape: [1, 2]; c is one column"),
        (columns(c=tensor("c", [1], ["1"], datatype="BYTES")), "inputs[2].datatype: BYTES does"),
        (columns(c=tensor("c", [1], [True], datatype="BOOL")), "inputs[2].datatype: BOOL does"),
        ({"inputs": [tensor()], "id": 7}, "id: 7 is not a string"),
        ({"inputs": [tensor()], "id": "x" * 600}, "id: 600 characters; at most 256 are kept"),
        ({"inputs": [tensor()], "outputs": [{"name": "y"}]}, "outputs[0].name: 'y' is not an"),
        ({"inputs": [tensor()], "outputs": {}}, "outputs: {} is not a list"),
        ({"inputs": [tensor()], "parameters": []}, "parameters: [] is not an object"),
        (
            {"inputs": [tensor()], "parameters": {"binary_data_output": 1}},
            "parameters.binary_data_output: 1 is not true or false",
        ),
        ([], "body: [] is not a JSON object; send one with inputs"),
        ({"inputs": {"a": None, "b": [True, False]}}, "inputs: {'a': null, 'b': [true, false]} is"),
        ({"inputs": [tensor(name=None)]}, "inputs[0].name: null is not a name"),
        ({"inputs": [tensor(datatype=None)]}, "inputs[0].datatype: null is not one of"),
        ({"inputs": [tensor(data=False)]}, "inputs[0].data: false is not a list"),
        ({"inputs": [tensor(parameters=True)]}, "inputs[0].parameters: true is not an object"),
        ({"inputs": [tensor(data=[1, True, 3, 4])]}, "inputs[0].data[1]: true is not a number"),
        ({"inputs": [tensor()], "id": False}, "id: false is not a string"),
        ({"inputs": [tensor()], "outputs": [None]}, "outputs[0].name: null is not a name"),
        ({"inputs": [tensor(shape=[0, 10**19])]}, "elements"),
        ({"inputs": [tensor(shape=[0, 2**40])]}, "elements"),
        ({"inputs": [tensor()] * 10_001}, "inputs: 10001 tensors; at most 10000"),
        ({"inputs": [tensor()], "outputs": [{"name": "y"}] * 10_001}, "outputs: 10001 outputs"),
        ({"inputs": [tensor("y" * 5000)] * 2}, "…"),
        (columns(c=tensor("c", [1], ["x" * 40_000], datatype="BYTES")), "40000 characters; at"),
    ],
)
def test_a_wrong_request_is_a_400_that_names_the_field(
    server: Any, body: Any, message: str
) -> None:
    with server.client() as client:
        answer = client.post(URL, json=body)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        (None, "instances: null is not a list"),
        ([], "instances: [] is not a list"),
        ([[1, 2, 3]], "instances[0]: 3 values; this model has 4 required inputs"),
        ([[1, 2, 3, 4], [1]], "instances[1]: 1 values"),
        ([[1, 2, 3, 4], 5], "instances[1]: 5 is neither a list nor an object"),
        ([[1, 2, "3", 4]], "instances[*].c.data[0]: '3' is not a number"),
        ([[1, 2, None, 4]], "instances[*].c.data[0]: NaN or null, and c may not"),
        ([{"a": 1, "b": 2, "c": 3}], "instances[0].d: missing"),
        ([{"a": 1, "b": 2, "c": 3, "z": 1}], "instances[0].'z': not an input"),
        ([{"a": 1, "b": 2, "c": 3, "d": 4}, 5], "instances[1]: 5 is not an object"),
        ([[1, 2, 3, 4], None], "instances[1]: null is neither a list nor an object"),
        ([[1, 2, True, 4]], "instances[*].c.data[0]: true is not a number"),
        ([{"a": 1, "b": 2, "c": 3, "d": 4}, None], "instances[1]: null is not an object"),
        ({"a": None}, "instances: {'a': null} is not a list"),
    ],
)
def test_a_wrong_v1_request_is_a_400(server: Any, instances: Any, message: str) -> None:
    with server.client() as client:
        answer = client.post("/v1/models/m:predict", json={"instances": instances})
    assert answer.status_code == 400
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "message"),
    [
        ("POST", URL, JSON, b"{", 400, "body: not JSON"),
        ("POST", URL, JSON, b"", 400, "body: not JSON"),
        ("POST", URL, JSON, b"\xff\xfe", 400, "body: not JSON"),
        ("POST", URL, {"content-type": "text/csv"}, b"{}", 415, "Content-Type: 'text/csv'"),
        ("POST", URL, JSON | {"inference-header-content-length": "x"}, b"{}", 400, "Inference-"),
        ("POST", URL, JSON | {"ce-id": "x" * 300}, GOOD, 400, "ce-id: 300 characters; at most 256"),
        ("GET", URL, {}, b"", 405, "method: GET"),
        ("DELETE", "/v2/models/m", {}, b"", 405, "method: DELETE"),
        ("POST", "/v2/models/other/infer", JSON, b"{}", 404, "model: 'other' is not served here"),
        ("POST", "/v1/models/other:predict", JSON, b"{}", 404, "model: 'other'"),
        ("POST", "/v2/models/m/versions/9/infer", JSON, b"{}", 404, "version: '9' of m"),
        ("GET", "/v2/models/m/versions/9/ready", {}, b"", 404, "version: '9' of m"),
        ("GET", "/nothing", {}, b"", 404, "path: '/nothing' is not known"),
        ("GET", "/v2/models/m/nothing", {}, b"", 404, "path: '/v2/models/m/nothing'"),
        ("POST", URL, JSON, b"[" * 200_000, 400, "body: not JSON"),
        ("POST", URL, JSON, b" " * 1_000_001, 413, "body: larger than 1000000 bytes"),
        ("POST", URL, JSON, b'{"inputs":' * 1000 + b"1" + b"}" * 1000, 400, "inputs: {'inputs': {"),
        ("POST", URL, JSON, b'{"a":' * 60_000 + b"1" + b"}" * 60_000, 400, "body: not JSON"),
        ("POST", URL, JSON, b'{"inputs":[' + b"9" * 5000 + b"]}", 400, "body: not JSON"),
        ("POST", URL, JSON, b'{"inputs":[1e999]}', 400, "body: not JSON"),
        ("POST", URL, JSON, b'{"inputs":"\\ud800"}', 400, "body: not JSON"),
    ],
)
def test_http_refusals(
    server: Any, method: str, path: str, headers: dict[str, str], body: bytes, status: int,
    message: str,
) -> None:  # fmt: skip
    with server.client() as client:
        answer = client.request(method, path, headers=headers, content=body)
    assert answer.status_code == status
    assert message in answer.json()["error"]


@pytest.mark.parametrize("unit", [b"0,", b"[],", b"{},", b"[[[[[[0]]]]]],", b'{"a":{"b":0}},'])
def test_json_of_too_many_values_is_refused_before_it_is_parsed(unit: bytes) -> None:
    body = b'{"inputs":[' + unit * (2**20) + b"0]}"
    with pytest.raises(Refusal, match="more than 1048576 values in JSON; send binary") as caught:
        parse_object(body)
    assert caught.value.status == 413


def test_many_values_are_read_when_they_are_not_too_many() -> None:
    assert len(parse_object(b'{"inputs":[' + b"0.25," * 700_000 + b"0]}")["inputs"]) == 700_001


def test_a_chunked_body_is_limited_too(server: Any) -> None:
    def pieces() -> Any:
        for _ in range(40):
            yield b" " * 50_000

    with server.client() as client:
        answer = client.post(URL, headers=JSON, content=pieces())
    assert answer.status_code == 413


def test_no_bad_request_counts_as_an_error_of_the_server(server: Any) -> None:
    with server.client() as client:
        for body in (b"{", b"[]", b"[" * 5000, b'{"inputs":[{}]}'):
            assert 400 <= client.post(URL, headers=JSON, content=body).status_code < 500
    assert server.metric("noria_requests_total", code="400") >= 4
    assert server.metric("noria_request_errors_total") == 0


def exchange(server: Any, sent: bytes) -> bytes:
    url = httpx.URL(server.url)
    with socket.create_connection((url.host, url.port), timeout=60) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    return received


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 40_000 + b"\r\n\r\n", b"431"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"400"),
    ],
)
def test_what_is_not_http_is_refused(server: Any, sent: bytes, status: bytes) -> None:
    assert exchange(server, sent).startswith(b"HTTP/1.1 " + status)


def test_pipelined_requests_are_answered_in_order(server: Any) -> None:
    sent = b"".join(
        b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n%b\r\n%b"
        % (URL.encode(), len(body), b"Connection: close\r\n" if last else b"", body)
        for body, last in (
            (json.dumps({"id": f"r{n}", "inputs": [tensor()]}).encode(), n == 29) for n in range(30)
        )
    )
    received = exchange(server, sent)
    assert received.count(b"HTTP/1.1 200") == 30
    places = [received.index(b'"id":"r%d"' % n) for n in range(30)]
    assert places == sorted(places)


def test_a_client_that_asks_first_is_told_to_continue(server: Any) -> None:
    body = json.dumps({"inputs": [tensor()]}).encode()
    head = (
        b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n" % (URL.encode(), len(body))
    )
    received = exchange(server, head + body)
    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


def test_an_offer_to_upgrade_is_ignored(server: Any) -> None:
    body = json.dumps({"inputs": [tensor()]}).encode()
    first = (
        b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n%b"
        % (URL.encode(), len(body), body)
    )
    second = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert exchange(server, first + second).count(b"HTTP/1.1 200 OK") == 2
