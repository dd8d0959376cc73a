"""A real Prometheus that holds ten minutes in the life of a model."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitoring.exposition import Exposition
from noria.loop.fakes import FakeWorld
from noria.spec import Model, load_model
from noria.telemetry import render
from serving.metrics import ServerMetrics

STEP: Final = 15
STEPS: Final = 40


@dataclass(frozen=True)
class Prometheus:
    """Answers queries about the time from ``start`` to ``end``, epoch seconds."""

    client: httpx.Client
    start: int
    end: int
    model: Model

    def instant(self, expr: str) -> list[dict[str, Any]]:
        return self._ask("query", query=expr, time=str(self.end))

    def over_time(self, expr: str) -> list[dict[str, Any]]:
        times = {"start": str(self.start), "end": str(self.end), "step": str(STEP)}
        return self._ask("query_range", query=expr, **times)

    def label_values(self, selector: str, label: str) -> list[str]:
        answer = self.client.get(
            f"/api/v1/label/{label}/values",
            params={"match[]": selector, "start": str(self.start), "end": str(self.end)},
        )
        found: list[str] = answer.json()["data"]
        return found

    def _ask(self, what: str, **form: str) -> list[dict[str, Any]]:
        answer = self.client.post(f"/api/v1/{what}", data=form).json()
        assert answer["status"] == "success", f"{form['query']}: {answer}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found


@pytest.fixture
def prometheus(
    promtool: str, bench: Callable[..., Any], world: Any, tmp_path: Path
) -> Iterator[Prometheus]:
    monitored = bench()
    monitored.champion("1", _reference(world, tmp_path / "reference"))
    model = load_model(tmp_path / "model.yaml")
    end = int(time.time()) // STEP * STEP - 120
    start = end - STEP * (STEPS - 1)
    life = _Life(monitored, world, model, tmp_path)
    series = tmp_path / "series.txt"
    with series.open("w") as file:
        for number in range(STEPS):
            life.live(number)
            for line in life.tell(start + number * STEP):
                file.write(line)
        file.write("# EOF\n")
    data = tmp_path / "data"
    backfill = ["tsdb", "create-blocks-from", "openmetrics", str(series), str(data)]
    done = subprocess.run([promtool, *backfill], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "prometheus.yml").write_text("scrape_configs: []\n")
    with _running(data, tmp_path / "prometheus.yml") as client:
        yield Prometheus(client, start, end, model)


def _reference(world: Any, folder: Path) -> Path:
    """Return a reference that knows every metric of the model at training."""
    made: Path = world.reference(folder)
    document = json.loads((made / "reference.json").read_text())
    auc = document["performance"]["auc"]
    document["performance"] = dict.fromkeys(("auc", "log-loss", "accuracy"), auc)
    (made / "reference.json").write_text(json.dumps(document))
    return made


class _Life:
    """A model that drifts, is retrained, rolled out and promoted, with everything it tells."""

    def __init__(self, monitored: Any, world: Any, model: Model, folder: Path) -> None:
        self._monitored = monitored
        self._world = world
        self._folder = folder
        self._loop = FakeWorld(model)
        self._loop.install("1")
        self._servers = {"1": ServerMetrics(model.name, "1", ready=True)}

    def live(self, number: int) -> None:
        loop = self._loop
        if number == 10:
            loop.clock.advance(timedelta(days=30))
            loop.signal("drift")
        if number == 13:
            loop.finish_run("2")
            self._servers["2"] = ServerMetrics(self._loop.name, "2", ready=True)
            reference = _reference(self._world, self._folder / "second")
            self._monitored.champion("2", reference, champion=False)
        if number == 25:
            loop.answer("1", 5000, error_rate=0.0, auc=0.7)
            loop.answer("2", 5000, error_rate=0.0, auc=0.71)
        loop.cycle()
        for version, server in self._servers.items():
            server.rows += 200
            for _ in range(50):
                server.answered("rest", 200, 0.004)
            server.answered("rest", 500, 0.2)
            request = f"{version}-{number}"
            shift = 6.0 if number > 8 else 0.0
            self._monitored.predict(request, 200, version=version, shift=shift)
            self._monitored.label_request(request)

    def tell(self, at: int) -> Iterator[str]:
        self._monitored.monitor.flush()
        texts = [
            render(self._loop.model, self._loop.state, self._loop.clock.now()),
            Exposition(self._monitored.monitor).text(),
            *(server.render() for server in self._servers.values()),
        ]
        for text in texts:
            for family in text_string_to_metric_families(text.decode()):
                for sample in family.samples:
                    if not sample.name.startswith("noria_"):
                        continue
                    labels = ",".join(f"{k}={json.dumps(v)}" for k, v in sample.labels.items())
                    yield f"{sample.name}{{{labels}}} {sample.value} {at}\n"


class _running:  # noqa: N801 - a context manager
    def __init__(self, data: Path, config: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self._client = httpx.Client(base_url=f"http://{address}", timeout=60, trust_env=False)
        program = shutil.which("prometheus")
        assert program is not None
        self._log = (config.parent / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={data}",
                f"--web.listen-address={address}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> httpx.Client:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if self._client.get("/-/ready").status_code == 200:
                    return self._client
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        pytest.fail(Path(self._log.name).read_text())

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._process.terminate()
        self._process.wait(30)
        self._log.close()
