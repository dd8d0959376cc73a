"""Makes the version that a run would have made, in a real MLflow registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from components.resource import resource_json
from noria.registry import Candidate, MlflowRegistry
from noria.tasks.protocol import Evaluation


def register(parameters: Mapping[str, str], given: Mapping[str, Any]) -> str:
    """Register a version as the pipeline's last step would, from the run's own parameters."""
    # Of the resource its name alone: its family may be installed elsewhere only.
    resource = json.loads(resource_json(parameters["model"]))
    evaluation = Evaluation(rows=given.get("rows", 100), metrics={}, baseline={})
    if given.get("evaluation"):
        content = Path(given["evaluation"]).read_bytes()
        evaluation = msgspec.json.decode(content, type=Evaluation)
    plots = Path(given["package"]).parent / "no-plots"
    plots.mkdir(exist_ok=True)
    registry = MlflowRegistry(
        given.get("tracking_uri") or parameters["tracking_uri"],
        Path(given.get("artifacts") or parameters["artifacts"]),
    )
    return registry.register(
        Candidate(
            model=resource["metadata"]["name"],
            run_id=parameters["run_id"],
            package=Path(given["package"]),
            reference=Path(given["reference"]),
            plots=plots,
            evaluation=evaluation,
            rows=given.get("rows", 100),
            champion=parameters["champion"] or None,
            as_of=datetime.fromisoformat(parameters["as_of"]),
            fingerprint="f" * 64,
            code_version="test",
            reason=parameters["reason"],
            spec=parameters["model"],
            params={},
            example=given.get("example", {}),
        )
    )
