"""How many rows a source has, before they are read, and whether memory will do for training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from noria.spec import ModelSpec
from noria.spec.family import SHARED_SOURCES
from noria.tasks.sources.files import stamp_of

_BASE: Final = 500 << 20
"""Bytes of the libraries, and of what does not grow with the rows."""

_CELL: Final = 32
"""Bytes that a number of a row takes at the peak of all steps; docs/benchmarks.md has the runs."""
_CELL_BY_COLUMN: Final = 20
"""The same, of a family whose steps read one column after another."""

_SAID_FROM: Final = 1 << 30
_HEAD: Final = 1 << 20
_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Room:
    """The rows of a source, and bytes: what training holds at its peak, and what is free.

    ``free`` is None where the system does not say.
    """

    rows: int
    needed: int
    free: int | None

    @property
    def is_short(self) -> bool:
        """Whether there is less than training will hold."""
        return self.free is not None and self.free < self.needed

    @property
    def text(self) -> str:
        """A line about it; empty where memory is no matter."""
        if self.needed < _SAID_FROM and not self.is_short:
            return ""
        said = f"about {self.rows:,} rows: training will hold about {self.needed / _GIB:.1f} GiB"
        if self.free is None:
            return said
        if not self.is_short:
            return f"{said}, and {self.free / _GIB:.1f} GiB are free"
        return (
            f"{said}, and only {self.free / _GIB:.1f} GiB are free: it may be ended for want of "
            "memory; learn from fewer rows (spec.retraining.trainOn.window), or where there is more"
        )


def room_for(spec: ModelSpec, base: Path, free: int | None) -> Room | None:
    """Return what the rows of a source will take; None where it is none of files that are there.

    Args:
        spec: The model.
        base: The folder of model.yaml.
        free: Bytes of memory that are free; see ``free_memory``.

    Raises:
        DataError: The source has no files.
    """
    data = spec.data
    if data.source.kind not in SHARED_SOURCES:
        return None
    files = [(Path(path), size) for path, _, size in stamp_of(data, base)]
    if not files:
        return None
    counted = _of_text if data.source.csv is not None else _of_parquet
    rows = sum(counted(path, size) for path, size in files)
    width = sum(feature.width or 1 for feature in data.features) + len(data.time_features)
    # Target, times and keys are there in each copy of the rows, too.
    width += 3 + len(data.entity_key)
    return Room(rows, _BASE + rows * width * _cell(spec), free)


def _cell(spec: ModelSpec) -> int:
    from noria.tasks.families import family
    from noria.tasks.protocol import ByColumn

    tasks = family(spec.task.family)
    by_column = isinstance(tasks, ByColumn) and tasks.by_column(spec)
    return _CELL_BY_COLUMN if by_column else _CELL


def free_memory() -> int | None:
    """Return the bytes that this process may still take, by the system and by its control group."""
    found = [_of_system(Path("/proc/meminfo")), _of_group(Path("/sys/fs/cgroup"))]
    return min((one for one in found if one is not None), default=None)


def _of_system(path: Path) -> int | None:
    try:
        lines = path.read_text().splitlines()
        (said,) = (line.split() for line in lines if line.startswith("MemAvailable:"))
        return int(said[1]) << 10
    except (OSError, ValueError, IndexError):
        return None


def _of_group(folder: Path) -> int | None:
    try:
        limit = (folder / "memory.max").read_text().strip()
        return max(0, int(limit) - int((folder / "memory.current").read_text()))
    except (OSError, ValueError):  # there is no limit, or no such group
        return None


def _of_parquet(path: Path, size: int) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    del size
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError, ValueError):
        return 0  # whoever reads it says what is wrong


def _of_text(path: Path, size: int) -> int:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return 0
    lines = max(1, head.count(b"\n"))
    return round(size / len(head) * lines) if head else 0
