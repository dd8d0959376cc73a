"""Learn Fashion-MNIST's 60,000 pictures; figures, and ``bench-images.json``.

``python -m tests.bench.images FOLDER``; FOLDER has Debian's package ``dataset-fashion-mnist``
unpacked. Measured are the small network from scratch on the 10,000 test pictures, an epoch of the
trainer against the loop that one writes by hand, and what the server costs over the bare
prediction. All is CPU time, with one thread.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import io
import json
import os
import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from noria.measures.measuring import value_of
from noria.spec import ModelSpec, parse_model
from noria.tasks.images import DESCRIPTORS, IMAGE, SMALL
from noria.tasks.images.augment import augment
from noria.tasks.images.fitting import Fitted, PictureLesson, fit_linear, fit_network, plan_of
from noria.tasks.images.network import small, tensor_of
from noria.tasks.images.pixels import Shape
from noria.tasks.neural.trainer import train
from noria.tasks.package import Feature, Input, Manifest, load_predictor, write_package
from noria.tasks.tabular.folds import RowFacts
from noria.tasks.tabular.hand_made import outputs_of
from tests.serving.conftest import RunningServer, launch

DATA: Final = Path("usr/share/datasets/fashion-mnist")
SHAPE: Final = Shape(28, 1)
EPOCHS: Final = 8
COMPARED: Final = 18_000
"""Pictures of an epoch that is compared with a loop by hand."""
TURNS: Final = 4
ASKED: Final = {1: 1500, 16: 150}
"""Requests by rows."""


def spec_of(**hyperparameters: float) -> ModelSpec:
    """Return a model of these pictures."""
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "fashion"},
            "spec": {
                "task": {
                    "family": "image-classification",
                    "options": {"size": 28, "channels": "grey"},
                },
                "data": {"source": {"parquet": {"paths": ["pictures.parquet"]}}, "target": "kind"},
                "train": {"hyperparameters": hyperparameters, "compute": {"cpu": "1"}},
            },
        }
    ).spec


def read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 784) pictures and (n,) classes."""
    pixels = gzip.decompress((folder / DATA / f"{part}-images-idx3-ubyte.gz").read_bytes())
    codes = gzip.decompress((folder / DATA / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    matrix = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 784).copy()
    return matrix, np.frombuffer(codes, np.uint8, offset=8).astype(np.int64)


def manifest_of(rows: int) -> Manifest:
    """Return what a package of these pictures says."""
    options = {"size": 28, "channels": "grey", "backbone": SMALL, "allowMissing": False}
    return Manifest(
        model="fashion",
        family="image-classification",
        algorithm="network",
        inputs=(Input(IMAGE, "BYTES", "image"),),
        outputs=outputs_of(tuple(range(10))),
        features=(
            Feature(IMAGE, "image"),
            *(Feature(name, "numeric", "descriptor") for name in DESCRIPTORS),
        ),
        options=options,
        classes=tuple(range(10)),
        rows=rows,
    )


def learnt(folder: Path) -> tuple[Fitted, dict[str, float]]:
    """Train on 60,000 pictures, and measure on 10,000 others."""
    matrix, codes = read(folder, "train")
    spec = spec_of(epochs=EPOCHS)
    began = time.process_time()
    params = spec.train.hyperparameters
    facts = RowFacts(codes)
    fitted = fit_network(spec, manifest_of(60_000), matrix, codes, facts, params, None, None)
    spent = time.process_time() - began
    other, truth = read(folder, "t10k")
    began = time.process_time()
    linear = fit_linear(spec, manifest_of(5_000), matrix[:5000], codes[:5000], {}, None, None)
    linear_spent = time.process_time() - began
    figures = {"CPU s": spent, "best epoch": float(fitted.best), "baseline CPU s": linear_spent}
    said = fitted.predictor.predict_matrix(other)["probability"]
    beside = linear.predictor.predict_matrix(other)["probability"]
    for name in ("accuracy", "log-loss"):
        figures[name] = value_of(name, truth.astype(np.float64), said)
        figures[f"baseline {name}"] = value_of(name, truth.astype(np.float64), beside)
    return fitted, figures


def compared(folder: Path) -> dict[str, float]:
    """Return the CPU of an epoch, by the trainer and by hand, in turns."""
    matrix, codes = read(folder, "train")
    matrix, codes = matrix[:COMPARED], codes[:COMPARED]
    ours, theirs = [], []
    for turn in range(TURNS + 1):
        spent = _trainer(matrix, codes), _by_hand(matrix, codes)
        if turn:  # the first one warms up
            ours.append(spent[0])
            theirs.append(spent[1])
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return {"trainer": median(ours), "by hand": median(theirs), "ratio": median(ratios)}


class Unjudged(PictureLesson):
    """A lesson without a validation part, which the loop by hand has not either."""

    def value(self, network: torch.nn.Module, device: torch.device) -> float | None:
        return None


def _trainer(matrix: np.ndarray, codes: np.ndarray) -> float:
    spec = spec_of(epochs=1)
    torch.manual_seed(0)
    network = small(SHAPE, 10).to(memory_format=torch.channels_last)
    places = np.arange(len(codes))
    lesson = Unjudged(
        network, matrix, torch.from_numpy(codes), torch.ones(len(codes)), places, places[:10],
        SHAPE, SMALL, augment("none"), spec.metric("accuracy"),
    )  # fmt: skip
    plan = plan_of(spec, spec.train.hyperparameters, matrix.size)
    began = time.process_time()
    train(lesson, plan, tell=str)
    return time.process_time() - began


def _by_hand(matrix: np.ndarray, codes: np.ndarray) -> float:
    """Return the CPU of an epoch as a tutorial has it, on the same batches and rates."""
    plan = plan_of(spec_of(epochs=1), {"epochs": 1}, matrix.size)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = small(SHAPE, 10).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=plan.weight_decay)
    pixels, classes = torch.from_numpy(matrix), torch.from_numpy(codes)
    began = time.process_time()
    network.train()
    for step, batch in enumerate(plan.batches(0, len(codes))):
        optimizer.param_groups[0]["lr"] = plan.rate(step, len(codes))
        at = torch.from_numpy(batch)
        said = network(tensor_of(pixels[at], SHAPE, SMALL))
        loss = torch.nn.functional.cross_entropy(said, classes[at])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), plan.clip)
        optimizer.step()
        loss.item()
    return time.process_time() - began


