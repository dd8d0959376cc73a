"""``noria submit`` against a Kubeflow Pipelines server, as a user sees it."""

from __future__ import annotations

import shlex
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
MLFLOW = ("--tracking-uri", "http://127.0.0.1:9")


@pytest.fixture(autouse=True)
def registry_that_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing answers at the addresses of MLflow here, and its client would try for minutes."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")


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
    assert "page" not in done.output, "where the page is, only --ui says"
    assert run["display_name"].startswith("parcels-")
    assert run["service_account"] == "trainer"
    given = run["runtime_config"]["parameters"]
    assert (given["tracking_uri"], given["champion"]) == ("http://127.0.0.1:9", "3")


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


def test_the_page_is_told_where_its_address_is_known(
    noria: Noria, project: Path, server: Any
) -> None:
    ui = ("--ui", "https://kubeflow.example/pipeline/")

    done = noria("submit", "-f", str(project), "--host", server.url, *MLFLOW, *ui)

    run = server.runs()[0]["run_id"]
    assert f"page https://kubeflow.example/pipeline/#/runs/details/{run}\n" in done.output


def test_the_next_step_can_be_pasted_with_everything_that_was_given(
    noria: Noria, project: Path, kfp_server: Callable[..., Any], tmp_path: Path
) -> None:
    odd = tmp_path / "it's a folder; $HOME"
    project.parent.rename(odd)
    (odd / "token").write_text("abc")
    server = kfp_server("--multi-user")
    given = {
        "--host": server.url,
        "--namespace": "team-a",
        "--token-file": str(odd / "token"),
        "--service-account": "trainer",
        "--mlflow-secret": "mlflow",
        "--experiment": "all of them",
        "--as-of": "2026-01-02T03:04:05",
        "--champion": "3",
    }
    words = [word for pair in given.items() for word in pair]

    done = noria("submit", "-f", str(odd / "model.yaml"), *words, *MLFLOW)

    assert done.exit_code == 0, done.output
    line = next(line for line in done.output.splitlines() if line.startswith("next: "))
    pasted = shlex.split(line.removeprefix("next: "))
    run = server.runs()[0]["display_name"]
    assert pasted[:2] == ["noria", "submit"]
    assert pasted[-3:] == ["--run-id", run, "--wait"]
    server.act(run, "fail", task="validate", message="spec.data: 3 rows")

    followed = noria(*pasted[1:])

    assert [item["display_name"] for item in server.runs()] == [run]
    assert followed.exit_code == 1
    assert f"run {run} failed: validate: spec.data: 3 rows" in followed.output


def test_the_monitors_that_have_what_was_served_are_named_to_the_run(
    noria: Noria, project: Path, server: Any
) -> None:
    monitors = ("http://replica-0:8080", "http://replica-1:8080")
    words = ("submit", "-f", str(project), "--host", server.url, *MLFLOW)
    named = [word for url in monitors for word in ("--served", url)]

    refused = noria(*words, *named)

    assert refused.exit_code == 2, refused.output
    assert "does not learn from them" in refused.output
    document = yaml.safe_load(project.read_text())
    document["spec"]["data"]["served"] = {}
    project.write_text(yaml.safe_dump(document))
    assert noria(*words, "--served", "replica-0").exit_code == 2
    assert not server.runs()

    done = noria(*words, *named)

    assert done.exit_code == 0, done.output
    run = server.runs()[0]
    assert run["runtime_config"]["parameters"]["served"] == " ".join(monitors)
    line = next(line for line in done.output.splitlines() if line.startswith("next: "))
    pasted = shlex.split(line.removeprefix("next: noria "))
    assert [word for word in pasted if word.startswith("http://replica")] == [*monitors]


def test_a_failed_step_is_told_before_a_registry_that_cannot_be_read(
    noria: Noria, project: Path, server: Any
) -> None:
    command = ("submit", "-f", str(project), "--host", server.url, "--run-id", "first")
    assert noria(*command, *MLFLOW).exit_code == 0
    server.act("first", "fail", task="validate", message="spec.data: 3 rows")

    done = noria(*command, *MLFLOW, "--wait")

    assert done.exit_code == 1
    failed = done.output.index("run first failed: validate: spec.data: 3 rows")
    assert failed < done.output.index("what it registered can't be read from here")


def test_waiting_tells_each_step_once_and_what_a_pod_waits_for(
    noria: Noria, project: Path, server: Any
) -> None:
    command = ("submit", "-f", str(project), "--host", server.url, *MLFLOW, "--run-id", "first")
    assert noria(*command).exit_code == 0
    server.act("first", "state", state="RUNNING")
    for step in ("ingest", "validate", "features"):  # they pass between two looks
        server.act("first", "task", task=step, state="SUCCEEDED")
    full = "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    server.act("first", "task", task="tune", state="PENDING", message=full)

    def play() -> None:
        def looks() -> int:
            return sum("/v1beta1/runs/" in request["path"] for request in server.requests())

        before = looks()
        soon(looks, lambda now: now >= before + 3, 60, "one look, told, and another")
        server.act("first", "task", task="tune", state="SUCCEEDED")
        server.act("first", "fail", task="train", message="too few rows")

    player = threading.Thread(target=play)
    player.start()
    done = noria(*command, "--wait")
    player.join()

    steps = [line.strip() for line in done.output.splitlines() if line.startswith("  ")]
    waits = f"tune: its pod can't start: {full}"
    assert steps == ["ingest", "validate", "features", "tune", waits, "train"]


def test_a_namespace_that_a_server_of_one_user_would_ignore_is_refused(
    noria: Noria, project: Path, server: Any, tmp_path: Path
) -> None:
    command = ("submit", "-f", str(project), "--host", server.url, *MLFLOW)

    done = noria(*command, "--namespace", "team-a")

    assert done.exit_code == 2
    assert "has a single user: it would start the run in its own namespace" in done.output
    assert "leave the namespace out" in done.output
    assert server.runs() == []


def test_a_token_that_a_server_of_one_user_does_not_look_at_is_told(
    noria: Noria, project: Path, server: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "token").write_text("abc")

    done = noria(
        *("submit", "-f", str(project), "--host", server.url, *MLFLOW),
        *("--token-file", str(tmp_path / "token")),
    )

    assert done.exit_code == 0, done.output
    assert "has a single user: it looks at no token" in caplog.text
