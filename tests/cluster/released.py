"""What a release of the chart runs, run on this host: a control plane has no kubelet.

A container is taken from the object that the API server holds: command, arguments, variables,
configuration. Only what can't resolve outside of a pod is replaced, each by the test that does.
The monitor is real, and fed with requests and labels that a test plays.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import yaml

from noria.kube.kinds import CONFIG_MAP, DEPLOYMENT
from noria.spec import Model, load_model
from noria.tasks.protocol import Evaluation, GateRecord
from tests.cluster.controlplane.cluster import Cluster
from tests.cluster.controlplane.process import free_ports
from tests.cluster.operating import ROOT, World
from tests.registry.mlflow_server import answers

FLIGHTS = ROOT / "examples" / "flights" / "model.yaml"
REFERENCE_ROWS = 500
FED_ROWS = 350
FED_EVERY = 1.0
BASE_RATE = 0.22


def values_of_the_page() -> dict[str, Any]:
    """Return the ``values.yaml`` that docs/kubernetes.md shows."""
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    _, found, rest = page.partition("```yaml\n# values.yaml\n")
    assert found, "docs/kubernetes.md shows no values.yaml"
    values: dict[str, Any] = yaml.safe_load(rest.partition("```")[0])
    return values


@dataclass
class Released(World):
    """The world of an operator that a release of the chart runs in the namespace ``system``."""

    system: str = ""
    monitor: subprocess.Popen[bytes] | None = None
    monitor_port: int = field(default_factory=lambda: free_ports(1)[0])
    # So many that what is fed is no reason for a run: the test asks for each.
    learnt: int = 10_000_000
    _fed: float = 0.0
    _requests: int = 0

    def _environment(self) -> dict[str, str]:
        """Return the variables of the Deployment that Helm made, and what this host needs."""
        env: dict[str, str] = self.container("noria-operator")["env"]
        return env | {
            # In the pod the account's token is mounted, and the API server has a cluster address.
            "KUBECONFIG": str(self.kubeconfig),
            # The pod's own /tmp.
            "NORIA_MLFLOW_ARTIFACTS": str(self.artifacts),
            # The port is the pod's own; on this host somebody may have it.
            "NORIA_METRICS_PORT": str(self.port),
            # The Service's name resolves in the cluster's DNS alone.
            "NORIA_MONITOR_URL": self.monitor_url,
        }

    @property
    def monitor_url(self) -> str:
        return f"http://127.0.0.1:{self.monitor_port}"

    def container(self, deployment: str, namespace: str = "") -> dict[str, Any]:
        """Return the one container of a Deployment, ``env`` resolved as a kubelet does."""
        where = namespace or self.system
        found = self.admin.get(DEPLOYMENT, deployment, where)
        assert found is not None, f"no Deployment {where}/{deployment}"
        (container,) = found["spec"]["template"]["spec"]["containers"]
        assert not container.get("envFrom")
        pod = self._pod(found["spec"]["selector"]["matchLabels"], where)
        env = {one["name"]: _value(one, pod) for one in container.get("env", ())}
        return {**container, "env": env}

    def _pod(self, labels: Mapping[str, str], namespace: str) -> dict[str, Any]:
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        pods: list[dict[str, Any]] = []

        def there() -> bool:
            pods[:] = json.loads(
                self.cluster.kubectl(
                    "get", "pods", f"--namespace={namespace}", f"--selector={selector}", "-ojson"
                )
            )["items"]
            return bool(pods)

        self.until(there, f"a pod of {selector}")
        return pods[0]

    # The monitor ------------------------------------------------------------------------------

    def run_monitor(self, name: str) -> None:
        """Run the monitor's container as the operator's Deployment has it."""
        deployment = f"noria-monitor-{name}"
        config = self.folder / "monitor.json"

        def made() -> bool:
            found = self.admin.get(CONFIG_MAP, deployment, self.namespace)
            if found is not None:
                config.write_text(found["data"]["monitor.json"])
            return self.admin.get(DEPLOYMENT, deployment, self.namespace) is not None

        self.until(made, f"the operator made {deployment}")
        container = self.container(deployment, self.namespace)
        # Mounted files, the claim, and what listens: all of them the pod's own.
        outside = {
            "python": sys.executable,
            "/etc/noria/monitor.json": str(config),
            "/var/lib/noria": str(self.folder / "monitor"),
            "0.0.0.0": "127.0.0.1",  # noqa: S104 - replaced
            "8080": str(self.monitor_port),
        }
        said = (*container["command"], *container["args"])
        assert set(outside) <= set(said)
        env = container["env"] | {"HOME": str(self.folder), "NUMBA_CACHE_DIR": str(self.folder)}
        with (self.folder / "monitor.log").open("wb") as log:
            self.monitor = subprocess.Popen(
                [outside.get(word, word) for word in said],
                env=os.environ | env,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        answers(f"{self.monitor_url}/healthz")

    def feed(self, versions: Sequence[str]) -> None:
        """Send requests that each version answered, and their labels, now and then.

        The versions are equally good: scores of a beta distribution, labels drawn by them.
        """
        if self.monitor is None or time.monotonic() - self._fed < FED_EVERY:
            return
        self._fed = time.monotonic()
        with httpx.Client(base_url=self.monitor_url, timeout=60, trust_env=False) as http:
            for version in versions:
                self._requests += 1
                self._request(http, f"r{self._requests}", version)

    def _request(self, http: httpx.Client, identity: str, version: str) -> None:
        model = flights()
        draw = np.random.default_rng(self._requests)
        columns = feature_columns(model, draw, FED_ROWS)
        inputs = [
            _tensor(name, "BYTES", [f"c{code}" for code in values])
            if values.dtype == np.int32
            else _tensor(name, "FP64", values.tolist())
            for name, values in columns.items()
        ]
        scores = draw.beta(2, 2 / BASE_RATE - 2, FED_ROWS)
        outputs = [_tensor("probability", "FP64", scores.tolist())]
        for kind, data in (("request", {"inputs": inputs}), ("response", {"outputs": outputs})):
            headers = {
                "content-type": "application/json",
                "ce-specversion": "1.0",
                "ce-id": identity,
                "ce-type": f"org.kubeflow.serving.inference.{kind}",
                "ce-source": "http://localhost:9081/",
                "ce-inferenceservicename": model.name,
                "ce-annotations": json.dumps({"noria.dev/model-version": version}),
            }
            answer = http.post("/", headers=headers, content=json.dumps(data))
            assert answer.status_code == 200, answer.text
        late = (draw.random(FED_ROWS) < scores).astype(int).tolist()
        labels = [{"id": f"{identity}:{i}", "label": label} for i, label in enumerate(late)]
        answer = http.post("/feedback", json={"model": model.name, "labels": labels})
        assert answer.status_code == 200, answer.text

    def close(self) -> None:
        """End the operator and the monitor."""
        self.kill()
        if self.monitor is not None:
            self.monitor.kill()
            self.monitor.wait()

    # What the pipeline makes ------------------------------------------------------------------

    def _evaluation(self) -> Path:
        """Write what the evaluation step does: all gates of the flights example passed."""
        gates = (
            GateRecord("auc-min", "pass", "0.68 of 0.55", 0.68, 0.55, 5000),
            GateRecord("auc-champion", "pass", "better by 0.01", 0.01, 0.02, 5000),
        )
        file = self.folder / "evaluation.json"
        file.write_bytes(msgspec.json.encode(Evaluation(5000, {}, {}, gates=gates)))
        return file

    def _artefacts(self, name: str) -> tuple[Path, Path]:
        package, reference = super()._artefacts(name)
        model, draw = flights(), np.random.default_rng(0)
        columns = feature_columns(model, draw, REFERENCE_ROWS)
        features = [
            {"name": column, "kind": "categorical", "categories": ["c0", "c1", "c2"]}
            if values.dtype == np.int32
            else {"name": column, "kind": "numeric", "min": -4.0, "max": 4.0}
            for column, values in columns.items()
        ]
        document = {
            "format": 1,
            "model": name,
            "rows": REFERENCE_ROWS,
            "features": features,
            "prediction": {"kind": "probability", "classes": [0, 1]},
        }
        (reference / "reference.json").write_text(json.dumps(document))
        arrays: dict[str, Any] = {f"f{i}": values for i, values in enumerate(columns.values())}
        scores = draw.beta(2, 2 / BASE_RATE - 2, REFERENCE_ROWS)
        np.savez(reference / "rows.npz", **arrays, prediction=scores)
        return package, reference


def flights() -> Model:
    """Return the example."""
    return load_model(FLIGHTS)


def feature_columns(
    model: Model, draw: np.random.Generator, rows: int
) -> dict[str, np.ndarray[Any, Any]]:
    """Draw rows of a Model's features: codes of three categories, and standard normal numbers."""
    return {
        feature.name: draw.integers(0, 3, rows, dtype=np.int32)
        if feature.type == "categorical"
        else np.clip(draw.normal(size=rows), -4.0, 4.0)
        for feature in model.spec.data.features
    }


