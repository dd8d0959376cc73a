"""What a client holds is bounded, and what it holds it does not keep from others."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from noria.asgi import Api, Bounds, Gate, Hosts, Listen, background

if TYPE_CHECKING:
    from conftest import App, Server

MIB = 1 << 20
HEAD = b"host: localhost\r\n"
Serve = Callable[..., "Server"]


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Sizes.


@pytest.mark.parametrize(
    "start",
    [b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ", b"GET /", b"G", b"GET / HTTP/1.1\r\nx"],
    ids=["value", "path", "method", "name"],
)
def test_a_head_without_end_is_refused_while_it_comes(
    serve: Serve, resident: Callable[[], float], start: bytes
) -> None:
    server = serve()
    before = resident()
    line = server.line().send(start)
    sent = 0
    with suppress(OSError):
        while sent < 400 * MIB:
            line.socket.sendall(b"a" * 65536)
            sent += 65536
            if sent > 8 * MIB:  # it was refused long ago: the rest is dropped, not for long
                time.sleep(0.02)
    assert sent < 100 * MIB
    assert resident() - before < 20
    assert server.ask("GET /healthz").status == 200


def test_headers_without_end_take_neither_memory_nor_time(
    serve: Serve, resident: Callable[[], float]
) -> None:
    server = serve()
    before = resident()
    lines = [server.line().send(b"GET / HTTP/1.1\r\nhost: localhost\r\n") for _ in range(100)]
    for _ in range(20):
        for line in lines:
            with suppress(OSError):
                line.send(b"x: y\r\n" * 10_000)
    assert resident() - before < 30
    assert server.ask("GET /healthz").status == 200


def test_trailers_and_extensions_of_chunks_without_end_are_cut_off(serve: Serve) -> None:
    server = serve()
    head = b"POST /size HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    for start in (b"1\r\na\r\n0\r\nx: ", b"1;x="):
        line = server.line().send(head + start)
        with suppress(OSError):
            for _ in range(64):
                line.send(b"a" * 65536)
        assert line.ended(5)
    assert server.ask("GET /healthz").status == 200


def test_the_number_and_the_size_of_headers_and_of_the_path_are_bounded(serve: Serve) -> None:
    server = serve()
    assert server.ask("GET /healthz", HEAD + b"a: b\r\n" * 99).status == 200
    assert server.ask("GET /healthz", HEAD + b"a: b\r\n" * 100).status == 431
    assert server.ask("GET /healthz", HEAD + b"a: " + b"b" * 40_000 + b"\r\n").status == 431
    assert server.ask("GET /healthz?" + "a=b&" * 1000).status == 200
    assert server.ask("GET /healthz?" + "a=b&" * 3000).status == 414


def test_pipelined_requests_are_answered_in_order_and_only_so_many_wait(serve: Serve) -> None:
    server = serve(max_pipelined=4)
    line = server.line()
    line.send(b"".join(_get(f"/big?size={n}") for n in range(5)))
    assert [len(line.answer().body) for _ in range(5)] == [0, 1, 2, 3, 4]
    line.send(_get("/healthz") * 5000)
    answered = 0
    with suppress(AssertionError, OSError):
        while line.answer().status == 200:
            answered += 1
    assert 1 <= answered <= 5
    assert server.ask("GET /healthz").status == 200


def test_answers_that_nobody_reads_are_bounded_and_then_lost(
    serve: Serve, resident: Callable[[], float]
) -> None:
    server = serve(max_unsent=20 * MIB, write_seconds=3.0)
    assert len(server.ask(f"GET /big?size={15 * MIB}").body) == 15 * MIB
    before = resident()
    lines = [server.line(buffer=4096) for _ in range(12)]
    for line in lines:
        line.send(_get(f"/big?size={15 * MIB}") * 4)
    most = 0.0
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        assert server.ask("GET /healthz").status == 200
        if time.monotonic() > deadline - 1:  # they were all made in one moment
            most = max(most, resident() - before)
    # Unbounded it would be 180, and four times as much if each were made before it is read.
    assert most < 100
    assert all(line.ended(10) for line in lines)


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_refused_at_its_limit_and_the_answer_is_read(
    serve: Serve, *, chunked: bool
) -> None:
    line = serve(max_body=1000).line()
    if chunked:
        line.send(b"POST /size HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        line.send(b"3e8\r\n" + b"a" * 1000 + b"\r\n")
        line.send(b"1\r\na\r\n")
    else:
        line.send(b"POST /size HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n")
    answer = line.answer()
    assert answer.status == 413
    assert b"larger than 1000 bytes" in answer.body
    assert line.ended(6)


def test_bodies_that_do_not_end_give_way_to_one_that_does(serve: Serve) -> None:
    server = serve(max_body=4 * MIB, max_held=8 * MIB)
    lines = []
    for _ in range(12):
        line = server.line()
        line.send(b"POST /size HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2000000\r\n\r\n")
        lines.append(line.send(b"a" * 1_900_000))
    body = b"a" * 3_000_000
    answer = server.ask("POST /size", HEAD + b"content-length: 3000000\r\n", body)
    assert (answer.status, answer.body) == (200, b"3000000")
    first = lines[0].answer()
    assert first.status == 503
    assert b"too many are held" in first.body


# Times.


def test_silence_ends_a_connection_and_so_does_half_a_head(serve: Serve) -> None:
    server = serve(head_seconds=0.5, idle_seconds=0.5)
    silent, idle, half = server.line(), server.line(), server.line()
    assert idle.ask("GET /healthz").status == 200
    half.send(b"GET / HTTP/1.1\r\nhost: lo")
    for _ in range(40):  # a little more of it does not help
        time.sleep(0.05)
        with suppress(OSError):
            half.send(b"c")
            idle.send(b"\r\n")
    assert silent.ended(3)
    assert idle.ended(3)
    with suppress(OSError):
        assert half.answer().status == 408
    assert half.ended(4)


def test_a_body_that_trickles_is_given_up(serve: Serve) -> None:
    line = serve(body_seconds=0.5).line()
    line.send(b"POST /size HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n")
    began = time.monotonic()
    line.socket.settimeout(0.05)
    got = b""
    while not got:
        assert time.monotonic() - began < 10
        line.send(b"a")
        with suppress(TimeoutError):
            got = line.socket.recv(65536)
    assert got.startswith(b"HTTP/1.1 408 ")
    assert 0.4 < time.monotonic() - began < 5
    assert line.ended(6)


# Others.


def test_connections_that_are_held_keep_nobody_out(serve: Serve) -> None:
    server = serve(max_connections=16)
    keeping = server.line()
    assert keeping.ask("GET /healthz").status == 200
    silent = [server.line() for _ in range(40)]
    for _ in range(5):
        assert server.ask("GET /big?size=1").status == 200
    # The one that had asked before is kept longer than those that never did.
    assert keeping.ask("GET /healthz").status == 200
    ended = [line.ended(0.2) for line in silent[:20]]
    assert all(ended)


def test_an_address_that_holds_many_gives_way_to_others(serve: Serve) -> None:
    server = serve("0.0.0.0", max_connections=16)  # noqa: S104 - several addresses are needed
    quiet = server.line("127.0.0.2").send(b"GET /healthz HTTP/1.1\r\n")
    crowd = [server.line("127.0.0.1") for _ in range(40)]
    quiet.send(b"host: 127.0.0.1\r\n\r\n")
    assert quiet.answer().status == 200
    assert crowd[0].ended(1)


def test_health_is_answered_while_all_else_is_busy(serve: Serve, app: App) -> None:
    server = serve(at_once=3)
    waiting = [server.line().send(_get("/wait")) for _ in range(3)]
    until(lambda: app.waiting == 3)
    refused = server.ask("GET /big?size=1")
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert server.ask("GET /healthz").status == 200
    app.go = True
    assert [line.answer().status for line in waiting] == [200, 200, 200]
    assert server.ask("GET /big?size=1").status == 200


def test_who_waits_for_its_client_is_not_busy(serve: Serve) -> None:
    server = serve(at_once=2)
    for _ in range(6):
        server.line().send(
            b"POST /size HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nabc"
        )
        server.line(buffer=4096).send(_get(f"/big?size={8 * MIB}"))
    time.sleep(0.2)
    assert server.ask("GET /big?size=1").status == 200


# What nobody foresaw.


def test_an_exception_is_a_sentence_and_a_bounded_log(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            answer = server.ask("GET /break")
            assert answer.status == 500
            assert b"the log of this server has the details" in answer.body
            assert b"Error" not in answer.body
        for _ in range(100):
            line = server.line().send(b"\x16\x03\x01 no http\r\n\r\n")
            assert line.answer().status == 400
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert 1 <= len(caplog.records) <= 10
    assert len(text) < 50_000
    assert server.ask("GET /healthz").status == 200


def test_it_stops_while_connections_are_held(app: App) -> None:
    listen = Listen()
    with listen.bind() as listener:
        address = listener.getsockname()
        gate = Gate(Api(app), Bounds(drain_seconds=1), Hosts(listen.host))
        with (
            socket.create_connection(address) as half,
            socket.create_connection(address) as unread,
            background(gate, listener),
        ):
            half.sendall(b"GET / HT")
            unread.sendall(_get(f"/big?size={8 * MIB}"))
            assert b" 200 OK" in unread.recv(100)
            began = time.monotonic()
    assert time.monotonic() - began < 5
