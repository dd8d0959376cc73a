"""The project's own files: read beside model.yaml, they travel with the rows to every step.

A step that fits may run on another machine than the project, and gets rows alone. So the files
are attributes of the frame, which pandas writes into its Parquet file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from noria.errors import DataError, InvalidInput
from noria.spec import ModelSpec
from noria.tasks.custom.folders import read_folder
from noria.tasks.package import sha256

if TYPE_CHECKING:
    import pandas as pd

ATTRIBUTE: Final = "noria.project"
ELSEWHERE: Final = "noria.trained"
MAX_BYTES: Final = 1 << 20
"""Most that the project's files may hold together: code, not data."""


def read_files(spec: ModelSpec, base: Path) -> dict[str, str]:
    """Return the texts of the project's files that training reads, by path relative to ``base``.

    Raises:
        InvalidInput: A file is missing, is no text in UTF-8, or they are too large.
    """
    texts: dict[str, str] = {}
    for name in spec.family.files_of(spec.task.options):
        path = base / name
        try:
            texts[name] = path.read_text("utf-8")
        except FileNotFoundError as error:
            raise InvalidInput(
                f"spec.task.options: there is no file {path}",
                fix="write it, or name the file that holds your class or script",
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"{path}: can't be read: {error}", fix="give a text in UTF-8: code, no data"
            ) from error
    size = sum(len(text.encode()) for text in texts.values())
    if size > MAX_BYTES:
        raise InvalidInput(
            f"spec.task.options: {', '.join(texts)} hold {size:,} bytes, more than {MAX_BYTES:,}",
            fix="keep data out of the code",
        )
    return texts


def trained_elsewhere(spec: ModelSpec, base: Path) -> dict[str, str]:
    """Return where a model that was trained elsewhere lies, and its digest; empty: there is none.

    Raises:
        InvalidInput: The folder is missing, or holds nothing.
        OwnCodeError: It holds a link.
    """
    name = spec.family.receives_in(spec.task.options)
    if not name:
        return {}
    folder = (base / name).absolute()
    files = read_folder(folder) if folder.is_dir() else {}
    if not files:
        raise InvalidInput(
            f"spec.task.options.trained: there is no model in {folder}",
            fix="put one there, or let `noria register NAME --model FOLDER` do it",
        )
    return {"folder": str(folder), "digest": digest_of(files)}


def files_elsewhere(frame: pd.DataFrame) -> dict[str, bytes]:
    """Return the files of the model that was trained elsewhere, from where the frame says.

    Raises:
        DataError: They are others than when the run began, or not to be reached.
    """
    told = frame.attrs.get(ELSEWHERE) or {}
    folder = Path(str(told.get("folder", "")))
    files = read_folder(folder) if folder.is_dir() else {}
    if not files or digest_of(files) != told.get("digest"):
        raise DataError(
            f"spec.task.options.trained: {folder} has changed since the run began, or is not here",
            fix="start the run again; on a cluster the folder is in the image, or on a volume",
        )
    return files


def digest_of(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 over the sorted ``sha256  path`` lines of files."""
    lines = "".join(f"{sha256(files[name])}  {name}\n" for name in sorted(files))
    return sha256(lines.encode())


def with_files(
    frame: pd.DataFrame, texts: Mapping[str, str], elsewhere: Mapping[str, str]
) -> pd.DataFrame:
    """Return the frame with the files, and with where a trained model lies, as attributes of it."""
    found = frame.copy(deep=False)
    found.attrs[ATTRIBUTE], found.attrs[ELSEWHERE] = dict(texts), dict(elsewhere)
    return found


def files_in(frame: pd.DataFrame) -> Mapping[str, str]:
    """Return the files that came with the frame.

    Raises:
        DataError: It has none.
    """
    found = frame.attrs.get(ATTRIBUTE)
    if not isinstance(found, Mapping):
        raise DataError(
            "the project's own code did not come with the rows",
            fix="make the frame with the family's own step `features`",
        )
    return found
