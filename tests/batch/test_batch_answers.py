"""What a batch says of each row, in which file, and of which rows it says nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noria.errors import Conflict, DataError, InvalidInput, ServingError
from noria.tasks.package import Input, Manifest, Output
from serving.batch import parts as parts_module
from serving.batch.chunks import read
from serving.batch.job import Progress, Wanted, run
from serving.batch.parts import Shard, find
from serving.batch.writing import Stamp
from serving.columns import InputBinder
from serving.metrics import ServerMetrics
from serving.oip.rest import ResponseEncoder
from serving.oip.v1 import decode_v1
from serving.runner import Batching, Runner
from serving.service import Loaded
from tests.batch.conftest import NAMES, probability, table, write

Batch = Callable[..., Progress]


def test_rows_are_answered_in_their_order_beside_their_keys(batch: Batch, tmp_path: Path) -> None:
    rows = table(3000)
    write(tmp_path / "in" / "day" / "x.parquet", rows)
    done = batch(threads=3)
    found = pq.read_table(tmp_path / "out" / "day" / "x-00000.parquet")
    assert found.column_names == ["key", "probability", "label"]
    assert found["key"].to_pylist() == rows["key"].to_pylist()
    np.testing.assert_allclose(found["probability"].to_numpy(), probability(rows), rtol=1e-12)
    assert (found["label"].to_numpy() == (probability(rows) >= 0.5)).all()
    assert (done.rows, done.refused, done.parts, done.of_rows) == (3000, 0, 1, 3000)


def test_the_number_of_threads_changes_no_byte(batch: Batch, tmp_path: Path) -> None:
    write(tmp_path / "in" / "x.parquet", table(200_000))
    for threads in (1, 4):
        batch(threads=threads, out=tmp_path / str(threads))
    one, four = (tmp_path / name / "x-00000.parquet" for name in ("1", "4"))
    assert one.read_bytes() == four.read_bytes()


def test_rows_of_json_are_answered_as_a_v1_request_is(
    batch: Batch, loaded: Loaded, tmp_path: Path
) -> None:
    rows = table(50).to_pylist()
    rows[3]["d"] = None
    rows[4]["note"] = {"free": ["text"]}
    (tmp_path / "in").mkdir()
    text = b"\n\n".join(map(orjson.dumps, rows))
    (tmp_path / "in" / "x.jsonl").write_bytes(text)
    batch(keep=("note", "key"))
    found = pq.read_table(tmp_path / "out" / "x-00000.parquet")
    asked = [{name: row[name] for name in NAMES} for row in rows]
    request = decode_v1(orjson.dumps({"instances": asked}), loaded.manifest.inputs)
    said = loaded.runner.answer(loaded.binder.bind(request.tensors)).results
    assert found["probability"].to_pylist() == said["probability"].tolist()
    assert found["key"].to_pylist() == [row["key"] for row in rows]
    assert found["note"].to_pylist()[3:6] == [None, '{"free":["text"]}', None]


def test_parts_are_row_groups_of_enough_rows(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "ROWS", 250)
    rows = table(1000)
    write(tmp_path / "in" / "x.parquet", rows, row_group_size=100)
    done = batch()
    names = [f"x-{number:05d}.parquet" for number in range(4)]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.parquet")) == names
    sizes = [pq.read_metadata(tmp_path / "out" / name).num_rows for name in names]
    assert sizes == [300, 300, 300, 100]
    whole = pa.concat_tables(pq.read_table(tmp_path / "out" / name) for name in names)
    assert whole["key"].to_pylist() == rows["key"].to_pylist()
    assert (done.parts, done.rows) == (4, 1000)


def test_shards_answer_every_part_once(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "ROWS", 100)
    write(tmp_path / "in" / "x.parquet", table(700), row_group_size=100)
    done = [batch(shard=Shard(number, 3)) for number in (1, 2, 3)]
    assert [(one.parts, one.earlier) for one in done] == [(3, 0), (2, 0), (2, 0)]
    assert batch().earlier == 7
    with pytest.raises(InvalidInput, match="shard 4/3: the first number is not between"):
        Shard(4, 3)


def test_a_row_that_does_not_fit_stops_the_batch_and_is_named(batch: Batch, tmp_path: Path) -> None:
    rows = table(500)
    values = rows["b"].to_pylist()
    values[417] = None
    write(tmp_path / "in" / "x.parquet", rows.set_column(2, "b", pa.array(values)))
    with pytest.raises(
        DataError, match=r"x\.parquet: row 418: b: NaN or null, and b may not be missing; correct"
    ):
        batch()
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_rows_that_may_be_refused_are_set_aside_with_the_reason(
    batch: Batch, tmp_path: Path
) -> None:
    lines = [json.dumps(row) for row in table(20).to_pylist()]
    lines[5] = '{"a": 1, "b": "two", "c": 3, "d": 4, "key": "five"}'
    lines[9] = '{"a": 1,'
    lines[12] = '{"a": 1, "b": 2, "d": 4}'
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"x\.jsonl: row 13: c: missing"):
        batch(at_most=2)
    done = batch(at_most=3)
    assert (done.rows, done.refused) == (17, 3)
    found = pq.read_table(tmp_path / "out" / "x-00000.parquet")
    assert "K0-4" in found["key"].to_pylist()
    assert "K0-9" not in found["key"].to_pylist()
    beside = tmp_path / "out" / "x-00000.refused.jsonl"
    told = [json.loads(line) for line in beside.read_text().splitlines()]
    assert [one["row"] for one in told] == [6, 10, 13]
    assert told[0]["key"] == "five"
    assert "two" in told[0]["why"]
    assert "not JSON" in told[1]["why"]
    # What was set aside counts when the batch goes on.
    (tmp_path / "in" / "y.jsonl").write_text('{"a": 1}')
    with pytest.raises(DataError, match="3 were refused before it"):
        batch(at_most=3)


class Odd:
    """Answers a number by itself, but for -1 (NaN) and -2 (it fails)."""

    reads_whole_requests = False

    manifest = Manifest(
        "odd", "f", "a", (Input("a", "FP64", "numeric"),), (Output("y", "FP64"),), ()
    )

    def predict(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if (columns["a"] == -2).any():
            raise ZeroDivisionError("of its own")
        return {"y": np.where(columns["a"] == -1, np.nan, columns["a"])}


def answered_by_odd(tmp_path: Path, values: list[float]) -> Progress:
    write(tmp_path / "in" / "x.parquet", pa.table({"a": values}))
    manifest, metrics = Odd.manifest, ServerMetrics("odd", "1")
    loaded = Loaded(
        manifest,
        InputBinder(manifest),
        ResponseEncoder("odd", "1", manifest.outputs),
        Runner(Odd(), None, Batching(), metrics),
    )
    wanted = Wanted(tmp_path / "in", tmp_path / "out", at_most=1)
    try:
        return run(loaded, Stamp("odd", "1", "d"), wanted, None, lambda _: None)
    finally:
        loaded.runner.close()


def test_an_answer_that_is_not_finite_is_no_answer(tmp_path: Path) -> None:
    done = answered_by_odd(tmp_path, [1.0, 2.0, -1.0, 4.0])
    assert (done.rows, done.refused) == (3, 1)
    assert pq.read_table(tmp_path / "out" / "x-00000.parquet")["y"].to_pylist() == [1, 2, 4]
    told = json.loads((tmp_path / "out" / "x-00000.refused.jsonl").read_text())
    assert told == {"row": 3, "why": "y: nan"}


def test_a_model_that_reads_requests_as_a_whole_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Odd, "reads_whole_requests", True)
    with pytest.raises(InvalidInput, match="odd: what it says of a row depends on the rows"):
        answered_by_odd(tmp_path, [1.0])


def test_a_predictor_that_fails_ends_the_batch_and_refuses_no_row(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="on rows 1 to 2: ZeroDivisionError"):
        answered_by_odd(tmp_path, [1.0, -2.0])
    assert not list((tmp_path / "out").glob("*.parquet"))


@pytest.mark.parametrize(
    ("change", "wanted", "message"),
    [
        (lambda rows: rows.drop(["c"]), {}, "has no column 'c'"),
        (lambda rows: rows, {"keep": ("other",)}, "has no column 'other'"),
        (
            lambda rows: rows.append_column("label", rows["a"]),
            {"keep": ("label",)},
            "--keep label: the model's answer has that name",
        ),
        (
            lambda rows: rows.set_column(1, "a", pa.array(["x"] * 10)),
            {},
            "row 1: a: 'x' is not a number",
        ),
    ],
)
def test_what_does_not_fit_as_a_whole_is_said(
    batch: Batch, tmp_path: Path, change: Callable[[pa.Table], pa.Table], wanted: dict, message: str
) -> None:
    write(tmp_path / "in" / "x.parquet", change(table(10)))
    with pytest.raises(InvalidInput) as refused:
        batch(**wanted)
    assert message in str(refused.value)


def test_an_input_that_can_not_be_read_is_refused_before_anything_is_written(
    batch: Batch, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="no such file or folder"):
        batch()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no rows")
    with pytest.raises(InvalidInput, match=r"no file with rows; it has 'notes.txt'"):
        batch()
    (tmp_path / "in" / "x.parquet").write_bytes(b"PAR1 not so")
    with pytest.raises(DataError, match=r"x\.parquet: can't be read as Parquet"):
        batch()
    write(tmp_path / "in" / "x.parquet", table(1))
    (tmp_path / "in" / "x.jsonl").write_text("{}")
    with pytest.raises(InvalidInput, match=r"the answers of both would be x-00000\.parquet"):
        batch()
    assert not (tmp_path / "out").exists()


def test_answers_never_lie_among_the_rows(batch: Batch, tmp_path: Path) -> None:
    write(tmp_path / "in" / "x.parquet", table(1))
    for out in (tmp_path / "in", tmp_path / "in" / "answers"):
        with pytest.raises(InvalidInput, match="would take the answers for rows"):
            batch(out=out)


def test_files_without_rows_are_answered_by_files_without_rows(
    batch: Batch, tmp_path: Path
) -> None:
    write(tmp_path / "in" / "x.parquet", table(0))
    (tmp_path / "in" / "y.jsonl").write_bytes(b"\n")
    done = batch()
    assert (done.parts, done.rows) == (2, 0)
    assert pq.read_table(tmp_path / "out" / "x-00000.parquet").num_rows == 0
    assert pq.read_table(tmp_path / "out" / "y-00000.parquet").num_rows == 0


def test_a_column_of_any_type_is_what_a_request_makes_of_it(tmp_path: Path) -> None:
    inputs = (
        Input("number", "FP64", "numeric"),
        Input("whole", "INT64", "numeric"),
        Input("flag", "BOOL", "boolean"),
        Input("maybe", "BOOL", "boolean"),
        Input("kind", "BYTES", "categorical"),
        Input("coded", "BYTES", "categorical"),
        Input("note", "BYTES", "text"),
        Input("at", "INT64", "timestamp"),
        Input("place", "FP64", "vector", width=2),
        Input("past", "FP64", "series", width=3),
        Input("extra", "BYTES", "categorical", optional=True),
    )
    manifest = Manifest(
        "m", "f", "a", inputs, (Output("y", "FP64"),), (),
        options={"allowMissing": ["maybe", "kind", "place"]},
    )  # fmt: skip
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    rows = pa.table(
        {
            "number": pa.array([1, 2], pa.int32()),
            "whole": pa.array([2**40, -7], pa.int64()),
            "flag": [True, False],
            "maybe": [None, True],
            "kind": pa.array(["x", None]).dictionary_encode(),
            "coded": pa.array([7, 8], pa.int64()),
            "note": ["a b", ""],
            "at": pa.array([moment, moment], pa.timestamp("us", "UTC")),
            "place": [[1.0, 2.0], None],
            "past": [[1.0, 2.0, 3.0, 4.0], [5.0]],
        }
    )
    write(tmp_path / "in" / "x.parquet", rows)
    (part,) = find(tmp_path / "in")
    (chunk,) = read(part, inputs, (), 10)
    binder = InputBinder(manifest)
    found = binder.bind(chunk.tensors()).columns
    asked = [
        {
            "number": 1, "whole": 2**40, "flag": True, "maybe": None, "kind": "x", "coded": 7,
            "note": "a b", "at": moment.isoformat(), "place": [1.0, 2.0], "past": [2.0, 3.0, 4.0],
        },
        {
            "number": 2, "whole": -7, "flag": False, "maybe": True, "kind": None, "coded": 8,
            "note": "", "at": moment.isoformat(), "place": None, "past": [None, None, 5.0],
        },
    ]  # fmt: skip
    sent = binder.bind(decode_v1(orjson.dumps({"instances": asked}), inputs).tensors).columns
    assert found.keys() == sent.keys()
    for name, values in sent.items():
        if values.dtype.kind == "O":
            assert found[name].tolist() == values.tolist(), name
        else:
            np.testing.assert_array_equal(found[name], values.astype(found[name].dtype), name)


def test_images_are_the_bytes_of_files(tmp_path: Path) -> None:
    inputs = (Input("image", "BYTES", "image"),)
    manifest = Manifest("m", "f", "a", inputs, (Output("y", "FP64"),), ())
    files = [b"\x89PNG one", b"two"]
    write(tmp_path / "in" / "x.parquet", pa.table({"image": files}))
    write(tmp_path / "in" / "y.parquet", pa.table({"image": ["a.png"]}))
    good, bad = find(tmp_path / "in")
    (chunk,) = read(good, inputs, (), 10)
    found = InputBinder(manifest).bind(chunk.tensors()).columns["image"]
    asked = [{"image": {"b64": base64.b64encode(one).decode()}} for one in files]
    request = decode_v1(orjson.dumps({"instances": asked}), inputs)
    assert found.tolist() == InputBinder(manifest).bind(request.tensors).columns["image"].tolist()
    assert found.tolist() == files
    (other,) = read(bad, inputs, (), 10)
    with pytest.raises(InvalidInput, match="image: string is no column of files"):
        other.tensors()


def test_answers_of_another_model_are_never_mixed_in(batch: Batch, tmp_path: Path) -> None:
    write(tmp_path / "in" / "x.parquet", table(10))
    batch()
    with pytest.raises(
        Conflict, match=r"x-00000\.parquet: these answers are of something else: keep"
    ):
        batch(keep=("key", "a"))
    write(tmp_path / "in" / "x.parquet", table(11))
    with pytest.raises(Conflict, match="size was"):
        batch()
