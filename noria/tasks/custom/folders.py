"""A folder of model files as bytes by relative path, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from noria.errors import OwnCodeError


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below ``folder``, by path with forward slashes.

    Raises:
        OwnCodeError: There is a link, or something else that is no plain file.
    """
    found: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise OwnCodeError(f"{name}: a link, or no plain file", fix="write the file itself")
        if path.is_file():
            found[name] = path.read_bytes()
    return found


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files below ``folder``; their paths have been checked with the package."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
