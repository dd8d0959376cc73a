"""What several folders of tests share."""

from __future__ import annotations

import fcntl
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before Feast, which would make the counts of its metrics those of every process.
import prometheus_client  # noqa: F401
import pytest

from noria.registry import MlflowRegistry

HARNESS = Path(__file__).parent / "kfp_server" / "harness.py"


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a registry with nothing in it, made once for all workers.

    MLflow's migrations take ten seconds of a processor.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "empty-registry"
    folder.mkdir(exist_ok=True)
    made = folder / "mlflow.db"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            MlflowRegistry(f"sqlite:///{made}", folder / "artifacts").initialise()
    return made


@pytest.fixture
def kfp_server(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start a Kubeflow Pipelines server: ``kfp_server(*options) -> KfpServer``."""
    description = importlib.util.spec_from_file_location("kfp_server_harness", HARNESS)
    assert description is not None
    assert description.loader is not None
    harness = importlib.util.module_from_spec(description)
    description.loader.exec_module(harness)
    started: list[Any] = []

    def start(*options: str) -> Any:
        started.append(harness.KfpServer(tmp_path / f"kfp-{len(started)}", *options))
        return started[-1]

    yield start
    for server in started:
        server.kill()
