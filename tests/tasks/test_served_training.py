"""What was served becomes training rows: point in time, merged with the source, none twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components import steps
from noria.errors import DataError
from noria.served import rows as names
from noria.served.merging import parquet
from noria.served.table import ServedTable
from noria.served.used import ServedRows
from noria.spec import Model, parse_model
from noria.tasks.sources.rows import labelled_rows
from noria.tasks.sources.served import ingested, served_in

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def model(
    *, keyed: bool = True, timed: bool = True, label_time: bool = True, **served: Any
) -> Model:
    data: dict[str, Any] = {
        "source": {"csv": {"paths": ["rows.csv"]}},
        "served": served,
        "features": [
            {"name": "kind", "type": "categorical"},
            {"name": "size", "type": "numeric"},
            {"name": "member", "type": "boolean"},
        ],
        "target": "late",
        "validation": {"minRows": 3},
    }
    if timed:
        data["eventTime"] = "at"
    if timed and label_time:
        data["labelTime"] = "known"
    if keyed:
        data["entityKey"] = ["order"]
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "orders"},
            "spec": {"task": {"family": "tabular-classification"}, "data": data},
        }
    )


def hour(n: float) -> datetime:
    return BEGIN + timedelta(hours=n)


def source(folder: Path, *rows: tuple[str, int, float, int]) -> None:
    """Rows by order, hour, size and label; each label is known an hour later."""
    lines = ["order,at,known,kind,size,member,late"]
    for order, at, size, late in rows:
        known = hour(at + 1).isoformat()
        lines.append(f"{order},{hour(at).isoformat()},{known},a,{size},true,{late}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")


def write(
    table: ServedTable,
    *rows: tuple[str, str | None, float, float, int, float],
    first: int = 1,
    kind: str = "a",
) -> None:
    """Rows by request, order, hour, size, label and the hour of the label."""
    moment = pa.timestamp("us", tz="UTC")
    count = len(rows)
    content = pa.table(
        {
            names.REQUEST: [row[0] for row in rows],
            names.ROW: pa.array([0] * count, pa.int32()),
            names.NUMBER: range(first, first + count),
            names.VERSION: ["1"] * count,
            names.PREDICTED: pa.array([hour(row[2]) for row in rows], moment),
            names.LABELLED: pa.array([hour(row[5]) for row in rows], moment),
            names.PREDICTION: pa.array([[0.5]] * count, pa.list_(pa.float64())),
            "kind": [kind] * count,
            "size": [row[3] for row in rows],
            "member": [True] * count,
            "at": pa.array([hour(row[2]) for row in rows], moment),
            "order": pa.array([row[1] for row in rows], pa.string()),
            "late": [row[4] for row in rows],
        }
    )
    table.write("2026-01-01", first, first + count - 1, parquet(content))


@pytest.fixture
def table(tmp_path: Path) -> ServedTable:
    return ServedTable(tmp_path / "served")


@pytest.fixture
def ingest(tmp_path: Path, table: ServedTable) -> Callable[..., pd.DataFrame]:
    def read(of: Model, as_of: datetime | None = None) -> pd.DataFrame:
        return ingested(
            of.spec,
            of.name,
            str(table.folder),
            as_of,
            lambda: labelled_rows(of.spec, tmp_path, as_of),
        )

    return read


def told(frame: pd.DataFrame) -> ServedRows:
    found = served_in(frame)
    assert found is not None
    return found


def test_rows_that_were_served_stand_beside_those_of_the_source(
    tmp_path: Path, table: ServedTable, ingest: Callable[..., pd.DataFrame]
) -> None:
    source(tmp_path, ("o1", 1, 1.0, 0), ("o3", 3, 3.0, 1))
    write(table, ("r1", "o2", 2, 2.0, 1, 5), ("r2", "o4", 4, 4.0, 0, 6))
    frame = ingest(model())
    assert frame["order"].tolist() == ["o1", "o2", "o3", "o4"]
    assert frame["late"].tolist() == [0, 1, 1, 0]
    alone = labelled_rows(model().spec, tmp_path, None)
    assert frame.dtypes.to_dict() == alone.dtypes.to_dict()
    assert frame["known"].tolist() == [hour(n) for n in (2, 5, 4, 6)]
    assert told(frame).rows == 2
    assert (told(frame).first, told(frame).last) == (hour(5).isoformat(), hour(6).isoformat())


def test_the_source_counts_where_both_have_a_row(
    tmp_path: Path, table: ServedTable, ingest: Callable[..., pd.DataFrame]
) -> None:
    source(tmp_path, ("o1", 1, 1.0, 0), ("o2", 2, 2.0, 0))
    write(table, ("r1", "o1", 1, 9.0, 1, 5), ("r2", "o1", 3, 3.0, 1, 5))
    frame = ingest(model())
    assert frame[["order", "size", "late"]].to_numpy().tolist() == [
        ["o1", 1.0, 0],
        ["o2", 2.0, 0],
        ["o1", 3.0, 1],
    ]
    assert (told(frame).rows, told(frame).known) == (1, 2)


def test_nothing_is_learned_that_was_not_known_at_the_moment(
    tmp_path: Path, table: ServedTable, ingest: Callable[..., pd.DataFrame]
) -> None:
    source(tmp_path, ("o1", 1, 1.0, 0))
    # Served early, labelled at 5, corrected at 8; and one whose event lies after its label.
    write(table, ("r1", "o2", 2, 2.0, 1, 5), ("r2", "o3", 7, 3.0, 1, 6))
    write(table, ("r1", "o2", 2, 2.0, 0, 8), first=3)
    assert ingest(model(), hour(4))["order"].tolist() == ["o1"]
    assert ingest(model(), hour(5))["late"].tolist() == [0, 1]
    assert ingest(model(), hour(6))["order"].tolist() == ["o1", "o2"]
    assert ingest(model(), hour(7.5))["late"].tolist() == [0, 1, 1]
    assert ingest(model(), hour(8))["late"].tolist() == [0, 0, 1]
    # The source's row is not known yet: what was served is all there is of it.
    source(tmp_path, ("o1", 1, 1.0, 0), ("o2", 2, 2.0, 0))
    assert ingest(model(), hour(2.5))["order"].tolist() == ["o1"]


def test_alone_reads_no_source_once_the_table_has_enough_rows(
    tmp_path: Path, table: ServedTable, ingest: Callable[..., pd.DataFrame]
) -> None:
    alone = model(use="alone")
    source(tmp_path, ("o1", 1, 1.0, 0))
    assert told(ingest(alone)) == ServedRows(0, 0)
    write(table, ("r1", "o2", 2, 2.0, 1, 5), ("r2", "o3", 3, 3.0, 0, 5))
    assert ingest(alone)["order"].tolist() == ["o1", "o2", "o3"]
    write(table, ("r3", "o4", 4, 4.0, 0, 6), first=3)
    (tmp_path / "rows.csv").unlink()
    frame = ingest(alone)
    assert frame["order"].tolist() == ["o2", "o3", "o4"]
    assert told(frame).source is False
    with pytest.raises(DataError, match="no file matches"):
        ingest(alone, hour(5))


def test_without_keys_a_row_of_the_source_takes_the_place_of_one_equal_row(
    tmp_path: Path, table: ServedTable, ingest: Callable[..., pd.DataFrame]
) -> None:
    plain = model(keyed=False, timed=False)
    source(tmp_path, ("o1", 1, 1.0, 0), ("o2", 1, 1.0, 0), ("o3", 1, 2.0, 1))
    write(
        table,
        *((f"r{n}", f"o{n}", 1, 1.0, 0, 5) for n in range(3)),
        ("r8", "o8", 1, 2.0, 0, 5),
        ("r9", "o9", 1, 2.0, 1, 5),
    )
    frame = ingest(plain)
    found = frame.groupby(["size", "late"]).size().to_dict()
    assert found == {(1.0, 0): 3, (2.0, 0): 1, (2.0, 1): 1}


def test_rows_whose_key_is_missing_are_told_apart_by_what_they_hold(
    tmp_path: Path, table: ServedTable, ingest: Callable[..., pd.DataFrame]
) -> None:
    source(tmp_path, ("o1", 1, 1.0, 0))
    write(table, ("r1", None, 2, 2.0, 1, 5), ("r2", None, 2, 3.0, 1, 5), ("r3", None, 1, 1.0, 0, 5))
    # With the key redacted, the source's own row is known by everything else.
    frame = ingest(model(redact=["order"]))
    assert frame["size"].tolist() == [1.0, 2.0, 3.0]


def test_a_row_that_was_asked_about_twice_is_one_row(
    tmp_path: Path, table: ServedTable, ingest: Callable[..., pd.DataFrame]
) -> None:
    source(tmp_path, ("o1", 1, 1.0, 0))
    write(table, ("r1", "o2", 2, 2.0, 1, 5), ("again", "o2", 2, 2.5, 1, 5))
    assert ingest(model())["size"].tolist() == [1.0, 2.5]


def test_a_column_that_the_table_does_not_have_yet_is_missing(
    tmp_path: Path, table: ServedTable, ingest: Callable[..., pd.DataFrame]
) -> None:
    source(tmp_path, ("o1", 1, 1.0, 0))
    write(table, ("r1", "o2", 2, 2.0, 1, 5))
    part = table.parts()[0]
    import pyarrow.parquet as pq

    old = pq.read_table(table.folder / part.name, partitioning=None).drop_columns(["size"])
    table.remove(part)
    table.write(part.day, 1, 1, parquet(old))
    assert np.isnan(ingest(model())["size"].tolist()[1])


def test_labels_of_another_type_than_the_source_s_are_refused_by_name(
    tmp_path: Path, table: ServedTable, ingest: Callable[..., pd.DataFrame]
) -> None:
    source(tmp_path, ("o1", 1, 1.0, 0))
    text = (tmp_path / "rows.csv").read_text().replace(",0\n", ",no\n")
    (tmp_path / "rows.csv").write_text(text)
    write(table, ("r1", "o2", 2, 2.0, 1, 5))
    with pytest.raises(DataError, match="of another type than those of the source: int, str"):
        ingest(model())


def test_the_step_says_of_the_rows_which_were_served_and_the_split_keeps_it(
    tmp_path: Path, table: ServedTable
) -> None:
    count = 40
    source(tmp_path, *((f"o{n}", n, float(n), n % 2) for n in range(count)))
    write(table, *((f"r{n}", f"s{n}", n + 0.5, 1.0, n % 2, n + 1) for n in range(count)))
    text = model(label_time=False).model_dump_json(by_alias=True)
    files = {name: tmp_path / f"{name}.parquet" for name in ("rows", "frame", "train", "test")}
    said = steps.ingest(
        model=text, base=str(tmp_path), as_of="", rows=files["rows"], served=str(table.folder)
    )
    steps.features(model=text, base=str(tmp_path), rows=files["rows"], frame=files["frame"])
    steps.split(
        model=text,
        champion="",
        registry=("", tmp_path),
        frame=files["frame"],
        train=files["train"],
        test=files["test"],
    )
    kept = told(pd.read_parquet(files["test"]))
    assert (kept.rows, kept.parts) == (count, 1)
    # The same rows have the same digest, however the parts were cut; another label has another.
    merged = table.read(table.parts()[0])
    again = ServedTable(tmp_path / "again")
    again.write("2026-01-01", 1, count + 7, merged)
    other = tmp_path / "other.parquet"
    assert said == steps.ingest(
        model=text, base=str(tmp_path), as_of="", rows=other, served=str(again.folder)
    )
    assert told(pd.read_parquet(other)).digest == kept.digest
    write(again, ("r3", "s3", 3.5, 1.0, 0, 60), first=count + 20)
    steps.ingest(model=text, base=str(tmp_path), as_of="", rows=other, served=str(again.folder))
    assert told(pd.read_parquet(other)).digest != kept.digest


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    base=st.lists(st.integers(0, 8), unique=True, min_size=1, max_size=6),
    served=st.lists(
        st.tuples(st.integers(0, 8), st.integers(0, 20), st.integers(0, 1), st.booleans()),
        max_size=25,
    ),
    cut=st.integers(1, 30),
)
def test_whatever_comes_each_row_is_there_once_with_the_label_known_then(
    tmp_path_factory: pytest.TempPathFactory,
    base: list[int],
    served: list[tuple[int, int, int, bool]],
    cut: int,
) -> None:
    """Orders 0 to 8; a served one comes with a delay, a label, and as a correction or anew."""
    folder = tmp_path_factory.mktemp("orders")
    source(folder, ("known", 0, 1.0, 0), *((f"o{n}", n, 1.0, n % 2) for n in base))
    table = ServedTable(folder / "served")
    expected: dict[str, tuple[float, int]] = {}
    clock = 0.0
    for number, (order, delay, label, correction) in enumerate(served, 1):
        clock = max(clock, order + 0.01) + delay / 10
        request = f"r{order}" if correction else f"r{order}-{number}"
        write(table, (request, f"o{order}", order, 5.0, label, clock), first=number)
        if clock <= cut:
            expected[f"o{order}"] = (5.0, label)
    expected |= {f"o{n}": (1.0, n % 2) for n in base if n + 1 <= cut}
    expected["known"] = (1.0, 0)
    found = model()
    frame = ingested(
        found.spec,
        found.name,
        str(table.folder),
        hour(cut),
        lambda: labelled_rows(found.spec, folder, hour(cut)),
    )
    assert frame["order"].is_unique
    rows = zip(frame["size"], frame["late"], strict=True)
    assert dict(zip(frame["order"], rows, strict=True)) == expected
