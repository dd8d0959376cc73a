"""HTTP's own rules at the model server, byte by byte; sections of RFC 9110 and RFC 9112."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from tests.serving.raw import Answer, RawConnection, connected

INFER = b"/v2/models/m/infer"
BODY = json.dumps(
    {
        "id": "r",
        "inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 4], "data": [1, 2, 3, 4]}],
    }
).encode()
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def post(*lines: bytes, body: bytes = BODY, path: bytes = INFER, sized: bool = True) -> bytes:
    size = (b"Content-Length: %d" % len(body),) if sized else ()
    head = (b"POST %b HTTP/1.1" % path, b"Host: x", *size, *lines)
    return b"\r\n".join((*head, b"", b"")) + body


def as_json(*lines: bytes, **more: Any) -> bytes:
    return post(b"Content-Type: application/json", *lines, **more)


def ask(server: Any, sent: bytes) -> Answer:
    with connected(server.url) as client:
        return client.ask(sent)


def still_in_step(client: RawConnection) -> bool:
    """Whether the next answer on the connection is that of the next request."""
    answer = client.ask(LIVE)
    return answer.status == 200 and json.loads(answer.body) == {"live": True}


# -- methods: 9110, 9.3.2, 9.3.7, 15.5.6


@pytest.mark.parametrize(
    "path", [b"/v2/health/live", b"/v2/health/ready", b"/metrics", b"/v2/models/m", b"/nothing"]
)
def test_head_is_answered_like_get_without_the_body(server: Any, path: bytes) -> None:
    with connected(server.url) as client:
        got = client.ask(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        head = client.ask(b"HEAD %b HTTP/1.1\r\nHost: x\r\n\r\n" % path, head_only=True)
        assert head.status == got.status
        if path != b"/metrics":  # it counts
            assert head.headers["content-length"] == got.headers["content-length"]
        assert still_in_step(client)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        (b"GET", INFER, "post, options"),
        (b"HEAD", INFER, "post, options"),
        (b"DELETE", b"/v2/models/m", "get, head, options"),
        (b"PUT", b"/v1/models/m:predict", "post, options"),
        (b"PATCH", b"/metrics", "get, head, options"),
        (b"TRACE", b"/v2", "get, head, options"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(
    server: Any, method: bytes, path: bytes, allow: str
) -> None:
    with connected(server.url) as client:
        sent = b"%b %b HTTP/1.1\r\nHost: x\r\n\r\n" % (method, path)
        answer = client.ask(sent, head_only=method == b"HEAD")
        assert (answer.status, answer.headers["allow"]) == (405, allow)
        assert still_in_step(client)


@pytest.mark.parametrize(
    ("path", "status", "allow"),
    [
        (INFER, 200, "post, options"),
        (b"/metrics", 200, "get, head, options"),
        (b"*", 200, "get, head, options, post"),
        (b"http://x", 200, "get, head, options, post"),
        (b"/nothing", 404, None),
    ],
)
def test_options_tells_the_methods(server: Any, path: bytes, status: int, allow: Any) -> None:
    answer = ask(server, b"OPTIONS %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
    assert (answer.status, answer.headers.get("allow")) == (status, allow)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"BREW /coffee HTTP/1.1", 405),
        (b"CONNECT x:80 HTTP/1.1", 405),
        (b"GET / HTTP/2.0", 400),
        (b"GET / HTTP/1.9", 400),
        (b"GET / HTTP/0.9", 400),
        (b"GET /", 400),
        (b"nonsense", 400),
        (b"GET /\xc3\xa4 HTTP/1.1", 400),
        (b"GET /a#b HTTP/1.1", 400),
        (b"GET * HTTP/1.1", 400),
        (b"GET ftp://x/v2 HTTP/1.1", 400),
        (b"GET http:///v2 HTTP/1.1", 400),
        (b"GET http://u@x/v2 HTTP/1.1", 400),
        (b"GET /v2/%zz HTTP/1.1", 400),
        (b"GET /v2/% HTTP/1.1", 400),
    ],
)
def test_request_lines_that_are_refused(server: Any, line: bytes, status: int) -> None:
    answer = ask(server, line + b"\r\nHost: x\r\n\r\n")
    assert answer.status == status
    assert list(json.loads(answer.body)) == ["error"]


# -- targets and Host: 9112, 3.2


@pytest.mark.parametrize(
    "target",
    [
        b"/v2/health/live", b"/v2/health/live?x=%zz", b"/v2/health/live/", b"/v2/%68ealth/live",
        b"http://x/v2/health/live", b"HTTP://other:80/v2/health/live?a=b",
        b"https://[::1]:1/v2/health/live",
    ],
)  # fmt: skip
def test_a_target_in_any_form_is_answered(server: Any, target: bytes) -> None:
    assert ask(server, b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target).status == 200


def test_an_absolute_target_is_predicted_for(server: Any) -> None:
    assert ask(server, as_json(path=b"http://x" + INFER)).status == 200


@pytest.mark.parametrize(
    ("version", "hosts", "status"),
    [
        (b"1.1", (b"x",), 200),
        (b"1.1", (b"[::1]:80",), 200),
        (b"1.1", (b"",), 200),
        (b"1.1", (), 400),
        (b"1.1", (b"x", b"x"), 400),
        (b"1.1", (b"x", b"y"), 400),
        (b"1.1", (b"x/login#",), 400),
        (b"1.1", (b"x y",), 400),
        (b"1.1", (b"u@x",), 400),
        (b"1.0", (), 200),
        (b"1.0", (b"x", b"x"), 400),
    ],
)
def test_exactly_one_host(
    server: Any, version: bytes, hosts: tuple[bytes, ...], status: int
) -> None:
    lines = b"".join(b"Host: %b\r\n" % host for host in hosts)
    assert ask(server, b"GET /v2 HTTP/%b\r\n%b\r\n" % (version, lines)).status == status


# -- framing: 9112, 6


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((b"Transfer-Encoding: gzip, chunked",), 400),
        ((b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"), 400),
        ((b"Transfer-Encoding: identity",), 400),
        ((b"Transfer-Encoding: chunked, gzip",), 400),
        ((b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400),
        ((b"Transfer-Encoding: chunked", b"Content-Length: 4"), 400),
        ((b"Content-Length: 4", b"Transfer-Encoding: chunked"), 400),
        ((b"Content-Length: 4", b"Content-Length: 4"), 400),
        ((b"Content-Length: 4, 4",), 400),
        ((b"Content-Length: -1",), 400),
        ((b"Content-Length:",), 400),
        ((b"Content-Length: 99999999999999999999999",), 400),
        ((b"Content-Length: " + b"0" * 5000 + b"4",), 413),
    ],
)
def test_framing_that_may_be_read_two_ways_is_refused(
    server: Any, lines: tuple[bytes, ...], status: int
) -> None:
    with connected(server.url) as client:
        answer = client.ask(as_json(*lines, sized=False, body=b"0\r\n\r\n"))
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert client.ended()


def test_chunks_are_not_of_http_1_0(server: Any) -> None:
    sent = b"POST %b HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % INFER
    assert ask(server, sent).status == 400


def test_trailers_are_not_headers(server: Any) -> None:
    half = len(BODY) // 2
    chunks = b"".join(
        b"%x;note=1\r\n%b\r\n" % (len(part), part) for part in (BODY[:half], BODY[half:])
    )
    end = b"0\r\nContent-Type: text/csv\r\nX-Request-Id: evil\r\nHost: y\r\n\r\n"
    with connected(server.url) as client:
        sent = as_json(b"Transfer-Encoding: chunked", sized=False, body=chunks + end)
        answer = client.ask(sent)
        assert (answer.status, json.loads(answer.body)["id"]) == (200, "r")
        assert still_in_step(client)


# -- connections: 9112, 9.3, 9110, 7.8 and 10.1.1


@pytest.mark.parametrize("lines", [(), (b"Expect: 100-continue",)])
def test_close_is_honoured_beside_an_offer_to_upgrade(
    server: Any, lines: tuple[bytes, ...]
) -> None:
    with connected(server.url) as client:
        offer = (b"Connection: close, Upgrade, HTTP2-Settings", b"Upgrade: h2c", *lines)
        answer = client.ask(as_json(*offer))
        if lines:
            assert answer.status == 100
            answer = client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert client.ended()


def test_many_offers_to_upgrade_are_ignored_one_by_one(server: Any) -> None:
    one = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    with connected(server.url) as client:
        client.socket.sendall(one * 3000)
        assert {client.answer().status for _ in range(3000)} == {200}
        assert still_in_step(client)


def test_http_1_0_stays_open_only_when_asked(server: Any) -> None:
    with connected(server.url) as client:
        kept = client.ask(b"GET /v2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert kept.headers["connection"] == "keep-alive"
        last = client.ask(b"GET /v2 HTTP/1.0\r\n\r\n")
        assert last.headers["connection"] == "close"
        assert client.ended()


def test_an_expectation_that_nobody_meets_is_refused(server: Any) -> None:
    assert ask(server, as_json(b"Expect: a-miracle")).status == 417


def test_http_1_0_is_never_told_to_continue(server: Any) -> None:
    sent = b"POST %b HTTP/1.0\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n" % INFER
    assert ask(server, sent + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)).status == 200


def test_a_half_closed_client_gets_its_answers(server: Any) -> None:
    with connected(server.url) as client:
        client.socket.sendall(as_json() * 5)
        client.socket.shutdown(1)
        assert [client.answer().status for _ in range(5)] == [200] * 5
        assert client.ended()


# -- content codings: 9110, 8.4


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip", gzip.compress(BODY, mtime=0)),
        (b"x-gzip", gzip.compress(BODY, mtime=0)),
        (b"GZip", gzip.compress(BODY, mtime=0)),
        (b"gzip", gzip.compress(BODY[:9], mtime=0) + gzip.compress(BODY[9:], mtime=0)),
        (b"deflate", zlib.compress(BODY)),
        (b"deflate", zlib.compress(BODY, wbits=-15)),
        (b"identity", BODY),
    ],
)
def test_a_compressed_body_is_read(server: Any, coding: bytes, body: bytes) -> None:
    with connected(server.url) as client:
        answer = client.ask(as_json(b"Content-Encoding: " + coding, body=body))
        assert (answer.status, json.loads(answer.body)["id"]) == (200, "r")
        assert still_in_step(client)


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip, gzip", b"compress", b"nonsense"])
def test_a_coding_that_is_not_read_is_refused_with_those_that_are(
    server: Any, coding: bytes
) -> None:
    answer = ask(server, as_json(b"Content-Encoding: " + coding))
    assert (answer.status, answer.headers["accept-encoding"]) == (415, "gzip, deflate")


def test_layered_codings_in_lines_of_their_own_are_refused(server: Any) -> None:
    twice = as_json(b"Content-Encoding: gzip", b"Content-Encoding: gzip")
    assert ask(server, twice).status == 415


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        (b"gzip", b"", 400),
        (b"gzip", BODY, 400),
        (b"gzip", gzip.compress(BODY, mtime=0)[:-9], 400),
        (b"gzip", gzip.compress(BODY, mtime=0) + b"more", 400),
        (b"deflate", b"\xff\xff\xff", 400),
        (b"gzip", gzip.compress(b" " * 1_000_001, mtime=0), 413),
        (b"gzip", gzip.compress(b" " * 600_000, mtime=0) * 2, 413),
        (b"gzip", gzip.compress(bytes(200_000_000), 1, mtime=0), 413),
    ],
)
def test_a_body_that_is_not_what_its_coding_says_is_refused(
    server: Any, coding: bytes, body: bytes, status: int
) -> None:
    with connected(server.url) as client:
        answer = client.ask(as_json(b"Content-Encoding: " + coding, body=body))
        assert answer.status == status
        assert still_in_step(client)


# -- content types: what a page of another site can make a browser send


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((b"Content-Type: application/json",), 200),
        ((b"Content-Type: Application/JSON; charset=utf-8",), 200),
        ((b"Content-Type: application/cloudevents+json",), 200),
        ((b"Content-Type: application/json", b"Origin: https://other"), 200),
        ((), 200),
        ((b"Origin: https://other",), 415),
        ((b"Content-Type:", b"Origin: null"), 415),
        ((b"Content-Type: text/plain",), 415),
        ((b"Content-Type: text/plain; a=application/json",), 415),
        ((b"Content-Type: application/x-www-form-urlencoded",), 415),
        ((b"Content-Type: multipart/form-data; boundary=a",), 415),
        ((b"Content-Type: text/plain", b"Content-Type: application/json"), 415),
        ((b"Content-Type: application/jsonp",), 415),
    ],
)
@pytest.mark.parametrize("path", [INFER, b"/v1/models/m:predict"])
def test_predictions_take_what_no_foreign_page_can_send(
    server: Any, path: bytes, lines: tuple[bytes, ...], status: int
) -> None:
    v1 = b'{"instances": [[1, 2, 3, 4]]}'
    body = BODY if path == INFER else v1
    answer = ask(server, post(*lines, body=body, path=path))
    assert answer.status == status
    assert "access-control-allow-origin" not in answer.headers


def test_a_request_id_of_any_script_is_kept(server: Any) -> None:
    body = BODY.replace(b'"id": "r", ', b"")
    answer = ask(server, as_json(b"X-Request-Id: " + "주문-1".encode(), body=body))
    assert json.loads(answer.body)["id"] == "주문-1"


def test_every_answer_has_a_date(server: Any) -> None:
    for path in (b"/v2", b"/nothing"):
        answer = ask(server, b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        assert answer.headers["date"].endswith(" gmt")
