"""A reference that comes over the network: a zip of exactly its two files."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from monitoring.reference import FILES
from noria.errors import InvalidInput, Unavailable

MAX_UNPACKED_BYTES: Final = 256 << 20
"""The most that a zip may unpack to: a small one can claim to hold any amount."""

_CHUNK: Final = 1 << 20


@contextmanager
def unpacked(data: bytes, home: Path) -> Iterator[Path]:
    """Unpack a reference into a folder below ``home`` that goes with the block.

    Raises:
        InvalidInput: It is no zip of the two files, or unpacks to too much.
        Unavailable: The disk does not take it.
    """
    home.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".upload-", dir=home))
    try:
        _unpack(data, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(data: bytes, folder: Path) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = sorted(archive.namelist())
            # Exact names: nothing can lead out of the folder.
            if names != sorted(FILES):
                raise InvalidInput(
                    f"body: the zip holds {', '.join(names)[:200] or 'nothing'}",
                    fix=f"it must hold {' and '.join(FILES)}",
                )
            left = MAX_UNPACKED_BYTES
            for name in FILES:
                left = _copy(archive, name, folder / name, left)
    except OSError as error:
        # The zip is in memory: what fails here is our own disk, no fault of the sender.
        raise Unavailable(f"the reference can't be kept: {error}", fix="free disk space") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        # RuntimeError: it is encrypted; NotImplementedError: by a method that Python lacks.
        raise InvalidInput(f"body: can't be unpacked: {error}") from error
    except ValueError as error:
        raise InvalidInput(f"body: is no zip: {error}") from error


def _copy(archive: zipfile.ZipFile, name: str, target: Path, left: int) -> int:
    with archive.open(name) as source, target.open("wb") as written:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            # Counted while it is unpacked: the size that the zip states may be a lie.
            if left < 0:
                raise InvalidInput(f"body: {name} unpacks to over {MAX_UNPACKED_BYTES} bytes")
            written.write(chunk)
    return left
