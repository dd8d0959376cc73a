"""The images, built once for all the tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import images


@pytest.fixture(scope="session")
def buildah() -> images.Buildah:
    images.install_tools()
    store = images.Buildah(images.cache())
    images.make_base(store)
    return store


@pytest.fixture(scope="session")
def image(buildah: images.Buildah) -> Iterator[Callable[[str], str]]:
    built: dict[str, str] = {}

    def named(target: str) -> str:
        if target not in built:
            built[target] = images.build(buildah, target)
        return built[target]

    yield named
    images.prune(buildah)