def _tensor(name: str, datatype: str, data: list[Any]) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data}


def _value(variable: Mapping[str, Any], pod: Mapping[str, Any]) -> str:
    source = variable.get("valueFrom")
    if source is None:
        return str(variable.get("value", ""))
    assert set(source) == {"fieldRef"}, f"{variable['name']}: no stand-in for {source}"
    found: Any = pod
    for key in source["fieldRef"]["fieldPath"].split("."):
        found = found[key]
    return str(found)


class RouteWatch:
    """``kubectl get httproute --watch``: every split that the API server has told."""

    def __init__(self, cluster: Cluster, namespace: str, file: Path) -> None:
        self._file = file
        backends = ".spec.rules[0].backendRefs[*]"
        columns = {"ROUTE": ".metadata.name", "TO": f"{backends}.name", "BY": f"{backends}.weight"}
        kubectl = cluster.kubectl
        with file.open("wb") as said:
            self._process = subprocess.Popen(
                [
                    *(str(kubectl.program), f"--kubeconfig={kubectl.kubeconfig}"),
                    *("get", "httproute", f"--namespace={namespace}", "--watch"),
                    "--output=custom-columns=" + ",".join(map(":".join, columns.items())),
                ],
                stdout=said,
                stderr=subprocess.STDOUT,
            )

    def splits(self, name: str) -> list[dict[str, int]]:
        """Return each split of a Model's route that differs from the one before."""
        seen: list[dict[str, int]] = []
        for line in self._file.read_text().splitlines():
            route, backends, weights = line.split()
            if route != name:
                continue
            split = {
                backend.removeprefix(f"{name}-").removesuffix("-predictor"): int(weight)
                for backend, weight in zip(backends.split(","), weights.split(","), strict=True)
                if int(weight)
            }
            if not seen or seen[-1] != split:
                seen.append(split)
        return seen

    def close(self) -> None:
        """End the watch."""
        self._process.kill()
        self._process.wait()
