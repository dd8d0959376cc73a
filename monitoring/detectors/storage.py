"""How a fitted detector is kept on disk: JSON and npz, never pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from monitoring.detectors.protocol import DetectorConfig
from monitoring.table import Column, ColumnArray, Table
from noria.errors import MonitoringError

FORMAT = 1


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
    folder.mkdir(parents=True, exist_ok=True)
    header = Header(FORMAT, config, reference.schema, reference.rows, extra or {})
    arrays: dict[str, Any] = {
        f"c{i}": reference.columns[column.name] for i, column in enumerate(reference.schema)
    }
    np.savez(folder / "reference.npz", **arrays)
    (folder / "detector.json").write_bytes(msgspec.json.encode(header))


def read_table(folder: Path) -> tuple[Header, Table]:
    """Read what ``save_table`` wrote.

    Raises:
        MonitoringError: a file is absent, damaged or of another format.
    """
    try:
        header = msgspec.json.decode((folder / "detector.json").read_bytes(), type=Header)
        with np.load(folder / "reference.npz", allow_pickle=False) as arrays:
            columns: dict[str, ColumnArray] = {
                column.name: arrays[f"c{i}"] for i, column in enumerate(header.columns)
            }
    except (OSError, ValueError, KeyError, msgspec.MsgspecError) as error:
        raise MonitoringError(
            f"the detector in {folder} can't be read: {error}", fix="build it again"
        ) from error
    if header.format != FORMAT:
        raise MonitoringError(
            f"the detector in {folder} has format {header.format}, this Noria reads {FORMAT}",
            fix="build it again",
        )
    return header, Table(header.columns, columns, header.rows)
