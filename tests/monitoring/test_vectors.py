"""Vectors in the monitor: kept from events and blocks alike, watched, and set aside where not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from monitoring.config import MonitorConfig
from monitoring.exporting import export
from monitoring.partials.replica import Replica
from monitoring.processor import SINGLE, Role
from monitoring.readers import Outbox
from monitoring.records import PartialRecord, decode
from monitoring.service import Monitor, Setting
from noria.errors import InvalidInput
from noria.predictions import MEDIA_TYPE, Block, DictColumn, Output, Vectors, encode
from noria.spec import load_model
from serving.blocks import write_block
from serving.cloudevents import EventWriter, write_one
from serving.predicted import Predicted, Source
from serving.runner import Outcome

WIDTH = 8
MODEL = "flights"


class World:
    """Embeddings of correlated numbers beside one scalar."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.mix = np.diag(np.linspace(3.0, 0.2, WIDTH))
        self.turn = np.linalg.qr(self.random.normal(size=(WIDTH, WIDTH)))[0]

    def vectors(self, count: int, *, turned: bool = False) -> np.ndarray:
        found = self.random.normal(size=(count, WIDTH)) @ self.mix + 1.0
        return (found @ self.turn if turned else found).astype(np.float32)

    def reference(self, folder: Path, rows: int = 1000) -> Path:
        folder.mkdir()
        document = {
            "format": 1,
            "model": MODEL,
            "rows": rows,
            "features": [
                {"name": "image", "kind": "vector", "width": WIDTH, "missing": 0.0},
                {"name": "size", "kind": "numeric", "min": -9.0, "max": 9.0},
            ],
            "prediction": {"kind": "value", "classes": []},
        }
        (folder / "reference.json").write_text(json.dumps(document))
        columns = {"f0": self.vectors(rows), "f1": self.random.normal(size=rows)}
        np.savez(folder / "rows.npz", prediction=self.random.normal(size=rows), **columns)
        return folder


