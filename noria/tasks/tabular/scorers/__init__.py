"""What a fitted algorithm is once its library is gone: files, and a function of the matrix.

A scorer is built from the bytes of its files, also right after training, so
that the model that is evaluated is the one that will be served.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from noria.errors import NotInstalled


class Scorer(Protocol):
    """A fitted algorithm. Thread-safe."""

    def raw(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return raw scores, (n, 1) or (n, classes): log-odds, logits, or values."""
        ...

    def files(self) -> dict[str, bytes]:
        """Return the model's files, by path relative to the package."""
        ...


_MODULES: Final[Mapping[str, str]] = {
    "linear": "linear",
    "hist-gradient-boosting": "trees",
    "lightgbm": "lightgbm_native",
    "xgboost": "xgboost_native",
    "stacking": "stacked",
    "weighted": "weighted",
    "cumulative": "cumulative",
}


def load_scorer(algorithm: str, files: Mapping[str, bytes], prefix: str = "") -> Scorer:
    """Build the scorer of ``algorithm`` from a package's files below ``prefix``.

    Raises:
        NotInstalled: The algorithm is unknown, or its library is not installed.
        IntegrityError: A file is missing or malformed.
    """
    module = _MODULES.get(algorithm)
    if module is None:
        raise NotInstalled(
            f"there is no algorithm {algorithm!r}", fix=f"known are {', '.join(_MODULES)}"
        )
    loaded: Any = importlib.import_module(f"{__name__}.{module}")
    return cast("Scorer", loaded.load(files, prefix))


def required(files: Mapping[str, bytes], path: str) -> bytes:
    """Return a file's content.

    Raises:
        IntegrityError: The package does not list it.
    """
    from noria.errors import IntegrityError

    if path not in files:
        raise IntegrityError(f"{path}: not in the package", fix="train again")
    return files[path]
