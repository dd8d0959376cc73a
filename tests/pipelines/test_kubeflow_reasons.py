"""Why a run failed or waits, as Kubeflow Pipelines 2.17 lets it be known: never in its own API."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from noria.errors import Unavailable
from noria.loop.conformance.expect import soon
from noria.loop.values import RunPhase, RunRequest, RunStatus
from noria.spec import parse_model
from pipelines.arguments import MAX_ESCAPED_BYTES, escaped_bytes
from pipelines.kubeflow import KubeflowPipelines
from pipelines.kubeflow_api import KubeflowSettings
from pipelines.kubeflow_workflow import read_workflow
from pipelines.watch import explain_log

# KFP's own modules warn about their dependencies when they are imported.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
FULL = "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


class Run:
    """One run, and the adapter that follows it."""

    def __init__(self, server: Any, port: KubeflowPipelines, request: RunRequest) -> None:
        self.server = server
        self.port = port
        port.start(request)
        server.act("run-1", "state", state="RUNNING")

    def act(self, what: str, **given: Any) -> None:
        self.server.act("run-1", what, **given)

    def status(self) -> RunStatus:
        return self.port.status("run-1")


@pytest.fixture
def run(
    kfp_server: Callable[..., Any],
    swagger: list[str],
    flights: dict[str, Any],
    kubeflow_settings: Callable[..., KubeflowSettings],
    request_run: Callable[..., RunRequest],
) -> Run:
    server = kfp_server(*swagger)
    resource = parse_model(flights)
    settings = kubeflow_settings(server.url)
    port = KubeflowPipelines(settings, lambda _: resource, lambda *_: None)
    return Run(server, port, request_run())


def test_a_failed_step_says_its_own_sentence(run: Run) -> None:
    said = 'spec.data.validation.ranges.distance: 7 of 200 rows\nare outside of 0..100; "mend" them'
    run.act("fail", task="validate", message=said)

    status = run.status()

    assert status.phase is RunPhase.FAILED
    assert status.detail == f"validate: {said}"


def test_the_servers_own_answers_have_no_reason_in_them(run: Run) -> None:
    run.act("fail", task="validate", message="only in the log")

    assert "only in the log" not in json.dumps(
        [
            {name: value for name, value in found.items() if not name.startswith("_")}
            for found in run.server.runs()
        ]
    )


def test_a_traceback_serves_where_a_step_is_of_an_older_image(run: Run) -> None:
    log = "\n".join(
        [
            "I1128 20:00:00.000000      12 launcher_v2.go:187] starting",
            "Traceback (most recent call last):",
            '  File "/model/steps.py", line 3, in validate',
            "noria.errors.DataError: 3 rows",
            "are too few",
            "F1128 20:00:02.000000      12 main.go:57] failed to execute component: exit status 1",
            "Error: exit status 1",
        ]
    )
    run.act("fail", task="validate", log=log)

    assert run.status().detail == "validate: 3 rows\nare too few"


@pytest.mark.parametrize("size", [0, 3 << 20])
def test_only_the_end_of_a_log_is_kept(run: Run, size: int) -> None:
    log = "x" * 79 + "\n"
    run.act(
        "fail",
        task="train",
        log=log * (size // len(log)) + 'noria: the step failed: "out of luck"\n',
    )

    assert run.status().detail == "train: out of luck"


@pytest.mark.parametrize(
    "message", ["OOMKilled (exit code 137)", "Pod was active on the node longer than the deadline"]
)
def test_a_pod_that_was_killed_says_so_by_its_node(run: Run, message: str) -> None:
    run.act("task", task="train", state="FAILED", message=message)
    run.act("state", state="FAILED")

    assert run.status().detail == f"train: {message}"


def test_an_unknown_service_account_is_told(run: Run) -> None:
    said = (
        'pods "x" is forbidden: error looking up service account: serviceaccount "nobody" not found'
    )
    run.act("driver", task="root", phase="Error", message=said)
    run.act("state", state="FAILED")

    assert run.status().detail == f"root-driver: {said}"


def test_a_driver_that_fails_says_its_last_fatal_line(run: Run) -> None:
    fatal = "F1128 20:00:02.000000      12 main.go:79] KFP driver: driver.Container: no such secret"
    run.act(
        "driver", task="ingest", phase="Failed", log=f"starting\n{fatal}\nError: exit status 1\n"
    )
    run.act("state", state="FAILED")

    assert run.status().detail == "ingest: KFP driver: driver.Container: no such secret"


@pytest.mark.parametrize("message", [FULL, 'ErrImagePull: "registry.example/x" not found'])
def test_a_pod_that_cannot_start_is_no_step_that_runs(run: Run, message: str) -> None:
    run.act("task", task="tune", state="PENDING", message=message)

    assert run.status().detail == f"tune: its pod can't start: {message}"

    run.act("task", task="tune", state="PENDING", message="PodInitializing")
    assert run.status().detail == "tune"


@pytest.mark.parametrize("hidden", ["", "compressed"])
def test_steps_and_reasons_are_told_though_argo_compressed_its_nodes(run: Run, hidden: str) -> None:
    run.act("task", task="tune", state="PENDING", message=FULL)
    run.act("workflow", hidden=hidden)
    assert run.status().detail == f"tune: its pod can't start: {FULL}"

    run.act("fail", task="tune", message="no trial ended")

    assert run.status().detail == "tune: no trial ended"


def test_nodes_that_cannot_be_seen_are_told_with_where_to_look(run: Run) -> None:
    run.act("task", task="tune", state="RUNNING")
    run.act("workflow", hidden="offloaded")
    running = run.status().detail
    assert running.startswith("its steps can't be seen: Argo keeps its nodes in a database")

    run.act("state", state="FAILED")
    failed = run.status().detail

    assert "nothing says why (Argo keeps its nodes in a database" in failed
    for said in (running, failed):
        assert (
            f"kubectl get pods --all-namespaces -l pipeline/runid={run.server.runs()[0]['run_id']}"
            in said
        )


def test_a_run_that_the_server_was_told_nothing_of_yet_is_no_failure(run: Run) -> None:
    run.act("workflow", hidden="absent")
    run.act("state", state="PENDING")

    assert run.status().phase is RunPhase.PENDING


@pytest.mark.parametrize("forgetful", [False, True])
def test_a_run_that_somebody_terminated_is_cancelled_whatever_its_history_says(
    run: Run, forgetful: bool
) -> None:
    if forgetful:
        run.act("forgetful")
    run.port.cancel("run-1")
    status = soon(run.status, lambda now: now.phase is not RunPhase.RUNNING, 20, "its end")

    history = [entry["state"] for entry in run.server.runs()[0]["state_history"]]
    assert ("CANCELING" in history) is not forgetful
    assert (status.phase, status.detail) == (RunPhase.CANCELLED, "it was terminated")


def test_a_server_that_fails_now_is_asked_again_rather_than_misjudged(run: Run) -> None:
    run.act("fail", task="validate", message="3 rows")
    run_id = run.server.runs()[0]["run_id"]
    run.server.fault(method="GET", path=f"/v1beta1/runs/{run_id}", status=503)

    with pytest.raises(Unavailable, match="503"):
        run.status()

    assert run.status().detail == "validate: 3 rows"


def test_an_older_api_that_is_forbidden_is_part_of_the_answer(run: Run) -> None:
    run.act("fail", task="validate", message="3 rows")
    run_id = run.server.runs()[0]["run_id"]
    run.server.fault(method="GET", path=f"/v1beta1/runs/{run_id}", status=403, message="no right")
    run.server.fault(method="GET", path="/log", status=403, message="no right to read", times=9)

    said = run.status().detail

    assert said.startswith("validate: it failed, and nothing says why (read the log: ")
    assert "answers 403: no right to read" in said


def test_a_registry_that_is_away_hides_no_failure(
    run: Run,
    flights: dict[str, Any],
    kubeflow_settings: Callable[..., KubeflowSettings],
) -> None:
    def away(model: str, run_id: str) -> None:
        raise Unavailable("MLflow does not answer")

    run.act("fail", task="validate", message="3 rows")
    port = KubeflowPipelines(
        kubeflow_settings(run.server.url), lambda _: parse_model(flights), away
    )

    with pytest.raises(Unavailable, match=r"^validate: 3 rows; what it registered can't be read"):
        port.status("run-1")


@pytest.mark.parametrize(
    "nodes", ["####", base64.b64encode(b"no gzip").decode(), base64.b64encode(
        gzip.compress(b"{}" * 1000, mtime=0)[:20]).decode()]
)  # fmt: skip
def test_compressed_nodes_that_are_damaged_are_hidden_nodes(nodes: str) -> None:
    seen = read_workflow({"status": {"compressedNodes": nodes}})

    assert seen.nodes == ()
    assert seen.hidden.startswith("Argo compressed its nodes, and they can't be read")


@pytest.mark.parametrize(
    "manifest", [{}, {"spec": [], "status": 7}, {"status": {"nodes": {"a": 1}}}]
)
def test_an_odd_workflow_says_nothing_and_breaks_nothing(manifest: dict[str, Any]) -> None:
    seen = read_workflow(manifest)

    assert (seen.waiting, seen.started, seen.failures, seen.stopped) == ("", (), (), False)


@pytest.mark.parametrize("log", ["", "\x1b[31mhello\x1b[0m", "noria: the step failed: {not json"])
def test_a_log_without_a_reason_gives_none_of_its_own(log: str) -> None:
    assert "hello" not in explain_log(log)


def wide(flights: dict[str, Any], features: int) -> dict[str, Any]:
    """The resource with many more features, each with a range."""
    names = [f"measurement_number_{number}" for number in range(features)]
    data = flights["spec"]["data"]
    data["features"] += [{"name": name, "type": "numeric"} for name in names]
    data["validation"]["ranges"] = {name: {"min": 0, "max": 1} for name in names}
    return flights


@pytest.mark.parametrize("features", [1, 400, 998])
def test_a_resource_of_many_features_gets_through_three_escapings(
    kfp_server: Callable[..., Any],
    flights: dict[str, Any],
    kubeflow_settings: Callable[..., KubeflowSettings],
    request_run: Callable[..., RunRequest],
    features: int,
) -> None:
    server = kfp_server()
    resource = parse_model(wide(flights, features))
    port = KubeflowPipelines(kubeflow_settings(server.url), lambda _: resource, lambda *_: None)

    port.start(request_run(reason='"' * 4000))

    run = server.runs()[0]
    given = run["runtime_config"]["parameters"]
    assert sum(map(escaped_bytes, given.values())) <= MAX_ESCAPED_BYTES
    assert run["state"] == "PENDING", "the server could make pods of it"
    assert port.status("run-1").phase is RunPhase.PENDING