class Bench:
    """A monitor of a model with a vector, fed by events or by blocks."""

    def __init__(
        self, folder: Path, form: str, detectors: list[dict[str, Any]], role: Role = SINGLE
    ) -> None:
        document = {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": MODEL},
            "spec": {
                "task": {"family": "custom", "options": {"predicts": "number"}},
                "data": {
                    "source": {"parquet": {"paths": ["rows.parquet"]}},
                    "features": [
                        {"name": "image", "type": "vector", "width": WIDTH},
                        {"name": "size", "type": "numeric"},
                    ],
                    "target": "y",
                    "entityKey": ["id"],
                },
                "monitoring": {"window": {"rows": 200}, "detectors": detectors},
            },
        }
        folder.mkdir(exist_ok=True)
        path = folder / "model.yaml"
        path.write_text(yaml.safe_dump(document))
        self.config = MonitorConfig.from_model(load_model(path))
        self.home, self.form = folder / "state", form
        self.world = World()
        self.monitor = Monitor(self.config, Setting(self.home, role=role), lambda: 1_700_000_000.0)
        self.sent = 0

    def champion(self) -> None:
        folder = self.world.reference(self.home.parent / "reference")
        body = json.dumps({"path": str(folder), "champion": True}).encode()
        self.monitor.put_reference("1", body).result()

    def predict(self, vectors: np.ndarray, answers: np.ndarray | None = None) -> None:
        rows = len(vectors)
        size = self.world.random.normal(size=rows)
        said = self.world.random.normal(size=rows) if answers is None else answers
        identity, self.sent = f"r{self.sent}", self.sent + 1
        if self.form == "blocks":
            keys = DictColumn(tuple(f"{identity}.{i}" for i in range(rows)), whole(*range(rows)))
            block = Block(
                MODEL,
                "1",
                (identity,),
                whole(rows),
                {"size": size.tobytes(), "id": keys},
                {"prediction": Output(said.astype(np.float64).tobytes(), said.size // rows)},
                {"image": Vectors(vectors.shape[1], vectors.tobytes())},
            )
            self.post_block(block)
            return
        keys = [f"{identity}.{i}" for i in range(rows)]
        self.post(
            identity,
            tensor("image", "FP32", vectors),
            tensor("size", "FP64", size),
            {"name": "id", "datatype": "BYTES", "shape": [rows], "data": keys},
        )
        self.answer(identity, tensor("prediction", "FP64", said))

    def post_block(self, block: Block) -> None:
        self.monitor.accept({"content-type": MEDIA_TYPE}, encode(block)).result()

    def post(self, identity: str, *inputs: dict[str, Any]) -> None:
        self.event(identity, "request", {"inputs": inputs})

    def answer(self, identity: str, *outputs: dict[str, Any]) -> None:
        self.event(identity, "response", {"outputs": outputs, "model_version": "1"})

    def event(self, identity: str, kind: str, body: dict[str, Any]) -> None:
        headers = {
            "content-type": "application/json",
            "ce-specversion": "1.0",
            "ce-id": identity,
            "ce-type": f"org.kubeflow.serving.inference.{kind}",
            "ce-source": "http://localhost:9081/",
            "ce-inferenceservicename": MODEL,
        }
        self.monitor.accept(headers, json.dumps(body).encode()).result()

    def status(self) -> dict[str, Any]:
        self.monitor.flush()
        return self.monitor.status()

    def windows(self, stream: str = "features") -> list[dict[str, Any]]:
        self.monitor.flush()
        return [json.loads(bytes(body)) for body in self.monitor.windows(stream, 1000)]

    def exported(self) -> dict[str, list[Any]]:
        self.monitor.flush()
        out = self.home.parent / "out"
        export(self.home, self.config, out)
        return pq.read_table(out / "exchanges.parquet").to_pydict()


def whole(*values: int) -> bytes:
    return np.array(values, np.int32).tobytes()


def tensor(name: str, datatype: str, values: np.ndarray) -> dict[str, Any]:
    return {
        "name": name,
        "datatype": datatype,
        "shape": list(values.shape),
        "data": values.ravel().tolist(),
    }


JOINT = [
    {"name": "images", "kind": "mmd", "types": ["vector"], "options": {"referenceRows": 300}},
    {"name": "told", "kind": "classifier", "options": {"referenceRows": 300}},
    {"name": "columns", "kind": "tabular"},
    {"name": "prediction", "kind": "ks", "watch": "prediction"},
]
Make = Callable[..., Bench]


@pytest.fixture(params=["events", "blocks"])
def make(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[Bench] = []

    def one(*, form: str = request.param, detectors: Any = JOINT) -> Bench:
        made.append(Bench(tmp_path / f"bench{len(made)}", form, detectors))
        return made[-1]

    yield one
    for bench in made:
        bench.monitor.close()


def test_joint_detectors_alarm_when_vectors_are_turned_and_are_quiet_when_not(make: Make) -> None:
    bench = make()
    bench.champion()
    for _ in range(20):
        bench.predict(bench.world.vectors(20))
    quiet = bench.windows()
    assert len(quiet) == 2
    assert not any(report["drift"] for window in quiet for report in window["drift"].values())
    assert set(quiet[0]["drift"]) == {"images", "told", "columns"}
    assert {f["name"] for f in quiet[0]["drift"]["columns"]["features"]} == {"size"}
    for _ in range(10):
        bench.predict(bench.world.vectors(20, turned=True))
    turned = bench.windows()[-1]["drift"]
    assert turned["images"]["drift"]
    assert turned["told"]["drift"]
    assert not turned["columns"]["drift"]


def test_events_and_blocks_of_the_same_vectors_are_the_same_windows(make: Make) -> None:
    events, blocks = make(form="events"), make(form="blocks")
    for bench in (events, blocks):
        bench.champion()
        for _ in range(10):
            bench.predict(bench.world.vectors(20))
    assert [w["drift"] for w in events.windows()] == [w["drift"] for w in blocks.windows()]
    assert events.exported()["feature.image"] == blocks.exported()["feature.image"]


def test_vectors_are_exported_as_they_came(make: Make) -> None:
    bench = make()
    sent = bench.world.vectors(3)
    sent[1] = np.nan
    bench.champion()
    if bench.form == "blocks":
        bench.predict(sent)
    else:
        bench.post(
            "r",
            tensor("image", "FP32", sent) | {"data": [
                None if value != value else value for value in sent.ravel().tolist()
            ]},
            tensor("size", "FP64", np.zeros(3)),
        )  # fmt: skip
        bench.answer("r", tensor("prediction", "FP64", np.zeros(3)))
    assert bench.exported()["feature.image"] == [sent[0].tolist(), None, sent[2].tolist()]


def test_a_vector_of_another_width_and_a_missing_one_are_missing_to_the_quality_rules(
    make: Make,
) -> None:
    bench = make()
    bench.champion()
    for i in range(10):
        vectors = bench.world.vectors(20)
        bench.predict(np.ascontiguousarray(vectors[:, :3]) if i < 5 else vectors)
    (window,) = bench.windows()
    assert window["quality"]["missing"] == 0.5
    assert window["quality"]["breaches"][0]["feature"] == "image"
    assert not window["drift"]["images"]["drift"]


def test_a_vector_that_no_detector_watches_is_told(make: Make) -> None:
    bench = make(detectors=[{"name": "columns", "kind": "tabular"}])
    bench.champion()
    assert "no detector watches it" in bench.status()["waiting"]["image"]
    assert "image" not in make().status()["waiting"]


def test_an_answer_of_many_numbers_is_kept_whole_and_watched_as_a_vector(make: Make) -> None:
    bench = make(detectors=[{"name": "prediction", "kind": "mmd", "watch": "prediction"}])
    bench.champion()
    random = np.random.default_rng(5)

    def forecast(rows: int, scale: float) -> np.ndarray:
        return random.normal(size=(rows, 40)) * np.linspace(1.0, scale, 40)

    for _ in range(60):
        bench.predict(bench.world.vectors(20), forecast(20, 1.0))
    quiet = [window["drift"] for window in bench.windows("prediction") if window["drift"]]
    assert quiet
    assert not any(found["prediction"]["drift"] for found in quiet)
    last = forecast(20, 3.0)
    for _ in range(9):
        bench.predict(bench.world.vectors(20), forecast(20, 3.0))
    bench.predict(bench.world.vectors(20), last)
    assert bench.windows("prediction")[-1]["drift"]["prediction"]["drift"]
    assert bench.exported()["scores"][-20:] == last.tolist()


def test_the_servers_events_in_json_are_read_to_the_same_rows_as_its_blocks(
    tmp_path: Path,
) -> None:
    benches = [Bench(tmp_path / name, name, JOINT) for name in ("events", "blocks")]
    vectors = World().vectors(3)
    vectors[1] = np.nan
    keys = np.array(["a", "b", "c"], object)
    columns = {"image": vectors.astype(np.float64), "size": np.arange(3.0), "id": keys}
    results = {"prediction": np.arange(6.0).reshape(3, 2)}
    source = Source(MODEL, "1")
    predicted = Predicted("r", Outcome(columns, results, 3), 0.0, 0.0)
    for event in EventWriter(source).events(predicted):
        headers, body = write_one(event)
        benches[0].monitor.accept(headers, body).result()
    block = write_block([predicted], source)
    assert block is not None
    benches[1].monitor.accept({"content-type": MEDIA_TYPE}, block).result()
    ours, theirs = (bench.exported() for bench in benches)
    assert ours == theirs
    assert ours["feature.image"] == [vectors[0].tolist(), None, vectors[2].tolist()]
    for bench in benches:
        bench.monitor.close()


# V1 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["objects", "lists"])
def test_a_v1_body_is_read_to_the_same_rows_as_v2(tmp_path: Path, form: str) -> None:
    benches = [Bench(tmp_path / name, "events", JOINT) for name in ("v1", "v2")]
    vectors, sizes = World().vectors(3), [0.5, None, 2.0]
    rows = [
        {"image": vector, "size": size} if form == "objects" else [vector, size]
        for vector, size in zip(vectors.tolist(), sizes, strict=True)
    ]
    inputs = [tensor("image", "FP64", vectors), tensor("size", "FP64", np.zeros(3))]
    inputs[1]["data"] = sizes
    for bench in benches:
        bench.champion()
    benches[0].event("r", "request", {"instances": rows})
    benches[0].event("r", "response", {"predictions": [1.0, 2.0, 3.0]})
    benches[1].post("r", *inputs)
    benches[1].answer("r", tensor("prediction", "FP64", np.array([1.0, 2.0, 3.0])))
    ours, theirs = (bench.exported() for bench in benches)
    # V1 says no version.
    assert set(ours.pop("version")) == {"unknown"}
    theirs.pop("version")
    assert ours == theirs
    for bench in benches:
        bench.monitor.close()


@pytest.mark.parametrize(
    ("predictions", "scores", "prediction"),
    [
        ([{"prediction": 0.5, "why": "so"}], None, 0.5),
        ([[0.25, 0.75, 0.0]], [0.25, 0.75, 0.0], None),
        (["yes"], None, None),
    ],
)
def test_v1_predictions_are_numbers_lists_of_them_objects_or_texts(
    bench: Bench, predictions: list[Any], scores: Any, prediction: Any
) -> None:
    bench.event("r", "request", {"instances": [{"size": 1.0}]})
    bench.event("r", "response", {"predictions": predictions})
    found = bench.exported()
    assert (found["scores"], found["prediction"]) == ([scores], [prediction])
    assert found["feature.size"] == [1.0]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"instances": []}, "does not fit 2 features"),
        ({"instances": [1.0, 2.0]}, "does not fit 2 features"),
        ({"instances": [{"size": 1.0}, 3]}, r"instances\[1\]: 3 is not like the first"),
        ({"instances": [{"other": 1.0}]}, "none of the model's features is there"),
        ({"rows": [{"size": 1.0}]}, "not a V2 inference body"),
    ],
)
def test_a_v1_body_that_does_not_fit_is_refused(
    bench: Bench, body: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        bench.event("r", "request", body)


# Files and blocks of earlier versions ------------------------------------------------------


def test_records_and_blocks_without_vectors_are_still_read(bench: Bench) -> None:
    numbers = np.zeros(2).tobytes()
    request = ["q", "r", "1", 2, {"size": numbers}, None, None]
    block = ["b", ["r"], whole(2), "1", 2, {"size": numbers}, numbers, None, None]
    for fields in (request, ["p", "r", "1", 2, numbers], block):
        record = decode(msgspec.msgpack.encode(fields))
        assert (record.rows, record.aside) == (2, {})
    sent = [MODEL, "1", ["a", "b"], whole(1, 1), {"size": numbers}, {"prediction": [numbers, 1]}]
    body = msgspec.msgpack.encode(sent)
    bench.monitor.accept({"content-type": MEDIA_TYPE}, body).result()
    assert bench.status()["counts"]["rows"] == 2


# Among replicas --------------------------------------------------------------------------------


def found_in(window: dict[str, Any]) -> dict[str, Any]:
    """What a window found, but for what depends on which rows came side by side."""
    apart = ("p_value", "design_effect", "features")
    return {
        "quality": window["quality"],
        "drift": {
            name: {key: value for key, value in report.items() if key not in apart}
            for name, report in window["drift"].items()
        },
    }


def test_replicas_find_exactly_what_one_monitor_finds_in_the_same_vectors(tmp_path: Path) -> None:
    roles = {"one": SINGLE, "sum": Role(replicas=2)}
    roles |= {f"part{i}": Role(Replica(i, 2)) for i in (1, 2)}
    benches = {n: Bench(tmp_path / n, "events", JOINT, role) for n, role in roles.items()}
    for bench in benches.values():
        bench.champion()
    world = World(3)
    # A partial of two replicas has 25 rows of a window of 200.
    for i in range(24):
        vectors = world.vectors(25, turned=i >= 16)
        if i == 5:
            vectors[3] = np.nan
        replica = benches[f"part{1 + i % 2}"]
        size, said = world.random.normal(size=25), world.random.normal(size=25)
        for bench in (benches["one"], replica):
            bench.post_block(of_block(f"r{i}", vectors, size, said))
        ship(replica, benches["sum"])
    ours, theirs = (benches[name].windows() for name in ("sum", "one"))
    assert len(ours) == 3
    assert [found_in(window) for window in ours] == [found_in(window) for window in theirs]
    assert [window["drift"]["images"]["drift"] for window in ours] == [False, False, True]
    assert ours[0]["quality"]["missing"] == pytest.approx(1 / 200)
    for bench in benches.values():
        bench.monitor.close()


def test_a_partial_whose_vectors_do_not_fit_its_rows_is_refused(tmp_path: Path) -> None:
    whole_one, part = (
        Bench(tmp_path / name, "events", JOINT, role)
        for name, role in (("sum", Role(replicas=1)), ("part", Role(Replica(1, 1))))
    )
    part.champion()
    part.predict(part.world.vectors(50))
    part.monitor.flush()
    outbox = Outbox(part.home / "state.db")
    record = msgspec.msgpack.decode(outbox.first(1)[0][1], type=PartialRecord)
    outbox.close()
    columns = {**record.columns, "image": msgspec.structs.replace(record.columns["image"], width=2)}
    wrong = msgspec.structs.replace(record, columns=columns)
    with pytest.raises(InvalidInput, match="table"):
        whole_one.monitor.partials(msgspec.msgpack.encode([wrong]))
    for bench in (whole_one, part):
        bench.monitor.close()


def of_block(identity: str, vectors: np.ndarray, size: np.ndarray, said: np.ndarray) -> Block:
    return Block(
        MODEL,
        "1",
        (identity,),
        whole(len(size)),
        {"size": size.tobytes()},
        {"prediction": Output(said.tobytes())},
        {"image": Vectors(WIDTH, vectors.tobytes())},
    )


def ship(replica: Bench, to: Bench) -> None:
    """Send what a replica has to the aggregator."""
    replica.monitor.flush()
    outbox = Outbox(replica.home / "state.db")
    found = outbox.first(1000)
    if found:
        to.monitor.partials(msgspec.msgpack.encode([msgspec.Raw(b) for _, b in found])).result()
        outbox.forget(found[-1][0])
    outbox.close()


# What can't be watched -------------------------------------------------------------------------


def image() -> dict[str, Any]:
    return tensor("image", "FP32", np.zeros((2, 3, 4, 4)))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path / "bench", "events", JOINT)
    found.champion()
    yield found
    found.monitor.close()


