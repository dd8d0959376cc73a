"""A real MLflow server, on loopback."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from tests.cluster.controlplane.process import free_ports


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """A real MLflow that hands artifacts out over HTTP; yields its address."""
    (port,) = free_ports(1)
    folder.mkdir()
    url = f"http://127.0.0.1:{port}"
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--workers=1"),
                *("--host=127.0.0.1", f"--port={port}", "--serve-artifacts"),
                f"--backend-store-uri=sqlite:///{folder}/mlflow.db",
                f"--artifacts-destination={folder / 'stored'}",
            ],
            # Its queue of jobs is nine more processes, and nothing here is one.
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield url
    finally:
        # Its workers are processes of their own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def answers(url: str, seconds: float = 180.0) -> None:
    """Wait until a server answers with 200."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2, trust_env=False).is_success:
                return
        time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


class Relay:
    """Passes requests on to a server, and tells of each that changes something.

    ``before`` and ``after`` hear the last word of its path (``create``, ``alias``), before it is
    passed on and before its answer is. What ``before`` returns true for never arrives.
    """

    def __init__(self, target: str) -> None:
        self.before: Callable[[str], object] = lambda _: None
        self.after: Callable[[str], object] = lambda _: None
        relay, client = self, httpx.Client(base_url=target, timeout=60, trust_env=False)

        class Handler(BaseHTTPRequestHandler):
            def pass_on(self) -> None:
                changes = self.command != "GET" and not self.path.endswith("/search")
                step = self.path.partition("?")[0].rpartition("/")[2]
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if changes and relay.before(step):
                    return
                answer = client.request(
                    self.command,
                    self.path,
                    content=body,
                    headers={"Content-Type": self.headers.get("Content-Type", "")},
                )
                if changes:
                    relay.after(step)
                # The client may be dead by now.
                with contextlib.suppress(OSError):
                    self.send_response(answer.status_code)
                    self.send_header("Content-Type", answer.headers["Content-Type"])
                    self.send_header("Content-Length", str(len(answer.content)))
                    self.end_headers()
                    self.wfile.write(answer.content)

            do_GET = do_POST = do_PATCH = do_DELETE = pass_on  # noqa: N815 - http.server's names

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._client = client
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._client.close()
