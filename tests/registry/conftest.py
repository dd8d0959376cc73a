"""A small evaluated candidate, and a registry in a temporary folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from noria.measures.measurement import Measurement
from noria.registry import Candidate, MlflowRegistry
from noria.tasks.package import Feature, Input, Manifest, Output, write_package
from noria.tasks.protocol import Evaluation, GateRecord


@pytest.fixture
def home(tmp_path: Path, empty_registry: Path) -> Path:
    (tmp_path / "mlflow.db").write_bytes(empty_registry.read_bytes())
    return tmp_path


@pytest.fixture
def registry(home: Path) -> MlflowRegistry:
    return MlflowRegistry(f"sqlite:///{home}/mlflow.db", home / "artifacts")


@pytest.fixture
def make_candidate(tmp_path: Path) -> Callable[..., Candidate]:
    def make(run_id: str = "run-1", auc: float = 0.7, **changes: Any) -> Candidate:
        folder = tmp_path / "trained" / run_id
        package, reference, plots = folder / "package", folder / "reference", folder / "plots"
        if not package.exists():
            write_package(
                package,
                Manifest(
                    model="flights",
                    family="tabular-classification",
                    algorithm="linear",
                    inputs=(
                        Input("distance", "FP64", "numeric"),
                        Input("carrier", "BYTES", "categorical"),
                        Input("flight_id", "BYTES", "text", optional=True),
                    ),
                    outputs=(Output("probability", "FP64"), Output("label", "INT64")),
                    features=(
                        Feature("distance", "numeric"),
                        Feature("carrier", "categorical", categories=("AA", "UA")),
                    ),
                    entity_key=("flight_id",),
                    target="late",
                    classes=(0, 1),
                    rows=100,
                ),
                {"coefficients.json": json.dumps({"auc": auc}).encode()},
            )
            reference.mkdir()
            (reference / "reference.json").write_text('{"format": 1}')
            plots.mkdir()
            (plots / "roc.png").write_bytes(b"\x89PNG\r\n")
        candidate = Candidate(
            model="flights",
            run_id=run_id,
            package=package,
            reference=reference,
            plots=plots,
            evaluation=Evaluation(
                rows=500,
                metrics={
                    "auc": Measurement("auc", auc, auc - 0.02, auc + 0.02, samples=500),
                    "log-loss": Measurement("log-loss", None, problem="one class only"),
                },
                baseline={"auc": Measurement("auc", 0.61, samples=500)},
                gates=(GateRecord("auc-min", "pass", "0.7 >= 0.55", auc, 0.55, 500),),
            ),
            rows=100,
            champion=None,
            as_of=datetime(2013, 2, 1, tzinfo=UTC),
            fingerprint="ab" * 32,
            code_version="noria 0.2.0",
            reason="drift in distance",
            spec='{"kind": "Model"}',
            params={"n_estimators": 150},
            example={"distance": 1400.0, "carrier": "UA"},
        )
        return replace(candidate, **changes)

    return make
