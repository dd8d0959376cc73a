"""A forecasting model in the model server: histories sent along, and looked up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from noria.tasks.package import load_predictor
from tests.forecasting.conftest import Project
from tests.serving.conftest import RunningServer

WEEK = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]
INFINITE = (
    b'{"inputs": [{"name": "history", "shape": [1, 1], "datatype": "FP64", "data": [1e999]}]}'
)


def ask(server: RunningServer, **inputs: Any) -> httpx.Response:
    kinds = {"depot": "BYTES", "day": "BYTES", "history": "FP64"}
    tensors = [
        {
            "name": name,
            "shape": list(np.shape(values)),
            "datatype": kinds[name],
            "data": [one for row in values for one in row] if name == "history" else values,
        }
        for name, values in inputs.items()
    ]
    with server.client() as client:
        return client.post("/v2/models/m/infer", json={"inputs": tensors})


def said(answer: httpx.Response) -> dict[str, np.ndarray]:
    assert answer.status_code == 200, answer.text
    return {
        one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in answer.json()["outputs"]
    }


def test_a_history_is_forecast_with_its_intervals(server: RunningServer) -> None:
    found = said(ask(server, history=[WEEK * 3]))
    assert found["prediction"].tolist() == [WEEK * 2]
    assert (found["lower-80"] <= found["prediction"]).all()
    assert (found["upper-80"] >= found["prediction"]).all()


def test_gaps_are_null_and_shorter_histories_are_filled_up_in_front(server: RunningServer) -> None:
    gap = [*WEEK, *WEEK[:3], None, *WEEK[4:]]
    whole = [None] * 7 + WEEK
    found = said(ask(server, history=[gap, whole]))
    # Between 30 and 50.
    assert found["prediction"][0][:7].tolist() == WEEK
    assert found["prediction"][1][:7].tolist() == WEEK
    assert said(ask(server, history=[WEEK]))["prediction"][0][:7].tolist() == WEEK


def test_one_value_is_a_history(server: RunningServer) -> None:
    found = said(ask(server, history=[[5.0]]))
    assert found["prediction"].tolist() == [[5.0] * 14]
    assert np.isfinite(found["upper-80"]).all()


def test_whole_numbers_are_values(server: RunningServer) -> None:
    with server.client() as client:
        tensor = {"name": "history", "shape": [1, 7], "datatype": "INT64", "data": list(range(7))}
        answer = client.post("/v2/models/m/infer", json={"inputs": [tensor]})
    assert said(answer)["prediction"][0][:7].tolist() == list(range(7))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"history": [[1.0] * 71]}, "history is a series: send [n, m] with its newest m values"),
        ({"history": [[1.0, None]]}, "history[0]: its last value is missing"),
        ({"history": [[None, None]]}, "history[0]: is missing, and no series is named"),
        ({"depot": ["D99"]}, "series 'D99' is not known; send history"),
        (
            {"depot": ["D07"], "day": ["2026-09-30"]},
            "day[0]: is 59 steps after the newest value of this series that this version knows",
        ),
        ({"depot": ["D07"], "day": ["2020-01-01"]}, "before the newest value of this series"),
    ],
)
def test_what_can_t_be_forecast_is_refused_in_words(
    server: RunningServer, inputs: dict[str, Any], message: str
) -> None:
    answer = ask(server, **inputs)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_an_infinite_value_is_refused(server: RunningServer) -> None:
    with server.client() as client:
        answer = client.post(
            "/v2/models/m/infer",
            content=INFINITE,
            headers={"content-type": "application/json"},
        )
    assert answer.status_code == 400


def test_a_series_that_was_trained_on_needs_no_history(
    server: RunningServer, project: Project
) -> None:
    rows = project.rows[project.rows["depot"] == "D07"].set_index("day")["parcels"]
    newest = rows.index.max()
    week = rows.iloc[-7:].tolist()
    assert said(ask(server, depot=["D07"]))["prediction"].tolist() == [week * 2]
    at = newest.strftime("%Y-%m-%d")
    assert said(ask(server, depot=["D07"], day=[at]))["prediction"].tolist() == [week * 2]
    # Three days later the first three steps are nobody's to know, and are taken as forecast.
    later = (newest + pd.Timedelta(days=3)).strftime("%Y-%m-%d")
    ahead = said(ask(server, depot=["D07"], day=[later]))["prediction"]
    assert ahead.tolist() == [(week[3:] + week[:3]) * 2]
    # A week before, the values of that week are not known yet.
    before = (newest - pd.Timedelta(days=7)).strftime("%Y-%m-%d")
    earlier = said(ask(server, depot=["D07"], day=[before]))["prediction"]
    assert earlier.tolist() == [rows.iloc[-14:-7].tolist() * 2]


def test_rows_of_a_batch_are_forecast_as_if_alone(server: RunningServer, project: Project) -> None:
    samples = project.samples.iloc[-30:]
    histories = [one.tolist() for one in samples["history"]]
    histories = [[None if v != v else v for v in one] for one in histories]
    together = said(ask(server, history=histories))
    alone = [said(ask(server, history=[one]))["upper-80"][0].tolist() for one in histories[:5]]
    assert together["upper-80"][:5].tolist() == alone


def test_the_server_says_what_it_takes(server: RunningServer) -> None:
    with server.client() as client:
        found = client.get("/v2/models/m").json()
    shapes = {one["name"]: one["shape"] for one in [*found["inputs"], *found["outputs"]]}
    assert shapes["history"] == [-1, -1]
    assert shapes["prediction"] == [-1, 14]


def test_the_package_forecasts_as_the_server_does(server: RunningServer, package: Path) -> None:
    histories = np.array([[1.0, 5.0, 2.0] * 5])
    alone = load_predictor(package).predict({"history": histories})
    for name, values in said(ask(server, history=histories.tolist())).items():
        assert values.tolist() == alone[name].tolist()
