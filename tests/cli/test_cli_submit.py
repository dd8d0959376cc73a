"""``noria submit`` against a Kubeflow Pipelines server, as a user sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import Result

from components.project import project_folder
from noria.loop.conformance.expect import soon

# KFP's own modules warn about their dependencies when they are imported.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

Noria = Callable[..., Result]
MLFLOW = ("--tracking-uri", "http://mlflow.example")


@pytest.fixture
def server(kfp_server: Callable[..., Any]) -> Any:
    return kfp_server()


def test_a_run_is_started_and_its_name_and_page_are_told(
    noria: Noria, project: Path, server: Any
) -> None:
    done = noria(
        *("submit", "-f", str(project), "--host", server.url, *MLFLOW),
        *("--experiment", "trials", "--service-account", "trainer", "--champion", "3"),
    )

    assert done.exit_code == 0, done.output
    run = server.runs()[0]
    assert f"run {run['display_name']}" in done.output
    assert f"page {server.url}/#/runs/details/{run['run_id']}" in done.output
    assert run["display_name"].startswith("parcels-")
    assert run["service_account"] == "trainer"
    given = run["runtime_config"]["parameters"]
    assert (given["tracking_uri"], given["champion"]) == ("http://mlflow.example", "3")


def test_the_data_module_travels_with_the_pipeline(
    noria: Noria, project: Path, server: Any
) -> None:
    assert noria("submit", "-f", str(project), "--host", server.url, *MLFLOW).exit_code == 0

    unpacked = project_folder(server.runs()[0]["runtime_config"]["parameters"]["base"])
    assert [path.name for path in unpacked.iterdir()] == ["data.py"]
    assert (unpacked / "data.py").read_bytes() == (project.parent / "data.py").read_bytes()


def test_in_an_image_of_its_own_the_project_stays_where_it_is(
    noria: Noria, project: Path, server: Any
) -> None:
    image = "registry.example/parcels@sha256:" + "a" * 64
    done = noria("submit", "-f", str(project), "--host", server.url, *MLFLOW, "--image", image)

    assert done.exit_code == 0, done.output
    run = server.runs()[0]
    assert run["runtime_config"]["parameters"]["base"] == "/model"
    executors = run["pipeline_spec"]["pipeline_spec"]["deploymentSpec"]["executors"]
    assert {item["container"]["image"] for item in executors.values()} == {image}


def test_files_of_this_machine_are_refused_with_what_to_do(
    noria: Noria, project: Path, server: Any
) -> None:
    resource = yaml.safe_load(project.read_text())
    del resource["spec"]["data"]["module"]
    project.write_text(yaml.safe_dump(resource))

    done = noria("submit", "-f", str(project), "--host", server.url, *MLFLOW)

    assert done.exit_code == 2
    assert "lies on this machine" in done.output
    assert "spec.train.compute.image" in done.output
    assert server.runs() == []


def test_looked_up_features_need_an_image(noria: Noria, server: Any) -> None:
    example = Path(__file__).parents[2] / "examples" / "flights" / "model.yaml"

    done = noria("submit", "-f", str(example), "--host", server.url, *MLFLOW)

    assert done.exit_code == 2
    assert "spec.data.source.feast: feature_repo and its data are on this machine" in done.output
    assert server.runs() == []


def test_one_name_is_started_once(noria: Noria, project: Path, server: Any) -> None:
    command = ("submit", "-f", str(project), "--host", server.url, *MLFLOW, "--run-id", "first")

    assert [noria(*command).exit_code for _ in range(2)] == [0, 0]
    assert [run["display_name"] for run in server.runs()] == ["first"]


def test_waiting_tells_the_steps_and_fails_with_the_reason(
    noria: Noria, project: Path, server: Any
) -> None:
    def play() -> None:
        soon(server.runs, bool, 60, "the run")
        server.act("first", "task", task="ingest", state="RUNNING")
        server.act("first", "state", state="RUNNING")
        threading.Event().wait(3)
        server.act("first", "fail", task="train", message="too few rows")

    player = threading.Thread(target=play)
    player.start()
    done = noria(
        *("submit", "-f", str(project), "--host", server.url, *MLFLOW),
        *("--run-id", "first", "--wait", "--tracking-uri", "sqlite:///empty.db"),
    )
    player.join()

    assert done.exit_code == 1, done.output
    assert "  ingest" in done.output
    assert "run first failed: train: too few rows" in done.output


def test_a_missing_registry_is_told_before_anything_starts(
    noria: Noria, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NORIA_MLFLOW_URI", raising=False)

    done = noria("submit", "-f", str(project), "--host", "http://127.0.0.1:9")

    assert done.exit_code == 2
    assert "--tracking-uri is missing" in done.output


def test_a_server_that_is_not_there_is_told(noria: Noria, project: Path) -> None:
    done = noria("submit", "-f", str(project), "--host", "http://127.0.0.1:9", *MLFLOW)

    assert done.exit_code == 1
    assert "Kubeflow Pipelines at http://127.0.0.1:9 can't be reached" in done.output
