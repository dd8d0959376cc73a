"""Pictures in the model server: every form of them, what is refused, and what is logged."""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from noria.replay import infer_body, labels_by_key, read_history
from noria.tasks.images import DESCRIPTORS, IMAGE
from noria.tasks.package import load_predictor
from serving.columns import InputBinder
from serving.metrics import ServerMetrics
from serving.oip.rest import decode
from serving.runner import Batching, Outcome, Runner
from tests.pictures.conftest import Trained, png
from tests.serving.conftest import RunningServer, launch

BINARY = "application/octet-stream"


@pytest.fixture(scope="module")
def server(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    found = launch(tmp_path_factory.mktemp("server"), trained.made.package)
    yield found
    found.stop()


def files_of(trained: Trained, rows: int) -> list[bytes]:
    return list(trained.frame[IMAGE].iloc[:rows])


def tensor(datatype: str, shape: list[int], raw: bytes) -> tuple[bytes, dict[str, str]]:
    given = {"name": "image", "datatype": datatype, "shape": shape}
    head = json.dumps({"inputs": [{**given, "parameters": {"binary_data_size": len(raw)}}]})
    return head.encode() + raw, {
        "content-type": BINARY,
        "inference-header-content-length": str(len(head)),
    }


def encoded(files: list[bytes]) -> tuple[bytes, dict[str, str]]:
    raw = b"".join(struct.pack("<I", len(one)) + one for one in files)
    return tensor("BYTES", [len(files)], raw)


def ask(server: RunningServer, body: bytes, headers: dict[str, str]) -> httpx.Response:
    with server.client() as client:
        return client.post("/v2/models/m/infer", content=body, headers=headers)


def ask_json(server: RunningServer, *data: Any, **changes: Any) -> httpx.Response:
    given = {"name": "image", "datatype": "BYTES", "shape": [len(data)], "data": list(data)}
    with server.client() as client:
        return client.post("/v2/models/m/infer", json={"inputs": [{**given, **changes}]})


def labels(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    found: list[str] = {one["name"]: one["data"] for one in answer.json()["outputs"]}["label"]
    return found


def test_every_form_of_a_picture_gets_the_answer_of_the_package(
    server: RunningServer, trained: Trained
) -> None:
    files = files_of(trained, 3)
    column = np.empty(3, object)
    column[:] = files
    expected = list(load_predictor(trained.made.package).predict({IMAGE: column})["label"])
    texts = [base64.b64encode(one).decode() for one in files]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(one))) for one in files])
    assert labels(ask(server, *encoded(files))) == expected
    assert labels(ask_json(server, *texts)) == expected
    assert labels(ask(server, *tensor("UINT8", [3, 8, 8], pixels.tobytes()))) == expected
    threefold = np.repeat(pixels[..., None], 3, axis=3)
    assert labels(ask(server, *tensor("UINT8", [3, 8, 8, 3], threefold.tobytes()))) == expected
    with server.client() as client:
        for rows in ([{"image": {"b64": one}} for one in texts], [{"image": one} for one in texts]):
            answer = client.post("/v1/models/m:predict", json={"instances": rows})
            assert [one["label"] for one in answer.json()["predictions"]] == expected


def test_a_request_that_is_no_picture_is_refused_and_names_the_row(
    server: RunningServer, trained: Trained
) -> None:
    (good,) = files_of(trained, 1)
    refused = {
        "column 'image', row 1: is no picture of a known format": encoded([good, b"\xff\xfe no"]),
        "column 'image', row 1: can't be decoded": encoded([good, good[:50]]),
        "send BYTES (a file) or UINT8 (pixels)": tensor("FP32", [1], b"1234"),
        "pixels of image are [n, height, width]": tensor("UINT8", [8], b"12345678"),
        "has 2 channels": tensor("UINT8", [1, 2, 2, 2], b"12345678"),
        "is empty": encoded([b""]),
    }
    for said, (body, headers) in refused.items():
        answer = ask(server, body, headers)
        assert answer.status_code == 400, answer.text
        assert said in answer.json()["error"]
    assert "inputs[0].data[0]: not base64" in ask_json(server, "%%%").json()["error"]
    assert "null, and image may not be missing" in ask_json(server, None).json()["error"]
    with server.client() as client:
        answer = client.post("/v1/models/m:predict", json={"instances": [{"image": {"b": 1}}]})
    assert answer.status_code == 400
    assert 'is not {"b64": "..."}' in answer.json()["error"]


def test_a_large_file_is_read_though_a_text_of_its_size_is_not(server: RunningServer) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    file = png(pixels)
    assert len(file) > 200_000
    expected = labels(ask(server, *encoded([file])))
    assert labels(ask_json(server, base64.b64encode(file).decode())) == expected


async def test_descriptors_are_logged_and_no_picture(trained: Trained) -> None:
    predictor = load_predictor(trained.made.package)
    runner = Runner(predictor, None, Batching(), ServerMetrics("m", "1"))
    body, headers = encoded(files_of(trained, 2))
    binder = InputBinder(predictor.manifest)
    call = decode(body, headers["inference-header-content-length"].encode(), binder.raw)
    pending = runner.run(binder.bind(call.tensors))
    outcome = pending if isinstance(pending, Outcome) else await pending
    runner.close()
    assert set(outcome.columns) == set(DESCRIPTORS)
    assert outcome.columns["image.width"].tolist() == [8.0, 8.0]
    assert np.isfinite(outcome.columns["answer.entropy"]).all()


def test_a_replay_sends_the_files_and_labels_by_their_key(trained: Trained) -> None:
    start, end = (datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (1, 2))
    history = read_history(trained.spec, trained.folder, start, end)
    assert len(history) == 60
    image = infer_body(history, slice(0, 2))["inputs"][0]
    assert (image["name"], image["datatype"], image["shape"]) == ("image", "BYTES", [2])
    sent = base64.b64decode(image["data"][0])
    first = next(iter(labels_by_key(history, trained.spec)))
    assert first["key"] == ["D0060"]
    row = trained.frame.set_index("key").loc["D0060"]
    assert (first["label"], sent) == (row["digit"], row["image"])
