"""Binary tensors in logged events: the same as their JSON, with the header or without it."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitoring.config import MonitorConfig
from monitoring.events import read_events
from monitoring.payload import read_payload
from monitoring.records import RequestRecord, ResponseRecord, floats
from noria.errors import InvalidInput
from noria.exchange.datatypes import DATATYPES
from noria.spec import load_model

HEADER = "Inference-Header-Content-Length"
ROWS = 3
COLUMNS: dict[str, tuple[str, Sequence[Any]]] = {
    "carrier": ("BYTES", ["AA", "비행", "B6"]),
    "distance": ("FP32", [1.5, 0.1, float("nan")]),
    "wind": ("INT16", [1, -2, 3]),
    "scheduled": ("INT64", [1_357_084_800_000, 1_357_000_000_000, 1_356_000_000_000]),
    "flight_id": ("UINT64", [7, 8, 9]),
}


@pytest.fixture
def config(model_file: Callable[..., Path]) -> MonitorConfig:
    return MonitorConfig.from_model(load_model(model_file()))


def raw_of(datatype: str, values: Sequence[Any]) -> bytes:
    if datatype == "BYTES":
        encoded = [value.encode() for value in values]
        return b"".join(struct.pack("<I", len(one)) + one for one in encoded)
    return np.array(values, DATATYPES[datatype].dtype).tobytes()


def sent(
    side: str,
    tensors: dict[str, tuple[str, Sequence[Any]]],
    *,
    binary: bool,
    change: dict[str, dict[str, Any]] | None = None,
) -> tuple[bytes, bytes]:
    """The JSON and the bytes after it; ``change`` is what is said otherwise of a tensor."""
    described, tail = [], b""
    for name, (datatype, values) in tensors.items():
        tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": [len(values)]}
        raw = raw_of(datatype, values)
        if binary:
            tensor["parameters"] = {"binary_data_size": len(raw)}
            tail += raw
        else:
            tensor["data"] = [None if value != value else value for value in values]
        described.append(tensor | (change or {}).get(name, {}))
    return json.dumps({"id": "r", side: described}).encode(), tail


def read(
    wire: SimpleNamespace, config: MonitorConfig, kind: str, body: bytes, **headers: str
) -> Any:
    (event,) = read_events(
        wire.headers("r", kind) | {"content-type": "application/octet-stream"} | headers, body
    )
    return read_payload(event, config)


@pytest.mark.parametrize("told", ["metadata", "header", "nothing", "structured"])
def test_a_binary_request_is_read_as_its_json(
    wire: SimpleNamespace, config: MonitorConfig, told: str
) -> None:
    head, tail = sent("inputs", COLUMNS, binary=True)
    length = str(len(head))
    if told == "structured":
        event = wire.structured("r", "request", {})
        del event["data"]
        event["data_base64"] = base64.b64encode(head + tail).decode()
        event["metadata"] = json.dumps({HEADER: [length]})
        content = {"content-type": "application/cloudevents+json"}
        (found,) = read_events(content, json.dumps(event).encode())
        record: Any = read_payload(found, config)
    else:
        headers = {
            "metadata": {"ce-metadata": json.dumps({HEADER: [length]})},
            "header": {HEADER.lower(): length},
            "nothing": {"ce-metadata": "{}"},
        }[told]
        record = read(wire, config, "request", head + tail, **headers)
    plain, _ = sent("inputs", COLUMNS, binary=False)
    expected = read(wire, config, "request", plain)
    assert isinstance(record, RequestRecord)
    assert (record.columns.keys(), record.aside) == (expected.columns.keys(), {})
    assert (record.keys, record.time, record.rows) == (("7", "8", "9"), 1_357_084_800_000, ROWS)
    assert record.columns["carrier"] == expected.columns["carrier"]
    np.testing.assert_array_equal(floats(record.columns["wind"]), [1, -2, 3])
    # An FP32 is what the model saw.
    np.testing.assert_array_equal(
        floats(record.columns["distance"]), np.array([1.5, 0.1, np.nan], np.float32)
    )


def test_a_category_in_binary_is_the_text_that_training_has(
    wire: SimpleNamespace, config: MonitorConfig
) -> None:
    columns = COLUMNS | {"carrier": ("FP32", [0.1, float("nan"), 7.0])}
    record = read(wire, config, "request", b"".join(sent("inputs", columns, binary=True)))
    assert record.columns["carrier"].values == ("0.1", "7")
    codes = np.frombuffer(record.columns["carrier"].codes, np.int32)
    assert codes.tolist() == [0, -1, 1]


def test_one_binary_matrix_is_split_into_the_features(
    wire: SimpleNamespace, config: MonitorConfig
) -> None:
    matrix = {"input-0": ("FP64", [0.0, 1.0, 2.0, 1.0, 4.0, 5.0])}
    body = b"".join(sent("inputs", matrix, binary=True, change={"input-0": {"shape": [2, 3]}}))
    record = read(wire, config, "request", body)
    assert floats(record.columns["wind"]).tolist() == [2.0, 5.0]
    assert record.columns["carrier"].values == ("0", "1")


def test_the_requests_length_says_nothing_of_the_answer(
    wire: SimpleNamespace, config: MonitorConfig
) -> None:
    """KServe's logger puts the request's headers and content type beside both events."""
    metadata = json.dumps({HEADER: ["123456"]})
    outputs = {"label": ("INT64", [0, 1]), "probability": ("FP32", [0.25, 0.75])}
    for binary in (True, False):
        body = b"".join(sent("outputs", outputs, binary=binary))
        record = read(wire, config, "response", body, **{"ce-metadata": metadata})
        assert isinstance(record, ResponseRecord)
        assert floats(record.prediction).tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("change", "aside"),
    [
        ({"wind": {"shape": [2]}}, {"wind"}),
        ({"wind": {"datatype": "BF16"}}, {"wind"}),
        ({"carrier": {"datatype": "BYTES", "shape": [2]}}, {"carrier"}),
        ({"flight_id": {"shape": [4]}}, {"flight_id"}),
        ({"scheduled": {"datatype": "FP16"}}, {"scheduled"}),
        # Whose bytes are whose can't be told any more.
        ({"wind": {"parameters": {"binary_data_size": 5}}}, set(COLUMNS)),
        ({"wind": {"parameters": {"binary_data_size": 7}}}, set(COLUMNS)),
        ({"wind": {"parameters": {"binary_data_size": -6}}}, set(COLUMNS)),
        ({"wind": {"parameters": {"binary_data_size": "6"}}}, set(COLUMNS)),
    ],
)
def test_what_can_not_be_read_is_set_aside_and_the_rest_kept(
    wire: SimpleNamespace,
    config: MonitorConfig,
    change: dict[str, dict[str, Any]],
    aside: set[str],
) -> None:
    body = b"".join(sent("inputs", COLUMNS, binary=True, change=change))
    record = read(wire, config, "request", body)
    assert record.aside == dict.fromkeys(aside, "binary")
    assert record.rows == ROWS
    assert set(record.columns) == {"carrier", "distance", "wind"} - aside
    assert (record.keys is None) == ("flight_id" in aside)
    assert (record.time is None) == ("scheduled" in aside)


def test_an_answer_that_can_not_be_read_keeps_its_rows_without_a_number(
    bench: Callable[..., Any], wire: SimpleNamespace
) -> None:
    b = bench()
    answer = {"label": ("INT64", [0, 1]), "probability": ("FP32", [0.5, 0.5])}
    b.post("r", "request", b.world.request(2))
    change = {"probability": {"shape": [2], "datatype": "FP64"}}
    body = b"".join(sent("outputs", answer, binary=True, change=change))
    b.monitor.accept(wire.headers("r", "response"), body).result()
    b.label([{"id": "r:0", "label": 1}])
    found = b.status()
    assert found["aside"] == {"probability: binary": 1}
    assert (found["counts"]["rows"], found["counts"]["joined"]) == (2, 1)
    (event,) = read_events(wire.headers("s", "response"), body)
    # The label is no stand-in for the probability.
    assert read_payload(event, b.config).prediction == b""  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        ({HEADER.lower(): "x"}, b"{}", f"{HEADER}: 'x' is not a number of bytes"),
        ({HEADER.lower(): "9"}, b"{}", f"{HEADER}: 9, but the body has 2 bytes"),
        ({}, b'"binary_data_size"\x00', "data: not a V2 inference body"),
        ({}, b'{"inputs": [{"name": "wind", "shape": [1], "datatype": "FP64"}]}',
         r"inputs\[0\].data: missing, and there is no binary_data_size"),
        ({}, b'{"inputs": [{"name": "wind", "shape": [1], "datatype": "FP64", "data": "1"}]}',
         r"inputs\[0\].data: '1' is not a list"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_by_its_field(
    wire: SimpleNamespace, config: MonitorConfig, headers: dict[str, str], body: bytes, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        read(wire, config, "request", body, **headers)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 400), flips=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255))))
def test_damaged_bytes_are_refused_or_set_aside_and_never_more(
    wire: SimpleNamespace, config: MonitorConfig, cut: int, flips: list[tuple[int, int]]
) -> None:
    body = bytearray(b"".join(sent("inputs", COLUMNS, binary=True)))
    for place, value in flips:
        body[place % len(body)] = value
    try:
        record = read(wire, config, "request", bytes(body[: len(body) - cut]))
    except InvalidInput as refused:
        assert ":" in str(refused)  # noqa: PT017 - some are well-formed by chance
    else:
        assert set(record.aside.values()) <= {"binary", "rank", "text", "long"}
