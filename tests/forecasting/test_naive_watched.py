"""The seasonal naive beside the model: in training, in answers, and in the monitor."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml

from monitoring.config import MonitorConfig
from monitoring.partials.replica import Replica
from monitoring.processor import Role
from monitoring.readers import Outbox
from monitoring.service import Monitor, Setting
from monitoring.written import read, write
from noria.measures.measuring import measure
from noria.predictions import MEDIA_TYPE, Block, DictColumn, Output, encode
from noria.spec import Model, load_model
from noria.tasks.forecasting.accuracy import skill
from noria.tasks.forecasting.describe import SKILL
from tests.forecasting.conftest import Project
from tests.serving.conftest import RunningServer

Array = np.ndarray[Any, Any]

ROWS, HORIZON = 120, 14
TRUTH = np.tile(np.arange(1.0, HORIZON + 1), (ROWS, 1))


def test_skill_is_the_share_by_which_the_error_is_smaller() -> None:
    truth = np.array([[10.0, 10.0], [10.0, 10.0], [10.0, 10.0], [10.0, np.nan]])
    said = np.array([[11.0, 9.0], [14.0, 10.0], [10.0, 10.0], [12.0, 0.0]])
    naive = np.array([[14.0, 6.0], [11.0, 10.0], [10.0, 10.0], [10.0, 0.0]])
    # MAE 1 against 4: 1 - 1/4. 2 against 0.5: -(1 - 1/4). 0 against 0. 2 against 0: all of it lost.
    assert skill(truth, said, naive).tolist() == [0.75, -0.75, 0.0, -1.0]
    # Of pairs of errors that are exchanged neither is better.
    both = np.concatenate([said, naive]), np.concatenate([naive, said])
    assert skill(np.concatenate([truth, truth]), *both).mean() == 0.0


def test_training_measures_it_and_the_naive_against_itself_is_nothing(project: Project) -> None:
    from noria.tasks.forecasting.judged import measured, to_frame

    prepared = project.learner.prepare(project.spec, project.samples)
    places = np.arange(len(project.samples))
    naive = prepared.by("seasonal-naive", places)
    found = measured(project.spec, prepared, places, to_frame({"prediction": naive}))
    assert found["skill"].value == 0.0
    better = (naive + prepared.futures) / 2.0
    found = measured(project.spec, prepared, places, to_frame({"prediction": better}))
    # Every error is half of the naive's.
    assert found["skill"].value == pytest.approx(0.5, abs=0.01)


def test_an_answer_has_what_was_a_season_ago_of_what_is_known(server: RunningServer) -> None:
    history = np.arange(1.0, 22.0)
    body = {
        "inputs": [
            {"name": "history", "shape": [1, 21], "datatype": "FP64", "data": history.tolist()}
        ]
    }
    with server.client() as client:
        answer = client.post("/v2/models/m/infer", json=body).json()
    found = {one["name"]: one for one in answer["outputs"]}
    assert found["seasonal-naive"]["shape"] == [1, HORIZON]
    assert found["seasonal-naive"]["data"] == [*range(15, 22), *range(15, 22)]


def model_of(project: Project, **monitoring: Any) -> Model:
    document = json.loads(project.model.model_dump_json(by_alias=True, exclude_unset=True))
    document["spec"]["monitoring"] = {
        "window": {"rows": 100},
        "performance": {
            "window": {"rows": ROWS},
            "drop": {"metric": "smape", "max": 150},
            **monitoring,
        },
    }
    return Model.model_validate(document)


def events(name: str, said: Array, naive: Array | None) -> Iterator[tuple[dict[str, str], bytes]]:
    """What KServe's logger tells: a request and its answer, as V2 has them."""
    outputs = {"prediction": said} | ({} if naive is None else {"seasonal-naive": naive})
    for kind, tensors in (
        ("request", [("depot", "BYTES", [len(said)], ["D00"] * len(said))]),
        ("response", [(n, "FP64", list(v.shape), v.ravel().tolist()) for n, v in outputs.items()]),
    ):
        found = [
            {"name": n, "datatype": datatype, "shape": shape, "data": data}
            for n, datatype, shape, data in tensors
        ]
        headers = {
            "content-type": "application/json",
            "ce-specversion": "1.0",
            "ce-id": name,
            "ce-type": f"org.kubeflow.serving.inference.{kind}",
            "ce-source": "http://localhost/",
            "ce-inferenceservicename": "depots",
            "ce-annotations": json.dumps({"noria.dev/model-version": "1"}),
        }
        body = {"inputs" if kind == "request" else "outputs": found}
        yield headers, json.dumps(body).encode()


