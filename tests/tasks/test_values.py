"""One value is the same category, key, number and label wherever it is read."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitoring.table import text_of
from noria.errors import DataError, InvalidInput
from noria.spec import ModelSpec
from noria.tasks.encoding import Encoder
from noria.tasks.families import family
from noria.tasks.package import Feature, Input, Manifest, Output
from noria.values import label, number, place_of, text
from noria.values.columns import read_column
from serving.columns import InputBinder
from serving.oip.rest import decode
from serving.oip.v1 import decode_v1

MakeSpec = Callable[..., ModelSpec]
TASKS = family("tabular-classification")
LARGE = 2**53 + 1
DATATYPES = {
    "int64": "INT64", "uint64": "UINT64", "int8": "INT8", "float": "FP32", "double": "FP64",
    "halffloat": "FP16", "bool": "BOOL", "string": "BYTES",
}  # fmt: skip

VALUES = st.one_of(
    st.tuples(st.just(pa.int64()), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just(pa.uint64()), st.integers(0, 2**64 - 1)),
    st.tuples(st.just(pa.int8()), st.integers(-128, 127)),
    st.tuples(st.just(pa.float64()), st.floats(-(2.0**53), 2.0**53)),
    st.tuples(st.just(pa.float32()), st.floats(-(2.0**24), 2.0**24, width=32)),
    st.tuples(st.just(pa.float16()), st.floats(-2048.0, 2048.0, width=16)),
    st.tuples(st.just(pa.bool_()), st.booleans()),
    st.tuples(
        st.just(pa.string()),
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
    ),
)


def spec_with(spec_of: MakeSpec, kind: str, source: dict[str, Any]) -> ModelSpec:
    return spec_of(
        data={
            "source": source,
            "features": [{"name": "x", "type": kind}],
            "timeFeatures": [],
            "target": "y",
            "eventTime": None,
            "labelTime": None,
            "entityKey": ["k"],
            "split": {"kind": "stratified"},
        }
    )


def manifest(datatype: str, kind: Any) -> Manifest:
    return Manifest(
        model="m",
        family="tabular-regression",
        algorithm="linear",
        inputs=(Input("x", datatype, kind),),
        outputs=(Output("prediction", "FP64"),),
        features=(Feature("x", kind),),
        options={"allowMissing": True},
    )


def sent(tensor: dict[str, Any], datatype: str, kind: Any, raw: bytes = b"") -> Any:
    """What the server's predictor would read of a tensor ``x``."""
    body = json.dumps({"inputs": [{"name": "x", **tensor}]}).encode()
    call = decode(body + raw, str(len(body)).encode() if raw else None)
    return InputBinder(manifest(datatype, kind)).bind(call.tensors).columns["x"].tolist()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(given_value=VALUES)
def test_a_category_and_a_key_are_the_same_text_from_every_source(
    given_value: tuple[pa.DataType, Any], spec_of: MakeSpec, tmp_path: Path
) -> None:
    kind, value = given_value
    array = (
        pa.array([value, None], kind)
        if kind != pa.float16()
        else pa.array([np.float16(value), None], kind)
    )
    scalar = array.to_numpy(zero_copy_only=False)[0] if pa.types.is_floating(kind) else value
    name = text(scalar)
    assert name is not None
    frame = {"x": array, "k": array, "y": pa.array([0, 1])}
    pq.write_table(pa.table(frame), tmp_path / "rows.parquet")
    rows = TASKS.ingest(
        spec_with(spec_of, "categorical", {"parquet": {"paths": ["rows.parquet"]}}), tmp_path, None
    )
    assert set(rows["x"].dropna()) == set(rows["k"].dropna()) == {name}
    assert int(rows["x"].isna().sum()) == 1
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out, quoting=csv.QUOTE_ALL).writerows([["x", "k", "y"], [name, name, 1]])
    rows = TASKS.ingest(
        spec_with(spec_of, "categorical", {"csv": {"paths": ["rows.csv"]}}), tmp_path, None
    )
    assert rows["x"].tolist() == rows["k"].tolist() == [name]
    datatype = DATATYPES[str(kind)]
    if datatype == "BYTES":
        tensor, raw = {"shape": [1], "datatype": datatype, "data": [value]}, b""
    else:
        raw = array.slice(0, 1).to_numpy(zero_copy_only=False).tobytes()
        tensor = {
            "shape": [1], "datatype": datatype, "parameters": {"binary_data_size": len(raw)},
        }  # fmt: skip
    assert sent(tensor, "BYTES", "categorical", raw) == [name]
    if datatype not in ("FP16", "FP32"):  # JSON has one width of numbers
        call = decode_v1(
            json.dumps({"instances": [{"x": value}]}).encode(),
            manifest("BYTES", "categorical").inputs,
        )
        (found,) = call.tensors
        assert found.values.tolist() == [name]
    assert text_of(scalar) == name
    encoder = Encoder((Feature("x", "categorical", categories=(name,)),), None)
    assert encoder.encode({"x": np.array([scalar], dtype=object)}).tolist() == [[0.0]]
    assert place_of(name, [name]) == 0


