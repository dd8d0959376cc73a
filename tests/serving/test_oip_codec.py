"""The codec against json and numpy themselves."""

from __future__ import annotations

import json
import math
import re
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from noria.exchange.datatypes import DATATYPES
from serving.oip.rest import decode
from serving.oip.tensors import may_hold_booleans
from serving.refusal import Refusal

FINITE = st.floats(allow_nan=False, allow_infinity=False)
INT64 = st.integers(-(2**63), 2**63 - 1)


def body_of(data: object, datatype: str = "FP64", shape: list[int] | None = None) -> bytes:
    count = len(data) if isinstance(data, list) else 0
    tensor = {"name": "x", "datatype": datatype, "shape": shape or [count], "data": data}
    return json.dumps({"inputs": [tensor]}).encode()


def values_of(body: bytes) -> np.ndarray[Any, Any]:
    (tensor,) = decode(body, None).tensors
    return tensor.values


def raw_body(text: str, datatype: str = "FP64", count: int = 3) -> bytes:
    """A request whose data list is this very text."""
    return (
        f'{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":[{count}],"data":{text}}}]}}'
    ).encode()


@given(st.lists(FINITE, min_size=1, max_size=50))
def test_floats_are_exactly_what_json_reads(numbers: list[float]) -> None:
    body = body_of(numbers)
    expected = json.loads(body)["inputs"][0]["data"]
    found = values_of(body)
    assert found.dtype == np.float64
    assert struct.pack(f"{len(expected)}d", *expected) == found.tobytes()


@given(
    st.lists(
        st.from_regex(
            r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,2})?", fullmatch=True
        ),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from([",", " , ", ",\n\t"]),
)
def test_any_spelling_of_a_number_is_read_as_python_reads_it(
    spelled: list[str], comma: str
) -> None:
    # A whole number that float64 can't hold is refused by name, see test_serve_columns.
    assume(all("." in n or "e" in n.lower() or int(n) == int(float(n)) for n in spelled))
    found = values_of(raw_body(f"[{comma.join(spelled)}]", count=len(spelled)))
    assert found.tolist() == [float(number) for number in spelled]


@given(st.lists(INT64, min_size=1, max_size=30))
def test_integers_are_exact(numbers: list[int]) -> None:
    found = values_of(body_of(numbers, "INT64"))
    assert found.dtype == np.int64
    assert found.tolist() == numbers


