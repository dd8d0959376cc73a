"""The arrays of a package, by the part of the model that they are of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from numpy.typing import NDArray

from noria.tasks.arrays import pack, unpack
from noria.tasks.tabular.scorers import required

Part = Mapping[str, NDArray[Any]]

ARRAYS: Final = "detector.npz"


def packed(parts: Mapping[str, Part]) -> bytes:
    """Return the file of all parts."""
    return pack(
        {f"{part}/{key}": value for part, kept in parts.items() for key, value in kept.items()}
    )


def parts_of(files: Mapping[str, bytes], names: tuple[str, ...]) -> dict[str, Part]:
    """Return what ``packed`` was given; a part that is not there is empty.

    Raises:
        IntegrityError: The file is missing or malformed.
    """
    parts: dict[str, dict[str, NDArray[Any]]] = {part: {} for part in names}
    for name, values in unpack(required(files, ARRAYS), ARRAYS).items():
        part, _, key = name.partition("/")
        parts.setdefault(part, {})[key] = values
    return dict(parts)
