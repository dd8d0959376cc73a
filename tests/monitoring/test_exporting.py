"""What a monitor keeps comes out as Parquet: what was sent, and what was made of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring import exporting
from monitoring.exporting import Span, export, watermark
from monitoring.tables import ADDED
from noria.errors import InvalidInput

START = "2013-02-01T00:00:00Z"
LATER = "2013-02-03T00:00:00Z"
FEBRUARY_2 = 1_359_763_200.0


def tables(folder: Path) -> dict[str, pa.Table]:
    return {name: pq.read_table(folder / f"{name}.parquet") for name in exporting.FILES}


@pytest.fixture
def told(bench: Callable[..., Any], world: Any, tmp_path: Path) -> Any:
    """Five requests of 50 rows, one of them later; labels of three, and one that came early."""
    found = bench("event", window={"rows": 100}, performance={"metrics": ["auc"]})
    found.champion("1", world.reference(tmp_path / "reference"))
    for number in range(4):
        found.predict(f"r{number}", 50, when=START)
    found.predict("late", 50, when=LATER)
    for number in range(3):
        found.label_request(f"r{number}")
    found.label([{"id": "unheard:0", "label": 1}])
    found.monitor.flush()
    return found


def test_answered_rows_come_with_their_labels_in_order_of_arrival(
    told: Any, tmp_path: Path
) -> None:
    rows = export(told.home, told.config, tmp_path / "out")
    found = tables(tmp_path / "out")["exchanges"]
    assert rows["exchanges"] == found.num_rows == 250
    assert found.column("request").to_pylist()[::50] == ["r0", "r1", "r2", "r3", "late"]
    assert found.column("row").to_pylist() == list(range(50)) * 5
    np.testing.assert_array_equal(
        found.column("prediction").to_numpy(), np.concatenate(list(told.sent.values()))
    )
    assert found.column("key").to_pylist()[:2] == ["0", "1"]
    labels = found.column("label").to_pylist()
    assert all(label in (0.0, 1.0) for label in labels[:150])
    assert labels[150:] == [None] * 100
    assert [str(at)[:10] for at in found.column("time").to_pylist()[::50]] == [
        *["2013-02-01"] * 4, "2013-02-03",
    ]  # fmt: skip


def test_what_an_earlier_version_kept_is_exported_once_it_was_opened(
    told: Any, tmp_path: Path
) -> None:
    told.monitor.close()
    with closing(sqlite3.connect(told.home / "state.db")) as state:
        for table, column, _ in ADDED:
            state.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        state.commit()
    with pytest.raises(InvalidInput, match="written by an earlier version") as refused:
        export(told.home, told.config, tmp_path / "out")
    assert "noria up" in str(refused.value.fix)
    told.monitor = told.open()
    assert export(told.home, told.config, tmp_path / "out")["exchanges"] == 250


def test_columns_have_the_types_of_what_is_in_them(told: Any, tmp_path: Path) -> None:
    export(told.home, told.config, tmp_path / "out")
    found = tables(tmp_path / "out")
    schema = found["exchanges"].schema
    assert schema.field("time").type == pa.timestamp("us", tz="UTC")
    assert schema.field("prediction").type == pa.float64()
    assert schema.field("feature.carrier").type == pa.string()
    assert schema.field("feature.wind").type == pa.float64()
    assert json.loads(schema.metadata[b"noria.classes"]) == []
    # The open window still has its rows' features.
    newest = found["exchanges"].column("feature.carrier").to_pylist()[200:]
    assert set(newest) <= {"AA", "B6", "DL"}


def test_labels_come_as_they_came_and_those_without_a_row_at_the_end(
    told: Any, tmp_path: Path
) -> None:
    rows = export(told.home, told.config, tmp_path / "out")
    found = tables(tmp_path / "out")
    labels, exchanges = found["labels"], found["exchanges"]
    assert rows["labels"] == 151
    assert labels.column("waiting_for").to_pylist()[-1] == "id:unheard:0"
    assert labels.column("label").to_pylist()[:150] == exchanges.column("label").to_pylist()[:150]
    assert labels.column("prediction").to_pylist()[-1] is None


def test_windows_say_what_each_detector_rule_and_metric_said(told: Any, tmp_path: Path) -> None:
    rows = export(told.home, told.config, tmp_path / "out")
    found = tables(tmp_path / "out")["windows"].to_pylist()
    assert rows["windows"] == len(found)
    said = {(row["stream"], row["window"], row["kind"], row["name"]): row for row in found}
    drift = said["features", 1, "drift", "features"]
    reported = json.loads(drift["body"])["drift"]["features"]
    assert (drift["p_value"], drift["alarm"]) == (reported["p_value"], reported["drift"])
    assert said["features", 0, "quality", "missing"]["value"] == 0.0
    assert {row["version"] for row in found} == {"1"}


def test_a_span_takes_what_lies_in_it(told: Any, tmp_path: Path) -> None:
    before = export(told.home, told.config, tmp_path / "a", Span(until=FEBRUARY_2))
    after = export(told.home, told.config, tmp_path / "b", Span(since=FEBRUARY_2))
    assert (before["exchanges"], after["exchanges"]) == (200, 50)
    nothing = export(told.home, told.config, tmp_path / "c", Span(until=0.0))
    assert set(nothing.values()) == {0}
    assert tables(tmp_path / "c")["exchanges"].schema == tables(tmp_path / "a")["exchanges"].schema


def test_it_is_the_same_while_the_monitor_runs_and_when_it_is_down(
    told: Any, tmp_path: Path
) -> None:
    export(told.home, told.config, tmp_path / "up")
    told.monitor.close()
    export(told.home, told.config, tmp_path / "down")
    assert tables(tmp_path / "up") == tables(tmp_path / "down")
    assert watermark(told.home) == 1_359_849_600.0
    told.monitor = told.open()
    told.predict("more", 1)
    assert told.status()["counts"]["rows"] == 251


def test_rows_are_written_a_part_at_a_time(
    told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(told.home, told.config, tmp_path / "whole")
    monkeypatch.setattr(exporting, "_ROWS", 60)
    export(told.home, told.config, tmp_path / "parts")
    assert pq.ParquetFile(tmp_path / "parts" / "exchanges.parquet").num_row_groups > 1
    assert tables(tmp_path / "parts") == tables(tmp_path / "whole")


def test_where_no_monitor_was_there_is_nothing_to_export(told: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no monitor of flights has kept anything"):
        export(tmp_path / "nowhere", told.config, tmp_path / "out")
    assert watermark(tmp_path / "nowhere") is None
