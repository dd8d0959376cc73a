"""Features that are texts: their length is watched, the same whoever tells the monitor."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from monitoring.config import MonitorConfig
from monitoring.exporting import export
from monitoring.service import Monitor, Setting
from noria.errors import InvalidInput
from noria.predictions import MEDIA_TYPE
from noria.spec import Model, parse_model
from noria.spec.data import Feature
from noria.tasks.package import Input, Manifest, Output
from noria.tasks.reference import write_reference
from serving.blocks import write_block
from serving.predicted import Predicted, Source
from serving.runner import Outcome

MODEL = "mood"
FORMS = ("blocks", "v2", "v1")


def model(**data: Any) -> Model:
    """A model of a family that reads a text; none of Noria's own does."""
    found = parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": MODEL},
            "spec": {
                "task": {"family": "tabular-regression"},
                "data": {
                    "source": {"csv": {"paths": ["rows.csv"]}},
                    "features": [{"name": "age", "type": "numeric"}],
                    "target": "y",
                    **data,
                },
                "serving": {"payloadLog": {"redact": []}},
                "monitoring": {
                    "window": {"rows": 100},
                    "detectors": [{"name": "inputs", "kind": "ks", "columns": ["age"]}],
                },
            },
        }
    )
    features = (Feature(name="text", type="text"), *found.spec.data.features)
    detectors = tuple(
        one.model_copy(update={"columns": ("text.length",)})
        for one in found.spec.monitoring.detectors
    )
    spec = found.spec.model_copy(
        update={
            "data": found.spec.data.model_copy(update={"features": features}),
            "monitoring": found.spec.monitoring.model_copy(update={"detectors": detectors}),
        }
    )
    return found.model_copy(update={"spec": spec})


class Bench:
    """A monitor that is told by blocks, or by KServe's logger of V2 or V1 bodies."""

    def __init__(self, folder: Path, form: str, **data: Any) -> None:
        self.home, self.form, self.sent = folder / "state", form, 0
        self.config = MonitorConfig.from_model(model(**data))
        self.monitor = Monitor(self.config, Setting(self.home), lambda: 1_700_000_000.0)

    def champion(self, folder: Path, texts: Sequence[str] | None) -> None:
        manifest = Manifest(
            MODEL,
            "toy",
            "words",
            (Input("text", "BYTES", "text"), Input("age", "FP64", "numeric")),
            (Output("prediction", "FP64"),),
            (),
        )
        columns = {} if texts is None else {"text": np.array(texts, object)}
        write_reference(folder, manifest, columns, np.zeros(100), {}, 1000)
        body = json.dumps({"path": str(folder), "champion": True}).encode()
        self.monitor.put_reference("1", body).result()
        self.monitor.flush()

    def ask(self, texts: Sequence[str | None]) -> None:
        rows, identity = len(texts), f"r{self.sent}"
        self.sent += 1
        if self.form == "blocks":
            columns = {"text": np.array(texts, object), "age": np.zeros(rows)}
            outcome = Outcome(columns, {"prediction": np.zeros(rows)}, rows)
            block = write_block([Predicted(identity, outcome, 1.0, 2.0)], Source(MODEL, "1"))
            assert block is not None
            self.monitor.accept({"content-type": MEDIA_TYPE}, block).result()
        elif self.form == "v2":
            self.event(
                identity,
                "request",
                {
                    "inputs": [
                        {"name": "text", "datatype": "BYTES", "shape": [rows, 1], "data": texts},
                        {"name": "age", "datatype": "FP64", "shape": [rows], "data": [0.0] * rows},
                    ]
                },
            )
            self.answer(identity, rows)
        else:
            self.event(identity, "request", {"instances": [[text, 0.0] for text in texts]})
            self.answer(identity, rows)

    def answer(self, identity: str, rows: int) -> None:
        data = {"name": "prediction", "datatype": "FP64", "shape": [rows], "data": [0.0] * rows}
        self.event(identity, "response", {"outputs": [data]})

    def event(self, identity: str, kind: str, body: dict[str, Any]) -> None:
        headers = {
            "content-type": "application/json",
            "ce-specversion": "1.0",
            "ce-id": identity,
            "ce-type": f"org.kubeflow.serving.inference.{kind}",
            "ce-source": "http://localhost:9081/",
            "ce-inferenceservicename": MODEL,
            "ce-annotations": json.dumps({"noria.dev/model-version": "1"}),
        }
        self.monitor.accept(headers, json.dumps(body).encode()).result()

    def status(self) -> dict[str, Any]:
        self.monitor.flush()
        return self.monitor.status()

    def exported(self, path: Path) -> list[Any]:
        """What is watched of the texts, row by row."""
        self.monitor.flush()
        export(self.home, self.config, path)
        return list(pq.read_table(path / "exchanges.parquet")["feature.text.length"].to_pylist())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(form: str, **data: Any) -> Bench:
        folder = tmp_path / f"{form}{len(made)}"
        folder.mkdir()
        made.append(Bench(folder, form, **data))
        return made[-1]

    yield make
    for one in made:
        one.monitor.close()


