"""A small project with rows, and a model server's metrics over real HTTP."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import resources
from pathlib import Path
from string import Template

import pytest

from noria.tasks.sources.files import load_module
from serving.metrics import ServerMetrics


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parcels")
    templates = resources.files("noria.tasks.tabular").joinpath("templates")
    model = templates.joinpath("classification.yaml").read_text("utf-8")
    (folder / "model.yaml").write_text(Template(model).safe_substitute(name="parcels"))
    (folder / "data.py").write_text(templates.joinpath("data.py").read_text("utf-8"))
    load_module(folder / "data.py").prepare(folder, fraction=0.2)
    return folder


@pytest.fixture
def parcels(prepared: Path, tmp_path: Path) -> Path:
    """The file of a model of 1,200 made-up rows."""
    shutil.copytree(prepared, tmp_path / "parcels")
    return tmp_path / "parcels" / "model.yaml"


class Counting:
    """A model server's ``/metrics`` over HTTP; what it has counted is up to the test."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.metrics = ServerMetrics("m", version)
        counting = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(counting.metrics.render())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, times: int, code: int = 200, seconds: float = 0.004) -> None:
        for _ in range(times):
            self.metrics.answered("rest", code, seconds)
            self.metrics.rows += code < 400

    def restart(self) -> None:
        self.metrics = ServerMetrics("m", self.version)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def servers() -> Iterator[dict[str, Counting]]:
    """Versions 1 and 2 of a model."""
    made = {version: Counting(version) for version in ("1", "2")}
    yield made
    for server in made.values():
        server.close()
