"""What is sent is held to what the monitor can keep and to the time it may take: 400, by field."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from monitoring.partials.replica import Replica
from monitoring.processor import Role
from monitoring.records import ColumnSketch, PartialRecord
from monitoring.service import Monitor, Setting
from noria.errors import InvalidInput

Make = Callable[..., Any]
HUGE = 10**30
MERSENNE = (1 << 61) - 1
"""Python's hash of a whole number is the number modulo this one."""


@pytest.mark.parametrize(
    ("label", "field"),
    [
        ({"id": "r:0", "label": 1, "time": HUGE}, "time"),
        ({"id": "r:0", "label": 1, "time": -HUGE}, "time"),
        ({"id": "r:0", "label": 1, "time": 253402300800000}, "time"),
        ({"id": "r:0", "label": 1, "time": "9999-99-99"}, "time"),
        ({"id": "r:0", "label": 1, "time": "9" * 10_000}, "time"),
        ({"id": "r:0", "label": 1, "time": "0001-01-01T00:00:00+23:59"}, "time"),
        ({"id": "r:0", "label": 10**400}, "label"),
        ({"id": "r:0", "label": "1e999"}, "label"),
        ({"id": "r:0", "label": "1_0"}, "label"),
        ({"id": "r:0", "label": "9" * 100_000}, "label"),
        ({"id": "r" * 300 + ":0", "label": 1}, "id"),
        ({"id": "r\0:0", "label": 1}, "id"),
        ({"id": "r:1234567890", "label": 1}, "id"),
        ({"key": "k" * 513, "label": 1}, "key"),
        ({"key": "k\0", "label": 1}, "key"),
        ({"key": ["a", "b"], "label": 1}, "key"),
        ({"key": [], "label": 1}, "key"),
        ({"id": "r:0", "label": 1, "correct": True}, "time"),
    ],
)
def test_a_label_that_can_not_be_kept_is_refused_by_its_field_and_others_are_taken(
    bench: Make, label: dict[str, Any], field: str
) -> None:
    b = bench()
    with pytest.raises(InvalidInput) as refused:
        b.label([label])
    assert str(refused.value).startswith(f"labels[0].{field}: ")
    assert len(str(refused.value)) < 500
    assert b.label([{"id": "r:0", "label": 1}]) == (1, 1)
    b.predict("r", 3)
    assert b.status()["counts"]["joined"] == 1


@pytest.mark.parametrize("when", [HUGE, -HUGE, 1e300, 253402300800000])
def test_an_event_time_out_of_the_calendar_is_refused(bench: Make, when: float) -> None:
    b = bench()
    with pytest.raises(InvalidInput, match=r"is in no year from 1 to 9999|float64|int"):
        b.predict("r", 3, when=float(when) if b.form == "blocks" else when)  # type: ignore[arg-type]
    b.predict("s", 3)
    assert b.status()["counts"]["rows"] == 3


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"\x91" * 100_000, b"\xff"])
def test_what_is_nested_without_end_is_refused_at_every_door(
    bench: Make, wire: Any, body: bytes
) -> None:
    monitor = bench().monitor
    batch = {"content-type": "application/cloudevents-batch+json"}
    block, _ = wire.block([("r", {"inputs": []}, np.zeros(1))])
    doors: list[Callable[[], Any]] = [
        lambda: monitor.accept(wire.headers("r", "request"), body),
        lambda: monitor.accept(wire.headers("r", "response"), body),
        lambda: monitor.accept(batch, body),
        lambda: monitor.accept(block, body),
        lambda: monitor.feedback(body),
        lambda: monitor.partials(body),
        lambda: monitor.put_reference("1", body),
        lambda: monitor.put_reference_zip("1", body, champion=True),
    ]
    for door in doors:
        with pytest.raises(InvalidInput) as refused:
            door()
        assert len(str(refused.value)) < 600


def nested(depth: int, width: int) -> str:
    return "[" + "[" * depth + "1" + "]" * depth + ",0" * width + "]"


@pytest.mark.parametrize(
    "data",
    [
        nested(900, 450_000),
        nested(9, 450_000),
        "[1," + "[" * 900 + "]" * 900 + "]",
        "[" + ",".join("[1,2]" for _ in range(150_000)) + ",3]",
    ],
)
def test_reading_a_tensor_takes_time_in_proportion_to_it(bench: Make, wire: Any, data: str) -> None:
    monitor = bench().monitor
    tensors = f'{{"inputs":[{{"name":"carrier","shape":[1],"datatype":"BYTES","data":{data}}}]}}'
    started = time.process_time()
    with pytest.raises(InvalidInput, match=r"inputs\[0\]\.data|empty|different lengths|0 values"):
        monitor.accept(wire.headers("r", "request"), tensors.encode()).result()
    answer = tensors.replace("inputs", "outputs").replace("carrier", "probability")
    answer = answer.replace("BYTES", "FP64")
    with pytest.raises(InvalidInput):
        monitor.accept(wire.headers("r", "response"), answer.encode()).result()
    assert time.process_time() - started < 5


