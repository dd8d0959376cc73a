"""A model between ``fit`` and ``save`` that is its predictor, and how one becomes a package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec

from noria.tasks.package import Manifest, Predictor, write_package


class Packable(Protocol):
    """What becomes a package; its manifest has no name and no files yet."""

    @property
    def manifest(self) -> Manifest:
        """What the package will say about itself."""
        ...

    def files(self) -> Mapping[str, bytes]:
        """Return the files of the package."""
        ...


class PackablePredictor(Predictor, Packable, Protocol):
    """A predictor that knows the files that it can be loaded from."""


P = TypeVar("P", bound=PackablePredictor)


@dataclass(frozen=True, slots=True, eq=False)
class FittedPredictor(Generic[P]):
    """See ``noria.tasks.protocol.Fitted``."""

    predictor: P

    @property
    def manifest(self) -> Manifest:
        """What the package will say about itself."""
        return self.predictor.manifest

    @property
    def rows(self) -> int:
        """How many rows it was fitted on."""
        return self.manifest.rows

    def files(self) -> dict[str, bytes]:
        """Return the files of the package."""
        return dict(self.predictor.files())


def save(fitted: Packable, package: Path, model: str, recipe: str) -> Manifest:
    """Write a package; see ``TaskFamily.save``."""
    manifest = msgspec.structs.replace(fitted.manifest, model=model, recipe=recipe)
    return write_package(package, manifest, fitted.files())
