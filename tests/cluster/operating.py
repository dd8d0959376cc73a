"""The operator as a real process with the rights of its own role, and the world that it acts on.

MLflow is real (SQLite), Pipelines a server that follows KFP's contract, Prometheus real and
scraping servers' metrics that a test plays; the API server and KServe's controller are real.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import yaml

from noria.kube import KubeClient
from noria.kube.kinds import HTTP_ROUTE, INFERENCE_SERVICE, MODEL
from noria.kube.store import KubeStore
from noria.loop import ledger
from noria.loop.state import State
from noria.operator import rbac
from noria.registry import MlflowRegistry
from noria.tasks.protocol import Evaluation, GateRecord
from noria.tasks.tabular.hand_made import package_linear
from serving.metrics import ServerMetrics
from serving.traffic.runtime import cluster_storage_container, serving_runtime
from tests.cluster.controlplane.cluster import Cluster
from tests.cluster.controlplane.process import free_ports

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "noria-operator"
GATEWAY = "kserve/kserve-ingress-gateway"
FEATURES = ("distance", "wind")
SCRAPE = "100ms"

SPEC: dict[str, Any] = {
    "task": {"family": "tabular-classification"},
    "data": {
        "source": {"csv": {"paths": ["flights.csv"]}},
        "features": [{"name": name, "type": "numeric"} for name in FEATURES],
        "target": "late",
    },
    "gates": {"minRows": 10, "bounds": [{"metric": "auc", "min": 0.5}], "champion": []},
    "serving": {
        "canary": {
            "steps": [10, 50],
            "minSamples": 20,
            "stepTimeout": "10m",
            "analysis": [{"metric": "error-rate", "max": 0.05}],
        }
    },
    "retraining": {"signals": ["manual"], "cooldown": "1s", "runsPerDay": 100},
}


def resource(name: str, **sections: Any) -> dict[str, Any]:
    """Return a Model resource; a section given replaces keys of the same section."""
    spec = {key: dict(value) for key, value in SPEC.items()}
    for section, content in sections.items():
        spec[section] = {**spec.get(section, {}), **content}
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name},
        "spec": spec,
    }


def install(cluster: Cluster) -> None:
    """Install Noria's CRD."""
    crd = ROOT / "manifests" / "crd" / "models.noria.dev.yaml"
    cluster.kubectl("apply", "--server-side", f"--filename={crd}")
    client = KubeClient.connect(cluster.kubeconfig)
    deadline = time.monotonic() + 120
    while not client.has_kind(MODEL):
        assert time.monotonic() < deadline, "the API server does not serve Models"
        time.sleep(0.1)


def grant(cluster: Cluster, namespace: str) -> Path:
    """Make the operator's account with exactly its rules, and return its kubeconfig."""
    documents: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "noria-serving"}},
        serving_runtime("registry.test/noria-serving:1", namespace=namespace),
        cluster_storage_container("registry.test/noria-operator:1", "http://mlflow.test:5000"),
    ]
    apply(cluster, namespace, *documents, *role("operator", namespace))
    role_in(cluster, namespace, namespace)
    return cluster.kubeconfig_for(ACCOUNT, namespace)


def role_in(cluster: Cluster, namespace: str, operators: str) -> None:
    """Let the operator of the namespace ``operators`` keep the Models of ``namespace``."""
    apply(cluster, namespace, *role("models", operators))


def role(scope: rbac.Scope, operators: str) -> list[dict[str, Any]]:
    """Return a role of exactly the operator's rules, and its binding."""
    name, group = f"noria-operator-{scope}", "rbac.authorization.k8s.io"
    version = f"{group}/v1"
    return [
        {
            "apiVersion": version,
            "kind": "Role",
            "metadata": {"name": name},
            "rules": rbac.rules(scope),
        },
        {
            "apiVersion": version,
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": operators}],
        },
    ]


def apply(cluster: Cluster, namespace: str, *documents: Mapping[str, Any]) -> None:
    """Apply documents as a person does."""
    cluster.kubectl(
        "apply", f"--namespace={namespace}", "--filename=-", stdin=yaml.safe_dump_all(documents)
    )