def test_numbers_of_one_hash_cost_no_more_than_others(bench: Make, wire: Any, world: Any) -> None:
    monitor = bench().monitor
    body = world.request(1)
    size = 40_000
    for column in body["inputs"]:
        column["data"] *= size
        column["shape"] = [size]
    body["inputs"][3] = wire.tensor("scheduled", "INT64", [i * MERSENNE for i in range(size)])
    started = time.process_time()
    with pytest.raises(InvalidInput, match="no year"):
        monitor.accept(wire.headers("r", "request"), json.dumps(body).encode())
    assert time.process_time() - started < 5


def test_labels_by_key_read_each_prediction_once(bench: Make, world: Any, wire: Any) -> None:
    b = bench()
    size = 3000
    for name in "ab":
        b.rows = 0
        b.predict(name, size)
    b.monitor.flush()
    started = time.process_time()
    b.label([{"key": str(row), "label": 1} for row in range(size)])
    assert b.status()["counts"]["joined"] == 2 * size
    assert time.process_time() - started < 5


def test_a_short_block_does_not_become_a_large_record(bench: Make, wire: Any) -> None:
    from noria.predictions import Block, DictColumn, Output, encode

    rows = 200_000
    key = DictColumn(("k" * 500,), bytes(4 * rows))
    body = encode(
        Block(
            wire.model,
            "1",
            ("r",),
            np.array([rows], np.int32).tobytes(),
            {"flight_id": key, "wind": bytes(8 * rows)},
            {"probability": Output(bytes(8 * rows))},
        )
    )
    headers, _ = wire.block([("r", {"inputs": []}, np.zeros(1))])
    with pytest.raises(InvalidInput, match="entity keys of over"):
        bench().monitor.accept(headers, body)


@pytest.mark.parametrize("limit", [0, -1, 1001, HUGE])
def test_no_more_windows_are_asked_for_than_are_kept(bench: Make, limit: int) -> None:
    with pytest.raises(InvalidInput, match="limit"):
        bench().monitor.windows("features", limit)


SKETCH = ColumnSketch(b"\0\0\0\0", b"\1\0\0\0")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"seq": 1 << 62}, "seq"),
        ({"seq": -1}, "seq"),
        ({"rows": 1 << 62}, "rows"),
        ({"at": float("nan")}, "at"),
        ({"at": 1e300}, "at"),
        ({"stream": "x" * 1000}, "stream"),
        ({"stream": "other"}, "stream"),
        ({"life": "\0"}, "life"),
        ({"versions": {"1": 1 << 62}}, "versions"),
        ({"versions": {"v" * 100: 1}}, "versions"),
        ({"columns": {"c": ColumnSketch(b"\0" * 8, b"\1\0\0\0" * 2)}}, "columns"),
        ({"columns": {"c": ColumnSketch(b"\0" * 4, b"\xff" * 4)}}, "columns"),
        ({"columns": {"c": ColumnSketch(b"\0" * 3, b"\0" * 3)}}, "columns"),
        ({"columns": {"c": ColumnSketch(b"", b"", 1 << 62)}}, "columns"),
        ({"table": {"c": bytes(800)}}, "table"),
        ({"stream": "outcomes"}, "table"),
        ({"stream": "outcomes", "table": dict.fromkeys(("scores", "labels", "arrivals"), b"")}, ""),
        (
            {
                "stream": "corrections",
                "table": {
                    "partials": bytes(8),
                    "places": np.array([-1e300]).tobytes(),
                    "labels": bytes(8),
                },
            },
            "table.places",
        ),
    ],
)
def test_a_partial_that_no_replica_makes_is_refused(
    tmp_path: Any, model_file: Make, change: dict[str, Any], field: str
) -> None:
    from monitoring.config import MonitorConfig
    from noria.spec import load_model

    config = MonitorConfig.from_model(load_model(model_file()))
    monitor = Monitor(config, Setting(tmp_path, role=Role(replicas=1)), lambda: 1e9)
    try:
        sound = PartialRecord(1, "life", 1, "features", "r", 1, 1e9, {"1": 1}, {"c": SKETCH})
        wrong = msgspec.structs.replace(sound, **change)
        with pytest.raises(InvalidInput) as refused:
            monitor.partials(msgspec.msgpack.encode([sound, wrong]))
        assert str(refused.value).startswith(f"[1].{field}")
        monitor.partials(msgspec.msgpack.encode([sound])).result()
        assert monitor.flush()["dropped"]["unreadable"] == 0
    finally:
        monitor.close()
    assert Replica.parse("1/1").number == 1


def test_a_text_that_is_too_long_is_set_aside_and_its_exchange_is_kept(
    bench: Make, wire: Any, world: Any, tmp_path: Path
) -> None:
    b = bench()
    b.champion("1", world.reference(tmp_path / "reference"))
    request, scores = world.request(3), world.scores(3)
    request["inputs"][0]["data"][1] = "x" * 40_000
    if b.form == "blocks":
        b.monitor.accept(*wire.block([("r", request, scores)])).result()
    else:
        b.post("r", "request", request)
        b.post("r", "response", wire.response(scores))
    status = b.status()
    assert status["aside"] == {"carrier: long": 1}
    assert status["counts"]["rows"] == 3
    assert status["counts"]["dropped"]["mismatched"] == 0
