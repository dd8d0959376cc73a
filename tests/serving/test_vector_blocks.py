"""Vectors on their way from the server to the monitor: as blocks, and as events in JSON."""

from __future__ import annotations

import numpy as np
import orjson

from noria.predictions import RANK, decode
from serving.blocks import group_by_schema, write_block
from serving.cloudevents import EventWriter
from serving.predicted import Predicted, Source
from serving.runner import Outcome

SOURCE = Source("m", "1")


def predicted(name: str, rows: int, width: int = 4, **outputs: np.ndarray) -> Predicted:
    vectors = np.arange(rows * width, dtype=np.float64).reshape(rows, width)
    columns = {"image": vectors, "size": np.ones(rows)}
    return Predicted(name, Outcome(columns, outputs or {"prediction": np.zeros(rows)}, rows), 0, 0)


def test_vectors_of_several_requests_are_one_column_of_float32() -> None:
    body = write_block([predicted("a", 1), predicted("b", 2)], SOURCE)
    assert body is not None
    block = decode(body)
    assert set(block.inputs) == {"size"}
    vectors = block.vectors["image"]
    assert vectors.width == 4
    found = np.frombuffer(vectors.values, "<f4").reshape(-1, 4)
    assert found.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]]
    assert block.aside == {}


def test_what_has_more_dimensions_is_left_out_by_its_name() -> None:
    one = predicted("a", 2, prediction=np.zeros(2), mask=np.zeros((2, 3, 3)))
    image = {"image": np.zeros((2, 3, 4, 4)), "size": np.ones(2)}
    body = write_block([one._replace(outcome=Outcome(image, one.outcome.results, 2))], SOURCE)
    assert body is not None
    block = decode(body)
    assert block.aside == {"image": RANK, "mask": RANK}
    assert set(block.inputs) == {"size"}
    assert set(block.outputs) == {"prediction"}


def test_a_vector_that_is_redacted_is_not_sent() -> None:
    body = write_block([predicted("a", 1)], Source("m", "1", redact=frozenset({"image"})))
    assert body is not None
    assert decode(body).vectors == {}


def test_a_run_holds_no_more_numbers_than_it_may() -> None:
    many = [predicted(str(i), 1, width=1000) for i in range(10)]
    runs = [len(run) for run in group_by_schema(many, 3100)]
    assert runs == [3, 3, 3, 1]


def test_an_event_in_json_says_the_shape_of_a_vector() -> None:
    request, _ = EventWriter(SOURCE).events(predicted("a", 2))
    image = request["data"]["inputs"][0]
    said = orjson.loads(orjson.dumps(image, option=orjson.OPT_SERIALIZE_NUMPY))
    assert (said["shape"], said["datatype"]) == ([2, 4], "FP64")
    assert said["data"] == [[0, 1, 2, 3], [4, 5, 6, 7]]