def objects(name: str, said: Array, naive: Array | None) -> Iterator[tuple[dict[str, str], bytes]]:
    """The same, where the answer is V1's."""
    (request, response) = events(name, said, naive)
    yield request
    rows = [{"prediction": row} for row in said.tolist()]
    for row, beside in zip(rows, [] if naive is None else naive.tolist(), strict=naive is not None):
        row["seasonal-naive"] = beside
    yield response[0], json.dumps({"predictions": rows}).encode()


def blocks(name: str, said: Array, naive: Array | None) -> Iterator[tuple[dict[str, str], bytes]]:
    """What Noria's server tells: two requests in columns."""
    outputs = {"prediction": said} | ({} if naive is None else {"seasonal-naive": naive})
    counts = np.array([len(said) // 2, len(said) - len(said) // 2], np.int32)
    found = Block(
        "depots",
        "1",
        (name, name + "-2"),
        counts.tobytes(),
        {"depot": DictColumn(("D00",), np.zeros(len(said), np.int32).tobytes())},
        {n: Output(v.tobytes(), HORIZON) for n, v in outputs.items()},
    )
    yield {"content-type": MEDIA_TYPE}, encode(found)


Form = Callable[[str, Array, "Array | None"], Iterator[tuple[dict[str, str], bytes]]]


class Watched:
    """A monitor in this process, whose rows get their labels at once."""

    def __init__(self, model: Model, home: Path, role: Role | None = None) -> None:
        self.home = home
        self.setting = Setting(home) if role is None else Setting(home, role=role)
        self.config = MonitorConfig.from_model(model)
        self.open()
        folder = home.with_name(home.name + "-reference")
        folder.mkdir(parents=True)
        known = {"smape": {"value": 9.0, "low": 8.0, "high": 10.0}}
        known |= {"skill": {"value": 0.3, "low": 0.25, "high": 0.35}}
        prediction = {"kind": "value", "targets": [f"t+{n}" for n in range(1, HORIZON + 1)]}
        document = {
            "format": 1, "features": [], "prediction": prediction, "performance": known
        }  # fmt: skip
        (folder / "reference.json").write_text(json.dumps(document))
        np.savez(folder / "rows.npz", prediction=TRUTH)
        body = json.dumps({"path": str(folder), "champion": True}).encode()
        self.monitor.put_reference("1", body).result()

    def open(self) -> None:
        self.monitor = Monitor(self.config, self.setting, time.time)

    def tell(self, form: Form, name: str, said: Array, naive: Array | None) -> None:
        for headers, body in form(name, said, naive):
            self.monitor.accept(headers, body).result()

    def label(self, form: Form, name: str, rows: range) -> None:
        half = ROWS // 2
        whose = [
            (f"{name}-2:{row - half}" if form is blocks and row >= half else f"{name}:{row}", row)
            for row in rows
        ]
        labels = [
            {"id": key, "label": value, "target": step}
            for key, row in whose
            for step, value in enumerate(TRUTH[row].tolist())
        ]
        body = json.dumps({"model": "depots", "labels": labels}).encode()
        self.monitor.feedback(body)[0].result()

    def status(self) -> dict[str, Any]:
        self.monitor.flush()
        return dict(json.loads(msgspec.json.encode(self.monitor.status())))


def errors(size: float, seed: int) -> Array:
    return TRUTH + np.random.default_rng(seed).normal(0.0, size, TRUTH.shape)


def expected(said: Array, naive: Array) -> Any:
    return measure(SKILL, TRUTH, np.stack([said, naive], axis=-1))


@pytest.fixture
def watched(project: Project, tmp_path: Path) -> Iterator[Watched]:
    found = Watched(model_of(project), tmp_path / "state")
    yield found
    found.monitor.close()


@pytest.mark.parametrize("form", [events, objects, blocks])
def test_the_monitor_measures_the_model_against_the_naive(watched: Watched, form: Form) -> None:
    better, naive = errors(1.0, 0), errors(2.0, 1)
    watched.tell(form, "a", better, naive)
    # Half of the labels come before a restart: what stands beside the rows is kept.
    watched.label(form, "a", range(70))
    watched.monitor.close()
    watched.open()
    watched.label(form, "a", range(70, ROWS))
    found = watched.status()
    seen, known = found["performance"]["1"]["metrics"]["skill"], expected(better, naive)
    assert seen["value"] == pytest.approx(known.value)
    assert (seen["low"], seen["high"]) == (pytest.approx(known.low), pytest.approx(known.high))
    assert 0.4 < seen["low"] < seen["value"] < seen["high"] < 0.6
    assert found["signals"] == []
    asked = watched.monitor.measure("skill", None, 0.0)[1]
    assert asked.value == pytest.approx(known.value)
    # Then the naive is the better one. The drop that is watched says nothing of it.
    watched.tell(form, "b", naive, better)
    watched.label(form, "b", range(ROWS))
    (signal,) = watched.status()["signals"]
    assert (signal["kind"], signal["source"]) == ("performance", "performance")
    assert signal["detail"].startswith(f"skill is -{known.value:.4g}: -0.4")
    assert signal["detail"].endswith("and a model that is worth having reaches 0")


def test_a_model_that_is_as_good_as_the_naive_is_no_loss(watched: Watched) -> None:
    for number in range(5):
        said, naive = errors(1.0, 2 * number), errors(1.0, 2 * number + 1)
        watched.tell(blocks, f"w{number}", said, naive)
        watched.label(blocks, f"w{number}", range(ROWS))
    found = watched.status()
    assert abs(found["performance"]["1"]["metrics"]["skill"]["value"]) < 0.1
    assert found["signals"] == []


def test_a_version_that_answers_no_naive_has_no_skill_and_says_so(watched: Watched) -> None:
    watched.tell(events, "a", errors(1.0, 0), None)
    watched.label(events, "a", range(ROWS))
    found = watched.status()
    measured = found["performance"]["1"]["metrics"]
    assert measured["skill"]["value"] is None
    assert "the answers have none" in measured["skill"]["problem"]
    assert measured["mae"]["value"] > 0.0
    assert found["signals"] == []


def test_where_no_loss_is_watched_none_is_told(project: Project, tmp_path: Path) -> None:
    found = Watched(model_of(project, drop=None), tmp_path / "state")
    found.tell(events, "a", errors(2.0, 0), errors(1.0, 1))
    found.label(events, "a", range(ROWS))
    status = found.status()
    assert status["performance"]["1"]["metrics"]["skill"]["high"] < 0.0
    assert status["signals"] == []
    found.monitor.close()


def test_replicas_and_their_aggregator_know_the_same(project: Project, tmp_path: Path) -> None:
    model = model_of(project)
    better, naive = errors(1.0, 0), errors(2.0, 1)
    one = Watched(model, tmp_path / "one", Role(Replica(1, 1)))
    all_of_them = Watched(model, tmp_path / "all", Role(replicas=1))
    one.tell(events, "a", better, naive)
    one.label(events, "a", range(ROWS))
    one.monitor.flush()
    outbox = Outbox(tmp_path / "one" / "state.db")
    records = [msgspec.Raw(record) for _, record in outbox.first(1000)]
    all_of_them.monitor.partials(msgspec.msgpack.encode(records)).result()
    outbox.close()
    seen = all_of_them.status()["performance"]["1"]["metrics"]["skill"]
    assert seen["value"] == pytest.approx(expected(better, naive).value)
    one.monitor.close()
    all_of_them.monitor.close()


def test_what_the_operator_hands_over_knows_when_the_model_is_worse(
    project: Project, tmp_path: Path
) -> None:
    file = tmp_path / "monitor.json"
    file.write_text(write(model_of(project)))
    config = read(file)
    metric = config.family.metric("skill")
    assert (config.baseline, getattr(metric, "floor", None)) == ("seasonal-naive", 0.0)


def test_a_gate_can_ask_a_candidate_to_beat_the_naive(tmp_path: Path, project: Project) -> None:
    document = json.loads(project.model.model_dump_json(by_alias=True, exclude_unset=True))
    document["spec"]["gates"] = {"bounds": [{"metric": "skill", "min": 0}]}
    document["spec"]["serving"] = {"canary": {"analysis": [{"metric": "skill", "min": -0.1}]}}
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(document))
    assert load_model(path).spec.gates.bounds[0].metric == "skill"
