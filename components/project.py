"""A project's own files on a cluster: in the image, or packed into the pipeline's ``base``.

``base`` is the path of a folder in the image, or ``zip:`` and a ZIP archive in
base64, which a step unpacks into a folder of its own before it reads.
"""

from __future__ import annotations

import base64
import binascii
import functools
import io
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from noria.errors import InvalidInput, shorten

PACKED: Final = "zip:"
MAX_PACKED_BYTES: Final = 64_000
"""Longest ``base``. KFP hands it over on a command line, beside the model resource."""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_MAX_UNPACKED_BYTES: Final = 16 << 20


def pack(folder: Path, names: Iterable[str]) -> str:
    """Return files of ``folder`` as a ``base``; the same files give the same text.

    Args:
        folder: The folder of model.yaml.
        names: Paths of files, relative to it.

    Raises:
        InvalidInput: A file can't be read or lies outside, or all are too large together.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(set(names)):
            if not _inside(name):
                raise InvalidInput(
                    f"{name} lies outside of the project {folder}",
                    fix="keep the project's files below the folder of model.yaml",
                )
            try:
                content = (folder / name).read_bytes()
            except OSError as error:
                raise InvalidInput(f"{folder / name} can't be read: {error.strerror}") from error
            # The time is left out: a key of KFP's cache depends on every byte.
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    text = PACKED + base64.b64encode(buffer.getvalue()).decode("ascii")
    if len(text) > MAX_PACKED_BYTES:
        raise InvalidInput(
            f"the project's files in {folder} are {len(text):,} bytes when packed; "
            f"a pipeline parameter carries {MAX_PACKED_BYTES:,}",
            fix="put them into an image built on Noria's, and name it in spec.train.compute.image",
        )
    return text


def project_folder(base: str) -> Path:
    """Return the folder that ``base`` means; a packed project is unpacked once per process.

    Raises:
        InvalidInput: The archive is damaged, too large, or would write outside of its folder.
    """
    return _unpacked(base) if base.startswith(PACKED) else Path(base)


@functools.lru_cache(maxsize=4)
def _unpacked(base: str) -> Path:
    try:
        data = base64.b64decode(base.removeprefix(PACKED), validate=True)
        folder = Path(tempfile.mkdtemp(prefix="noria-project-"))
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                if not _inside(member.filename):
                    raise InvalidInput(f"base: {member.filename!r} would be written outside")
            if sum(member.file_size for member in archive.infolist()) > _MAX_UNPACKED_BYTES:
                raise InvalidInput(f"base: unpacks to more than {_MAX_UNPACKED_BYTES:,} bytes")
            archive.extractall(folder)
    except (binascii.Error, zipfile.BadZipFile, OSError) as error:
        raise InvalidInput(
            f"base: {shorten(base, 40)} can't be unpacked: {error}", fix="submit the run again"
        ) from error
    return folder


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts
