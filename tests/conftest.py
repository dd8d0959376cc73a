"""What several folders of tests share."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HARNESS = Path(__file__).parent / "kfp_server" / "harness.py"


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