class Traffic:
    """Plays the model servers' counters for a real Prometheus: requests flow all the time.

    ``failing`` versions answer every second request with a 500.
    """

    def __init__(self, folder: Path) -> None:
        self.failing: set[tuple[str, str]] = set()
        self._servers: dict[tuple[str, str, str], ServerMetrics] = {}
        self._lock = threading.Lock()
        played = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = played._text()
                # Prometheus gives up a scrape that is late, and tries again.
                with contextlib.suppress(BrokenPipeError):
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        folder.mkdir(parents=True, exist_ok=True)
        job = {
            "job_name": "servers",
            "honor_labels": True,
            "scrape_interval": SCRAPE,
            "scrape_timeout": SCRAPE,
            "static_configs": [{"targets": [f"127.0.0.1:{self._http.server_port}"]}],
        }
        config = folder / "prometheus.yml"
        config.write_text(json.dumps({"scrape_configs": [job]}))
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._log = (folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                str(shutil.which("prometheus")),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def serve(self, namespace: str, model: str, version: str) -> None:
        """Let a version answer from now on."""
        with self._lock:
            key = (namespace, model, version)
            self._servers.setdefault(key, ServerMetrics(model, version))

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _text(self) -> bytes:
        lines: list[str] = []
        with self._lock:
            for (namespace, model, version), metrics in self._servers.items():
                bad = (model, version) in self.failing
                for i in range(10):
                    code = 500 if bad and i % 2 else 200
                    metrics.answered("rest", code, 0.004)
                    metrics.rows += code == 200
                where = f'namespace="{namespace}",instance="{model}-{version}",'
                for line in metrics.render().decode().splitlines():
                    if line.startswith("noria_") and "{" in line:
                        lines.append(line.replace("{", f"{{{where}", 1))
        return ("\n".join(lines) + "\n").encode()


@dataclass
class World:
    """One namespace with an operator's account, a registry, Pipelines and requests."""

    cluster: Cluster
    namespace: str
    folder: Path
    kfp: Any
    traffic: Traffic
    kubeconfig: Path
    process: subprocess.Popen[bytes] | None = None
    port: int = field(default_factory=lambda: free_ports(1)[0])
    variables: dict[str, str] = field(default_factory=dict)
    beat: Callable[[], None] | None = None
    tracking_uri: str = ""
    learnt: int = 100
    """Rows that each version says it has learnt from."""

    def __post_init__(self) -> None:
        self.admin = KubeClient.connect(self.cluster.kubeconfig)
        self.tracking_uri = self.tracking_uri or f"sqlite:///{self.folder / 'mlflow.db'}"
        self.artifacts = self.folder / "artifacts"
        self.registry = MlflowRegistry(self.tracking_uri, self.artifacts)
        self.store = KubeStore(self.admin, self.namespace)
        self.log = self.folder / "operator.log"

    # The operator as a process ----------------------------------------------------------------

    def start(self, *command: str) -> None:
        """Start the operator, or another program that runs it, and wait until it watches."""
        arguments = command or (str(Path(sys.executable).with_name("noria")), "operator")
        known = {k: v for k, v in os.environ.items() if not k.startswith("NORIA_")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                arguments,
                env={**known, **self._environment(), **self.variables},
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def wait_watching(self) -> None:
        self.until(
            lambda: (
                "noria_operator_leader 1.0" in self.metrics() and self._get("/readyz") == "ok\n"
            ),
            "the operator leads and watches",
        )

    def kill(self) -> None:
        """Kill it as a node that loses its power does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def start_dying(self) -> None:
        """Start the operator that kills itself around each act, and is started again each time."""
        self.variables["NORIA_TEST_MARKS"] = str(self.marks)
        self.start(sys.executable, "-m", "tests.cluster.dying_operator")

    def died(self) -> set[str]:
        """Return the places at which it has killed itself."""
        return {mark.name for mark in self.marks.iterdir()}

    @property
    def marks(self) -> Path:
        """Where the operator that kills itself notes each place."""
        return self.folder / "marks"

    def terminate(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def metrics(self) -> str:
        return self._get("/metrics")

    def denied(self) -> float:
        """Return how many requests the API server forbade the operator."""
        (line,) = (
            line
            for line in self.metrics().splitlines()
            if line.startswith("noria_operator_denied_total ")
        )
        return float(line.split()[1])

    def _get(self, path: str) -> str:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", trust_env=False).text
        except httpx.HTTPError:
            return ""

    def _environment(self) -> dict[str, str]:
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "NORIA_NAMESPACES": self.namespace,
            "NORIA_POD_NAMESPACE": self.namespace,
            "NORIA_POD_NAME": "operator-0",
            "NORIA_CYCLE": "300ms",
            "NORIA_KFP_HOST": self.kfp.url,
            "NORIA_MLFLOW_URI": self.tracking_uri,
            "NORIA_MLFLOW_ARTIFACTS": str(self.artifacts),
            "NORIA_PROMETHEUS_URL": self.traffic.url,
            "NORIA_COMPONENTS_IMAGE": "registry.test/noria-components:1",
            "NORIA_MONITORING_IMAGE": "registry.test/noria-monitoring:1",
            "NORIA_GATEWAY": GATEWAY,
            "NORIA_MONITOR_URL": "http://127.0.0.1:9",
            "NORIA_METRICS_PORT": str(self.port),
        }

    # The Model --------------------------------------------------------------------------------

    def apply(self, *documents: Mapping[str, Any]) -> None:
        apply(self.cluster, self.namespace, *documents)

    def model(self, name: str) -> dict[str, Any]:
        found = self.admin.get(MODEL, name, self.namespace)
        assert found is not None, f"there is no Model {name}"
        return found

    def status(self, name: str) -> dict[str, Any]:
        status: dict[str, Any] = self.model(name).get("status", {})
        return status

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        said = [c for c in self.status(name).get("conditions", ()) if c["type"] == kind]
        found: dict[str, Any] = said[0] if said else {"status": "", "reason": "", "message": ""}
        return found

    def command(self, name: str, verb: str, reason: str = "asked by a test") -> None:
        self.cluster.kubectl(
            "annotate",
            f"--namespace={self.namespace}",
            "model",
            name,
            f"noria.dev/command={verb}",
            f"noria.dev/command-reason={reason}",
        )

    def state(self, name: str) -> State:
        stored = self.store.load(name)
        return State(name) if stored is None else stored.state

    def verify(self, name: str) -> None:
        """Check the chain of the ledger."""
        ledger.verify(self.store.entries(name), self.state(name).head)

    def why(self, name: str) -> str:
        return "\n".join(ledger.why(self.store.entries(name)))

    def split(self, name: str) -> dict[str, int]:
        """Return the weights of the Model's HTTPRoute, as the gateway gets them."""
        route = self.admin.get(HTTP_ROUTE, name, self.namespace)
        if route is None:
            return {}
        return {
            backend["name"].removeprefix(f"{name}-").removesuffix("-predictor"): backend["weight"]
            for rule in route["spec"]["rules"]
            for backend in rule["backendRefs"]
            if backend["weight"]
        }

    def services(self, name: str) -> list[str]:
        """Return the names of the Model's InferenceServices."""
        labels = {"noria.dev/model": name}
        found = self.admin.list(INFERENCE_SERVICE, self.namespace, labels=labels)
        return sorted(item["metadata"]["name"] for item in found)

    # The world --------------------------------------------------------------------------------

    def train(self, name: str) -> str:
        """Let the run in flight end well; return the version that it registered."""
        self.until(lambda: self.unfinished(name) is not None, f"a run of {name} is in flight")
        run = self.unfinished(name)
        assert run is not None
        package, reference = self._artefacts(name)
        version: str = self.kfp.succeed(
            run,
            package=str(package),
            reference=str(reference),
            evaluation=str(self._evaluation()),
            rows=self.learnt,
            tracking_uri=self.tracking_uri,
            artifacts=str(self.artifacts),
        )
        self.traffic.serve(self.namespace, name, version)
        return version

    def unfinished(self, name: str) -> str | None:
        """Return the display name of a run that is not over."""
        over = {"SUCCEEDED", "FAILED", "CANCELED", "CANCELING"}
        for run in self.kfp.runs():
            if run["display_name"].startswith(f"{name}-") and run.get("state") not in over:
                return str(run["display_name"])
        return None

    def runs(self, name: str) -> list[str]:
        """Return the display name of every run that was ever made of a Model."""
        return [r["display_name"] for r in self.kfp.runs() if r["display_name"].startswith(name)]

    def until(self, condition: Callable[[], object], what: str, seconds: float = 180.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if self.beat is not None:
                self.beat()
            alive = self.process is None or self.process.poll() is None
            if time.monotonic() > deadline or not alive:
                state = "" if alive else f" (the operator ended: {self.process})"
                tail = self.log.read_text()[-6000:] if self.log.exists() else ""
                models = self.admin.list(MODEL, self.namespace)
                tail += "\n".join(json.dumps(m.get("status"), indent=1) for m in models)
                raise AssertionError(f"not within {seconds:.0f} s: {what}{state}\n{tail}")
            time.sleep(0.05)

    def _evaluation(self) -> Path:
        gate = GateRecord("auc-min", "pass", "0.8 of 0.5", 0.8, 0.5, 100)
        file = self.folder / "evaluation.json"
        file.write_bytes(msgspec.json.encode(Evaluation(100, {}, {}, gates=(gate,))))
        return file

    def _artefacts(self, name: str) -> tuple[Path, Path]:
        folder = self.folder / "made" / f"{name}-{len(self.kfp.runs())}"
        if not folder.exists():
            package_linear(folder / "package", name, FEATURES, [0.5, -0.2], 0.1)
            write_reference(folder / "reference", name)
        return folder / "package", folder / "reference"


def write_reference(folder: Path, model: str) -> None:
    """Write the reference of a model of two numeric features."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    features = [{"name": f, "kind": "numeric", "min": -4.0, "max": 4.0} for f in FEATURES]
    document = {"format": 1, "model": model, "rows": 500, "features": features}
    (folder / "reference.json").write_text(json.dumps(document))
    columns = {f"f{i}": draw.normal(size=500) for i in range(len(FEATURES))}
    np.savez(folder / "rows.npz", **columns, prediction=draw.uniform(size=200))


def closing(world: World) -> Iterator[World]:
    """Yield a world, and end its operator."""
    try:
        yield world
    finally:
        world.kill()
