"""Rows of several targets become training rows: a column each by its name, once all are known."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from noria.errors import DataError
from noria.labels import counted
from noria.served import rows as names
from noria.served.merging import parquet
from noria.served.table import ServedTable
from noria.spec import ModelSpec, parse_model
from noria.tasks.sources.served import ingested, served_in

NAMES = ("price", "stock")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
MOMENT = pa.timestamp("us", tz="UTC")
Ingest = Callable[..., pd.DataFrame]


def spec_of(*, keyed: bool = True, **served: Any) -> ModelSpec:
    """A model without a target of its own, as one whose family names several."""
    data: dict[str, Any] = {
        "source": {"csv": {"paths": ["rows.csv"]}},
        "served": served,
        "features": [{"name": "size", "type": "numeric"}],
        "target": "late",
        "validation": {"minRows": 2},
    }
    if keyed:
        data |= {"eventTime": "at", "entityKey": ["order"]}
    document = {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "orders"},
        "spec": {"task": {"family": "tabular-regression"}, "data": data},
    }
    spec = parse_model(document).spec
    return spec.model_copy(update={"data": spec.data.model_copy(update={"target": None})})


def hour(n: float) -> datetime:
    return BEGIN + timedelta(hours=n)


def source(*rows: tuple[str, int, float, float]) -> pd.DataFrame:
    """Rows of a family's own source by order, hour, price and stock; the size is the hour."""
    return pd.DataFrame(
        {
            "size": [float(row[1]) for row in rows],
            "at": pd.DatetimeIndex([hour(row[1]) for row in rows]).as_unit("us"),
            "order": pd.Series([row[0] for row in rows], dtype=object),
            "price": [row[2] for row in rows],
            "stock": [row[3] for row in rows],
        }
    )


def write(
    table: ServedTable,
    *rows: tuple[str, int, float | None, float | None, float],
    first: int = 1,
    targets: tuple[str, ...] = NAMES,
) -> None:
    """Rows by order, hour, both labels and the hour of the last of them."""
    count = len(rows)
    known = pa.array([hour(row[4]) for row in rows], MOMENT)
    columns: dict[str, Any] = {
        names.REQUEST: [f"r-{row[0]}" for row in rows],
        names.ROW: pa.array([0] * count, pa.int32()),
        names.NUMBER: range(first, first + count),
        names.VERSION: ["1"] * count,
        names.PREDICTED: pa.array([hour(row[1]) for row in rows], MOMENT),
        names.LABELLED: known,
        names.SOURCE: ["feedback"] * count,
        names.PREDICTION: pa.array([[0.5, 0.5]] * count, pa.list_(pa.float64())),
        names.TARGETS: pa.array([list(targets)] * count, pa.list_(pa.string())),
        "size": [float(row[1]) for row in rows],
        "at": pa.array([hour(row[1]) for row in rows], MOMENT),
        "order": [row[0] for row in rows],
    }
    for place, name in enumerate(targets, 2):
        columns[names.of_target(names.LABELLED, name)] = known
        columns[names.of_target(names.SOURCE, name)] = ["feedback"] * count
        columns[name] = pa.array([row[place] for row in rows], pa.float64())
    table.write("2026-01-01", first, first + count - 1, parquet(pa.table(columns)))


@pytest.fixture
def table(tmp_path: Path) -> ServedTable:
    return ServedTable(tmp_path / "served")


@pytest.fixture
def ingest(table: ServedTable) -> Ingest:
    def read(spec: ModelSpec, base: pd.DataFrame, as_of: datetime | None = None) -> pd.DataFrame:
        return ingested(spec, "orders", str(table.folder), as_of, lambda: base)

    return read


def learned(frame: pd.DataFrame) -> dict[str, tuple[float, float]]:
    assert frame["order"].is_unique
    return dict(zip(frame["order"], zip(frame["price"], frame["stock"], strict=True), strict=True))


