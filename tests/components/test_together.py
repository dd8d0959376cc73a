"""Processes that fit one XGBoost model together, as the nodes of a cluster start them."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
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


def resource(nodes: int) -> Model:
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
                    "train": {"algorithm": "xgboost", "compute": {"nodes": nodes}},
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


def node(inputs: dict[str, Path], out: Path, said: dict[str, str]) -> subprocess.Popen[str]:
    folder = inputs["rows"].parent
    (folder / "model.json").write_text(resource(2).model_dump_json(by_alias=True))
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "components.node", "--model", str(folder / "model.json")),
            *("--rows", str(inputs["rows"]), "--params", str(inputs["params"])),
            *("--out", str(out)),
        ],
        env={**os.environ, **said},
        stderr=subprocess.PIPE,
        text=True,
    )


def quality(package: Path) -> float:
    rows = rows_of(1)
    predictor = load_predictor(package)
    asked = columns_of(predictor.manifest.features, None, rows)
    return value_of("auc", rows["late"].to_numpy(float), predictor.predict(asked)["probability"])


def test_two_processes_fit_the_model_of_one(tmp_path: Path, inputs: dict[str, Path]) -> None:
    steps.fit_package(
        model=resource(1).model_dump_json(by_alias=True), package=tmp_path / "one", **inputs
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    outs = [tmp_path / "first", tmp_path / "second"]
    started = [
        node(inputs, out, dict(zip(NAMES, (str(rank), "2", "localhost", str(port)), strict=True)))
        for rank, out in enumerate(outs)
    ]
    said = [process.communicate(timeout=240)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert not outs[1].exists(), "the process of rank 0 writes the package"
    assert read_manifest(outs[0]).rows == ROWS
    half = quality(tmp_path / "one")
    assert half > 0.8
    assert quality(outs[0]) == pytest.approx(half, abs=0.005)


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
