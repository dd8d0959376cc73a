"""A family of another distribution on a real API server: installed, and named by nothing of ours.

There are no nodes: what runs in pods is played, but for the operator and the monitor.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from monitoring.client import MonitorClient
from noria.errors import InvalidInput
from noria.kube.kinds import CONFIG_MAP, INFERENCE_SERVICE
from tests.cluster.controlplane.process import free_ports
from tests.cluster.operating import ROOT, World, install
from tests.families.installed import installed

pytestmark = [
    pytest.mark.cluster,
    # MLflow registers in this process, and SQLAlchemy has news for it.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
SOURCES = ["feedback"]
MADE = """
import sys
from pathlib import Path
from noria.spec.families import describe
from noria.tasks.conformance.subject import Subject
folder = Path(sys.argv[1])
folder.mkdir(parents=True)
made = Subject("toy-text", describe("toy-text"), folder).champion
print(made.package, made.reference, sep="\\n")
"""


@pytest.fixture
def site(world: World) -> Iterator[Path]:
    """Install the family, and its keys into the cluster's CRD; Noria's own are put back."""
    (world.folder / "toy").mkdir()
    found = installed(world.folder / "toy")
    crd = run(found, world.folder, sys.executable, "-m", "noria.cli", "schema", "crd")
    world.cluster.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=crd)
    yield found
    world.cluster.kubectl("delete", "models", "--all", f"--namespace={world.namespace}")
    world.kill()
    install(world.cluster)


def run(site: Path, folder: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    ran = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def project(world: World, site: Path) -> dict[str, Any]:
    """Return the model of the family's own template, watched by what people say."""
    run(site, world.folder, sys.executable, "-m", "noria.cli", "init", "mood", "--family=toy-text")
    document: dict[str, Any] = yaml.safe_load((world.folder / "mood" / "model.yaml").read_text())
    document["spec"]["gates"]["minRows"] = 10
    del document["spec"]["gates"]["bounds"][1:]  # the run that Kubeflow plays has one gate
    document["spec"]["monitoring"] = {"performance": {"sources": SOURCES}}
    return document


def test_a_family_of_others_is_validated_run_served_and_watched(world: World, site: Path) -> None:
    document = project(world, site)
    (port,) = free_ports(1)
    world.variables |= {
        "PYTHONPATH": str(site),
        "NORIA_MONITOR_URL": f"http://127.0.0.1:{port}",
    }
    world.start()
    world.wait_watching()

    # What the family's own rule says is in the status.
    wrong = json.loads(json.dumps(document))
    wrong["spec"]["task"]["options"] = {"lowerCase": False}
    wrong["spec"]["train"] = {"hyperparameters": {"smoothing": 0}}
    world.apply(wrong)
    world.until(lambda: world.condition("mood", "Ready")["reason"] == "InvalidSpec", "it's refused")
    assert "leaves most words unknown; write 1" in world.condition("mood", "Ready")["message"]
    world.apply(document | {"spec": {**document["spec"], "train": {"hyperparameters": {}}}})
    world.until(lambda: world.unfinished("mood") is not None, "a run is in flight")

    # The run is given the family's model as it was written.
    (request,) = (r for r in world.kfp.runs() if r["display_name"].startswith("mood-"))
    assert "toy-text" in json.dumps(request["runtime_config"]["parameters"])

    # What the monitor is given: what it watches, and what its performance counts.
    mapped = world.admin.get(CONFIG_MAP, "noria-monitor-mood", world.namespace)
    assert mapped is not None
    (text,) = mapped["data"].values()
    given = json.loads(text)
    assert given["family"]["name"] == "toy-text"
    assert given["watched"]["sources"] == SOURCES
    file = world.folder / "watched.json"
    file.write_text(text)
    command = [
        *(sys.executable, "-m", "monitoring", "--config", str(file)),
        *("--state", str(world.folder / "monitor"), "--port", str(port)),
    ]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    monitor = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        # A run of the family, on the rows of its template, makes the version.
        made = run(site, world.folder, sys.executable, "-c", MADE, str(world.folder / "checked"))
        package, reference = map(Path, made.splitlines())
        ours = world.folder / "made" / f"mood-{len(world.kfp.runs())}"
        ours.mkdir(parents=True)
        package.rename(ours / "package")
        reference.rename(ours / "reference")
        version = world.train("mood")
        world.until(lambda: world.services("mood") == [f"mood-v{version}"], "it is served")
        service = world.admin.get(INFERENCE_SERVICE, f"mood-v{version}", world.namespace)
        assert service is not None
        assert "storageUri" in json.dumps(service["spec"])
        world.until(lambda: world.state("mood").champion == version, "it is the champion")
        world.until(lambda: world.condition("mood", "Ready")["status"] == "True", "it is ready")

        # The reference that the operator gave it names the targets.
        with MonitorClient(f"http://127.0.0.1:{port}") as client:
            world.until(lambda: client.status("mood")["champion"] == version, "it is watched")
            assert client.status("mood")["targets"] == ["pleasant", "lively"]
            told = {"id": "r:0", "label": 1.0, "target": "lively", "source": "judge:words"}
            assert client.feedback("mood", [told]).accepted == 1
            with pytest.raises(InvalidInput, match=r"send one of \['pleasant', 'lively'\]"):
                client.feedback("mood", [{**told, "target": "funny"}])
            httpx.post(f"http://127.0.0.1:{port}/flush", timeout=60).raise_for_status()
            sources = client.status("mood")["counts"]["sources"]
            assert sources == {"feedback": 0, "judge:words": 1}
        world.until(
            lambda: world.condition("mood", "Monitored")["status"] == "True", "and it is said"
        )
        assert world.denied() == 0
    finally:
        monitor.terminate()
        monitor.wait(20)
