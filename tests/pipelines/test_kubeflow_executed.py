"""A run from start to result: the adapter, the client, a server that really runs the steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from noria.loop.conformance.expect import soon
from noria.loop.values import RunPhase, RunRequest
from noria.spec import load_model
from pipelines.kubeflow import KubeflowPipelines, registered
from pipelines.kubeflow_api import KubeflowSettings

# KFP's own modules warn about their dependencies when they are imported.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.mark.parametrize(
    ("rows", "phase", "detail"),
    [(2000, RunPhase.SUCCEEDED, ""), (300, RunPhase.FAILED, "validate: ")],
)
def test_a_run_goes_from_its_rows_to_its_end(
    kfp_server: Callable[..., Any],
    swagger: list[str],
    kubeflow_settings: Callable[..., KubeflowSettings],
    project: Callable[..., Path],
    request_run: Callable[..., RunRequest],
    rows: int,
    phase: RunPhase,
    detail: str,
) -> None:
    file = project(rows)
    server = kfp_server("--execute", str(file.parent), *swagger)
    settings = kubeflow_settings(server.url)
    results = registered(settings.tracking_uri, Path(settings.artifacts))
    port = KubeflowPipelines(settings, lambda _: load_model(file), results)

    port.start(request_run())
    seen = soon(
        lambda: port.status("run-1"),
        lambda status: status.phase not in (RunPhase.PENDING, RunPhase.RUNNING),
        200,
        "the end of the run",
    )

    assert seen.phase is phase
    assert seen.detail.startswith(detail)
    if phase is RunPhase.SUCCEEDED:
        assert seen.result is not None
        assert seen.result.version == "1"
        assert [gate.verdict.value for gate in seen.result.gates] == ["pass"]
