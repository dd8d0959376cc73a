"""Arrays as bytes and back: npz without pickle, the same bytes for the same arrays."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np

from noria.errors import IntegrityError


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the npz of plain arrays. Its zip entries carry a fixed date, so it is repeatable.

    Raises:
        IntegrityError: An array holds Python objects, which only pickle could write.
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise IntegrityError(f"array {name!r} holds Python objects", fix="use a plain dtype")
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()


def unpack(content: bytes, name: str) -> dict[str, np.ndarray]:
    """Return the arrays of an npz; ``name`` is the file's, for the message.

    Raises:
        IntegrityError: It is not an npz of plain arrays.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{name}: not an npz of plain arrays: {error}") from error
