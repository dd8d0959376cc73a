"""Processes that fit one boosted model together, as the nodes of a cluster start them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from components import steps
from components.order import Order
from noria.errors import InvalidInput
from noria.measures.measuring import value_of
from noria.spec import Model, parse_model
from noria.tasks.package import load_predictor, read_manifest
from noria.tasks.tabular.schema import columns_of
from noria.tasks.tabular.together import World

ROWS = 4_000
NAMES = ("PET_NODE_RANK", "PET_NNODES", "PET_MASTER_ADDR", "PET_MASTER_PORT")


def resource(nodes: int, algorithm: str) -> Model:
    return parse_model(
        msgspec.json.encode(
            {
                "apiVersion": "noria.dev/v1alpha1",
                "kind": "Model",
                "metadata": {"name": "parcels"},
                "spec": {
                    "task": {"family": "tabular-classification"},
                    "data": {
                        "source": {"parquet": {"paths": ["rows.parquet"]}},
                        "features": [
                            {"name": "weight", "type": "numeric"},
                            {"name": "depot", "type": "categorical"},
                        ],
                        "target": "late",
                        "eventTime": "sent",
                    },
                    "train": {"algorithm": algorithm, "compute": {"nodes": nodes}},
                },
            }
        ).decode()
    )


def rows_of(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    weight, depot = rng.normal(size=ROWS), rng.choice(["a", "b", "c"], ROWS)
    chance = 1 / (1 + np.exp(-np.where(depot == "b", -2.0, 2.0) * weight))
    weight[rng.random(ROWS) < 0.05] = np.nan
    return pd.DataFrame(
        {
            "weight": weight,
            "depot": depot,
            "sent": pd.date_range("2026-01-01", periods=ROWS, freq="min", tz="UTC"),
            "late": (rng.random(ROWS) < chance).astype(int),
        }
    )


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    # In the order of the classes, so that a process with the first half of the rows has one.
    rows_of(0).sort_values("late").to_parquet(tmp_path / "rows.parquet", index=False)
    (tmp_path / "params.json").write_bytes(msgspec.json.encode(Order({}, None, 1.0)))
    return {"rows": tmp_path / "rows.parquet", "params": tmp_path / "params.json"}


def node(
    inputs: dict[str, Path], out: Path, said: dict[str, str], algorithm: str = "xgboost"
) -> subprocess.Popen[str]:
    folder = inputs["rows"].parent
    (folder / "model.json").write_text(resource(2, algorithm).model_dump_json(by_alias=True))
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "components.node", "--model", str(folder / "model.json")),
            *("--rows", str(inputs["rows"]), "--params", str(inputs["params"])),
            *("--out", str(out)),
        ],
        env={**os.environ, **said},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def quality(package: Path) -> float:
    rows = rows_of(1)
    predictor = load_predictor(package)
    asked = columns_of(predictor.manifest.features, None, rows)
    return value_of("auc", rows["late"].to_numpy(float), predictor.predict(asked)["probability"])


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def told(rank: int, port: int) -> dict[str, str]:
    return dict(zip(NAMES, (str(rank), "2", "localhost", str(port)), strict=True))


@pytest.mark.parametrize("algorithm", ["xgboost", "lightgbm"])
def test_two_processes_fit_the_model_of_one(
    tmp_path: Path, inputs: dict[str, Path], algorithm: str
) -> None:
    steps.fit_package(
        model=resource(1, algorithm).model_dump_json(by_alias=True),
        package=tmp_path / "one",
        **inputs,
    )
    port = free_port()
    outs = [tmp_path / "first", tmp_path / "second"]
    started = [node(inputs, out, told(rank, port), algorithm) for rank, out in enumerate(outs)]
    said = [process.communicate(timeout=240)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert not outs[1].exists(), "the process of rank 0 writes the package"
    assert read_manifest(outs[0]).rows == ROWS
    half = quality(tmp_path / "one")
    assert half > 0.8
    assert quality(outs[0]) == pytest.approx(half, abs=0.005)
    for file in outs[0].iterdir():
        assert b"127.0.0.1" not in file.read_bytes(), "a package says where it was fitted"


LEAVING = """
import sys
from noria.tasks.tabular.together import together
with together("xgboost"):
    print("joined", flush=True)
    sys.stdin.readline()
print("left", flush=True)
"""


def test_the_first_process_stays_until_the_other_has_left() -> None:
    port = free_port()
    first, second = (
        subprocess.Popen(
            [sys.executable, "-c", LEAVING],
            env={**os.environ, **told(rank, port)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    )
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            # It has nothing left to do, and runs the tracker that the other will say goodbye to.
            first.communicate("\n", timeout=20)
        said = second.communicate("\n", timeout=120)
        assert second.returncode == 0, said
        said = first.communicate(timeout=120)
        assert first.returncode == 0, said
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()


def test_a_process_whose_partner_leaves_before_the_fit_ends_with_a_sentence(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    port = free_port()
    first = node(inputs, tmp_path / "out", told(0, port), "lightgbm")
    # We are the process of rank 1: we say so, hear where the other is, and leave.
    deadline = time.monotonic() + 120
    while True:
        try:
            us = socket.create_connection(("127.0.0.1", port))
            break
        except OSError:
            assert time.monotonic() < deadline, first.poll()
            time.sleep(0.05)
    us.sendall(json.dumps({"rank": 1, "at": f"127.0.0.1:{free_port()}"}).encode() + b"\n")
    assert len(json.loads(us.makefile().readline())["machines"]) == 2
    us.close()
    said = first.communicate(timeout=120)[1]
    assert first.returncode == 1, said
    assert "process 1 has ended before the model was fitted" in said
    assert "Traceback" not in said


def test_a_killed_process_ends_the_other_with_a_sentence(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    # More rounds than anybody waits for.
    inputs["params"].write_bytes(msgspec.json.encode(Order({"n_estimators": 10**6}, None, 1.0)))
    port = free_port()
    started = [node(inputs, tmp_path / "out", told(rank, port), "lightgbm") for rank in (0, 1)]
    assert started[0].stdout is not None
    # LightGBM prints that they have found each other; the fit begins.
    assert any("total number of machines: 2" in line for line in started[0].stdout)
    started[1].kill()
    said = started[0].communicate(timeout=120)[1]
    started[1].communicate()
    assert started[0].returncode == 1, said
    assert "process 1 has ended before the model was fitted" in said
    assert "Traceback" not in said


def test_a_process_that_is_not_told_which_it_is_says_so(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    alone = node(inputs, tmp_path / "out", {"PET_NNODES": "2"})
    said = alone.communicate(timeout=240)[1]
    assert alone.returncode == 2, said
    assert "PET_NODE_RANK=, PET_NNODES=2" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("rank", ["2", "-1", "first"])
def test_a_rank_that_can_not_be_is_refused(rank: str) -> None:
    said = dict(zip(NAMES, (rank, "2", "node-0", "29500"), strict=True))
    with pytest.raises(InvalidInput, match=re.escape(f"PET_NODE_RANK={rank}")):
        World.of(said)
