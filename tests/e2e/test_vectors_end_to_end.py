"""A model that reads a vector: ingested, trained, packaged, served by every door, and watched."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pandas as pd
import pytest

from noria.spec import Model, load_model
from noria.tasks.candidate import Made, make_candidate
from noria.tasks.families import family
from noria.tasks.package import package_digest
from serving.oip.messages import load_messages

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
SIDE, PIXELS = 8, 64
WINDOW = 300
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Trained:
    """The example's model, made from its own rows."""

    folder: Path
    model: Model
    made: Made
    images: np.ndarray


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = Path(shutil.copytree(DIGITS, tmp_path_factory.mktemp("project") / "digits"))
    spec = importlib.util.spec_from_file_location("digits_data", folder / "data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.prepare(folder)
    model = load_model(folder / "model.yaml")
    tasks = family("custom")
    rows = tasks.ingest(model.spec, folder, None)
    tasks.validate(model.spec, rows)
    frame = tasks.features(model.spec, folder, rows)
    # Between two steps of a pipeline rows are a Parquet file.
    frame.to_parquet(folder / "frame.parquet")
    frame = pd.read_parquet(folder / "frame.parquet")
    made = make_candidate(tasks, model.spec, frame, None, folder / "made", model="digits")
    return Trained(folder, model, made, np.stack(frame["image"]))


class Running:
    """A process that says in a file where it listens."""

    def __init__(self, folder: Path, *words: str) -> None:
        ready = folder / f"{words[0]}.ready"
        self.process = subprocess.Popen([sys.executable, "-m", *words, "--ready-file", str(ready)])
        deadline = time.monotonic() + 120
        while not ready.exists():
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.said: dict[str, Any] = json.loads(ready.read_text())

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(60) == 0


@dataclass(frozen=True, slots=True)
class World:
    """A server of the model and its monitor, both processes, and who asks them."""

    server: httpx.Client
    monitor: httpx.Client
    grpc: str

    def predict(self, images: np.ndarray) -> dict[str, Any]:
        body = {"inputs": [vector(images)]}
        answer = self.server.post("/v2/models/digits/infer", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def windows(self, wanted: int) -> list[dict[str, Any]]:
        """Return the windows of the features, once there are so many."""
        deadline = time.monotonic() + 120
        while True:
            self.monitor.post("/flush")
            found: list[dict[str, Any]] = self.monitor.get("/models/digits/windows").json()[
                "windows"
            ]
            if len(found) >= wanted:
                return found
            assert time.monotonic() < deadline
            time.sleep(0.2)


def vector(images: np.ndarray) -> dict[str, Any]:
    return {
        "name": "image",
        "datatype": "FP32",
        "shape": [len(images), PIXELS],
        "data": images.ravel().tolist(),
    }


@pytest.fixture(scope="module")
def world(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    tmp_path = tmp_path_factory.mktemp("world")
    monitor = Running(
        tmp_path, "monitoring", "--model", str(trained.folder / "model.yaml"),
        "--state", str(tmp_path / "state"),
    )  # fmt: skip
    package = trained.made.package
    server = Running(
        tmp_path, "serving", "--package", str(package), "--digest", package_digest(package),
        "--name", "digits", "--version", "1", "--grpc-port", "0", "--sink", monitor.said["url"],
    )  # fmt: skip
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{server.said['rest']}", timeout=60) as asked,
        httpx.Client(base_url=monitor.said["url"], timeout=60) as watching,
    ):
        reference = {"path": str(trained.made.reference), "champion": True}
        put = watching.put("/models/digits/versions/1/reference", json=reference)
        assert put.status_code == 200, put.text
        yield World(asked, watching, f"127.0.0.1:{server.said['grpc']}")
    server.stop()
    monitor.stop()


def test_turned_images_alarm_and_others_do_not(world: World, trained: Trained) -> None:
    chance = np.random.default_rng(1)
    images = trained.images[chance.permutation(len(trained.images))]
    for start in range(0, 2 * WINDOW, 50):
        world.predict(images[start : start + 50])
    quiet = world.windows(2)
    assert [window["drift"]["images"]["drift"] for window in quiet] == [False, False]
    turned = np.rot90(images[:WINDOW].reshape(-1, SIDE, SIDE), axes=(1, 2)).reshape(-1, PIXELS)
    for start in range(0, WINDOW, 50):
        world.predict(turned[start : start + 50])
    assert world.windows(3)[-1]["drift"]["images"]["drift"] is True
    (signal,) = world.monitor.get("/models/digits/signals").json()["signals"]
    assert (signal["kind"], signal["source"]) == ("drift", "images")


def test_every_door_takes_the_vector_and_answers_the_same(world: World, trained: Trained) -> None:
    images = trained.images[:3]
    outputs = {one["name"]: one["data"] for one in world.predict(images)["outputs"]}
    assert outputs["label"] == [0, 1, 2]
    raw = images.astype("<f4").tobytes()
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "datatype": "FP32",
                    "shape": [3, PIXELS],
                    "parameters": {"binary_data_size": len(raw)},
                }
            ]
        }
    ).encode()
    binary = world.server.post(
        "/v2/models/digits/infer",
        content=header + raw,
        headers={
            "content-type": "application/octet-stream",
            "inference-header-content-length": str(len(header)),
        },
    )
    assert {one["name"]: one["data"] for one in binary.json()["outputs"]} == outputs
    for instances in (images.tolist(), [{"image": image} for image in images.tolist()]):
        said = world.server.post("/v1/models/digits:predict", json={"instances": instances}).json()
        assert [one["label"] for one in said["predictions"]] == outputs["label"]
    messages = load_messages()
    request = messages.ModelInferRequest(model_name="digits", raw_input_contents=[raw])
    request.inputs.add(name="image", datatype="FP32", shape=[3, PIXELS])
    with grpc.insecure_channel(world.grpc) as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=messages.ModelInferRequest.SerializeToString,
            response_deserializer=messages.ModelInferResponse.FromString,
        )
        answer = infer(request, timeout=60)
        labels = [one.name for one in answer.outputs].index("label")
        assert np.frombuffer(answer.raw_output_contents[labels], "<i8").tolist() == [0, 1, 2]


def test_the_metadata_says_the_shape(world: World) -> None:
    image, *_ = world.server.get("/v2/models/digits").json()["inputs"]
    assert (image["name"], image["datatype"], image["shape"]) == ("image", "FP32", [-1, PIXELS])
    assert image["parameters"]["kind"] == "vector"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": [2, 32]}, "[2, 32]; image is a vector of 64 numbers: send [n, 64]"),
        ({"shape": [1, 8, 8]}, "[1, 8, 8]; image is a vector of 64 numbers: send [n, 64]"),
        ({"shape": [64]}, "[64]; image is a vector of 64 numbers: send [n, 64]"),
        ({"data": [None, *range(63)]}, "a vector is missing as a whole"),
        ({"datatype": "BYTES", "data": ["x"] * 64}, "BYTES does not fit the vector image"),
        ({"name": "x", "shape": [2, 32]}, "1 required input of 64 numbers: "),
    ],
)
def test_what_does_not_fit_is_refused_with_its_field(
    world: World, change: dict[str, Any], said: str
) -> None:
    tensor = {**vector(np.zeros((1, PIXELS), np.float32)), **change}
    answer = world.server.post("/v2/models/digits/infer", json={"inputs": [tensor]})
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert answer.json()["error"].startswith("inputs[0].")
