"""How a fitted detector is kept on disk: JSON and npz, never pickle."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from monitoring.archive import Archive
from monitoring.detectors.protocol import DetectorConfig
from monitoring.table import Column, ColumnArray, Table
from noria.errors import InvalidInput, MonitoringError
from noria.files import write_file

FORMAT = 1
MAX_BYTES = 1 << 30
"""The most that a fitted detector's rows may hold."""


class Header(msgspec.Struct, frozen=True):
    """The content of ``detector.json``."""

    format: int
    config: DetectorConfig
    columns: tuple[Column, ...]
    rows: int
    extra: dict[str, Any] = {}


def save_table(
    folder: Path, config: DetectorConfig, reference: Table, extra: dict[str, Any] | None = None
) -> None:
    """Write ``detector.json`` and ``reference.npz`` into ``folder`` (made when absent)."""
    header = Header(FORMAT, config, reference.schema, reference.rows, extra or {})
    arrays: dict[str, Any] = {
        f"c{i}": reference.columns[column.name] for i, column in enumerate(reference.schema)
    }
    rows = io.BytesIO()
    np.savez(rows, **arrays)
    write_file(folder / "reference.npz", rows.getvalue())
    write_file(folder / "detector.json", msgspec.json.encode(header))


def read_table(folder: Path) -> tuple[Header, Table]:
    """Read what ``save_table`` wrote.

    Raises:
        MonitoringError: a file is absent, damaged or of another format.
    """
    try:
        header = msgspec.json.decode((folder / "detector.json").read_bytes(), type=Header)
        archive = Archive(
            (folder / "reference.npz").read_bytes(),
            "reference.npz",
            most_members=len(header.columns) + 16,
            most_bytes=MAX_BYTES,
        )
        columns: dict[str, ColumnArray] = {
            column.name: archive.array(f"c{i}.npy") for i, column in enumerate(header.columns)
        }
        table = Table(header.columns, columns, header.rows)
    except (OSError, InvalidInput, msgspec.MsgspecError, RecursionError) as error:
        raise MonitoringError(
            f"the detector in {folder} can't be read: {error}", fix="build it again"
        ) from error
    if header.format != FORMAT:
        raise MonitoringError(
            f"the detector in {folder} has format {header.format}, this Noria reads {FORMAT}",
            fix="build it again",
        )
    return header, table