def test_an_image_is_set_aside_and_the_rest_of_its_exchange_is_kept(bench: Bench) -> None:
    keys = {"name": "id", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}
    bench.post("r", image(), tensor("size", "FP64", np.array([1.0, 2.0])), keys)
    bench.answer("r", tensor("prediction", "FP64", np.ones((2, 5))))
    status = bench.status()
    assert (status["counts"]["rows"], status["counts"]["mismatched"]) == (2, 0)
    assert status["aside"] == {"image: rank": 1}
    found = bench.exported()
    assert found["request"] == ["r", "r"]
    assert found["version"] == ["1", "1"]
    assert found["key"] == ["a", "b"]
    assert found["feature.size"] == [1.0, 2.0]
    assert found["feature.image"] == [None, None]
    assert found["scores"] == [[1.0] * 5] * 2


def test_an_image_alone_counts_its_rows_by_its_shape(bench: Bench) -> None:
    bench.post("r", image())
    bench.answer("r", tensor("prediction", "FP64", np.ones((2, 5))))
    assert bench.status()["counts"]["rows"] == 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"name": "answer", "datatype": "BYTES", "shape": [2], "data": ["yes", "no"]}, "text"),
        (tensor("answer", "FP32", np.zeros((2, 3, 3))), "rank"),
    ],
)
def test_an_answer_without_a_number_is_set_aside_and_its_labels_find_it(
    bench: Bench, answer: dict[str, Any], reason: str
) -> None:
    bench.post("r", tensor("image", "FP32", bench.world.vectors(2)))
    bench.answer("r", answer)
    bench.monitor.feedback(json.dumps({"labels": [{"id": "r:1", "label": 3.0}]}).encode())[
        0
    ].result()
    status = bench.status()
    assert status["counts"]["rows"] == 2
    assert status["counts"]["joined"] == 1
    assert status["aside"] == {f"answer: {reason}": 1}
    found = bench.exported()
    assert found["label"] == [None, 3.0]
    assert found["scores"] == [None, None]
    assert bench.monitor.measure("rmse", "1", 0.0)[1].problem == "the answers hold no number"