@pytest.mark.parametrize("form", FORMS)
def test_a_text_is_its_length_whoever_tells_the_monitor(
    bench: Callable[..., Bench], tmp_path: Path, form: str
) -> None:
    b = bench(form)
    long = "x" * 40_000
    b.ask(["", "좋아요", None, long, "two words"])
    b.ask(["one"])
    assert b.exported(tmp_path / "out") == [0, 3, None, 40_000, 9, 3]
    assert b.status()["aside"] == {}
    # The length alone is watched, so the text itself is nowhere.
    kept = b"".join(path.read_bytes() for path in b.home.rglob("*.db*"))
    assert b"two words" not in kept


@pytest.mark.parametrize("form", FORMS)
def test_texts_of_another_length_than_in_training_are_drift(
    bench: Callable[..., Bench], tmp_path: Path, form: str
) -> None:
    b = bench(form)
    random = np.random.default_rng(0)
    b.champion(tmp_path / "reference", ["x" * n for n in random.integers(5, 50, 400)])
    assert "text.length" not in b.status()["waiting"]
    b.ask(["y" * n for n in random.integers(5, 50, 100)])
    assert not b.status()["drift"]["inputs"].drift
    b.ask(["y" * n for n in random.integers(40, 90, 100)])
    found = b.status()
    assert found["drift"]["inputs"].drift
    assert [one["name"] for one in found["drift"]["inputs"].features] == ["text.length"]
    # Training had no text of over 49 characters.
    assert "text.length" in {breach.feature for breach in found["quality"].breaches}


def test_a_reference_without_the_texts_is_said(bench: Callable[..., Bench], tmp_path: Path) -> None:
    b = bench("v2")
    b.champion(tmp_path / "reference", None)
    assert b.status()["waiting"]["text.length"].startswith(
        "is not watched: the champion's reference has no rows of it"
    )


def test_what_is_no_column_of_texts_is_set_aside(bench: Callable[..., Bench]) -> None:
    b = bench("v2")
    age = {"name": "age", "datatype": "FP64", "shape": [2], "data": [1.0, 2.0]}
    for identity, text in (
        ("a", {"datatype": "FP64", "shape": [2], "data": [1.0, 2.0]}),
        ("b", {"datatype": "BYTES", "shape": [2, 2], "data": ["a", "b", "c", "d"]}),
    ):
        b.event(identity, "request", {"inputs": [{"name": "text", **text}, age]})
        b.answer(identity, 2)
    found = b.status()
    assert found["aside"] == {"text: number": 1, "text: rank": 1}
    assert found["counts"]["rows"] == 4


def test_a_request_without_any_input_of_the_model_is_refused(bench: Callable[..., Bench]) -> None:
    b = bench("v2")
    other = {"name": "words", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    with pytest.raises(InvalidInput, match=r"none of the model's features .*'text', 'age'"):
        b.event("a", "request", {"inputs": [other]})


@pytest.mark.parametrize("form", FORMS)
def test_a_text_that_is_kept_to_train_on_is_kept_beside_its_length(
    bench: Callable[..., Bench], tmp_path: Path, form: str
) -> None:
    b = bench(form, served={"retention": "36500d"})
    b.champion(tmp_path / "reference", ["x"])
    b.ask(["a", "bcd"])
    body = json.dumps({"labels": [{"id": "r0:1", "label": 2.0}]}).encode()
    b.monitor.feedback(body)[0].result()
    b.monitor.flush()
    (part,) = b.monitor.served().parts
    row = pq.read_table(b.home / "served" / part).to_pylist()[0]
    assert row["text"] == "bcd"
    assert b.exported(tmp_path / "out") == [1, 3]
