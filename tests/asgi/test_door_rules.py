"""HTTP's own rules, whose names are answered to, and codings of bodies."""

from __future__ import annotations

import gzip
import socket
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from noria.asgi import Hosts, Listen
from noria.errors import InvalidInput

if TYPE_CHECKING:
    from conftest import Server

HEAD = b"host: localhost\r\n"
POST = b"POST /size HTTP/1.1\r\nhost: localhost\r\n"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - of what a name is asked for
Serve = Callable[..., "Server"]


def test_the_answer_to_head_has_no_body_and_the_next_is_read_right(serve: Serve) -> None:
    line = serve().line()
    head = line.ask("HEAD /big?size=9")
    assert (head.status, head.headers["content-length"]) == (200, "9")
    assert line.ask("GET /big?size=3").body == bytes(3)
    assert line.ask("HEAD /none").status == 404
    assert line.ask("GET /healthz").body == b"well"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\nhost: localhost\r\n\r\n", 200),
        (b"GET /healthz HTTP/2.0\r\nhost: localhost\r\n\r\n", 400),
        (b"GET http://localhost/healthz HTTP/1.1\r\nhost: evil.example\r\n\r\n", 200),
        (b"GET http://evil.example/healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", 421),
        (b"GET HTTP://localhost:80?x HTTP/1.1\r\nhost: localhost\r\n\r\n", 404),
        (b"GET http://a@localhost/healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        (b"GET ftp://localhost/healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        (b"GET /healthz#x HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        (b"GET healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        (b"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n", 405),
        (b"GET /healthz HTTP/1.1\nhost: localhost\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nhost : localhost\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n x\r\n\r\n", 400),
        (
            POST + b"transfer-encoding: gzip, chunked\r\n\r\n",
            400,
        ),
        (POST + b"transfer-encoding: gzip\r\n\r\n", None),
        (b"POST /size HTTP/1.0\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (
            POST + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            None,
        ),
        (
            POST + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
            400,
        ),
        (POST + b"content-length: -1\r\n\r\n", 400),
        (POST + b"content-length: 1, 1\r\n\r\na", 400),
        (POST + b"content-length: " + b"9" * 40 + b"\r\n\r\n", None),
    ],
)  # fmt: skip
def test_what_http_does_not_allow_is_refused(
    serve: Serve, request_: bytes, status: int | None
) -> None:
    server = serve()
    answer = server.line().send(request_).answer()
    assert answer.status == status if status is not None else 400 <= answer.status < 502
    assert server.ask("GET /healthz").status == 200


def test_who_says_that_nothing_more_will_come_is_answered(serve: Serve) -> None:
    line = serve().line().send(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    line.socket.shutdown(socket.SHUT_WR)
    assert line.answer().body == b"well"
    assert line.ended(3)


def test_trailers_are_not_headers(serve: Serve) -> None:
    line = serve().line()
    chunks = b"3\r\nabc\r\n0\r\nhost: evil.example\r\ncontent-encoding: br\r\n\r\n"
    answer = line.ask("POST /size", HEAD + b"transfer-encoding: chunked\r\n", chunks)
    assert (answer.status, answer.body) == (200, b"3")
    assert line.ask("GET /healthz").status == 200


def test_an_offer_to_upgrade_is_passed_over_and_the_body_read(serve: Serve) -> None:
    offer = HEAD + b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: x\r\n"
    line = serve().line()
    answer = line.ask("POST /size", offer + b"content-length: 5\r\n", b"hello")
    assert (answer.status, answer.body) == (200, b"5")
    assert line.ask("GET /healthz", offer).status == 200
    last = line.ask("GET /healthz", HEAD + b"connection: close, upgrade\r\nupgrade: h2c\r\n")
    assert last.headers["connection"] == "close"
    assert line.ended(3)


@pytest.mark.parametrize(
    "path",
    [
        "//healthz", "/healthz%2f", "/%2fhealthz", "/a/../healthz", "/./healthz", "/a%2f..%2fb",
        "/%2e%2e/healthz", "/healthz%00", "/%0a", "/%5chealthz", "/%ff", "/%252f", "/%ed%a0%80",
        "//evil.example/healthz",
    ],
)  # fmt: skip
def test_a_path_that_two_could_read_as_two_is_not_there(serve: Serve, path: str) -> None:
    assert serve().ask(f"GET {path}").status == 404


@pytest.mark.parametrize("path", ["/healthz/", "/HEALTHZ", "/healthz.", "/healthz;x", "/%zz"])
def test_a_path_is_what_it_is_exactly(serve: Serve, path: str) -> None:
    assert serve().ask(f"GET {path}").status == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("LOCALHOST.:80", 200), ("127.0.0.1:1", 200), ("[::1]:1", 200),
        ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("10.0.0.1", 421),
        (EVERYWHERE, 421), ("localhost:99999", 421), ("localhost:x", 421), ("x/login#", 421),
        ("localhost,evil.example", 421), ("a@localhost", 421), ("[", 421), ("", 421),
        ("2130706433", 421), ("127.1", 421),
    ],
)  # fmt: skip
def test_on_loopback_it_answers_to_loopback_only(serve: Serve, host: str, status: int) -> None:
    assert serve().ask("GET /healthz", f"host: {host}\r\n".encode()).status == status


