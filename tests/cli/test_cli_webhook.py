"""``noria webhook`` as a process: it listens, keeps what it is told, and refuses to be open."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from noria.loop.sqlite_store import SqliteStore
from noria.loop.state import State

ALERT = {
    "status": "firing",
    "labels": {"alertname": "NoriaDrift", "model": "flights", "noria_signal": "drift"},
    "startsAt": "2026-01-01T00:00:00Z",
    "fingerprint": "c8882255ec44409e",
}


def command(home: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "noria.cli", "webhook", "--home", str(home), *arguments]


def test_alerts_are_kept_and_a_term_ends_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "home" / "store.db")
    store.compare_and_swap("flights", State("flights"), 0, ())
    (tmp_path / "token").write_text("a token of some length")
    ready = tmp_path / "ready.json"
    process = subprocess.Popen(
        command(tmp_path / "home", "--port", "0", "--ready-file", str(ready)),
        env={**os.environ, "NORIA_WEBHOOK_TOKEN_FILE": str(tmp_path / "token")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not ready.exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        url = json.loads(ready.read_text())["url"]
        secret = {"authorization": "Bearer a token of some length"}
        body = {"version": "4", "alerts": [ALERT]}
        assert httpx.post(f"{url}/alerts", json=body).status_code == 401
        assert httpx.post(f"{url}/alerts", json=body, headers=secret).json()["signals"] == 1
        assert len(store.inbox("flights")) == 1
        assert httpx.get(f"{url}/healthz").json() == {"ok": True}
        assert 'outcome="signal",source="alertmanager"} 1.0' in httpx.get(f"{url}/metrics").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        output = process.communicate()[0]
    assert f"alerts go to {url}/alerts" in output
    assert "Traceback" not in output
    assert "a token" not in output


def test_a_port_that_is_taken_is_named_with_the_fix(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            command(tmp_path, "--port", port), capture_output=True, text=True, check=False
        )
    assert done.returncode == 2
    assert f"127.0.0.1:{port} can't be listened on" in done.stderr
    assert "choose another --port" in done.stderr
    assert "alerts go to" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "0.0.0.0"), "the webhook would be open to everybody on 0.0.0.0"),  # noqa: S104
        (("--host", "example.org"), "is no address"),
    ],
)
def test_it_refuses_to_be_open_to_everybody(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("NORIA_WEBHOOK")}
    done = subprocess.run(
        command(tmp_path, *arguments), env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr
