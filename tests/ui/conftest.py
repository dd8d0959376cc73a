"""A home to fill, and its pages on a port."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from noria.embedded.home import Home
from noria.places.machine import Machine
from tests.ui.places import Place, running


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(Home(tmp_path / "home").create())


@pytest.fixture
def pages(place: Place) -> Iterator[httpx.Client]:
    with running(Machine(place.home.root)) as client:
        yield client
