"""Models and worlds for the tests of the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from noria.loop.fakes import FakeWorld
from noria.spec import Model, parse_model

settings.register_profile(
    "loop", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("loop")


def flights(**sections: Any) -> Model:
    spec: dict[str, Any] = {
        "task": {"family": "tabular-classification"},
        "data": {
            "source": {"csv": {"paths": ["flights.csv"]}},
            "features": [{"name": "distance", "type": "numeric"}],
            "target": "late",
        },
        "gates": {
            "minRows": 500,
            "bounds": [{"metric": "auc", "min": 0.55}],
            "champion": [{"metric": "auc", "maxDrop": 0.0}],
        },
        "serving": {
            "canary": {
                "steps": [10, 50],
                "minSamples": 500,
                "stepTimeout": "24h",
                "analysis": [
                    {"metric": "error-rate", "max": 0.01},
                    {"metric": "auc", "maxDrop": 0.05},
                ],
            }
        },
        "retraining": {
            "on": ["drift", "performance"],
            "cooldown": "7d",
            "runsPerDay": 1,
            "budget": {"runs": 6, "per": "365d"},
            "giveUpAfter": 3,
        },
    }
    for name, section in sections.items():
        spec[name] = {**spec.get(name, {}), **section}
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "flights"},
            "spec": spec,
        }
    )


@pytest.fixture
def model() -> Callable[..., Model]:
    return flights


@pytest.fixture
def world() -> FakeWorld:
    """A world with champion v1 on all of the traffic."""
    made = FakeWorld(flights())
    made.install("1")
    return made


@pytest.fixture
def empty() -> FakeWorld:
    """A world without any version."""
    return FakeWorld(flights())
