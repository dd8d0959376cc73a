"""A reference that comes over the network: a zip of exactly its two files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from monitoring.archive import Archive
from monitoring.reference import FILES, MAX_BYTES, read_folder
from noria.errors import InvalidInput

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def packed(folder: Path) -> bytes:
    """Return a reference's two files as a zip: the same files give the same bytes.

    Raises:
        InvalidInput: A file can't be read.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in read_folder(folder).items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def unpacked(data: bytes, most_bytes: int = MAX_BYTES) -> Mapping[str, bytes]:
    """Return the content of a reference's two files by name.

    Raises:
        InvalidInput: It is no zip of the two files, or unpacks to too much.
    """
    archive = Archive(data, "body", most_members=len(FILES) + 2, most_bytes=most_bytes)
    if sorted(archive.names) != sorted(FILES):
        raise InvalidInput(
            f"body: the zip holds {', '.join(archive.names)[:200] or 'nothing'}",
            fix=f"it must hold {' and '.join(FILES)}",
        )
    return {name: archive.read(name) for name in FILES}
