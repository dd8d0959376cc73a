"""Who is let in, and what a browser may do with a page."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from noria.errors import InvalidInput
from noria.places.machine import Machine
from noria.ui.security import Guard, check_address, read_token
from tests.ui.places import TOKEN, Place, canary, form, origin, running, send


def test_every_answer_carries_the_headers(place: Place, pages: httpx.Client) -> None:
    canary(place.world())
    paths = (
        "/",
        "/models/flights",
        "/nowhere",
        "/login",
        "/healthz",
        "/static/none",
        "/static/ui.css",
    )
    for path in paths:
        headers = pages.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
    assert pages.get("/").headers["cache-control"] == "no-store"


def test_pages_need_nothing_from_elsewhere(place: Place, pages: httpx.Client) -> None:
    canary(place.world())
    for path in ("/", "/models/flights", "/models/flights/do/abort"):
        page = pages.get(path).text
        assert "style=" not in page
        assert " onclick" not in page
        assert "<script>" not in page
        assert 'src="http' not in page
        assert 'href="http' not in page


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[", "localhost:x"]
)
def test_without_a_token_it_answers_to_loopback_names_only(
    place: Place, pages: httpx.Client, host: str
) -> None:
    assert pages.get("/", headers={"host": host}).status_code == 421
    assert pages.get("/", headers={"host": "localhost:1234"}).status_code == 200
    assert pages.get("/", headers={"host": "[::1]:1234"}).status_code == 200


def test_with_a_token_nothing_is_seen_before_it(place: Place) -> None:
    canary(place.world())
    with running(Machine(place.home.root), token=TOKEN) as pages:
        for broken in ("[", "localhost:x", "x/login#", "localhost:99999"):
            assert pages.get("/", headers={"host": broken}).status_code == 421
        for path in ("/", "/models/flights", "/models/flights/ledger", "/models/flights/do/abort"):
            answer = pages.get(path)
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/login?next=")
        assert send(pages, "flights", "abort", {"id": "x", "token": "y"}).status_code == 401
        assert pages.get("/login").status_code == 200
        assert pages.get("/healthz").text == "ok\n"


def test_the_token_opens_and_sets_a_strict_cookie(place: Place) -> None:
    canary(place.world())
    with running(Machine(place.home.root), token=TOKEN) as pages:
        fields = {"token": TOKEN, "next": "/models/flights"}
        answer = pages.post("/login", data=fields, headers=origin(pages))
        assert answer.status_code == 303
        assert answer.headers["location"] == "/models/flights"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert TOKEN not in cookie
        assert pages.get("/models/flights").status_code == 200
        answer = send(pages, "flights", "abort", form(pages, "flights", "abort"))
        assert answer.status_code == 303
        assert pages.post("/logout", headers=origin(pages)).status_code == 303
        assert pages.get("/models/flights").status_code == 303


@pytest.mark.parametrize(
    "there", ["//evil.example", "https://evil.example", "/\\evil", "", "/a\nb"]
)
def test_signing_in_leads_nowhere_else(place: Place, there: str) -> None:
    with running(Machine(place.home.root), token=TOKEN) as pages:
        fields = {"token": TOKEN, "next": there}
        answer = pages.post("/login", data=fields, headers=origin(pages))
        assert answer.headers["location"] == "/"


def test_wrong_tokens_are_refused_and_guessing_is_slow(place: Place) -> None:
    with running(Machine(place.home.root), token=TOKEN) as pages:
        for _ in range(10):
            answer = pages.post("/login", data={"token": "wrong é"}, headers=origin(pages))
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers
        answer = pages.post("/login", data={"token": TOKEN}, headers=origin(pages))
        assert answer.status_code == 429
        elsewhere = {"origin": "https://evil.example"}
        assert pages.post("/login", data={"token": TOKEN}, headers=elsewhere).status_code == 403


def test_a_session_ends_and_cannot_be_made_up() -> None:
    now = [1000.0]
    guard = Guard(TOKEN, lambda: now[0])
    cookie = guard.new_session()
    assert guard.knows_session(cookie)
    ends, rest = cookie.split(".", 1)
    assert not guard.knows_session(f"{int(ends) + 9999}.{rest}")
    assert not Guard(TOKEN, lambda: now[0]).knows_session(cookie)
    for made_up in ("", ".", "..", "9999999999.x.y", "é.é.é", f"{cookie}x"):
        assert not guard.knows_session(made_up)
    now[0] += 13 * 3600
    assert not guard.knows_session(cookie)


def test_after_a_minute_the_right_token_opens_again() -> None:
    now = [1000.0]
    guard = Guard(TOKEN, lambda: now[0])
    for _ in range(10):
        assert not guard.opens("wrong")
    with pytest.raises(InvalidInput, match="wait a minute"):
        guard.opens(TOKEN)
    now[0] += 61
    assert guard.opens(TOKEN)


def test_beyond_loopback_it_demands_a_token(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.7", "example.com"):  # noqa: S104 - refused
        with pytest.raises(InvalidInput, match="--token-file"):
            check_address(host, None)
        check_address(host, TOKEN)
    for host in ("127.0.0.1", "::1", "localhost"):
        check_address(host, None)
    short = tmp_path / "token"
    short.write_text("short\n")
    with pytest.raises(InvalidInput, match="at least 16"):
        read_token(short)
    with pytest.raises(InvalidInput, match="can't be read"):
        read_token(tmp_path / "none")
    short.write_text(f"{TOKEN}\n")
    assert read_token(short) == TOKEN


def test_the_command_serves_a_home_until_it_is_told_to_stop(place: Place, tmp_path: Path) -> None:
    canary(place.world())
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", "noria.cli", "ui", "--port", "0", "--ready-file", str(ready)]
    environment = {**os.environ, "NORIA_HOME": str(place.home.root)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        while not ready.exists():
            assert process.poll() is None
            time.sleep(0.02)
        url = json.loads(ready.read_text())["url"]
        assert "canary of v2" in httpx.get(url).text
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert url in said
    refused = subprocess.run(
        [sys.executable, "-m", "noria.cli", "ui", "--host", "0.0.0.0", "--port", "0"],  # noqa: S104
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "--token-file" in refused.stderr


def test_silent_connections_keep_nobody_out(place: Place) -> None:
    with running(Machine(place.home.root), token=TOKEN) as pages, ExitStack() as stack:
        address = (pages.base_url.host, pages.base_url.port or 0)
        pages.post("/login", data={"token": TOKEN}, headers=origin(pages))
        for number in range(700):
            line = stack.enter_context(socket.create_connection(address, timeout=60))
            if number % 2:
                line.sendall(b"GET / HTTP/1.1\r\nhost: lo")
        assert pages.get("/healthz").status_code == 200
        with httpx.Client(base_url=pages.base_url, cookies=pages.cookies, timeout=60) as another:
            assert another.get("/").status_code == 200


def test_the_path_that_is_decided_on_is_the_one_that_is_asked_for(place: Place) -> None:
    canary(place.world())
    with running(Machine(place.home.root), token=TOKEN) as pages:
        for path in ("/models/flights", "/models/flights/ledger", "/"):
            for host in ("x/login#", "x/static/", "x?", "x/login?"):
                assert pages.get(path, headers={"host": host}).status_code == 421
        for path in ("/login/../models/flights", "/static/../models/flights", "//models/flights",
                     "/static/..%2fmodels/flights", "/login%2f", "/models/flights%23/login",
                     "/static%2f../models/flights", "/healthz/", "/LOGIN"):  # fmt: skip
            answer = raw(pages, f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert answer.split()[1] in (b"404", b"303"), (path, answer)
            assert b"canary" not in answer
        absolute = "GET http://localhost/models/flights HTTP/1.1\r\nhost: x/login#\r\n\r\n"
        assert raw(pages, absolute).split()[1] == b"303"


def test_methods_and_forms_of_nonsense_are_the_clients_fault(
    place: Place, pages: httpx.Client
) -> None:
    canary(place.world())
    for method, path, allowed in (
        ("POST", "/", {"GET", "HEAD"}),
        ("DELETE", "/login", {"GET", "HEAD", "POST"}),
        ("GET", "/logout", {"POST"}),
        ("POST", "/static/ui.css", {"GET", "HEAD"}),
        ("PUT", "/models/flights/do/abort", {"GET", "HEAD", "POST"}),
    ):
        answer = pages.request(method, path, headers=origin(pages))
        assert answer.status_code == 405, (method, path)
        assert set(answer.headers["allow"].split(", ")) == allowed
    assert pages.head("/").status_code == 200
    assert pages.get("/").status_code == 200
    there = "/models/flights/do/abort"
    for content, kind, status in (
        (b"--x\r\n", "multipart/form-data; boundary=x", 415),
        (b"{}", "application/json", 415),
        (b"\xff=%ff", "application/x-www-form-urlencoded", 400),
        (b"name=%ff", "application/x-www-form-urlencoded", 400),
        (b"id=%00&token=%ed%a0%80", "application/x-www-form-urlencoded", 400),
        (b"id=%00&token=%C3%A9", "application/x-www-form-urlencoded", 403),
        (b"a=1&" * 1000, "application/x-www-form-urlencoded", 413),
    ):
        headers = {**origin(pages), "content-type": kind}
        assert pages.post(there, content=content, headers=headers).status_code == status, content
    for path in (
        "/models/%00", "/models/%ff", "/models/" + "a" * 5000, "/models/flights/ledger%00",
        "/models/flights/do/" + "9" * 4000, "/static/%00", "/static/" + "a" * 5000,
        "/static/../../pyproject.toml", "/?" + "a=1&" * 5000,
    ):  # fmt: skip
        answer = raw(pages, f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert answer.split()[1][:1] == b"4", (path[:40], answer[:200])
    for query in ("page=" + "9" * 4000, "page=%D9%A3", "kind=%00", "mention=%ff&holds=x",
                  "sent=%00", "lang=" + "k" * 4000, "a=1&" * 1500):  # fmt: skip
        for path in ("/", "/models/flights", "/models/flights/ledger"):
            assert pages.get(f"{path}?{query}").status_code == 200, (path, query[:40])
    for name in ("cookie", "accept-language", "referer", "sec-fetch-site"):
        for value in ("\xff" * 3000, "=;,=" * 900, "a" * 6000, "q=" + "9" * 3000):
            answer = pages.get("/", headers={name: value.encode("latin-1")})
            assert answer.status_code == 200, (name, value[:40])


def test_health_says_that_there_is_nothing_to_make_pages_from(place: Place) -> None:
    canary(place.world())
    with running(Machine(place.home.root)) as pages:
        assert pages.get("/healthz").text == "ok\n"
        place.home.store.write_bytes(b"no database" * 1000)
        answer = pages.get("/healthz")
        assert (answer.status_code, "can't be read" in answer.text) == (503, True)
        assert str(place.home.root) not in answer.text
        assert pages.get("/livez").status_code == 200


def raw(pages: httpx.Client, data: str) -> bytes:
    address = (pages.base_url.host, pages.base_url.port or 0)
    with socket.create_connection(address, timeout=60) as line:
        line.sendall(data.encode())
        return line.recv(65536)


def test_importing_the_package_costs_nothing() -> None:
    probe = (
        "import sys, noria.ui; print([m for m in sys.modules if 'starlette' in m or 'jinja2' in m])"
    )
    found = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
