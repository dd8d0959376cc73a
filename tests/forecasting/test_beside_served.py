"""Covariates over the wire: sent, looked up, refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from noria.tasks.package import load_predictor
from tests.forecasting.test_beside import (
    FEATURES,
    HORIZON,
    ROLES,
    asked_of,
    package_of,
    promoted,
    spec,
)
from tests.serving.conftest import RunningServer, launch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package of the depots with promotions is."""
    found = tmp_path_factory.mktemp("sold")
    package_of(spec({**ROLES, "holidays": ["KR"]}, *FEATURES), promoted(150), found)
    return found / "package"


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of it, called ``m``."""
    running = launch(tmp_path_factory.mktemp("server"), folder)
    yield running
    assert running.stop() == 0


def ask(server: RunningServer, inputs: dict[str, Any]) -> httpx.Response:
    """Send columns as the Open Inference Protocol has them."""
    tensors = []
    for name, values in inputs.items():
        texts = np.asarray(values).dtype.kind in "OU"
        flat = [None if v != v else v for v in np.ravel(values).tolist()]
        tensors.append(
            {
                "name": name,
                "shape": list(np.shape(values)),
                "datatype": "BYTES" if texts else "FP64",
                "data": flat,
            }
        )
    with server.client() as client:
        return client.post("/v2/models/m/infer", json={"inputs": tensors})


def test_a_client_sends_what_a_package_reads(server: RunningServer, folder: Path) -> None:
    asked = {**asked_of(promoted(150), "D4"), "day": np.array(["2023-05-31"], object)}
    answer = ask(server, asked)
    assert answer.status_code == 200, answer.text
    found = {one["name"]: one["data"] for one in answer.json()["outputs"]}
    alone = load_predictor(folder).predict({**asked, "day": np.array([1_685_491_200_000])})
    assert found["prediction"] == alone["prediction"][0].tolist()
    # The same is looked up by its name: it was trained on.
    looked_up = ask(server, {"depot": asked["depot"]})
    assert {one["name"]: one["data"] for one in looked_up.json()["outputs"]} == found
    # Of what is known ahead the steps to come are enough, where the values before are known.
    ahead = {**asked, "price": asked["price"][:, -HORIZON:]}
    assert ask(server, ahead).status_code == 200


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"price": None}, "price[0]: is missing at step t+1, and it is known ahead"),
        ({"day": None}, "day[0]: is missing, and holidays depend on it"),
        ({"promotion": np.ones((1, 100))}, "promotion is a series: send [n, m]"),
        ({"kind": None}, "kind[0]: is missing"),
    ],
)
def test_what_is_missing_is_a_clients_mistake(
    server: RunningServer, changed: dict[str, Any], message: str
) -> None:
    asked = {**asked_of(promoted(150), "D4"), "day": np.array(["2023-05-31"], object)}
    asked["depot"] = np.array(["new"], object)
    whole = {name: value for name, value in {**asked, **changed}.items() if value is not None}
    answer = ask(server, whole)
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["error"]