NUMBERS = st.one_of(
    st.tuples(st.just("FP64"), st.floats(allow_nan=False, allow_infinity=False)),
    st.tuples(st.just("INT64"), st.integers(-(2**53), 2**53)),
    st.tuples(st.just("FP32"), st.floats(allow_nan=False, allow_infinity=False, width=32)),
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(given_value=NUMBERS)
def test_a_number_is_the_same_from_every_source(
    given_value: tuple[str, Any], spec_of: MakeSpec, tmp_path: Path
) -> None:
    datatype, value = given_value
    kind = {"FP64": pa.float64(), "FP32": pa.float32(), "INT64": pa.int64()}[datatype]
    table = pa.table({"x": pa.array([value], kind), "k": ["a"], "y": [1]})
    pq.write_table(table, tmp_path / "rows.parquet")
    (tmp_path / "rows.csv").write_text(f"x,k,y\n{value!r},a,1\n")
    for source in ({"parquet": {"paths": ["rows.parquet"]}}, {"csv": {"paths": ["rows.csv"]}}):
        rows = TASKS.ingest(spec_with(spec_of, "numeric", source), tmp_path, None)
        assert rows["x"].tolist() == [float(value)]
    tensor = {"shape": [1], "datatype": datatype, "data": [value]}
    assert sent(tensor, "FP64", "numeric") == [float(value)]
    assert number(value) == float(value)


WHEN = datetime(2026, 1, 31, 9, 30, 0, 500000, tzinfo=UTC)
READ_AS_TEXT = [
    (pa.array([Decimal("1.50"), Decimal("7.00")], pa.decimal128(9, 2)), ["1.5", "7"]),
    (pa.array([Decimal("1.50")], pa.decimal32(9, 2)), ["1.5"]),
    (pa.array([Decimal("1.50")], pa.decimal256(50, 2)), ["1.5"]),
    (pa.array([10**37], pa.decimal128(38, 0)), [str(10**37)]),
    (pa.array([date(2026, 1, 31)]), ["2026-01-31"]),
    (pa.array([date(2026, 1, 31)], pa.date64()), ["2026-01-31"]),
    (pa.array([time(9, 30)], pa.time64("us")), ["09:30:00"]),
    (pa.array([1], pa.time64("ns")), ["00:00:00.000000001"]),
    (pa.array([WHEN]), ["2026-01-31T09:30:00.5Z"]),
    (pa.array([WHEN], pa.timestamp("ms", "Asia/Seoul")), ["2026-01-31T09:30:00.5Z"]),
    (pa.array([1], pa.timestamp("ns")), ["1970-01-01T00:00:00.000000001Z"]),
    (pa.array([b"A1"]), ["A1"]),
    (pa.array([b"A1"], pa.binary(2)), ["A1"]),
    (pa.array(["A1"], pa.large_string()), ["A1"]),
    (pa.array(["A1"], pa.string_view()), ["A1"]),
    (pa.array([LARGE, None, LARGE + 1]), [str(LARGE), None, str(LARGE + 1)]),
    (pa.array([2**64 - 1, None], pa.uint64()), [str(2**64 - 1), None]),
    (pa.array([7, None, 7]).dictionary_encode(), ["7", None, "7"]),
    (pa.array([0.1, 7.0, None], pa.float32()), ["0.1", "7", None]),
    (pa.array([True, None]), ["true", None]),
    (pa.array([UUID(int=5).bytes], pa.uuid()), [str(UUID(int=5))]),
    (pa.nulls(2), [None, None]),
    (pa.array(["", "NA", "null", "nan", "None"]), ["", "NA", "null", "nan", "None"]),
]


@pytest.mark.parametrize(
    ("array", "expected"), READ_AS_TEXT, ids=lambda a: str(getattr(a, "type", ""))
)
def test_a_category_of_any_type_is_read_exactly(
    array: pa.Array, expected: list[str | None], spec_of: MakeSpec, tmp_path: Path
) -> None:
    labels = pa.array([place % 2 for place in range(len(array))])
    pq.write_table(pa.table({"x": array, "k": array, "y": labels}), tmp_path / "rows.parquet")
    source = {"parquet": {"paths": ["rows.parquet"]}}
    rows = TASKS.ingest(spec_with(spec_of, "categorical", source), tmp_path, None)
    for name in ("x", "k"):
        found = sorted(str(value) for value in rows[name].dropna())
        assert found == sorted(value for value in expected if value is not None)
    assert read_column(array, "text")[0].tolist() == expected


REFUSED = [
    ("categorical", pa.array([timedelta(hours=1)] * 2), "duration"),
    ("categorical", pa.array([[1], [2]]), "list<"),
    ("categorical", pa.array([{"a": 1}] * 2), "struct<"),
    ("categorical", pa.array([b"\xff"] * 2), "not UTF-8"),
    ("categorical", pa.array([1.0, 2.0**60]), "beyond 2^53"),
    ("categorical", pa.array([1.0, 2.0**30], pa.float32()), "beyond 2^24"),
    ("categorical", pa.array([1.0, np.inf]), "not a finite number"),
    ("numeric", pa.array([WHEN] * 2), "the column is timestamp"),
    ("numeric", pa.array([date(2026, 1, 31)] * 2), "the column is date32"),
    ("numeric", pa.array([timedelta(hours=1)] * 2), "the column is duration"),
    ("numeric", pa.array(["1.5", "far"]), "'1.5' is not a number: the column is string"),
    ("numeric", pa.array([[1.0]] * 2), "the column is list"),
    ("numeric", pa.array([1, LARGE]), f"row 2: {LARGE} is beyond 2^53"),
    ("numeric", pa.array([1.0, -np.inf]), "row 2: -inf is not a finite number"),
    ("boolean", pa.array([0, 6]), "row 2: 6 is neither 0 nor 1"),
    ("boolean", pa.array(["true", "false"]), "'true' is not true or false: the column is string"),
    ("boolean", pa.array([WHEN] * 2), "the column is timestamp"),
]


@pytest.mark.parametrize(("kind", "array", "said"), REFUSED)
def test_what_the_rule_cannot_take_is_refused_with_column_row_and_fix(
    kind: str, array: pa.Array, said: str, spec_of: MakeSpec, tmp_path: Path
) -> None:
    table = pa.table({"x": array, "k": ["a", "b"], "y": [0, 1]})
    pq.write_table(table, tmp_path / "rows.parquet")
    spec = spec_with(spec_of, kind, {"parquet": {"paths": ["rows.parquet"]}})
    with pytest.raises(DataError) as caught:
        TASKS.ingest(spec, tmp_path, None)
    (problem,) = caught.value.problems
    assert problem.path.endswith("rows.parquet: column x")
    assert problem.message.startswith("row ")
    assert said in problem.message
    assert problem.fix
    with pytest.raises(DataError) as again:
        TASKS.validate(spec, table.to_pandas())
    assert any(problem.path == "column x" for problem in again.value.problems)


def test_the_problems_of_all_columns_are_told_at_once(spec_of: MakeSpec, tmp_path: Path) -> None:
    table = {
        "start": pa.array([1767225600, 1767225601]),
        "end": pa.array(["2026-01-01", "soon"]),
        "trip": pa.array([[1], [2]]),
        "city": pa.array([timedelta(1), None]),
        "distance": pa.array([WHEN, None]),
        "rain": pa.array([6, 0]),
        "late": pa.array([{"a": 1}, None]),
    }
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    with pytest.raises(DataError) as caught:
        TASKS.ingest(spec_of(), tmp_path, None)
    said = {problem.path.rpartition(" ")[2]: problem.message for problem in caught.value.problems}
    assert set(said) == set(table)
    assert "look like seconds" in said["start"]
    assert "'soon' is not an ISO-8601 time" in said["end"]


@pytest.mark.parametrize(
    ("array", "fine"),
    [
        (pa.array([1767225600000, None]), True),
        (pa.array([1767225600000.0, None]), True),
        (pa.array([WHEN.replace(tzinfo=None), None]), True),
        (pa.array([date(2026, 1, 1), None]), True),
        (pa.array(["2026-01-01T09:00:00+09:00", "2026-01-01 00:00"]), True),
        (pa.array(["9999-12-31T00:00:00Z", None]), True),
        (pa.array([1767225600.5, None]), False),
        (pa.array([1767225600000000, None]), False),
        (pa.array([10**13, None], pa.timestamp("s")), False),
        (pa.array([True, None]), False),
        (pa.array(["2026-02-30", None]), False),
        (pa.array([Decimal("1.5"), None]), False),
    ],
)
def test_a_moment_is_read_or_refused(array: pa.Array, fine: bool) -> None:
    _, fault = read_column(array, "time")
    assert (fault is None) is fine


@pytest.mark.parametrize(
    ("array", "classes"),
    [
        (pa.array(["NA", "None"]), ["NA", "None"]),
        (pa.array([1.0, 0.0, None]), [1, 0, None]),
        (pa.array([0.5, 1.0]), ["0.5", "1"]),
        (pa.array([Decimal("1.00"), Decimal("2.00")]), [1, 2]),
        (pa.array([True, False]), [True, False]),
        (pa.array([LARGE, None]), [LARGE, None]),
        (pa.array([b"yes", b"no"]), ["yes", "no"]),
    ],
)
def test_classes_are_texts_integers_or_booleans(array: pa.Array, classes: list[Any]) -> None:
    found, fault = read_column(array, "label")
    assert fault is None
    assert found.tolist() == classes
    assert [type(value) for value in found.tolist()] == [type(value) for value in classes]


@pytest.mark.parametrize(
    ("said", "classes", "place"),
    [
        ("yes", ("no", "yes"), 1),
        ("YES", ("no", "yes"), None),
        ("banana", ("no", "yes"), None),
        (True, ("no", "yes"), None),
        (1, (0, 1), 1),
        (1.0, (0, 1), 1),
        ("1", (0, 1), 1),
        (True, (0, 1), 1),
        ("true", (0, 1), None),
        (2, (0, 1), None),
        (True, (False, True), 1),
        ("true", (False, True), 1),
        (1, (False, True), 1),
        (None, (0, 1), None),
        (float("nan"), ("nan", "x"), None),
        (10**400, (0, 1), None),
    ],
)
def test_a_label_is_read_by_the_type_of_the_classes(
    said: Any, classes: tuple[Any, ...], place: int | None
) -> None:
    assert place_of(said, classes) == place


@pytest.mark.parametrize("value", [[1], {"a": 1}, timedelta(1), 1 + 2j, b"\xff", 10**400, np.inf])
def test_a_value_without_a_text_is_refused_and_never_missing(value: object) -> None:
    with pytest.raises(InvalidInput):
        text(value)
    with pytest.raises(InvalidInput):
        label(value)


def test_a_frame_that_mixes_types_is_read_value_by_value() -> None:
    mixed = pd.Series(["a", 7, 7.0, True, None], dtype=object)
    found, fault = read_column(mixed, "text")
    assert fault is None
    assert found.tolist() == ["a", "7", "7", "true", None]
    _, fault = read_column(mixed, "number")
    assert fault is not None
    assert fault.row == 0
