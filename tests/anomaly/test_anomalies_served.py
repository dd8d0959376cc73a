"""An anomaly detector in the model server: predictions, alarms and their reasons."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from noria.tasks.anomaly.predictor import AnomalyPredictor
from noria.tasks.package import load_predictor, read_package
from tests.anomaly.conftest import Project
from tests.serving.conftest import RunningServer

USUAL: dict[str, Any] = {
    "flow": 40.0,
    "pressure": 5.2,
    "current": 3.58,
    "temperature": 44.3,
    "vibration": 0.55,
    "mode": "normal",
}


def ask(server: RunningServer, *rows: dict[str, Any]) -> httpx.Response:
    tensors = [
        {
            "name": name,
            "shape": [len(rows)],
            "datatype": "BYTES" if name == "mode" else "FP64",
            "data": [row[name] for row in rows],
        }
        for name in USUAL
    ]
    with server.client() as client:
        return client.post("/v2/models/m/infer", json={"inputs": tensors})


def said(answer: httpx.Response) -> dict[str, np.ndarray]:
    assert answer.status_code == 200, answer.text
    return {
        one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in answer.json()["outputs"]
    }


@pytest.mark.parametrize(
    ("wrong", "value"),
    [("pressure", 2.5), ("temperature", 120.0), ("vibration", 5.0), ("flow", -300.0)],
)
def test_an_alarm_names_the_column_that_is_wrong(
    server: RunningServer, wrong: str, value: float
) -> None:
    found = said(ask(server, USUAL, USUAL | {wrong: value}))
    assert found["anomaly"].tolist() == [False, True]
    assert found["prediction"][1] > 0.99 > found["prediction"][0]
    assert found["reasons"][0].tolist() == ["", "", ""]
    assert found["reason-weights"][0].tolist() == [0.0, 0.0, 0.0]
    assert found["reasons"][1][0] == wrong
    weights = found["reason-weights"][1]
    assert (np.diff(weights) <= 0.0).all()
    assert 0.5 < weights[0] <= weights.sum() <= 1.0 + 1e-9


def test_a_category_that_nobody_has_seen_and_a_value_that_is_never_missing_alarm(
    server: RunningServer,
) -> None:
    found = said(ask(server, USUAL | {"mode": "cleaning"}, USUAL | {"current": None}))
    assert found["anomaly"].tolist() == [True, True]
    assert found["reasons"][:, 0].tolist() == ["mode", "current"]


def test_a_value_as_far_out_as_there_is_has_an_answer(server: RunningServer) -> None:
    found = said(ask(server, USUAL | {"flow": 1.7e308}, USUAL | {"flow": -1.7e308}))
    assert found["anomaly"].all()
    assert np.isfinite(found["prediction"]).all()


def test_rows_of_a_batch_are_judged_as_if_alone(server: RunningServer, project: Project) -> None:
    rows = [dict(row) for _, row in project.rows.iloc[-20:].iterrows()]
    together = said(ask(server, *rows))
    for place in (0, 7, 19):
        alone = said(ask(server, rows[place]))
        assert alone["prediction"][0] == pytest.approx(together["prediction"][place], abs=1e-12)
        assert alone["anomaly"][0] == together["anomaly"][place]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"flow": "much"}, "inputs[0].data[0]: 'much' is not a number"),
        ({"mode": 3.5}, "inputs[5].data[0]: 3.5 is not a string"),
    ],
)
def test_what_is_no_row_is_refused(
    server: RunningServer, row: dict[str, Any], message: str
) -> None:
    answer = ask(server, USUAL | row)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_the_server_says_what_it_answers(server: RunningServer) -> None:
    with server.client() as client:
        found = client.get("/v2/models/m").json()
    outputs = {one["name"]: (one["datatype"], one["shape"]) for one in found["outputs"]}
    assert outputs == {
        "prediction": ("FP64", [-1]),
        "anomaly": ("BOOL", [-1]),
        "reasons": ("BYTES", [-1, 3]),
        "reason-weights": ("FP64", [-1, 3]),
    }


def test_the_package_holds_no_pickle_and_answers_as_the_server_does(
    server: RunningServer, package: Path
) -> None:
    _, files = read_package(package)
    assert sorted(files) == ["detector.npz", "space.json"]
    predictor = load_predictor(package)
    assert isinstance(predictor, AnomalyPredictor)
    rows = [USUAL, USUAL | {"pressure": 2.5}]
    columns = {
        name: np.array([row[name] for row in rows], dtype=object if name == "mode" else float)
        for name in USUAL
    }
    alone, served = predictor.predict(columns), said(ask(server, *rows))
    for name, values in alone.items():
        assert served[name].tolist() == values.tolist()
    assert predictor.describe(columns)["anomaly"].tolist() == [0.0, 1.0]
    assert predictor.manifest.options["threshold"] == predictor.calibration.threshold


def test_a_reason_is_how_far_the_score_falls_without_the_column(package: Path) -> None:
    predictor = load_predictor(package)
    assert isinstance(predictor, AnomalyPredictor)
    usual = np.array([[40.0, 5.2, 3.58, 44.3, 0.55, 2.0]])
    row = usual.copy()
    row[0, [1, 4]] = 2.5, 2.0
    falls = []
    for place in range(6):
        without = row.copy()
        without[0, place] = predictor.typical[place]
        falls.append(float((predictor.score(row) - predictor.score(without))[0]))
    kept = np.maximum(falls, 0.0)
    names, weights = predictor.reasons(row)
    features = [feature.name for feature in predictor.manifest.features]
    expected = np.argsort(-kept)[:3]
    assert names[0].tolist() == [features[place] if kept[place] else "" for place in expected]
    np.testing.assert_allclose(weights[0], kept[expected] / kept.sum())


def test_answering_needs_numpy_alone(package: Path) -> None:
    code = f"""
import sys
import subprocess
import sys
from pathlib import Path
import numpy as np
from noria.tasks.package import load_predictor
predictor = load_predictor(Path({str(package)!r}))
columns = {{name: np.array([1e6]) for name in {[name for name in USUAL if name != "mode"]!r}}}
said = predictor.predict({{**columns, "mode": np.array(["eco"], dtype=object)}})
assert said["anomaly"].all()
print(*sorted({{"sklearn", "scipy", "pandas", "pydantic", "torch"}} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
