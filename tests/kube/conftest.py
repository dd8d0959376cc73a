"""A server on loopback that answers as it is told: the statuses of an API server, no more."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from noria.kube import KubeClient


@dataclass(frozen=True)
class Said:
    """One answer. A ``body`` of bytes is sent as it is; ``after`` waits before it."""

    status: int
    body: Any
    after: threading.Event | None = None


@dataclass
class Server:
    """What was asked, and what is answered: the next of ``answers``, the last one for ever."""

    url: str
    answers: list[Said] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def say(self, *answers: Said) -> None:
        self.answers[:] = answers

    def kubeconfig(self, path: Path, **user: Any) -> Path:
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "one",
            "clusters": [{"name": "one", "cluster": {"server": self.url}}],
            "users": [{"name": "one", "user": user}],
            "contexts": [
                {"name": "one", "context": {"cluster": "one", "user": "one"}},
                {"name": "two", "context": {"cluster": "one", "user": "one"}},
            ],
        }
        path.write_text(yaml.safe_dump(document))
        return path


def failed(status: int, message: str, **details: Any) -> Said:
    """Return a ``Status`` object as the API server writes it."""
    body = {"kind": "Status", "status": "Failure", "message": message, "details": details}
    return Said(status, body)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            made.asked.append((self.command, self.path))
            made.headers.append(dict(self.headers))
            said = made.answers.pop(0) if len(made.answers) > 1 else made.answers[0]
            if said.after is not None:
                said.after.wait(10)
            body = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            self.send_response(said.status)
            self.send_header("Content-Length", str(len(body)))
            # Who waited in vain has gone.
            with suppress(ConnectionError):
                self.end_headers()
                self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        made.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield made
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture
def connect(server: Server, tmp_path: Path) -> Iterator[Callable[..., KubeClient]]:
    clients: list[KubeClient] = []

    def connected(**user: Any) -> KubeClient:
        clients.append(KubeClient.connect(server.kubeconfig(tmp_path / "kubeconfig", **user)))
        return clients[-1]

    yield connected
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Callable[..., KubeClient]) -> KubeClient:
    return connect()


@pytest.fixture(name="failed")
def failed_answer() -> Callable[..., Said]:
    return failed


@pytest.fixture
def said() -> type[Said]:
    return Said
