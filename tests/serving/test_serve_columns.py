"""From tensors to a predictor's columns, for every kind of input."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria.tasks.package import Feature, Input, Manifest, Output
from serving.columns import InputBinder
from serving.oip.rest import decode
from serving.oip.v1 import decode_v1
from serving.refusal import Refusal

INPUTS = (
    Input("carrier", "BYTES", "categorical"),
    Input("distance", "FP64", "numeric"),
    Input("seats", "INT32", "numeric"),
    Input("night", "BOOL", "boolean"),
    Input("scheduled", "INT64", "timestamp"),
    Input("flight_id", "BYTES", "categorical", optional=True),
    Input("wind", "FP32", "numeric", optional=True),
)
GOOD: dict[str, tuple[str, list[Any]]] = {
    "carrier": ("BYTES", ["UA", "B6"]),
    "distance": ("FP64", [1400.0, 200.5]),
    "seats": ("INT64", [180, 50]),
    "night": ("BOOL", [True, False]),
    "scheduled": ("INT64", [1_357_020_000_000, 0]),
}


def manifest(inputs: tuple[Input, ...] = INPUTS, **options: Any) -> Manifest:
    return Manifest(
        model="m",
        family="tabular-regression",
        algorithm="linear",
        inputs=inputs,
        outputs=(Output("prediction", "FP64"),),
        features=(Feature("distance", "numeric"),),
        options=options,
    )


def bind(tensors: dict[str, tuple[str, list[Any]]], **options: Any) -> dict[str, Any]:
    body = {
        "inputs": [
            {"name": name, "datatype": datatype, "shape": [len(data)], "data": data}
            for name, (datatype, data) in tensors.items()
        ]
    }
    request = decode(json.dumps(body).encode(), None)
    return InputBinder(manifest(**options)).bind(request.tensors).columns


def test_every_kind_becomes_its_column() -> None:
    columns = bind(GOOD)
    assert columns["carrier"].dtype == object
    assert columns["carrier"].tolist() == ["UA", "B6"]
    assert columns["distance"].dtype == np.float64
    assert columns["seats"].dtype == np.int64
    assert columns["night"].dtype == np.bool_
    assert columns["scheduled"].tolist() == [1_357_020_000_000, 0]
    assert "wind" not in columns


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2013-01-01T06:00:00Z", 1_357_020_000_000),
        ("2013-01-01T06:00:00", 1_357_020_000_000),
        ("2013-01-01T01:00:00-05:00", 1_357_020_000_000),
        ("2013-01-01T06:00:00.123Z", 1_357_020_000_123),
        ("1969-12-31T23:59:59Z", -1000),
    ],
)
def test_a_time_may_be_written_as_iso_8601(text: str, milliseconds: int) -> None:
    columns = bind({**GOOD, "scheduled": ("BYTES", [text, text])})
    assert columns["scheduled"].dtype == np.int64
    assert columns["scheduled"].tolist() == [milliseconds] * 2


def test_an_optional_input_may_be_absent_or_have_gaps() -> None:
    columns = bind({**GOOD, "wind": ("FP32", [None, 3.5]), "flight_id": ("BYTES", ["a", None])})
    assert np.isnan(columns["wind"][0])
    assert columns["wind"][1] == 3.5
    assert columns["flight_id"].tolist() == ["a", None]


@pytest.mark.parametrize("allowed", [True, ["distance", "carrier"]])
def test_the_manifest_may_allow_gaps(allowed: object) -> None:
    tensors = {**GOOD, "distance": ("FP64", [None, 1.0]), "carrier": ("BYTES", [None, "UA"])}
    columns = bind(tensors, allowMissing=allowed)
    assert np.isnan(columns["distance"][0])
    assert columns["carrier"].tolist() == [None, "UA"]


@pytest.mark.parametrize(
    ("name", "datatype", "data", "message"),
    [
        ("carrier", "FP64", [1, 2e18], r"inputs\[0\].data\[1\]: 2e\+18 is beyond 2\^53"),
        ("carrier", "BYTES", ["UA", None], r"inputs\[0\].data\[1\]: null, and carrier may not"),
        ("distance", "BYTES", ["1", "2"], r"inputs\[1\].datatype: BYTES does not fit"),
        ("distance", "BOOL", [True, True], r"inputs\[1\].datatype: BOOL does not fit"),
        ("distance", "FP64", [1.0, None], r"inputs\[1\].data\[1\]: NaN or null, and distance"),
        ("seats", "FP64", [1.0, 2.0], r"inputs\[2\].datatype: FP64 does not fit the input seats"),
        ("seats", "INT64", [1, 2**40], r"inputs\[2\].data: 1099511627776 is out of the range"),
        ("distance", "INT64", [1, 2**53 + 1], r"inputs\[1\].data\[1\]: 9007199254740993 is bey"),
        ("distance", "FP64", [1, 2**53 + 1], r"inputs\[1\].data\[1\]: 9007199254740993 is beyo"),
        ("night", "INT8", [1, 6], r"inputs\[3\].data\[1\]: 6 is neither 0 nor 1, and night is a"),
        ("night", "BYTES", ["1", "0"], r"inputs\[3\].datatype: BYTES does not fit the input night"),
        ("night", "BOOL", [True, None], r"inputs\[3\].data\[1\]: NaN or null, and night may not"),
        ("scheduled", "FP64", [1.0, 2.0], r"inputs\[4\].datatype: FP64 does not fit the time"),
        ("scheduled", "BYTES", ["1.1.2013", "x"], r"inputs\[4\].data\[0\]: '1.1.2013' is not an"),
        ("scheduled", "BYTES", [None, "x"], r"inputs\[4\].data\[0\]: null is not a time"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    name: str, datatype: str, data: list[Any], message: str
) -> None:
    with pytest.raises(Refusal, match=message):
        bind({**GOOD, name: (datatype, data)})


@pytest.mark.parametrize(
    ("datatype", "data", "names"),
    [
        ("INT64", [7, 2**53 + 1], ["7", "9007199254740993"]),
        ("UINT64", [7, 2**64 - 1], ["7", "18446744073709551615"]),
        ("FP32", [0.1, 7.0], ["0.1", "7"]),
        ("FP64", [0.1, -0.0], ["0.1", "0"]),
        ("BOOL", [True, False], ["true", "false"]),
        ("BYTES", ["7.0", "007"], ["7.0", "007"]),
    ],
)
def test_a_category_of_any_datatype_has_the_text_that_training_gave_it(
    datatype: str, data: list[Any], names: list[str]
) -> None:
    assert bind({**GOOD, "carrier": (datatype, data)})["carrier"].tolist() == names


@pytest.mark.parametrize(
    ("datatype", "data"),
    [("BOOL", [True, None]), ("FP64", [1.0, None]), ("FP32", [1.0, None])],
)
def test_a_boolean_may_be_null_where_training_rows_may(datatype: str, data: list[Any]) -> None:
    night = bind({**GOOD, "night": (datatype, data)}, allowMissing=True)["night"]
    assert night.dtype == np.float64
    np.testing.assert_array_equal(night, [1.0, np.nan])


def test_an_infinity_is_refused_even_where_a_gap_is_not() -> None:
    raw = np.array([np.inf, 1.0]).tobytes()
    tensor = {
        "name": "x", "datatype": "FP64", "shape": [2, 1],
        "parameters": {"binary_data_size": len(raw)},
    }  # fmt: skip
    head = json.dumps({"inputs": [tensor]}).encode()
    request = decode(head + raw, str(len(head)).encode())
    only = manifest((Input("x", "FP64", "numeric", optional=True),))
    with pytest.raises(Refusal, match=r"inputs\[0\].data\[0\]: inf is not a finite number"):
        InputBinder(only).bind(request.tensors)


def test_a_matrix_is_refused_when_an_input_is_not_a_number() -> None:
    tensor = {"name": "x", "datatype": "FP64", "shape": [1, 5], "data": [1, 2, 3, 4, 5]}
    request = decode(json.dumps({"inputs": [tensor]}).encode(), None)
    with pytest.raises(Refusal, match="inputs that are not numbers: send one tensor per input"):
        InputBinder(manifest()).bind(request.tensors)


def test_a_matrix_of_integers_and_floats_keeps_each_kind() -> None:
    inputs = (Input("n", "INT64", "numeric"), Input("m", "INT64", "numeric"))
    tensor = {"name": "x", "datatype": "INT64", "shape": [2, 2], "data": [1, 2, 3, 4]}
    request = decode(json.dumps({"inputs": [tensor]}).encode(), None)
    columns = InputBinder(manifest(inputs)).bind(request.tensors).columns
    assert {name: column.tolist() for name, column in columns.items()} == {"n": [1, 3], "m": [2, 4]}
    floats = {**tensor, "datatype": "FP64"}
    request = decode(json.dumps({"inputs": [floats]}).encode(), None)
    with pytest.raises(Refusal, match="FP64 does not fit the input n; send INT64"):
        InputBinder(manifest(inputs)).bind(request.tensors)


@given(st.permutations(sorted(GOOD)))
def test_the_order_of_tensors_does_not_matter(order: list[str]) -> None:
    columns = bind({name: GOOD[name] for name in order})
    expected = bind(GOOD)
    assert {name: column.tolist() for name, column in columns.items()} == {
        name: column.tolist() for name, column in expected.items()
    }


def test_v1_rows_are_the_same_columns() -> None:
    rows = [
        {name: data[row] for name, (_, data) in GOOD.items()} | {"scheduled": "1970-01-01T00:00Z"}
        for row in range(2)
    ]
    request = decode_v1(json.dumps({"instances": rows}).encode(), INPUTS)
    columns = InputBinder(manifest()).bind(request.tensors).columns
    assert columns["scheduled"].tolist() == [0, 0]
    assert columns["night"].tolist() == [True, False]
    assert columns["seats"].tolist() == [180, 50]
    rows = [{**row, "carrier": name, "night": 1} for row, name in zip(rows, (7, 0.5), strict=True)]
    request = decode_v1(json.dumps({"instances": rows}).encode(), INPUTS)
    columns = InputBinder(manifest()).bind(request.tensors).columns
    assert columns["carrier"].tolist() == ["7", "0.5"]
    assert columns["night"].tolist() == [1.0, 1.0]


def test_v1_rows_may_leave_an_optional_key_out_one_by_one() -> None:
    optional = (*INPUTS[:4], Input("scheduled", "INT64", "timestamp", optional=True), *INPUTS[5:])
    row = {"carrier": "UA", "distance": 1.0, "seats": 1, "night": True}
    rows = [
        row | {"wind": 3.5, "scheduled": 1000},
        row | {"flight_id": "a"},
        row | {"wind": None, "flight_id": None, "scheduled": None},
    ]
    request = decode_v1(json.dumps({"instances": rows}).encode(), optional)
    columns = InputBinder(manifest(optional)).bind(request.tensors).columns
    assert columns["flight_id"].tolist() == [None, "a", None]
    np.testing.assert_array_equal(columns["wind"], [3.5, np.nan, np.nan])
    np.testing.assert_array_equal(columns["scheduled"], [1000.0, np.nan, np.nan])
    rows[0]["scheduled"] = "1970-01-01T00:00:02Z"
    request = decode_v1(json.dumps({"instances": rows}).encode(), optional)
    columns = InputBinder(manifest(optional)).bind(request.tensors).columns
    np.testing.assert_array_equal(columns["scheduled"], [2000.0, np.nan, np.nan])


@pytest.mark.parametrize("first", [True, False])
def test_v1_rows_may_not_leave_a_required_key_out(first: bool) -> None:
    row = {name: data[0] for name, (_, data) in GOOD.items()}
    rows = [row, {name: value for name, value in row.items() if name != "scheduled"}]
    with pytest.raises(Refusal, match=rf"instances\[{int(not first)}\].scheduled: missing"):
        decode_v1(json.dumps({"instances": rows[::-1] if first else rows}).encode(), INPUTS)


@pytest.mark.parametrize(
    ("milliseconds", "taken"),
    [
        (253_402_300_799_999, True),
        (253_402_300_800_000, False),
        (-62_135_596_800_000, True),
        (-62_135_596_800_001, False),
        (2**63 - 1, False),
        (-(2**63), False),
    ],
)
def test_a_time_lies_in_the_years_1_to_9999(milliseconds: int, taken: bool) -> None:
    tensors = {**GOOD, "scheduled": ("INT64", [0, milliseconds])}
    if taken:
        assert bind(tensors)["scheduled"].tolist() == [0, milliseconds]
        return
    with pytest.raises(Refusal, match=r"inputs\[4\].data\[1\]: -?\d+ is no time"):
        bind(tensors)


def test_rows_are_bounded_whatever_they_weigh() -> None:
    rows = 2**20 + 1
    only = manifest((Input("x", "FP64", "numeric"),))
    tensor = {
        "name": "x", "datatype": "INT8", "shape": [rows], "parameters": {"binary_data_size": rows},
    }  # fmt: skip
    head = json.dumps({"inputs": [tensor]}).encode()
    request = decode(head + bytes(rows), str(len(head)).encode())
    with pytest.raises(Refusal, match=r"inputs\[0\].shape: 1048577 rows; at most 1048576"):
        InputBinder(only).bind(request.tensors)


def test_a_moment_may_be_missing_where_training_had_gaps_and_the_event_time_may_not() -> None:
    made = msgspec.structs.replace(manifest(allowMissing=True), event_time="at")
    times = (Input("joined", "INT64", "timestamp"), Input("at", "INT64", "timestamp"))
    made = msgspec.structs.replace(made, inputs=times)
    binder = InputBinder(made)

    def asked(joined: tuple[str, list[Any]], at: list[Any]) -> dict[str, Any]:
        sent = {"joined": joined, "at": ("BYTES", at)}
        body = {
            "inputs": [
                {"name": name, "datatype": datatype, "shape": [len(data)], "data": data}
                for name, (datatype, data) in sent.items()
            ]
        }
        return binder.bind(decode(json.dumps(body).encode(), None).tensors).columns

    noon = "2013-01-01T12:00:00Z"
    found = asked(("BYTES", [noon, None]), [noon, noon])["joined"]
    assert found[0] == 1_357_041_600_000
    assert np.isnan(found[1])
    with pytest.raises(Refusal, match=r"inputs\[1\]\.data\[1\]: null is not a time"):
        asked(("BYTES", [noon, None]), [noon, None])
    rows = [{"joined": None, "at": 0}, {"joined": 86_400_000, "at": 0}]
    request = decode_v1(json.dumps({"instances": rows}).encode(), made.inputs)
    column = binder.bind(request.tensors).columns["joined"]
    assert np.isnan(column[0])
    assert column[1] == 86_400_000
    strict = InputBinder(msgspec.structs.replace(made, options={}))
    with pytest.raises(Refusal, match="null, and joined may not be missing"):
        strict.bind(request.tensors)