def test_beyond_loopback_it_answers_to_its_addresses_and_to_names_that_were_given() -> None:
    hosts = Hosts(EVERYWHERE, ["noria-monitor-a.models.svc"])
    for good in ("10.1.2.3:8080", "[2001:db8::1]", "noria-monitor-a.models.svc:8080", "localhost"):
        assert hosts.admits(good), good
    for bad in ("evil.example", "a.noria-monitor-a.models.svc", "noria-monitor-a.models.svc.x"):
        assert not hosts.admits(bad), bad
    assert Hosts(EVERYWHERE, anybody=True).admits("any.example")
    assert not Hosts(EVERYWHERE, anybody=True).admits("x/login#")
    for wrong in ("a b", "a:80", "http://a", "*"):
        with pytest.raises(InvalidInput, match="--allowed-host"):
            Hosts("127.0.0.1", [wrong])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"", 200),
        (b"origin: http://localhost\r\n", 200),
        (b"origin: http://localhost:81\r\n", 403),
        (b"origin: https://evil.example\r\n", 403),
        (b"origin: null\r\n", 403),
        (b"origin: http://[\r\n", 403),
        (b"sec-fetch-site: cross-site\r\n", 403),
        (b"sec-fetch-site: same-site\r\n", 403),
        (b"sec-fetch-site: same-origin\r\n", 200),
    ],
)
def test_a_page_of_another_site_can_send_nothing(serve: Serve, headers: bytes, status: int) -> None:
    server = serve()
    assert server.ask("POST /size", HEAD + headers + b"content-length: 0\r\n").status == status
    assert server.ask("GET /healthz", HEAD + headers).status == 200


DATA = b"abc" * 1000


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("gzip", gzip.compress(DATA, mtime=0), 200),
        ("X-GZip", gzip.compress(DATA, mtime=0), 200),
        ("gzip", gzip.compress(DATA[:1500], mtime=0) + gzip.compress(DATA[1500:], mtime=0), 200),
        ("deflate", zlib.compress(DATA), 200),
        ("deflate", raw_deflate(DATA), 200),
        ("identity", DATA, 200),
        ("gzip", gzip.compress(DATA, mtime=0)[:-4], 400),
        ("gzip", gzip.compress(DATA, mtime=0) + b"more", 400),
        ("gzip", b"", 400),
        ("gzip", DATA, 400),
        ("deflate", zlib.compress(DATA) + b"more", 400),
        ("br", DATA, 415),
        ("gzip, gzip", gzip.compress(gzip.compress(DATA, mtime=0), mtime=0), 415),
        (
            "gzip\r\ncontent-encoding: gzip",
            gzip.compress(gzip.compress(DATA, mtime=0), mtime=0),
            415,
        ),
        ("gzip", gzip.compress(bytes(5000), mtime=0), 413),
        ("gzip", gzip.compress(bytes(30 << 20), mtime=0), 413),
        ("deflate", zlib.compress(bytes(30 << 20)), 413),
        ("gzip", gzip.compress(bytes(2500), mtime=0) * 2, 413),
    ],
)
def test_a_body_is_decoded_once_and_within_the_limit(
    serve: Serve, resident: Callable[[], float], coding: str, body: bytes, status: int
) -> None:
    server = serve(max_body=max(len(body), 4000))
    before = resident()
    headers = f"content-encoding: {coding}\r\ncontent-length: {len(body)}\r\n".encode()
    answer = server.ask("POST /size", HEAD + headers, body)
    assert answer.status == status, answer.body
    assert resident() - before < 20
    if status == 200:
        assert answer.body == b"3000"
    if status == 415:
        assert answer.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("host", ["::1", "::"])
def test_it_listens_on_ipv6(serve: Serve, host: str) -> None:
    server = serve(host)
    assert server.line("::1").ask("GET /healthz", b"host: [::1]\r\n").status == 200
    if host == "::":
        assert server.line("127.0.0.1").ask("GET /healthz", b"host: 127.0.0.1\r\n").status == 200


def test_an_address_that_is_none_is_named() -> None:
    for host in ("192.0.2.7", "no such", "::ffff:0:0:1"):
        with pytest.raises(InvalidInput, match="can't be listened on"):
            Listen(host).bind()
