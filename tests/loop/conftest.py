"""Models and worlds for the tests of the loop."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

from noria.loop.fakes import FakeWorld, sample_model
from noria.spec import Model

settings.register_profile(
    "loop", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("loop")


@pytest.fixture(scope="session")
def model() -> Callable[..., Model]:
    return sample_model


@pytest.fixture
def world() -> FakeWorld:
    """A world with champion v1 on all of the traffic."""
    made = FakeWorld(sample_model())
    made.install("1")
    return made


@pytest.fixture
def empty() -> FakeWorld:
    """A world without any version."""
    return FakeWorld(sample_model())