def test_rows_count_with_all_of_their_targets_as_they_were_known(
    table: ServedTable, ingest: Ingest
) -> None:
    base = source(("o1", 1, 1.0, 10.0))
    write(table, ("o2", 2, 2.0, None, 3), ("o3", 3, 3.0, 30.0, 4), ("o4", 4, None, 40.0, 5))
    write(table, ("o2", 2, 2.0, 20.0, 6), ("o3", 3, 3.0, 31.0, 7), first=4)
    frame = ingest(spec_of(), base)
    assert learned(frame) == {"o1": (1, 10), "o2": (2, 20), "o3": (3, 31)}
    assert list(frame.columns) == list(base.columns)
    assert frame.dtypes.to_dict() == base.dtypes.to_dict()
    used = served_in(frame)
    assert used is not None
    assert (used.rows, used.known) == (2, 3)
    assert (used.first, used.last) == (hour(6).isoformat(), hour(7).isoformat())
    assert learned(ingest(spec_of(), base, hour(5))) == {"o1": (1, 10), "o3": (3, 30)}
    assert learned(ingest(spec_of(), base, hour(3))) == {"o1": (1, 10)}


@pytest.mark.parametrize("keyed", [True, False])
def test_a_row_that_the_source_has_is_there_once(
    table: ServedTable, ingest: Ingest, keyed: bool
) -> None:
    write(table, ("o1", 1, 1.0, 10.0, 3), ("o2", 2, 2.0, 20.0, 3))
    base = source(("o1", 1, 1.0, 10.0), ("o2", 2, 2.0, 21.0))
    if not keyed:
        base = base.drop(columns=["at", "order"])
    frame = ingest(spec_of(keyed=keyed), base)
    # Without a key a row is another one as soon as one of its labels differs.
    assert sorted(frame["stock"]) == ([10, 21] if keyed else [10, 20, 21])


def test_alone_goes_by_the_targets_of_the_newest_row(table: ServedTable, ingest: Ingest) -> None:
    alone = spec_of(use="alone")
    base = source(("o1", 1, 1.0, 10.0))
    write(table, ("o2", 2, 2.0, 20.0, 3), ("o3", 3, 3.0, None, 4))
    assert learned(ingest(alone, base)) == {"o1": (1, 10), "o2": (2, 20)}
    write(table, ("o3", 3, 3.0, 30.0, 5), first=3)
    frame = ingest(alone, base)
    assert learned(frame) == {"o2": (2, 20), "o3": (3, 30)}
    used = served_in(frame)
    assert used is not None
    assert not used.source
    # A champion that names its targets otherwise: rows of before have no label of the new one.
    write(table, ("o4", 4, 4.0, 40.0, 6), ("o5", 5, 5.0, 50.0, 7), first=4, targets=("price", "n"))
    frame = ingest(alone, base)
    assert frame[["order", "price", "n"]].to_numpy().tolist() == [["o4", 4, 40], ["o5", 5, 50]]
    assert learned(ingest(spec_of(), base)) == {"o1": (1, 10), "o2": (2, 20), "o3": (3, 30)}


def test_targets_without_names_are_learned_by_their_places(
    table: ServedTable, ingest: Ingest
) -> None:
    places = counted(2)
    write(table, ("o2", 2, 2.0, 20.0, 3), ("o3", 3, 3.0, None, 4), targets=places)
    base = source(("o1", 1, 1.0, 10.0)).rename(columns=dict(zip(NAMES, places, strict=True)))
    for spec in (spec_of(), spec_of(use="alone")):
        frame = ingest(spec, base)
        assert frame[["order", "target[0]", "target[1]"]].to_numpy().tolist() == [
            ["o1", 1, 10],
            ["o2", 2, 20],
        ]
    write(table, ("o3", 3, 3.0, 30.0, 5), first=3, targets=places)
    frame = ingest(spec_of(use="alone"), base)
    assert frame["target[1]"].tolist() == [20, 30]


@pytest.mark.parametrize(
    ("drop", "said"),
    [
        (["size"], "have no column 'size'"),
        (["price", "stock"], "have no column of a label"),
    ],
)
def test_a_source_with_other_columns_than_requests_is_refused_by_name(
    table: ServedTable, ingest: Ingest, drop: list[str], said: str
) -> None:
    write(table, ("o2", 2, 2.0, 20.0, 3))
    base = source(("o1", 1, 1.0, 10.0)).drop(columns=drop)
    with pytest.raises(DataError, match=f"spec.data.source: its rows {said}, unlike rows"):
        ingest(spec_of(), base)
