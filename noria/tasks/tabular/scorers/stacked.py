"""Several scorers below a linear model of their raw scores (Wolpert, 1992)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError
from noria.tasks.tabular.scorers import Scorer, linear, load_scorer, required

Array = NDArray[np.float64]
_FILE = "stack.json"
_META = "stack/"


@dataclass(frozen=True, slots=True, eq=False)
class StackedScorer:
    """Members in order, and the linear model of their scores put side by side."""

    algorithms: tuple[str, ...]
    members: tuple[Scorer, ...]
    meta: linear.LinearScorer

    def raw(self, matrix: Array) -> Array:
        """Return (n, k) scores."""
        return self.meta.raw(np.hstack([member.raw(matrix) for member in self.members]))

    def files(self) -> dict[str, bytes]:
        """Return the members' files in folders of their own, and the linear model's."""
        files = {_FILE: msgspec.json.encode({"members": self.algorithms})}
        for place, member in enumerate(self.members):
            for path, content in member.files().items():
                files[f"{_folder(place)}{path}"] = content
        files.update({f"{_META}{path}": content for path, content in self.meta.files().items()})
        return files


def load(files: Mapping[str, bytes], prefix: str = "") -> StackedScorer:
    """Build the scorer; only the members' libraries are loaded.

    Raises:
        IntegrityError: A file is missing or malformed.
    """
    try:
        algorithms: Sequence[str] = msgspec.json.decode(
            required(files, prefix + _FILE), type=dict[str, tuple[str, ...]]
        )["members"]
    except (msgspec.DecodeError, KeyError) as error:
        raise IntegrityError(f"{prefix + _FILE}: {error}", fix="train again") from error
    return StackedScorer(
        tuple(algorithms),
        tuple(
            load_scorer(algorithm, files, prefix + _folder(place))
            for place, algorithm in enumerate(algorithms)
        ),
        linear.load(files, prefix + _META),
    )


def _folder(place: int) -> str:
    return f"member-{place}/"