@given(st.lists(st.text(max_size=8), min_size=1, max_size=20))
def test_strings_are_exact(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    assert values_of(body_of(texts, "BYTES")).tolist() == texts


@given(rows=st.integers(1, 6), columns=st.integers(1, 6), data=st.data(), flat=st.booleans())
def test_nested_and_flat_lists_are_the_same_tensor(
    rows: int, columns: int, data: st.DataObject, flat: bool
) -> None:
    numbers = data.draw(st.lists(FINITE, min_size=rows * columns, max_size=rows * columns))
    nested = np.array(numbers).reshape(rows, columns).tolist()
    found = values_of(body_of(numbers if flat else nested, shape=[rows, columns]))
    assert found.tolist() == numbers


@pytest.mark.parametrize(
    "text",
    [
        "[1,,2]", "[1,2,]", "[,1,2]", "[1 2,3]", "[NaN,1,2]", "[Infinity,1,2]", "[1,2,-]",
        "[01,2,3]", "[+1,2,3]", "[.5,2,3]", "[1.,2,3]", "[0x10,2,3]", "[1e,2,3]", "[1,2,3",
        "[1,2,3]]", "[1e999,2,3]", "[1_0,2,3]", "['1',2,3]",
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match=r"^body: not JSON") as refused:
        decode(raw_body(text), None)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("datatype", "text", "message"),
    [
        ("FP64", '[1,"2",3]', r"inputs\[0\].data\[1\]: '2' is not a number"),
        ("FP64", "[1,2,true]", r"inputs\[0\].data\[2\]: true is not a number"),
        ("FP64", "[false,2,3]", r"inputs\[0\].data\[0\]: false is not a number"),
        ("FP64", "[1,{},3]", r"inputs\[0\].data\[1\]: {} is not a number"),
        ("FP64", "[1,[2],3]", r"inputs\[0\].data\[1\]: \[2\] is not a number"),
        ("FP64", "[1,2]", r"inputs\[0\].data: 2 values; the shape \[3\] needs 3"),
        ("FP64", "[[1,2,3]]", r"inputs\[0\].data: 1 items; the shape \[3\] needs 3"),
        ("FP64", "{}", r"inputs\[0\].data: {} is not a list"),
        ("FP64", "null", r"inputs\[0\].data: null is not a list"),
        ("FP32", "[1,2,1e39]", r"inputs\[0\].data\[2\]: 1e\+39 is not a number that FP32"),
        ("INT64", "[1,2.0,3]", r"inputs\[0\].data\[1\]: 2.0 is not an integer"),
        ("INT64", "[1,null,3]", r"inputs\[0\].data\[1\]: null is not an integer"),
        ("INT64", "[1,true,3]", r"inputs\[0\].data\[1\]: true is not an integer"),
        ("INT64", "[1,9223372036854775808,3]", r"inputs\[0\].data\[1\]: 9223372036854775808"),
        ("INT8", "[1,128,3]", r"inputs\[0\].data\[1\]: 128 is not an integer that INT8"),
        ("UINT8", "[1,-1,3]", r"inputs\[0\].data\[1\]: -1 is not an integer that UINT8"),
        ("BOOL", "[true,1,false]", r"inputs\[0\].data\[1\]: 1 is not true or false"),
        ("BYTES", '["a",1,"b"]', r"inputs\[0\].data\[1\]: 1 is not a string"),
        ("FP65", "[1,2,3]", r"inputs\[0\].datatype: 'FP65' is not one of BOOL"),
    ],
)
def test_a_value_that_does_not_fit_is_named(datatype: str, text: str, message: str) -> None:
    with pytest.raises(Refusal, match=message):
        decode(raw_body(text, datatype), None)


def test_a_null_in_a_float_tensor_is_nan() -> None:
    found = values_of(raw_body("[1,null,3]"))
    assert math.isnan(found[1])
    assert found[[0, 2]].tolist() == [1, 3]


@given(
    st.recursive(st.booleans() | FINITE | st.text(max_size=5), lambda x: st.lists(x, max_size=4))
)
def test_no_boolean_goes_unseen(value: object) -> None:
    body = json.dumps({"refer": "frr", "inputs": value}).encode()
    if re.search(rb"true|false", body):
        assert may_hold_booleans(body)


def test_booleans_are_looked_for_only_where_they_may_be() -> None:
    assert not may_hold_booleans(body_of([1.5, 2.5]))
    assert may_hold_booleans(b"r" * 100)


@settings(max_examples=200)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_garbage_is_refused_and_never_more(body: bytes) -> None:
    with pytest.raises(Refusal):
        decode(body, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["id", "inputs", "outputs", "name", "shape", "datatype", "data", "parameters",
             "binary_data_size", "binary_data"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=15,
)  # fmt: skip


@settings(max_examples=300)
@given(
    st.fixed_dictionaries(
        {
            "inputs": st.lists(
                st.fixed_dictionaries(
                    {
                        "name": st.just("x") | JSON,
                        "datatype": st.sampled_from(sorted(DATATYPES)) | JSON,
                        "shape": st.lists(st.integers(0, 3), max_size=3) | JSON,
                        "data": st.lists(JSON, max_size=4) | JSON,
                    },
                    optional={"parameters": JSON},
                ),
                max_size=2,
            )
            | JSON
        },
        optional={"id": JSON, "outputs": JSON, "parameters": JSON},
    ),
    st.none() | st.integers(-5, 400),
)
def test_a_malformed_request_is_refused_and_never_more(
    document: object, header_length: int | None
) -> None:
    body = json.dumps(document).encode()
    header = None if header_length is None else str(header_length).encode()
    try:
        decode(body, header)
    except Refusal as refusal:
        assert refusal.status == 400  # noqa: PT017 - some are well-formed by chance
        assert ":" in str(refusal)  # noqa: PT017


def test_nesting_that_is_too_deep_is_refused() -> None:
    with pytest.raises(Refusal, match=r"^body: not JSON"):
        decode(b'{"inputs":' + b"[" * 100_000, None)


@given(
    st.sampled_from(["FP64", "FP32", "INT64", "INT8", "UINT16", "BOOL", "BYTES"]),
    st.integers(1, 5),
    st.data(),
)
def test_a_binary_tensor_is_what_was_sent(datatype: str, count: int, data: st.DataObject) -> None:
    if datatype == "BYTES":
        texts = data.draw(st.lists(st.text(max_size=5), min_size=count, max_size=count))
        encoded = [text.encode("utf-8", "replace") for text in texts]
        raw = b"".join(struct.pack("<I", len(item)) + item for item in encoded)
        expected: list[object] = [item.decode() for item in encoded]
    else:
        dtype = DATATYPES[datatype].dtype
        raw = data.draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
        raw = bytes(byte & 1 for byte in raw) if datatype == "BOOL" else raw
    tensor = {
        "name": "x", "datatype": datatype, "shape": [count],
        "parameters": {"binary_data_size": len(raw)},
    }  # fmt: skip
    head = json.dumps({"inputs": [tensor]}).encode()
    (found,) = decode(head + raw, str(len(head)).encode()).tensors
    if datatype == "BYTES":
        assert found.values.tolist() == expected
    else:  # by the bytes: no NaN equals another one
        assert found.values.tobytes() == raw


def test_binary_tensors_without_the_header_are_refused_with_what_is_missing() -> None:
    tensor = {
        "name": "x", "datatype": "FP64", "shape": [2], "parameters": {"binary_data_size": 16},
    }  # fmt: skip
    body = json.dumps({"inputs": [tensor]}).encode() + bytes(16)
    said = "^body: not JSON: .*; binary tensors need the header Inference-Header-Content-Length"
    with pytest.raises(Refusal, match=said):
        decode(body, None)


@pytest.mark.parametrize(
    ("datatype", "count", "raw", "message"),
    [
        ("BOOL", 3, b"\x01\x00\x07", "the byte of element 2 is 7, and a BOOL is 0 or 1"),
        (
            "BYTES",
            2,
            b"\x01\x00\x00\x00a",
            "the 2 elements that the shape says: 1 are there, and 0",
        ),
        ("BYTES", 1, b"\x05\x00\x00\x00a", "BYTES element 0 has 5 bytes, and 1 are left"),
        ("BYTES", 1, b"\x01\x00\x00\x00\xff", "the string of element 0 is not UTF-8"),
    ],
)
def test_bytes_that_do_not_fit_are_named_by_their_element(
    datatype: str, count: int, raw: bytes, message: str
) -> None:
    tensor = {
        "name": "x", "datatype": datatype, "shape": [count],
        "parameters": {"binary_data_size": len(raw)},
    }  # fmt: skip
    head = json.dumps({"inputs": [tensor]}).encode()
    with pytest.raises(Refusal, match=message):
        decode(head + raw, str(len(head)).encode())


@pytest.mark.parametrize(
    ("size", "tail", "header", "message"),
    [
        (15, b"x" * 15, None, r"inputs\[0\].parameters.binary_data_size: 15 bytes of data"),
        (16, b"x" * 15, None, r"binary_data_size: 16, but only 15 bytes are left"),
        (16, b"x" * 17, None, "body: 1 bytes after the last binary tensor"),
        (-1, b"", None, "binary_data_size: -1 is not a number of bytes"),
        ("a", b"", None, "binary_data_size: 'a' is not a number of bytes"),
        (16, b"x" * 16, b"99999", "Inference-Header-Content-Length: 99999, but the body has"),
        (16, b"x" * 16, b"-4", "Inference-Header-Content-Length: '-4' is not a number"),
        (16, b"x" * 16, b"5", "body: not JSON"),
    ],
)
def test_a_binary_body_that_does_not_add_up_is_refused(
    size: object, tail: bytes, header: bytes | None, message: str
) -> None:
    tensor = {
        "name": "x", "datatype": "FP64", "shape": [2], "parameters": {"binary_data_size": size},
    }  # fmt: skip
    head = json.dumps({"inputs": [tensor]}).encode()
    with pytest.raises(Refusal, match=message):
        decode(head + tail, header or str(len(head)).encode())