def test_an_answer_of_a_text_and_a_number_is_watched_by_the_number(bench: Bench) -> None:
    bench.post("r", tensor("size", "FP64", np.array([1.0])))
    text = {"name": "why", "datatype": "BYTES", "shape": [1], "data": ["so"]}
    bench.answer("r", text, tensor("score", "FP64", np.array([0.25])))
    assert bench.status()["aside"] == {}
    assert bench.exported()["prediction"] == [0.25]


def test_texts_where_numbers_are_watched_are_set_aside(bench: Bench) -> None:
    texts = {"name": "size", "datatype": "BYTES", "shape": [2], "data": ["big", "small"]}
    bench.post("r", tensor("image", "FP32", bench.world.vectors(2)), texts)
    bench.answer("r", tensor("prediction", "FP64", np.zeros(2)))
    assert bench.status()["aside"] == {"size: text": 1}
    assert bench.exported()["feature.size"] == [None, None]


def test_numbers_that_are_called_texts_are_numbers(bench: Bench) -> None:
    inputs = {"name": "size", "datatype": "BYTES", "shape": [2], "data": [1.5, None]}
    bench.post("r", inputs)
    bench.answer("r", {"name": "said", "datatype": "BYTES", "shape": [2], "data": [1, 2]})
    assert bench.status()["aside"] == {}
    found = bench.exported()
    assert (found["feature.size"], found["prediction"]) == ([1.5, None], [1.0, 2.0])


