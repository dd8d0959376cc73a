"""The Pipelines port on Kubeflow Pipelines, by its generated client, on a server like it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from noria.loop.conformance import PipelinesConformance
from noria.loop.values import RunRequest, RunResult
from noria.spec import parse_model
from pipelines.kubeflow import KubeflowPipelines, registered
from pipelines.kubeflow_api import KubeflowSettings

# KFP's own modules warn about their dependencies when they are imported.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class Driver:
    patience = 20.0

    def __init__(
        self,
        server: Any,
        settings: KubeflowSettings,
        resource: dict[str, Any],
        request: Callable[..., RunRequest],
        made: Callable[[str], dict[str, str]],
    ) -> None:
        self._server = server
        self._settings = settings
        self._resource = parse_model(resource)
        self._made = made
        self.request = request
        self.port = self.reopen()

    def reopen(self) -> KubeflowPipelines:
        return KubeflowPipelines(
            self._settings,
            lambda _: self._resource,
            registered(self._settings.tracking_uri, Path(self._settings.artifacts)),
        )

    def started(self) -> int:
        return len(self._server.runs())

    def succeed(self, run_id: str) -> RunResult:
        version = self._server.succeed(run_id, **self._made(run_id))
        found = registered(self._settings.tracking_uri, Path(self._settings.artifacts))(
            "flights", run_id
        )
        assert found is not None
        assert found.version == version
        return found

    def fail(self, run_id: str) -> None:
        self._server.act(run_id, "fail", task="train", message="too few rows")


@pytest.fixture
def driver(
    kfp_server: Callable[..., Any],
    swagger: list[str],
    kubeflow_settings: Callable[..., KubeflowSettings],
    flights: dict[str, Any],
    request_run: Callable[..., RunRequest],
    made: Callable[[str], dict[str, str]],
) -> Driver:
    server = kfp_server(*swagger)
    return Driver(server, kubeflow_settings(server.url), flights, request_run, made)


class TestKubeflowPipelines(PipelinesConformance):
    pass
