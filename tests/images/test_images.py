"""Each image is built, and its entry point is started as a restricted pod would start it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import httpx
import images
import numpy as np
import pytest
import yaml

from noria.spec import load_model, parse_model
from noria.tasks.families import family, template
from noria.tasks.tabular.hand_made import package_linear

pytestmark = pytest.mark.images

TARGETS = ("components", "serving", "monitoring", "operator")
BUILD_TOOLS = ("gcc", "cc", "g++", "make", "ld", "pip", "pip3", "uv", "git", "curl", "wget")
SERVING_LIMIT = 700 * 10**6

Named = Callable[[str], str]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project that any user may read: the image runs as another one than we do."""
    folder = tmp_path_factory.mktemp("project")
    rows = ["id,at,a,b,late"]
    for n in range(400):
        day, hour = divmod(n, 24)
        late = int((n * 37) % 100 > 50)
        rows.append(f"r{n},2024-01-{day + 1:02d}T{hour:02d}:00:00Z,{n % 7},{(n * 37) % 100},{late}")
    (folder / "rows.csv").write_text("\n".join(rows) + "\n")
    document = {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "small"},
        "spec": {
            "task": {"family": "tabular-classification"},
            "data": {
                "source": {"csv": {"paths": ["rows.csv"]}},
                "features": [
                    {"name": "a", "type": "numeric"},
                    {"name": "b", "type": "numeric"},
                ],
                "target": "late",
                "eventTime": "at",
                "entityKey": ["id"],
            },
            "train": {"algorithm": "linear"},
        },
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(document))
    package_linear(
        folder / "package", "small", ["a", "b"], [1.0, -1.0], 0.0, "tabular-classification"
    )
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for parent in folder.parents[:3]:
        parent.chmod(0o755)
    return folder


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def answers(url: str, process: subprocess.Popen[str], seconds: float = 120) -> httpx.Response:
    """Ask until it answers 200; a process that ended shows what it said."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"ended with {process.returncode}: {said(process.stdout)}")
        try:
            answer = httpx.get(url, timeout=2)
        except httpx.HTTPError:
            time.sleep(0.1)
            continue
        if answer.status_code == 200:
            return answer
        time.sleep(0.1)
    pytest.fail(f"{url} did not answer")


def said(stream: IO[str] | None) -> str:
    return "" if stream is None else stream.read()[-3000:]


def finished(process: subprocess.Popen[str], seconds: float = 120) -> str:
    out, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, out[-3000:]
    return out


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_not_root_and_has_no_build_tools(
    target: str, buildah: images.Buildah, image: Named
) -> None:
    told = images.config(buildah, image(target))
    assert told["User"] == "65532:65532"
    with images.rootfs(buildah, image(target)) as root:
        for tool in BUILD_TOOLS:
            for folder in ("usr/bin", "bin", "usr/local/bin", "opt/noria/bin"):
                assert not (root / folder / tool).exists(), tool
        written = [p for p in (root / "opt/noria").rglob("*") if p.lstat().st_uid == 65532]
        assert written == [], "the image's user may change its own programs"


@pytest.mark.parametrize("target", TARGETS)
def test_the_size_of_an_image_is_told(target: str, buildah: images.Buildah, image: Named) -> None:
    files = images.size(buildah, image(target))
    print(f"{target}: {files / 1e6:.0f} MB of files")
    assert files > 100 * 10**6
    if target == "serving":
        assert files < SERVING_LIMIT


def test_the_servers_image_carries_no_torch(buildah: images.Buildah, image: Named) -> None:
    with images.rootfs(buildah, image("serving")) as root:
        packages = {p.name for p in (root / "opt/noria/lib/python3.11/site-packages").iterdir()}
    assert "serving" in packages
    assert not packages & {"torch", "tensorflow", "mlflow", "alibi_detect", "nvidia", "kfp"}


def test_the_server_answers_a_prediction(
    buildah: images.Buildah, image: Named, project: Path, port: int
) -> None:
    arguments = ["--package", "/mnt/models", "--name", "small", "--version", "3"]
    arguments += ["--host", "127.0.0.1", "--port", str(port)]
    mounts = {project / "package": "/mnt/models"}
    with images.running(buildah, image("serving"), arguments, mounts=mounts) as server:
        answers(f"http://127.0.0.1:{port}/v2/models/small/ready", server)
        body = {
            "inputs": [
                {"name": "a", "shape": [1], "datatype": "FP64", "data": [2.0]},
                {"name": "b", "shape": [1], "datatype": "FP64", "data": [2.0]},
            ]
        }
        answer = httpx.post(f"http://127.0.0.1:{port}/v2/models/small/infer", json=body)
        assert answer.status_code == 200, answer.text
        outputs = {o["name"]: o["data"] for o in answer.json()["outputs"]}
        assert outputs["probability"] == pytest.approx([0.5])


@pytest.mark.parametrize("algorithm", ["lightgbm", "xgboost", "hist-gradient-boosting"])
def test_the_server_needs_no_training_library(
    buildah: images.Buildah, image: Named, project: Path, port: int, algorithm: str
) -> None:
    model = parse_model((project / "model.yaml").read_text().replace("linear", algorithm))
    tabular = family(model.spec.task.family)
    rows = tabular.ingest(model.spec, project, None)
    prepared = tabular.prepare(model.spec, tabular.features(model.spec, project, rows))
    fitted = tabular.fit(model.spec, prepared, np.arange(len(rows)), {}, None)
    package = project / algorithm
    tabular.save(model.spec, fitted, package)
    for path in (package, *package.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    arguments = ["--package", "/mnt/models", "--name", "small", "--version", "4"]
    arguments += ["--host", "127.0.0.1", "--port", str(port)]
    with images.running(buildah, image("serving"), arguments, mounts={package: "/mnt/models"}) as s:
        answers(f"http://127.0.0.1:{port}/v2/models/small/ready", s)
        metadata = httpx.get(f"http://127.0.0.1:{port}/v2/models/small").json()
        columns = {"a": 3.0, "b": 40.0}
        body = {
            "inputs": [
                {"name": i["name"], "shape": [1], "datatype": "FP64", "data": [columns[i["name"]]]}
                for i in metadata["inputs"]
                if i["name"] in columns
            ]
        }
        answer = httpx.post(f"http://127.0.0.1:{port}/v2/models/small/infer", json=body)
    assert answer.status_code == 200, answer.text
    outputs = {o["name"]: o["data"] for o in answer.json()["outputs"]}
    assert 0 < outputs["probability"][0] < 1


@pytest.mark.parametrize("algorithm", ["combination", "boosting"])
def test_the_server_forecasts(
    buildah: images.Buildah, image: Named, tmp_path: Path, port: int, algorithm: str
) -> None:
    folder = tmp_path / "depots"
    folder.mkdir(mode=0o755)
    for name, text in template("forecasting").items():
        (folder / name).write_text(text.replace("$name", "depots"))
    subprocess.run([sys.executable, "data.py"], cwd=folder, check=True)
    text = (folder / "model.yaml").read_text()
    chosen = text.replace("  gates:", f"  train: {{algorithm: {algorithm}}}\n  gates:")
    spec, forecasting = parse_model(chosen).spec, family("forecasting")
    samples = forecasting.features(spec, folder, forecasting.ingest(spec, folder, None))
    prepared = forecasting.prepare(spec, samples)
    fitted = forecasting.fit(spec, prepared, np.arange(len(samples)), {}, None)
    package = folder / "package"
    forecasting.save(spec, fitted, package)
    for path in (*folder.parents[:3], folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    arguments = ["--package", "/mnt/models", "--name", "depots", "--version", "1"]
    arguments += ["--host", "127.0.0.1", "--port", str(port)]
    with images.running(buildah, image("serving"), arguments, mounts={package: "/mnt/models"}) as s:
        answers(f"http://127.0.0.1:{port}/v2/models/depots/ready", s)
        tensor = {"name": "depot", "shape": [1], "datatype": "BYTES", "data": ["D07"]}
        url = f"http://127.0.0.1:{port}/v2/models/depots/infer"
        answer = httpx.post(url, json={"inputs": [tensor]}, timeout=60)
    assert answer.status_code == 200, answer.text
    outputs = {o["name"]: o["data"] for o in answer.json()["outputs"]}
    assert min(outputs["prediction"]) > 0
    assert len(outputs["prediction"]) == 14


def test_the_server_can_look_features_up(buildah: images.Buildah, image: Named) -> None:
    with rerun(
        buildah, image("serving"), ["python", "-c", "import feast.feature_store"]
    ) as process:
        finished(process)


def test_the_monitor_starts_and_is_healthy(
    buildah: images.Buildah, image: Named, project: Path, port: int
) -> None:
    arguments = ["--model", "/etc/noria/model.yaml", "--state", "/var/lib/noria"]
    arguments += ["--host", "127.0.0.1", "--port", str(port)]
    with images.running(
        buildah,
        image("monitoring"),
        arguments,
        mounts={project: "/etc/noria"},
        writable=["/var/lib/noria"],
    ) as monitor:
        answers(f"http://127.0.0.1:{port}/healthz", monitor)
        metrics = answers(f"http://127.0.0.1:{port}/metrics", monitor).text
        assert "noria_monitor_windows" in metrics


def test_the_operators_image_has_every_command_of_the_cluster(
    buildah: images.Buildah, image: Named
) -> None:
    for command in ("operator", "webhook", "doctor", "submit"):
        with images.running(buildah, image("operator"), [command, "--help"]) as process:
            assert re.search("usage", finished(process), re.IGNORECASE)


def test_the_webhook_of_the_operators_image_answers(
    buildah: images.Buildah, image: Named, port: int
) -> None:
    arguments = ["webhook", "--home", "/tmp/home", "--host", "127.0.0.1", "--port", str(port)]
    with images.running(buildah, image("operator"), arguments) as webhook:
        answers(f"http://127.0.0.1:{port}/healthz", webhook)


def test_the_initializer_refuses_an_alias(buildah: images.Buildah, image: Named) -> None:
    with rerun(
        buildah,
        image("operator"),
        ["python", "-m", "noria.registry.initializer", "models:/small@champion", "/tmp/models"],
        environment={"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"},
    ) as process:
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "models:/small@champion" in out


def test_a_pipeline_step_runs_as_kubeflow_pipelines_runs_it(
    buildah: images.Buildah, image: Named, project: Path
) -> None:
    compiled = Path(images.ROOT / "pipelines/golden/training.yaml").read_text()
    container = next(yaml.safe_load_all(compiled))["deploymentSpec"]["executors"]["exec-ingest"]
    model = load_model(project / "model.yaml").model_dump_json(by_alias=True)
    asked = {
        "inputs": {"parameterValues": {"model": model, "base": "/model", "as_of": ""}},
        "outputs": {
            "parameters": {"Output": {"outputFile": "/tmp/out/fingerprint"}},
            "artifacts": {
                "rows": {
                    "artifacts": [
                        {
                            "name": "rows",
                            "type": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"},
                            "uri": "/tmp/out/rows",
                            "metadata": {},
                        }
                    ]
                }
            },
            "outputFile": "/tmp/out/executor_output.json",
        },
    }
    command = container["container"]["command"]
    arguments = [
        json.dumps(asked) if word == "{{$}}" else word for word in container["container"]["args"]
    ]
    script = 'mkdir -p /tmp/out; "$@"; cat /tmp/out/executor_output.json'
    with rerun(
        buildah,
        image("components"),
        ["sh", "-ec", script, "sh", *command, *arguments],
        mounts={project: "/model"},
    ) as step:
        out = finished(step)
    assert '"Output"' in out


def test_a_pod_of_a_batch_has_all_that_it_needs(buildah: images.Buildah, image: Named) -> None:
    # A library that is missing would be told before the model, of which the registry knows nothing.
    registry = "sqlite:////tmp/mlflow.db"
    command = ["noria", "predict-batch", "small", "--in", "/tmp", "--out", "/tmp/answers"]
    with rerun(buildah, image("components"), [*command, "--registry", registry]) as pod:
        out, _ = pod.communicate(timeout=120)
    assert "small has no champion" in out
    assert pod.returncode == 2


def test_the_tracking_server_of_the_components_image_answers(
    buildah: images.Buildah, image: Named, port: int
) -> None:
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", "sqlite:////tmp/mlflow.db", "--workers", "1"]
    command += ["--artifacts-destination", "/tmp/artifacts"]
    with rerun(buildah, image("components"), command) as tracking:
        answers(f"http://127.0.0.1:{port}/health", tracking, seconds=120)


def rerun(
    buildah: images.Buildah,
    name: str,
    command: list[str],
    *,
    mounts: dict[Path, str] | None = None,
    environment: dict[str, str] | None = None,
) -> AbstractContextManager[subprocess.Popen[str]]:
    """Run another command in an image than its entry point, as a pod's `command` does."""
    return images.running(
        buildah, name, command, mounts=mounts, environment=environment, entrypoint=[]
    )
