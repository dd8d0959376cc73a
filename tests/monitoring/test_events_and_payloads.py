"""What a payload event may look like, and what is said about one that may not."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from monitoring.config import MonitorConfig
from monitoring.events import Event, read_events
from monitoring.payload import read_payload
from monitoring.records import RequestRecord, ResponseRecord, floats
from monitoring.rows import Piece, encode
from monitoring.table import Column
from noria.errors import InvalidInput
from noria.spec import load_model

MODEL = "flights"


def tensor(name: str, datatype: str, data: list[Any]) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data}


@pytest.fixture
def config(model_file: Callable[..., Path]) -> MonitorConfig:
    return MonitorConfig.from_model(load_model(model_file()))


def requested(config: MonitorConfig, inputs: list[dict[str, Any]]) -> RequestRecord:
    body = json.dumps({"inputs": inputs}).encode()
    event = Event("r", "org.kubeflow.serving.inference.request", MODEL, "", body)
    record = read_payload(event, config)
    assert isinstance(record, RequestRecord)
    return record


def answered(config: MonitorConfig, body: dict[str, Any]) -> ResponseRecord:
    event = Event(
        "r", "org.kubeflow.serving.inference.response", MODEL, "", json.dumps(body).encode()
    )
    record = read_payload(event, config)
    assert isinstance(record, ResponseRecord)
    return record


SCHEMA = (
    Column("carrier", "categorical", ("AA", "B6")),
    Column("distance", "numeric"),
    Column("wind", "numeric"),
)


def test_a_request_becomes_columns_with_missing_and_unseen_values(config: MonitorConfig) -> None:
    record = requested(
        config,
        [
            tensor("carrier", "BYTES", ["B6", None, "ZZ", "AA"]),
            tensor("distance", "FP64", [1.5, None, 3, 4]),
            tensor(
                "scheduled",
                "BYTES",
                ["2013-01-01T10:00:00Z", "2013-01-02T00:00:00+00:00", None, "2013-01-01T11:00:00"],
            ),
            tensor("flight_id", "INT64", [7, 8, 9, 10]),
        ],
    )
    assert record.time == 1357084800000
    assert record.keys == ("7", "8", "9", "10")
    table = encode(SCHEMA, [Piece(1, record, 0, 4)])
    assert table.columns["carrier"].tolist() == [1, -1, 2, 0]
    np.testing.assert_array_equal(table.columns["distance"], [1.5, np.nan, 3, 4])
    # Never sent: missing, not zero.
    assert np.isnan(table.columns["wind"]).all()


def test_rows_of_many_requests_keep_their_order(config: MonitorConfig) -> None:
    records = [
        requested(config, [tensor("carrier", "BYTES", c), tensor("distance", "FP64", d)])
        for c, d in ((["AA", "B6"], [1.0, 2.0]), (["B6"], [3.0]), ([None], [4.0]))
    ]
    pieces = [Piece(1, records[0], 1, 2), Piece(2, records[1], 0, 1), Piece(3, records[2], 0, 1)]
    table = encode(SCHEMA, pieces)
    assert table.columns["carrier"].tolist() == [1, 1, -1]
    assert table.columns["distance"].tolist() == [2.0, 3.0, 4.0]


def test_one_matrix_is_split_into_the_features(config: MonitorConfig) -> None:
    matrix = {"name": "input-0", "shape": [2, 3], "datatype": "FP64", "data": [0, 1, 2, 1, 4, 5]}
    record = requested(config, [matrix])
    table = encode(
        (Column("carrier", "categorical", ("0", "1")), *SCHEMA[1:]), [Piece(1, record, 0, 2)]
    )
    assert table.columns["carrier"].tolist() == [0, 1]
    assert table.columns["wind"].tolist() == [2.0, 5.0]


def test_a_feature_may_be_written_as_text_or_as_number(config: MonitorConfig) -> None:
    record = requested(
        config, [tensor("carrier", "INT64", [3, 4]), tensor("distance", "FP64", [3.0, np.pi])]
    )
    as_text = (Column("distance", "categorical", ("3",)), Column("carrier", "numeric"))
    table = encode(as_text, [Piece(1, record, 0, 2)])
    assert table.columns["distance"].tolist() == [0, 1]
    assert table.columns["carrier"].tolist() == [3.0, 4.0]


def test_predictions_are_found_under_the_names_of_every_family(config: MonitorConfig) -> None:
    binary = answered(
        config,
        {
            "model_version": "4",
            "outputs": [
                tensor("label", "INT64", [0, 1]),
                tensor("probability", "FP64", [0.2, 0.8]),
            ],
        },
    )
    assert (floats(binary.prediction).tolist(), binary.version) == ([0.2, 0.8], "4")
    two = answered(
        config,
        {
            "outputs": [
                {
                    "name": "probability",
                    "shape": [2, 2],
                    "datatype": "FP64",
                    "data": [0.8, 0.2, 0.3, 0.7],
                }
            ]
        },
    )
    assert floats(two.prediction).tolist() == [0.2, 0.7]
    foreign = answered(config, {"outputs": [tensor("output-0", "FP64", [1.5])]})
    assert floats(foreign.prediction).tolist() == [1.5]


def test_all_three_modes_of_cloudevents_are_read(wire: SimpleNamespace) -> None:
    body = json.dumps(wire.response(np.array([0.5]))).encode()
    (binary,) = read_events(wire.headers("a", "response", "7"), body)
    assert (binary.id, binary.version, binary.model) == ("a", "7", MODEL)
    one = wire.structured("b", "response", {"outputs": []})
    (alone,) = read_events(
        {"content-type": "application/cloudevents+json; charset=utf-8"}, json.dumps(one).encode()
    )
    assert (alone.id, bytes(alone.body)) == ("b", b'{"outputs": []}')
    encoded = {k: v for k, v in one.items() if k != "data"}
    encoded["data_base64"] = base64.b64encode(b"{}").decode()
    batch = read_events(
        {"content-type": "application/cloudevents-batch+json"}, json.dumps([one, encoded]).encode()
    )
    assert [bytes(event.body) for event in batch] == [b'{"outputs": []}', b"{}"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ce-id": ""}, "ce-id: missing"),
        ({"ce-id": "x" * 300}, "id:"),
        ({"ce-type": "org.example.other"}, "type: 'org.example.other'"),
        ({"ce-specversion": "0.3"}, "specversion: '0.3'"),
        ({"ce-annotations": "{"}, "annotations: not a JSON object"),
        ({"content-type": "application/cloudevents+json"}, "not a CloudEvent in JSON"),
        ({"content-type": "application/cloudevents-batch+json"}, "not a CloudEvent in JSON"),
    ],
)
def test_an_event_that_is_none_is_refused_with_its_field(
    wire: SimpleNamespace, change: dict[str, str], said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_events(wire.headers("a", "request") | change, b"{}")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not a V2 inference body"),
        (b"[1]", "not a V2 inference body"),
        (b'{"inputs": [{"name": "distance"}]}', "inputs[0]"),
        (b"\xff\xfe", "not a V2 inference body"),
        (json.dumps({"inputs": []}).encode(), "inputs"),
        (json.dumps({"inputs": [tensor("nope", "FP64", [1])]}).encode(), "none of the model's"),
        (
            json.dumps({"inputs": [tensor("distance", "FP64", ["far"])]}).encode(),
            "inputs[0].data: not all numbers",
        ),
        (
            json.dumps({"inputs": [tensor("distance", "FP64", [{}])]}).encode(),
            "inputs[0].data: values nested in each other",
        ),
        (
            json.dumps(
                {"inputs": [tensor("distance", "FP64", [1]), tensor("wind", "FP64", [1, 2])]}
            ).encode(),
            "different lengths",
        ),
        (
            json.dumps(
                {
                    "inputs": [
                        tensor("distance", "FP64", [1]),
                        tensor("scheduled", "BYTES", ["soon"]),
                    ]
                }
            ).encode(),
            "inputs[1].data: 'soon' is not ISO 8601",
        ),
        (
            json.dumps(
                {"inputs": [tensor("distance", "FP64", [1]), tensor("scheduled", "BYTES", [{}])]}
            ).encode(),
            "inputs[1].data: values nested in each other",
        ),
        (
            json.dumps(
                {
                    "inputs": [
                        {"name": "x", "shape": [2, 2], "datatype": "FP64", "data": [1, 2, 3, 4]}
                    ]
                }
            ).encode(),
            "inputs[0].shape: [2, 2]",
        ),
    ],
)
def test_a_body_that_does_not_fit_is_refused_with_its_field(
    config: MonitorConfig, body: bytes, said: str
) -> None:
    event = Event("r", "org.kubeflow.serving.inference.request", MODEL, "", body)
    with pytest.raises(InvalidInput) as caught:
        read_payload(event, config)
    assert said in str(caught.value)


@pytest.mark.parametrize("shape", [[-1, -2], [3, 2]])
def test_a_response_whose_shape_does_not_fit_is_refused(
    config: MonitorConfig, shape: list[int]
) -> None:
    output = {"name": "probability", "shape": shape, "datatype": "FP64", "data": [0.1, 0.9]}
    if shape[1] < 0:
        assert answered(config, {"outputs": [output]}).rows == 2
        return
    with pytest.raises(InvalidInput, match=r"outputs\[0\].shape"):
        answered(config, {"outputs": [output]})


def v1(config: MonitorConfig, kind: str, body: dict[str, Any]) -> Any:
    event = Event(
        "r", f"org.kubeflow.serving.inference.{kind}", MODEL, "", json.dumps(body).encode()
    )
    return read_payload(event, config)


def test_v1_bodies_say_the_same_as_v2(config: MonitorConfig) -> None:
    rows = [
        {"carrier": "B6", "distance": 1.5, "flight_id": 7, "scheduled": "2013-01-01T10:00:00Z"},
        {"carrier": "ZZ", "flight_id": 8, "scheduled": None},
    ]
    names = ("carrier", "distance", "flight_id", "scheduled")
    tensors = [tensor(name, "BYTES", [row.get(name) for row in rows]) for name in names]
    assert v1(config, "request", {"instances": rows}) == requested(config, tensors)
    outputs = [
        {"name": "prediction", "shape": [2, 2], "datatype": "FP64", "data": [0.9, 0.1, 0, 1]}
    ]
    found = v1(config, "response", {"predictions": [[0.9, 0.1], [0, 1]]})
    assert found == answered(config, {"outputs": outputs})
    plain = [tensor("probability", "FP64", [0.1, 0.9])]
    by_name = [{"probability": 0.1, "label": "no"}, {"probability": 0.9, "label": "yes"}]
    assert v1(config, "response", {"predictions": by_name}) == answered(config, {"outputs": plain})


def test_v1_lists_are_the_watched_features_in_their_order(config: MonitorConfig) -> None:
    values = {
        name: "AA" if kind == "categorical" else 2.0 for name, kind in config.features.items()
    }
    found = v1(config, "request", {"instances": [list(values.values())]})
    assert found == v1(config, "request", {"instances": [values]})


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("request", {"rows": []}, "not a V2 inference body"),
        ("request", {"instances": [[1]]}, r"instances\[0\]: \[\[1\]\] does not fit"),
        (
            "request",
            {"instances": [{"distance": 1}, 5]},
            r"instances\[1\]: 5 is not like the first, which is an object; send all rows alike",
        ),
        ("request", {"instances": [["AA", 1, 2], [1]]}, r"instances\[1\]: 1 values for 3 features"),
        ("request", {"instances": [["AA", 1, 2], [1] * 4]}, r"instances\[1\]: 4 values for 3"),
        ("request", {"instances": []}, r"instances\[0\]: \[\] does not fit"),
        ("response", {"predictions": [[1, 2], [3]]}, "does not fit 3 values"),
    ],
)
def test_what_is_no_v1_body_is_refused(
    config: MonitorConfig, kind: str, body: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        v1(config, kind, body)
