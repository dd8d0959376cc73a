"""A model to watch, its reference, and payload events as the model server sends them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml

from monitoring.config import MonitorConfig
from monitoring.processor import ArrivalClock
from monitoring.service import Monitor, Setting
from noria.predictions import MEDIA_TYPE, Block, DictColumn, Output, Values, encode
from noria.spec import load_model

CARRIERS = ["AA", "B6", "DL"]
MODEL = "flights"


def model_document(**monitoring: Any) -> dict[str, Any]:
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": MODEL},
        "spec": {
            "task": {"family": "tabular-classification"},
            "data": {
                "source": {"parquet": {"paths": ["rows.parquet"]}},
                "features": [
                    {"name": "carrier", "type": "categorical"},
                    {"name": "distance", "type": "numeric"},
                    {"name": "wind", "type": "numeric"},
                ],
                "target": "late",
                "eventTime": "scheduled",
                "entityKey": ["flight_id"],
            },
            "monitoring": {
                "window": {"rows": 200},
                "detectors": [
                    {"name": "features", "kind": "tabular", "watch": "features"},
                    {"name": "prediction", "kind": "ks", "watch": "prediction"},
                ],
                "performance": {
                    "metrics": ["auc", "log-loss", "accuracy"],
                    "window": {"rows": 200},
                    "drop": {"metric": "auc", "max": 0.03, "confidence": 0.95},
                },
                **monitoring,
            },
        },
    }


def tensor(name: str, datatype: str, data: list[Any]) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data}


def response(scores: np.ndarray) -> dict[str, Any]:
    """An answer: one number a row, or one for each of several classes."""
    output = tensor("probability", "FP64", scores.ravel().tolist())
    return {"model_name": MODEL, "outputs": [output | {"shape": list(scores.shape)}]}


def event_headers(identity: str, kind: str, version: str = "1") -> dict[str, str]:
    return {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": identity,
        "ce-type": f"org.kubeflow.serving.inference.{kind}",
        "ce-source": "http://localhost:9081/",
        "ce-inferenceservicename": MODEL,
        "ce-annotations": json.dumps({"noria.dev/model-version": version}),
    }


def structured(identity: str, kind: str, data: Any, version: str = "1") -> dict[str, Any]:
    headers = event_headers(identity, kind, version)
    return {
        **{name[3:]: value for name, value in headers.items() if name.startswith("ce-")},
        "data": data,
    }


def block(
    predictions: list[tuple[str, dict[str, Any], np.ndarray]], version: str = "1"
) -> tuple[dict[str, str], bytes]:
    """Headers and body of one block: id, request and scores of each prediction."""
    columns: dict[str, list[Any]] = {}
    for _, request, _ in predictions:
        for column in request["inputs"]:
            columns.setdefault(column["name"], []).extend(column["data"])
    rows = np.array([scores.shape[0] for _, _, scores in predictions], np.int32)
    scores = np.concatenate([scores for _, _, scores in predictions])
    width = 1 if scores.ndim == 1 else scores.shape[1]
    found = Block(
        MODEL,
        version,
        tuple(identity for identity, _, _ in predictions),
        rows.tobytes(),
        {name: values(data) for name, data in columns.items()},
        {"probability": Output(scores.astype(np.float64).tobytes(), width)},
    )
    return {"content-type": MEDIA_TYPE}, encode(found)


def values(data: list[Any]) -> Values:
    """A column of a block: texts, or numbers with None for missing."""
    if any(isinstance(value, str) for value in data):
        index = {text: code for code, text in enumerate(dict.fromkeys(data)) if text is not None}
        known = {text: code for code, text in enumerate(index)}
        codes = [-1 if text is None else known[text] for text in data]
        return DictColumn(tuple(index), np.array(codes, np.int32).tobytes())
    return np.array([np.nan if v is None else v for v in data], np.float64).tobytes()


class World:
    """Draws rows, and writes them as references, events and labels."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)

    def rows(self, count: int, shift: float = 0.0) -> dict[str, np.ndarray]:
        return {
            "carrier": self.random.choice(3, count, p=[0.5, 0.3, 0.2]).astype(np.int32),
            "distance": self.random.uniform(100, 3000, count),
            "wind": self.random.normal(10 + shift, 3, count),
        }

    def scores(self, count: int, shift: float = 0.0) -> np.ndarray:
        return np.clip(self.random.beta(2, 5, count) + shift, 0.001, 0.999)

    def classes(self, count: int, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """The places of three classes, and what a model of that skill says of each."""
        truth = self.random.choice(3, count, p=[0.5, 0.3, 0.2])
        odds = self.random.normal(0, 1, (count, 3)) + 2.0 * skill * np.eye(3)[truth]
        scores = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
        return truth, scores

    def labels(self, scores: np.ndarray, skill: float = 1.0) -> np.ndarray:
        odds = skill * scores + (1 - skill) * scores.mean()
        return (self.random.random(scores.size) < odds).astype(int)

    def reference(
        self,
        folder: Path,
        rows: int = 2000,
        auc: float = 0.7,
        classes: tuple[Any, ...] = (),
        **expected: float,
    ) -> Path:
        folder.mkdir(parents=True)
        columns = self.rows(rows)
        features = [
            {"name": "carrier", "kind": "categorical", "categories": CARRIERS},
            {"name": "distance", "kind": "numeric", "min": 100.0, "max": 3000.0},
            {"name": "wind", "kind": "numeric", "min": -10.0, "max": 40.0},
        ]
        performance = {
            name.replace("_", "-"): {"value": value, "low": value - 0.01, "high": value + 0.01}
            for name, value in {"auc": auc, **expected}.items()
        }
        document = {
            "format": 1,
            "model": MODEL,
            "rows": rows,
            "features": features,
            "prediction": {"kind": "probability", "classes": classes},
            "performance": performance,
        }
        (folder / "reference.json").write_text(json.dumps(document))
        np.savez(
            folder / "rows.npz",
            f0=columns["carrier"],
            f1=columns["distance"],
            f2=columns["wind"],
            prediction=self.scores(rows),
        )
        return folder

    def request(
        self, count: int, shift: float = 0.0, start: int = 0, when: str = "2013-02-01T00:00:00Z"
    ) -> dict[str, Any]:
        columns = self.rows(count, shift)
        return {
            "inputs": [
                tensor("carrier", "BYTES", [CARRIERS[i] for i in columns["carrier"]]),
                tensor("distance", "FP64", columns["distance"].tolist()),
                tensor("wind", "FP64", columns["wind"].tolist()),
                tensor("scheduled", "BYTES", [when] * count),
                tensor("flight_id", "INT64", list(range(start, start + count))),
            ]
        }


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def model_file(tmp_path: Path) -> Callable[..., Path]:
    def write(*, redact: tuple[str, ...] = (), **monitoring: Any) -> Path:
        path = tmp_path / "model.yaml"
        document = model_document(**monitoring)
        document["spec"]["serving"] = {"payloadLog": {"redact": list(redact)}}
        path.write_text(yaml.safe_dump(document))
        return path

    return write


@pytest.fixture
def wire() -> SimpleNamespace:
    """How events and the model are written; fixtures, for test modules can't import each other."""
    return SimpleNamespace(
        model=MODEL,
        document=model_document,
        tensor=tensor,
        response=response,
        headers=event_headers,
        structured=structured,
        block=block,
    )


class Bench:
    """A monitor in this process, and what is sent to it."""

    def __init__(
        self,
        model: Path,
        home: Path,
        world: World,
        clock: ArrivalClock = "wall",
        form: str = "events",
    ) -> None:
        self.form = form
        self.config = MonitorConfig.from_model(load_model(model))
        self.home = home
        self.world = world
        self.clock: ArrivalClock = clock
        self.time = 1_700_000_000.0
        self.sent: dict[str, np.ndarray] = {}
        self.rows = 0
        self.monitor = self.open()

    def open(self) -> Monitor:
        return Monitor(self.config, Setting(self.home, self.clock), lambda: self.time)

    def restart(self) -> None:
        self.monitor.close()
        self.monitor = self.open()

    def post(self, identity: str, kind: str, body: Any, version: str = "1") -> None:
        headers = event_headers(identity, kind, version)
        self.monitor.accept(headers, json.dumps(body).encode()).result()

    def champion(self, version: str, reference: Path, *, champion: bool = True) -> None:
        body = json.dumps({"path": str(reference), "champion": champion}).encode()
        self.monitor.put_reference(version, body).result()

    def predict(
        self,
        identity: str,
        rows: int,
        *,
        version: str = "1",
        shift: float = 0.0,
        score_shift: float = 0.0,
        when: str = "2013-02-01T00:00:00Z",
        scores: np.ndarray | None = None,
    ) -> np.ndarray:
        scores = self.world.scores(rows, score_shift) if scores is None else scores
        request = self.world.request(rows, shift, self.rows, when)
        self.rows += rows
        if self.form == "blocks":
            self.monitor.accept(*block([(identity, request, scores)], version)).result()
        else:
            self.post(identity, "request", request, version)
            self.post(identity, "response", response(scores), version)
        self.sent[identity] = scores
        return scores

    def label(self, labels: list[dict[str, Any]]) -> tuple[int, int]:
        body = json.dumps({"model": MODEL, "labels": labels}).encode()
        done, sent = self.monitor.feedback(body)
        return done.result(), sent

    def label_request(self, identity: str, skill: float = 1.0, when: str | None = None) -> None:
        truth = self.world.labels(self.sent[identity], skill)
        time = {} if when is None else {"time": when}
        self.label(
            [
                {"id": f"{identity}:{row}", "label": int(value), **time}
                for row, value in enumerate(truth)
            ]
        )

    def status(self) -> dict[str, Any]:
        self.monitor.flush()
        found: dict[str, Any] = json.loads(msgspec.json.encode(self.monitor.status()))
        return found

    def signals(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.status()["signals"]
        return found


@pytest.fixture(params=["events", "blocks"])
def bench(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    model_file: Callable[..., Path],
    world: World,
) -> Iterator[Callable[..., Bench]]:
    """Makes monitors in this process; their predictions come as two events or as one block."""
    made: list[Bench] = []

    def make(clock: ArrivalClock = "wall", **monitoring: Any) -> Bench:
        home = tmp_path / f"state{len(made)}"
        found = Bench(model_file(**monitoring), home, world, clock, request.param)
        made.append(found)
        return found

    yield make
    for one in made:
        one.monitor.close()


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' own checker, of Debian's package ``prometheus``."""
    install = ["apt-get", "install", "-y", "--no-install-recommends", "prometheus"]
    if shutil.which("promtool") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=False, capture_output=True)
        subprocess.run(install, check=False, capture_output=True)
    found = shutil.which("promtool")
    if found is None:
        pytest.fail(f"promtool is not installed; run: sudo {' '.join(install)}")
    return found
