"""Rows of a step's file, read column by column: what a frame of the same file would say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal

from noria.errors import DataError
from noria.spec import parse_model
from noria.tasks.candidate import Here, places_of, train
from noria.tasks.families import family
from noria.tasks.package import package_digest
from noria.tasks.sources import parquet
from noria.tasks.sources.stored import StoredRows, first_row, read_frame, read_index

ROWS = 60_000


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    x = rng.normal(size=600)
    found = pd.DataFrame(
        {
            "x": np.where(rng.random(600) < 0.1, np.nan, x),
            "kind": rng.choice(np.array(["a", "b", None], dtype=object), 600),
            "wet": pd.array(rng.choice([True, False, None], 600), dtype="boolean"),
            "at": pd.to_datetime(
                [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(600)]
            ).as_unit("us"),
            "late": (x + rng.normal(size=600) > 0).astype(np.int64),
        }
    )
    found.attrs["told"] = {"x": "a number"}
    return found


@pytest.fixture
def stored(frame: pd.DataFrame, tmp_path: Path) -> StoredRows:
    frame.to_parquet(tmp_path / "rows")
    return StoredRows(tmp_path / "rows")


def test_columns_lengths_and_attributes_are_those_of_the_frame(
    frame: pd.DataFrame, stored: StoredRows
) -> None:
    assert list(stored) == list(stored.columns) == list(frame)
    assert len(stored) == 600
    assert "kind" in stored
    assert "nothing" not in stored
    assert stored.attrs == frame.attrs
    for name in frame:
        assert_series_equal(stored[str(name)], frame[str(name)])
    assert_frame_equal(stored[["late", "x"]], frame[["late", "x"]])
    assert_frame_equal(stored.whole(), frame)


def test_rows_at_places_are_those_of_the_frame(frame: pd.DataFrame, stored: StoredRows) -> None:
    places = np.array([5, 3, 599, 4])
    taken = stored.iloc[places]

    assert len(taken) == 4
    assert_series_equal(taken["kind"], frame["kind"].iloc[places])
    assert_frame_equal(taken.whole(), frame.iloc[places])
    again = taken.iloc[np.array([2, 0])]
    assert_frame_equal(again.whole(), frame.iloc[[599, 5]])


def test_what_was_split_keeps_its_places(frame: pd.DataFrame, tmp_path: Path) -> None:
    part = frame.iloc[[7, 9, 12]]
    part.to_parquet(tmp_path / "part")

    assert read_index(tmp_path / "part").index.tolist() == [7, 9, 12]
    # Rows that follow one another have a range for an index, which is no column of the file.
    frame.iloc[590:595].to_parquet(tmp_path / "newest")
    assert read_index(tmp_path / "newest").index.tolist() == [590, 591, 592, 593, 594]
    pq.write_table(pa.table({"x": [1.0, 2.0]}), tmp_path / "foreign")
    assert read_index(tmp_path / "foreign").index.tolist() == [0, 1]
    assert_frame_equal(read_frame(tmp_path / "part"), part)
    assert list(StoredRows(tmp_path / "part").columns) == list(frame)
    assert_frame_equal(first_row(tmp_path / "part"), part.head(1))
    frame.head(0).to_parquet(tmp_path / "none")
    assert len(first_row(tmp_path / "none")) == 0


def test_a_file_that_is_no_parquet_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"no rows")
    for read in (StoredRows, read_frame, read_index, first_row):
        with pytest.raises(DataError, match="rows: the rows can't be read"):
            read(tmp_path / "rows")


def test_a_candidate_of_stored_rows_is_that_of_the_frame_to_the_byte(
    frame: pd.DataFrame, stored: StoredRows, tmp_path: Path
) -> None:
    spec = parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "stored"},
            "spec": {
                "task": {"family": "tabular-classification"},
                "data": {
                    "source": {"parquet": {"paths": ["rows.parquet"]}},
                    "features": [
                        {"name": "x", "type": "numeric"},
                        {"name": "kind", "type": "categorical"},
                        {"name": "wet", "type": "boolean"},
                    ],
                    "eventTime": "at",
                    "timeFeatures": ["hour-of-day"],
                    "target": "late",
                    "validation": {"minRows": 100, "maxMissing": 0.5},
                },
                "train": {"hyperparameters": {"n_estimators": 5}},
            },
        }
    ).spec
    tasks = family("tabular-classification")
    assert tasks.validate(spec, stored) == tasks.validate(spec, frame)  # type: ignore[arg-type]
    whole = tasks.features(spec, tmp_path, frame)
    joined = tasks.features(spec, tmp_path, stored)  # type: ignore[arg-type]
    assert_frame_equal(joined, whole)
    joined.to_parquet(tmp_path / "joined")
    rows = StoredRows(tmp_path / "joined")
    ours, theirs = tasks.split(spec, rows, None), tasks.split(spec, whole, None)  # type: ignore[arg-type]
    assert_frame_equal(ours.train.whole(), theirs.train)  # type: ignore[operator]
    assert_frame_equal(ours.test.whole(), theirs.test)  # type: ignore[operator]
    assert ours.purged == theirs.purged

    made = []
    for name, given in (("stored", rows), ("frame", whole)):
        folder = tmp_path / name
        folder.mkdir()
        read = given.whole() if isinstance(given, StoredRows) else given
        parts = tasks.split(spec, read, None)
        held_out = train(
            tasks,
            spec,
            given,
            places_of(parts.test),
            Here(tasks, spec, given, {"n_estimators": 5}, "stored"),
            champion=None,
            candidate=folder / "candidate",
            package=folder / "package",
        )
        tasks.reference(spec, folder / "package", given, parts.test, held_out, folder / "reference")
        made.append(folder)
    for part in ("candidate", "package"):
        assert package_digest(made[0] / part) == package_digest(made[1] / part)
    for file in ("reference.json", "rows.npz"):
        ours_, theirs_ = ((folder / "reference" / file).read_bytes() for folder in made)
        assert ours_ == theirs_


def test_a_long_source_is_read_one_column_after_another(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.arange(ROWS, dtype=float), "kind": ["a", "b"] * (ROWS // 2)})
    frame.to_parquet(tmp_path / "long.parquet")
    frame.head(10).to_parquet(tmp_path / "short.parquet")

    long, short = parquet.read(
        [tmp_path / "long.parquet", tmp_path / "short.parquet"], ["kind", "x"]
    )

    for part, rows in ((long, ROWS), (short, 10)):
        assert list(part.columns) == ["kind", "x"]
        assert "nothing" not in part.columns
        assert part.columns["x"].to_pylist() == list(range(rows))
    (tmp_path / "long.parquet").write_bytes(b"gone")
    with pytest.raises(DataError, match="can't be read as Parquet"):
        long.columns["kind"]