def served(folder: Path, fitted: Fitted) -> list[dict[str, float]]:
    """Return the server's CPU for a request, and that of the bare prediction, by rows."""
    matrix, _ = read(folder, "t10k")
    files = []
    for row in matrix[:512]:
        buffer = io.BytesIO()
        Image.fromarray(row.reshape(28, 28)).save(buffer, "PNG")
        files.append(buffer.getvalue())
    with tempfile.TemporaryDirectory() as made:
        package = Path(made, "package")
        write_package(package, fitted.manifest, fitted.files())
        predictor = load_predictor(package)
        server = launch(Path(made), package)
        try:
            return [_asked(server, predictor, files, rows, n) for rows, n in ASKED.items()]
        finally:
            server.process.kill()
            server.process.wait()


def _asked(
    server: RunningServer, predictor: Any, files: list[bytes], rows: int, requests: int
) -> dict[str, float]:
    parts = [
        [files[(at * rows + row) % len(files)] for row in range(rows)] for at in range(requests)
    ]
    columns = []
    for part in parts:
        column = np.empty(rows, object)
        column[:] = part
        columns.append({IMAGE: column})
    bodies = list(map(_body, parts))
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    bare, spent = [], []
    for turn in range(TURNS + 1):
        began = time.process_time()
        for one in columns:
            predictor.predict(one)
        bare_seconds = time.process_time() - began
        began = _cpu(server.process.pid)
        for body, headers in bodies:
            connection.request("POST", "/v2/models/m/infer", body, headers)
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == 200, content
        if turn:
            bare.append(bare_seconds / requests)
            spent.append((_cpu(server.process.pid) - began) / requests)
    ratios = [one / other for one, other in zip(spent, bare, strict=True)]
    return {
        "rows": rows,
        "server ms": median(spent) * 1e3,
        "bare ms": median(bare) * 1e3,
        "ratio": median(ratios),
    }


def _body(files: list[bytes]) -> tuple[bytes, dict[str, str]]:
    raw = b"".join(struct.pack("<I", len(one)) + one for one in files)
    tensor = {"name": IMAGE, "shape": [len(files)], "datatype": "BYTES"}
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}]})
    return head.encode() + raw, {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(head)),
    }


def _cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(arguments: Sequence[str]) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.images", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the package is unpacked")
    given = parser.parse_args(arguments)
    found: dict[str, Any] = {"load": os.getloadavg()[0]}
    for name, part in (("learnt", None), ("epoch", compared)):
        print(f"{name} ...", file=sys.stderr, flush=True)
        if part is None:
            fitted, found[name] = learnt(given.folder)
        else:
            found[name] = part(given.folder)
        print(json.dumps(found[name]), file=sys.stderr, flush=True)
    found["served"] = served(given.folder, fitted)
    text = json.dumps(found, indent=1)
    Path("bench-images.json").write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