def test_a_key_that_is_too_long_is_set_aside_alone(bench: Bench) -> None:
    keys = {"name": "id", "datatype": "BYTES", "shape": [2], "data": ["a", "x" * 600]}
    bench.post("r", tensor("size", "FP64", np.zeros(2)), keys)
    bench.answer("r", tensor("prediction", "FP64", np.zeros(2)))
    bench.monitor.feedback(json.dumps({"labels": [{"key": "a", "label": 1.0}]}).encode())[
        0
    ].result()
    status = bench.status()
    assert status["aside"] == {"entityKey: long": 1}
    assert status["counts"]["joined"] == 1


def test_a_block_says_what_its_sender_left_out(bench: Bench) -> None:
    block = Block(
        MODEL,
        "1",
        ("a", "b"),
        whole(1, 1),
        {"size": np.zeros(2).tobytes()},
        {"answer": Output(DictColumn(("yes",), whole(0, 0)))},
        {},
        {"image": "rank", "answer": "nonsense"},
    )
    bench.post_block(block)
    status = bench.status()
    assert status["counts"]["rows"] == 2
    assert status["aside"] == {"image: rank": 2, "answer: text": 2}


def test_names_from_outside_that_are_told_are_bounded(bench: Bench) -> None:
    for i in range(80):
        bench.post(f"r{i}", tensor("size", "FP64", np.zeros(1)))
        bench.answer(f"r{i}", {"name": f"out{i}", "datatype": "BYTES", "shape": [1], "data": ["x"]})
    found = bench.status()["aside"]
    assert len(found) == 65
    assert found["other: text"] == 16


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([tensor("image", "FP32", np.zeros(8))], r"\[8\] with 8 values is no list of vectors"),
        ([tensor("image", "FP32", np.zeros((2, 3))) | {"shape": [2, 4]}], "no list of vectors"),
        (
            [tensor("image", "FP32", np.zeros((2, 8))), tensor("size", "FP64", np.zeros(3))],
            "different lengths",
        ),
        ([tensor("x", "FP32", np.zeros((2, 8)))], "does not fit 2 features"),
    ],
)
def test_a_vector_that_is_malformed_is_refused(
    bench: Bench, inputs: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        bench.post("r", *inputs)


def test_one_matrix_of_all_features_is_split_by_their_widths(bench: Bench) -> None:
    matrix = np.arange(2 * (WIDTH + 1), dtype=np.float64).reshape(2, WIDTH + 1)
    bench.post("r", tensor("x", "FP64", matrix))
    bench.answer("r", tensor("prediction", "FP64", np.zeros(2)))
    found = bench.exported()
    assert found["feature.image"] == matrix[:, :WIDTH].tolist()
    assert found["feature.size"] == matrix[:, WIDTH].tolist()


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (Vectors(8, b"1234"), "4 bytes do not fit 2 vectors of 8 numbers"),
        (Vectors(0, b""), "0 bytes do not fit 2 vectors of 0 numbers"),
        (Vectors(-8, b"1234"), "do not fit"),
    ],
)
def test_a_block_whose_vectors_do_not_fit_is_refused(
    bench: Bench, vectors: Vectors, said: str
) -> None:
    outputs = {"prediction": Output(np.zeros(2).tobytes())}
    block = Block(MODEL, "1", ("a", "b"), whole(1, 1), {}, outputs, {"image": vectors})
    with pytest.raises(InvalidInput, match=said):
        bench.post_block(block)
