"""Training on several nodes: TrainJobs on the real API server, with Kubeflow Trainer's own CRD.

Trainer's controller needs JobSet's and pods that run. Here a stand-in reads the
TrainJob as the controller would, runs the nodes' command on this machine, and
writes the status that the controller writes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from components import steps
from components.nodes import Nodes
from components.trainjob import TrainJob, begin, run_trainjob
from noria.errors import InvalidInput, TrainingError
from noria.kube import KubeClient
from noria.kube.kinds import TRAIN_JOB
from noria.loop.conformance.expect import soon
from noria.spec import Compute, Gpu, Model, parse_model
from noria.tasks.package import read_manifest
from noria.tasks.protocol import TuneResult

pytestmark = pytest.mark.cluster

GPUS = Compute(
    cpu="8",
    memory=32 << 30,
    gpu=Gpu(product="NVIDIA-L4", count=2),
    node_pool="training",
    nodes=3,
    shared_memory=8 << 30,
    timeout=timedelta(minutes=2),
)


@pytest.fixture
def client(cluster: Any) -> Iterator[KubeClient]:
    with closing(KubeClient.connect(cluster.kubeconfig)) as made:
        yield made


def job(run_id: str = "run-1", command: tuple[str, ...] = ("torchrun", "train.py")) -> TrainJob:
    image = "registry.example/team/torch@sha256:" + "0" * 64
    return TrainJob(run_id, "package", image, command, GPUS, claim="shared", mount="/noria/shared")


def report(client: KubeClient, namespace: str, name: str, kind: str, message: str = "") -> None:
    """Write the condition that Trainer's controller would."""
    condition = {
        "type": kind,
        "status": "True",
        "reason": "JobsCompleted" if kind == "Complete" else "JobsFailed",
        "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    client.patch_status(TRAIN_JOB, name, namespace, {"conditions": [condition]})


class Trainer:
    """Runs each TrainJob's command once, as one node of one process would."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self._client, self._namespace = client, namespace
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.seen: list[dict[str, Any]] = []

    def __enter__(self) -> Trainer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        done: set[str] = set()
        while not self._stopped.wait(0.1):
            for found in self._client.list(TRAIN_JOB, self._namespace):
                name = found["metadata"]["name"]
                if name in done:
                    continue
                done.add(name)
                self.seen.append(found)
                ran = subprocess.run(
                    found["spec"]["trainer"]["command"],
                    capture_output=True,
                    text=True,
                    check=False,
                    env=os.environ | {"RANK": "0", "WORLD_SIZE": "1"},
                )
                kind = "Complete" if ran.returncode == 0 else "Failed"
                report(self._client, self._namespace, name, kind, ran.stderr.strip()[-300:])


def in_thread(
    client: KubeClient, namespace: str, wanted: TrainJob
) -> tuple[threading.Thread, list[str], list[BaseException]]:
    said: list[str] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            run_trainjob(client, namespace, wanted, said.append, poll=0.1)
        except TrainingError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    soon(lambda: client.get(TRAIN_JOB, wanted.name, namespace), bool, 20, "the TrainJob")
    return thread, said, errors


def test_the_cluster_takes_a_job_with_everything_a_machine_can_ask_for(
    client: KubeClient, namespace: str
) -> None:
    begin(client, namespace, job(), [].append)

    spec = client.get(TRAIN_JOB, job().name, namespace)["spec"]  # type: ignore[index]
    assert spec["runtimeRef"]["name"] == "torch-distributed"
    assert spec["trainer"]["numNodes"] == 3
    assert spec["trainer"]["resourcesPerNode"]["limits"] == {
        "cpu": "8",
        "memory": "32Gi",
        "nvidia.com/gpu": "2",
    }
    override = spec["podSpecOverrides"][0]
    assert override["nodeSelector"] == {
        "nvidia.com/gpu.product": "NVIDIA-L4",
        "noria.dev/node-pool": "training",
    }
    assert {item["key"] for item in override["tolerations"]} == {
        "nvidia.com/gpu",
        "noria.dev/node-pool",
    }
    mounted = {m["mountPath"] for m in override["containers"][0]["volumeMounts"]}
    assert mounted == {"/dev/shm", "/noria/shared"}


def test_a_job_that_ends_well_is_told_and_cleaned_up(client: KubeClient, namespace: str) -> None:
    thread, said, errors = in_thread(client, namespace, job())
    jobs = [{"name": "node", "active": 1, "ready": 0, "succeeded": 0, "failed": 0, "suspended": 0}]
    client.patch_status(TRAIN_JOB, job().name, namespace, {"jobsStatus": jobs})
    soon(lambda: said, lambda texts: "1 active" in texts[-1], 20, "progress")
    report(client, namespace, job().name, "Complete")
    thread.join(20)

    assert not errors
    assert "3 nodes asked for" in said[0]
    assert "Complete (JobsCompleted)" in said[-1]
    assert client.get(TRAIN_JOB, job().name, namespace) is None


def test_a_failed_job_tells_why_and_leaves_room_for_another_attempt(
    client: KubeClient, namespace: str
) -> None:
    thread, _, errors = in_thread(client, namespace, job())
    report(client, namespace, job().name, "Failed", "node-1 is out of memory")
    thread.join(20)

    assert "JobsFailed: node-1 is out of memory" in str(errors[0])
    assert client.get(TRAIN_JOB, job().name, namespace) is None


def test_an_attempt_after_a_kill_adopts_the_job_of_the_first(
    client: KubeClient, namespace: str
) -> None:
    begin(client, namespace, job(), [].append)  # and then its process was killed
    before = client.get(TRAIN_JOB, job().name, namespace)

    thread, said, errors = in_thread(client, namespace, job())
    soon(lambda: said, bool, 20, "something told")
    after = client.get(TRAIN_JOB, job().name, namespace)
    report(client, namespace, job().name, "Complete")
    thread.join(20)

    assert not errors
    assert "found, of an earlier attempt" in said[0]
    assert before is not None
    assert after is not None
    assert before["metadata"]["uid"] == after["metadata"]["uid"]


def test_a_job_of_that_name_that_runs_something_else_is_left_alone(
    client: KubeClient, namespace: str
) -> None:
    begin(client, namespace, job(command=("torchrun", "other.py")), [].append)

    with pytest.raises(TrainingError, match="is there already and runs something else"):
        run_trainjob(client, namespace, job(), [].append, poll=0.1)

    assert client.get(TRAIN_JOB, job().name, namespace) is not None


def test_a_job_that_hangs_is_given_up_and_deleted(client: KubeClient, namespace: str) -> None:
    short = GPUS.model_copy(update={"timeout": timedelta(seconds=1)})
    hanging = TrainJob("run-1", "package", "image:1", ("sleep",), short)

    with pytest.raises(TrainingError, match=r"longer than .*timeout, 1 s; no status; raise"):
        run_trainjob(client, namespace, hanging, [].append, poll=0.1)

    assert client.get(TRAIN_JOB, hanging.name, namespace) is None


def test_a_terminated_step_takes_its_job_with_it(
    cluster: Any, client: KubeClient, namespace: str, tmp_path: Path
) -> None:
    (tmp_path / "rows").write_bytes(b"x")
    script = (
        "import sys; from pathlib import Path; from components.nodes import Nodes\n"
        "from noria.kube import KubeClient; from noria.spec import Compute\n"
        "where = Path(sys.argv[2])\n"
        "nodes = Nodes('run-1', 'image:1', 'shared', Compute(nodes=2), shared=where / 'shared')\n"
        "client = KubeClient.connect(Path(sys.argv[1]))\n"
        "nodes.fit(client, sys.argv[3], model='{}', rows=where / 'rows', params=where / 'rows',\n"
        "          package=where / 'package', poll=0.1)\n"
    )
    step = subprocess.Popen(
        [sys.executable, "-c", script, str(cluster.kubeconfig), str(tmp_path), namespace]
    )
    soon(lambda: client.list(TRAIN_JOB, namespace), bool, 60, "the TrainJob")

    step.send_signal(signal.SIGTERM)

    assert step.wait(30) == 128 + signal.SIGTERM
    assert client.list(TRAIN_JOB, namespace) == []


def resource() -> Model:
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "parcels"},
            "spec": {
                "task": {"family": "tabular-classification"},
                "data": {
                    "source": {"parquet": {"paths": ["rows.parquet"]}},
                    "features": [{"name": "distance", "type": "numeric"}],
                    "target": "late",
                    "eventTime": "sent",
                    "entityKey": ["id"],
                },
                "train": {"algorithm": "linear"},
                "gates": {"bounds": [{"metric": "auc", "min": 0.5}]},
            },
        }
    )


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    random = np.random.default_rng(0)
    distance = random.uniform(0, 1, 400)
    frame = pd.DataFrame(
        {
            "id": [f"p{i}" for i in range(400)],
            "distance": distance,
            "sent": pd.date_range("2026-01-01", periods=400, freq="h", tz="UTC").as_unit("us"),
            "late": (random.uniform(0, 1, 400) < distance).astype(int),
        }
    )
    frame.to_parquet(tmp_path / "rows.parquet", index=False)
    (tmp_path / "params.json").write_bytes(msgspec.json.encode(TuneResult(params={})))
    return {"rows": tmp_path / "rows.parquet", "params": tmp_path / "params.json"}


def nodes(folder: Path) -> Nodes:
    compute = GPUS.model_copy(update={"nodes": 2})
    launcher = (sys.executable,)
    return Nodes("run-1", "image:1", "shared", compute, shared=folder, launcher=launcher)


def test_rows_go_to_the_nodes_and_the_package_comes_back(
    client: KubeClient, namespace: str, tmp_path: Path, inputs: dict[str, Path]
) -> None:
    here = tmp_path / "here"
    text = resource().model_dump_json(by_alias=True)
    steps.fit_package(model=text, package=here, **inputs)

    with Trainer(client, namespace) as trainer:
        nodes(tmp_path / "shared").fit(
            client, namespace, model=text, package=tmp_path / "package", poll=0.1, **inputs
        )

    assert trainer.seen[0]["spec"]["trainer"]["command"][1:3] == ["-m", "components.node"]
    made = read_manifest(tmp_path / "package")
    assert made.rows == 400
    assert made.files == read_manifest(here).files, "the same model as on one machine"
    assert list((tmp_path / "shared").iterdir()) == []


def test_what_a_node_refuses_reaches_the_run(
    client: KubeClient, namespace: str, tmp_path: Path, inputs: dict[str, Path]
) -> None:
    with (
        Trainer(client, namespace),
        pytest.raises(TrainingError, match="holds 'no model', not a mapping"),
    ):
        nodes(tmp_path / "shared").fit(
            client, namespace, model="no model", package=tmp_path / "package", poll=0.1, **inputs
        )


@pytest.mark.parametrize("name", ["run_id", "image", "claim"])
def test_nodes_without_what_they_need_are_refused(name: str) -> None:
    given = {"run_id": "run-1", "image": "image:1", "claim": "shared"} | {name: ""}

    with pytest.raises(InvalidInput, match=f"{name}: is empty, and 3 nodes need it"):
        Nodes(**given, compute=GPUS)
