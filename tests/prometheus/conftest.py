"""A real Prometheus on loopback, and model servers' metrics for it to scrape.

Prometheus takes up new targets every five seconds only. So all servers stand behind
one target, which gives each its ``instance``: a new one is seen at the next scrape,
and one that is gone is as stale as a target that is gone.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from noria.prometheus import PrometheusClient
from serving.metrics import ServerMetrics

SCRAPE_SECONDS = 0.2


class Server:
    """What one model server has counted. ``alter`` changes the text that it shows."""

    def __init__(self, hub: Hub, model: str, version: str, labels: Mapping[str, str]) -> None:
        self.model, self.version, self.labels = model, version, labels
        self.metrics = ServerMetrics(model, version)
        self.alter: Callable[[str], str] = str
        self._hub = hub

    def answer(self, times: int, code: int = 200, seconds: float = 0.004) -> None:
        for _ in range(times):
            self.metrics.answered("rest", code, seconds)
            self.metrics.rows += code < 400

    def start_anew(self) -> None:
        self.metrics = ServerMetrics(self.model, self.version)

    def go(self) -> None:
        """Vanish, and wait until Prometheus knows."""
        self._hub.servers.remove(self)
        self._hub.scraped()

    def scraped(self) -> None:
        """Wait until Prometheus has seen the present numbers."""
        self._hub.scraped()

    def text(self) -> str:
        labels = "".join(f'{name}="{value}",' for name, value in self.labels.items())
        lines = self.metrics.render().decode().splitlines()
        return self.alter(
            "".join(
                line.replace("{", f"{{{labels}", 1) + "\n" for line in lines if line[0] != "#"
            ).replace("process_", f"p{id(self)}_")
        )


class Hub:
    """The one target of a Prometheus that scrapes five times a second."""

    def __init__(self, folder: Path) -> None:
        self.servers: list[Server] = []
        self.scrapes = 0
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = "".join(server.text() for server in hub.servers).encode()
                with contextlib.suppress(BrokenPipeError):  # a busy machine: too late
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(body)
                    hub.scrapes += 1

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()
        config = folder / "prometheus.yml"
        interval = f"{round(SCRAPE_SECONDS * 1000)}ms"
        job = {
            "job_name": "all",
            "honor_labels": True,
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "static_configs": [{"targets": [f"127.0.0.1:{self._http.server_port}"]}],
        }
        config.write_text(json.dumps({"scrape_configs": [job]}))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                str(shutil.which("prometheus")),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=self._log,
            stderr=self._log,
        )
        deadline = time.monotonic() + 120
        with PrometheusClient(self.url, timeout=1) as client:
            while not client.ready():
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)

    def scraped(self) -> None:
        """Wait for a scrape that began after now and has been appended."""
        wanted = self.scrapes + 2
        deadline = time.monotonic() + 120
        while self.scrapes < wanted:
            assert time.monotonic() < deadline, "Prometheus does not scrape"
            time.sleep(0.01)
        time.sleep(0.05)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    if shutil.which("prometheus") is None:
        pytest.skip("Prometheus is not installed: apt-get install prometheus")
    made = Hub(tmp_path_factory.mktemp("prometheus"))
    yield made
    made.close()


@pytest.fixture
def serve(hub: Hub, request: pytest.FixtureRequest) -> Iterator[Callable[..., Server]]:
    """Start a version's server of the model of this test; Prometheus has seen it at zero."""
    made: list[Server] = []

    def start(version: str, *, model: str = "", **labels: str) -> Server:
        place = {"instance": f"10.0.0.{len(made)}:8080", "job": "pods", **labels}
        server = Server(hub, model or request.node.name, version, place)
        made.append(server)
        hub.servers.append(server)
        server.scraped()
        return server

    yield start
    hub.servers[:] = [server for server in hub.servers if server not in made]
