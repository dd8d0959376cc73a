"""A project with one model and a few thousand made-up rows, and a home for its runs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np
import pandas as pd
import pytest
import yaml

from noria.loop.values import RunRequest
from noria.measures.measurement import Measurement
from noria.tasks.package import Feature, Input, Manifest, Output, write_package
from noria.tasks.protocol import Evaluation, GateRecord
from pipelines.kubeflow_api import KubeflowSettings


def made_up_rows(count: int, seed: int = 0) -> pd.DataFrame:
    """Rows of January 2013, one after another, whose label depends on distance and carrier."""
    random = np.random.default_rng(seed)
    carrier = random.choice(["AA", "UA", "DL"], count)
    distance = random.uniform(100, 3000, count)
    chance = 1 / (1 + np.exp(-(distance - 1500) / 400 - (carrier == "AA")))
    scheduled = pd.to_datetime("2013-01-01", utc=True) + pd.to_timedelta(
        np.sort(random.uniform(0, 30 * 86400, count)), unit="s"
    )
    return pd.DataFrame(
        {
            "flight_id": [f"f{i}" for i in range(count)],
            "carrier": carrier,
            "distance": distance,
            "scheduled": scheduled.as_unit("us"),
            "landed": (scheduled + pd.Timedelta(hours=3)).as_unit("us"),
            "late": (random.uniform(size=count) < chance).astype(int),
        }
    )


def resource(**train: Any) -> dict[str, Any]:
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "flights", "annotations": {"note": "it's {{$.inputs}} 'quoted'"}},
        "spec": {
            "task": {"family": "tabular-classification"},
            "data": {
                "source": {"parquet": {"paths": ["rows.parquet"]}},
                "features": [
                    {"name": "carrier", "type": "categorical"},
                    {"name": "distance", "type": "numeric"},
                ],
                "timeFeatures": ["hour-of-day"],
                "target": "late",
                "eventTime": "scheduled",
                "labelTime": "landed",
                "entityKey": ["flight_id"],
                "validation": {"minRows": 500},
            },
            "train": {"algorithm": "linear", **train},
            "gates": {"minRows": 100, "bounds": [{"metric": "auc", "min": 0.6}]},
        },
    }


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    def make(count: int = 2000, **train: Any) -> Path:
        folder = tmp_path / "it's a project"
        folder.mkdir(exist_ok=True)
        made_up_rows(count).to_parquet(folder / "rows.parquet", index=False)
        (folder / "model.yaml").write_text(yaml.safe_dump(resource(**train)))
        return folder / "model.yaml"

    return make


@pytest.fixture
def request_run() -> Callable[..., RunRequest]:
    def make(run_id: str = "run-1", **changes: Any) -> RunRequest:
        values: dict[str, Any] = {
            "run_id": run_id,
            "model": "flights",
            "as_of": datetime(2013, 2, 1, tzinfo=UTC),
            "reason": 'it\'s drift in "distance" {{$.inputs}}',
            "champion": None,
        }
        return RunRequest(**(values | changes))

    return make


@pytest.fixture
def flights() -> dict[str, Any]:
    return resource()


@pytest.fixture(scope="session")
def swagger() -> list[str]:
    """The server's option for the Swagger file; none where it can't be had."""
    place = Path(__file__).parents[1] / "kfp_server" / "contract.py"
    description = importlib.util.spec_from_file_location("kfp_contract", place)
    assert description is not None
    assert description.loader is not None
    contract = importlib.util.module_from_spec(description)
    description.loader.exec_module(contract)
    path, _ = contract.swagger_file()
    return [] if path is None else ["--swagger", str(path)]


@pytest.fixture
def kubeflow_settings(tmp_path: Path, empty_registry: Path) -> Callable[..., KubeflowSettings]:
    """Settings for a server's URL, with a registry of the test's own."""

    def make(url: str, **changes: Any) -> KubeflowSettings:
        (tmp_path / "mlflow.db").write_bytes(empty_registry.read_bytes())
        values: dict[str, Any] = {
            "host": url,
            "tracking_uri": f"sqlite:///{tmp_path}/mlflow.db",
            "artifacts": str(tmp_path / "artifacts"),
            "timeout": 5.0,
        }
        return KubeflowSettings(**(values | changes))

    return make


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """What a run trained: folders and files that the server's hook registers."""

    def make(run_id: str) -> dict[str, str]:
        folder = tmp_path / "trained" / quote(run_id, safe="")
        (folder / "reference").mkdir(parents=True, exist_ok=True)
        (folder / "reference" / "reference.json").write_text('{"format": 1}')
        if not (folder / "package").exists():
            write_package(
                folder / "package",
                Manifest(
                    model="flights",
                    family="tabular-classification",
                    algorithm="linear",
                    inputs=(Input("distance", "FP64", "numeric"),),
                    outputs=(Output("probability", "FP64"), Output("label", "INT64")),
                    features=(Feature("distance", "numeric"),),
                    entity_key=("flight_id",),
                    target="late",
                    classes=(0, 1),
                    rows=100,
                ),
                {"coefficients.json": b"{}"},
            )
        evaluation = Evaluation(
            rows=500,
            metrics={"auc": Measurement("auc", 0.7, 0.68, 0.72, samples=500)},
            baseline={},
            gates=(GateRecord("auc-min", "pass", "0.7 >= 0.55", 0.7, 0.55, 500),),
        )
        (folder / "evaluation.json").write_bytes(msgspec.json.encode(evaluation))
        return {name: str(folder / name) for name in ("package", "reference")} | {
            "evaluation": str(folder / "evaluation.json")
        }

    return make
