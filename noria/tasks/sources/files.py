"""Finding the files of a source, and having the project's data module make them."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from noria.errors import DataError, NoriaError, Problem, shorten
from noria.spec import Data

_MAGIC = frozenset("*?[")


def source_files(data: Data, base: Path) -> list[Path]:
    """Return the files of the source, made by the data module first when they are missing.

    Patterns are relative to ``base`` (the folder of model.yaml) and expand in
    alphabetical order.

    Raises:
        DataError: A file is missing and the data module does not make it.
    """
    patterns = _patterns(data)
    if data.module is not None and any(not _matches(base, pattern) for pattern in patterns):
        prepare(base / data.module, base)
    found: list[Path] = []
    for pattern in patterns:
        matches = _matches(base, pattern)
        if not matches:
            made = " after its prepare() ran" if data.module is not None else ""
            raise DataError(
                f"spec.data.source: no file matches {pattern} in {base}{made}",
                fix="correct the path, or have spec.data.module write it",
            )
        found.extend(matches)
    return list(dict.fromkeys(found))


def stamp_of(data: Data, base: Path) -> tuple[tuple[str, int, int], ...]:
    """Return the path, the time of the last change in ns and the size of each file that is there.

    Nothing is made: a file that is missing is not in it. Two that are equal mean the same rows.

    Raises:
        DataError: The source has no files.
    """
    found = (path for pattern in _patterns(data) for path in _matches(base, pattern))
    stated = ((str(path), path.stat()) for path in found)
    return tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in stated)


def prepare(module_path: Path, base: Path) -> None:
    """Run ``prepare(base)`` of the project's data module, which writes its files below ``base``.

    Raises:
        DataError: There is no such module or function, or it failed; its own
            exception is the cause.
    """
    module = load_module(module_path)
    function = getattr(module, "prepare", None)
    if not callable(function):
        raise DataError(
            f"{module_path}: has no function prepare",
            fix="define prepare(base: Path) -> None, which writes the source's files",
        )
    try:
        function(base)
    except NoriaError:
        raise
    except Exception as error:
        raise DataError(
            f"{module_path}: prepare() failed: {type(error).__name__}: {error}",
            fix="correct the data module; its traceback is the cause of this error",
        ) from error


def load_module(path: Path) -> ModuleType:
    """Import the project's data module from its path; its folder needs not be importable.

    Raises:
        DataError: The file is missing or fails on import.
    """
    if not path.is_file():
        raise DataError(
            f"spec.data.module: there is no file {path}", fix="correct the path, or remove module"
        )
    # A name of its own for each path: two projects may both have a data.py.
    name = f"_noria_data_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    description = importlib.util.spec_from_file_location(name, path)
    if description is None or description.loader is None:
        raise DataError(f"spec.data.module: {path} is not a Python file", fix="name a .py file")
    module = importlib.util.module_from_spec(description)
    sys.modules[name] = module
    try:
        description.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise DataError(
            f"{path}: can't be imported: {type(error).__name__}: {error}",
            fix="correct the data module; its traceback is the cause of this error",
        ) from error
    return module


def column_problems(path: Path, wanted: Sequence[str], present: Sequence[str]) -> list[Problem]:
    """Return a problem for the columns that a file lacks, and for each name that it has twice."""
    problems = []
    for name in dict.fromkeys(present):
        places = [place for place, other in enumerate(present, 1) if other == name]
        if len(places) > 1:
            problems.append(
                Problem(
                    str(path),
                    f"has the column {shorten(name)} {len(places)} times, at "
                    f"{', '.join(map(str, places[:10]))}",
                    "rename or remove all but one",
                )
            )
    missing = [name for name in wanted if name not in present]
    if missing:
        problems.append(
            Problem(
                str(path),
                f"has no column {', '.join(missing)}",
                f"correct spec.data, or the file; its columns are {shorten(list(present), 1000)}",
            )
        )
    return problems


def _patterns(data: Data) -> tuple[str, ...]:
    source = data.source
    if source.feast is not None:
        return (source.feast.rows,)
    if source.parquet is not None:
        return tuple(source.parquet.paths)
    if source.csv is not None:
        return tuple(source.csv.paths)
    raise DataError(
        f"spec.data.source.{source.kind}: does not hold rows of columns",
        fix="use parquet, csv or feast",
    )


def _matches(base: Path, pattern: str) -> list[Path]:
    if not _MAGIC & set(pattern):
        path = base / pattern
        return [path] if path.is_file() else []
    root = Path(pattern).anchor
    start = Path(root) if root else base
    return sorted(path for path in start.glob(pattern[len(root) :]) if path.is_file())
