"""Clusters in the model server, and rows told again without labels."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from noria.embedded.answers import Answers
from noria.errors import InvalidInput
from noria.replay import Answer, Labels, infer_body, labels_by_key, read_history
from noria.tasks.package import Manifest, load_predictor, read_manifest
from tests.clustering.conftest import Project, project_of
from tests.serving.conftest import RunningServer

REGULAR = {"orders": 12.0, "basket": 35.0, "returns": 0.05, "channel": "app"}


def ask(server: RunningServer, **changes: Any) -> httpx.Response:
    row = {**REGULAR, **changes}
    tensors = [
        {
            "name": name,
            "shape": [1],
            "datatype": "BYTES" if name == "channel" else "FP64",
            "data": [value],
        }
        for name, value in row.items()
    ]
    with server.client() as client:
        return client.post("/v2/models/m/infer", json={"inputs": tensors})


def said(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return {one["name"]: one["data"][0] for one in answer.json()["outputs"]}


def test_a_row_gets_the_cluster_that_the_package_gives_it(
    server: RunningServer, package: Path
) -> None:
    found = said(ask(server))
    columns = {name: np.array([value], object) for name, value in REGULAR.items()}
    told = load_predictor(package).predict(columns)
    assert found == {name: values[0] for name, values in told.items()}
    assert found["cluster"] == f"cluster-{found['prediction']}"
    assert found["distance"] < 2.0


def test_a_value_may_be_missing_and_a_strange_row_lies_far_away(server: RunningServer) -> None:
    usual = said(ask(server))
    assert said(ask(server, returns=None))["cluster"] == usual["cluster"]
    assert said(ask(server, channel="letter"))["cluster"] == usual["cluster"]
    assert said(ask(server, orders=500.0))["distance"] > 50.0


def test_a_text_in_place_of_a_number_is_refused_by_place_and_value(server: RunningServer) -> None:
    answer = ask(server, orders="many")
    assert answer.status_code == 400
    assert "inputs[0].data[0]: 'many' is not a number" in answer.text


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project_of(tmp_path_factory.mktemp("told") / "shop", {})


def test_rows_without_labels_are_told_again(project: Project, path: Path, package: Path) -> None:
    spec = project.spec
    history = read_history(spec, path.parent, datetime(2026, 2, 1, tzinfo=UTC))
    assert not history.labelled
    assert 0 < len(history) < len(project.frame)
    assert len(history.since(datetime(2026, 2, 20, tzinfo=UTC))) < len(history)
    body = infer_body(history, slice(0, 2))
    assert [one["name"] for one in body["inputs"]] == [
        "orders", "basket", "returns", "channel", "day", "customer",
    ]  # fmt: skip
    labels = Labels(history)
    labels.answered(slice(0, 2), "r")
    assert list(labels.known(int(history.label_ms.max()))) == []
    with pytest.raises(InvalidInput, match="clustering learns without labels"):
        next(labels_by_key(history, spec))
    manifest: Manifest = read_manifest(package)
    answers = Answers(history, lambda _: manifest)
    outputs = {"prediction": np.array([1, 2]), "cluster": np.array(["cluster-1", "cluster-2"])}
    answers.take(slice(0, 2), Answer("r", "1", outputs))
    summary = answers.summary(spec)
    unmeasured = {"adjusted-rand-index": None}  # nobody named a group
    assert (summary.rows, summary.unknown, dict(summary.metrics)) == (2, 0, unmeasured)
    answers.write(path.parent / "told.parquet")
    import pyarrow.parquet as pq

    table = pq.read_table(path.parent / "told.parquet")
    assert "label" not in table.column_names
    assert table.column("cluster").to_pylist() == ["cluster-1", "cluster-2"]
