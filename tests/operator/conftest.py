"""A Model as a cluster has it, and the operator's settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from noria.operator.resource import Resource
from noria.operator.settings import Settings, read_settings

VARIABLES = {
    "NORIA_KFP_HOST": "http://kfp:8888",
    "NORIA_MLFLOW_URI": "http://mlflow:5000",
    "NORIA_COMPONENTS_IMAGE": "registry.test/components:1",
    "NORIA_MONITORING_IMAGE": "registry.test/monitoring:1",
}


def body(**metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {
            "name": "flights",
            "namespace": "prod",
            "uid": "u-1",
            "generation": 3,
            "resourceVersion": "41",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"team": "a"},
            **metadata,
        },
        "spec": {
            "task": {"family": "tabular-classification"},
            "data": {
                "source": {"csv": {"paths": ["flights.csv"]}},
                "features": [{"name": "distance", "type": "numeric"}],
                "target": "late",
            },
        },
        "status": {"stage": "serving"},
    }


@pytest.fixture
def resource() -> Callable[..., Resource]:
    """Return a maker of resources: keywords are metadata."""

    def make(**metadata: Any) -> Resource:
        return Resource(body(**metadata))

    return make


@pytest.fixture
def settings() -> Callable[..., Settings]:
    """Return a maker of settings: keywords are variables without their prefix."""

    def make(**variables: str) -> Settings:
        more = {f"NORIA_{name}": value for name, value in variables.items()}
        return read_settings(VARIABLES | more)

    return make
