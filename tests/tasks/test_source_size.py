"""What is said of a source's size before its rows are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noria.spec import ModelSpec
from noria.tasks.sources.size import free_memory, room_for

SpecOf = Callable[..., ModelSpec]
GIB = 1 << 30


def empty_rows(path: Path, rows: int) -> None:
    """Many rows of missing values: a large table in a small file."""
    columns = {name: pa.nulls(rows, pa.float64()) for name in ("city", "distance", "rain")}
    pq.write_table(pa.table(columns), path)


def test_rows_are_counted_without_being_read(spec_of: SpecOf, tmp_path: Path) -> None:
    empty_rows(tmp_path / "rows.parquet", 5_000_000)
    empty_rows(tmp_path / "more.parquet", 1_000_000)
    spec = spec_of(data={"source": {"parquet": {"paths": ["*.parquet"]}}})
    room = room_for(spec, tmp_path, 8 * GIB)
    assert room is not None
    # 3 features, 1 time feature, target, two times, 1 key: 8 numbers of 20 bytes a row.
    assert (room.rows, room.needed) == (6_000_000, (500 << 20) + 6_000_000 * 8 * 20)
    assert room.text == (
        "about 6,000,000 rows: training will hold about 1.4 GiB, and 8.0 GiB are free"
    )


def test_too_little_memory_is_said_with_what_to_do(spec_of: SpecOf, tmp_path: Path) -> None:
    empty_rows(tmp_path / "rows.parquet", 6_000_000)
    room = room_for(spec_of(), tmp_path, GIB)
    assert room is not None
    assert room.is_short
    assert "about 1.4 GiB, and only 1.0 GiB are free: it may be ended" in room.text
    assert "spec.retraining.trainOn.window" in room.text


def test_little_is_not_worth_a_word_and_no_file_is_no_answer(
    spec_of: SpecOf, tmp_path: Path
) -> None:
    assert room_for(spec_of(), tmp_path, 8 * GIB) is None
    empty_rows(tmp_path / "rows.parquet", 1_000)
    room = room_for(spec_of(), tmp_path, 8 * GIB)
    assert room is not None
    assert (room.rows, room.text) == (1_000, "")
    (tmp_path / "rows.parquet").write_text("no Parquet")
    broken = room_for(spec_of(), tmp_path, None)
    assert broken is not None
    assert broken.rows == 0


def test_lines_of_a_csv_file_are_estimated_by_its_beginning(
    spec_of: SpecOf, tmp_path: Path, rows: pd.DataFrame
) -> None:
    many = pd.concat([rows] * 40)
    many.to_csv(tmp_path / "rows.csv", index=False)
    room = room_for(spec_of(data={"source": {"csv": {"paths": ["rows.csv"]}}}), tmp_path, None)
    assert room is not None
    assert room.rows == pytest.approx(60_000, rel=0.02)


def test_the_system_says_what_is_free() -> None:
    free = free_memory()
    assert free is not None
    total = int(Path("/proc/meminfo").read_text().split()[1]) << 10
    assert 0 < free <= total
