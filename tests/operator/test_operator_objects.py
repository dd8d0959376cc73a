"""The objects that a Model owns, rendered."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from monitoring.config import MonitorConfig
from monitoring.written import read
from noria.operator.objects import OPTIONAL, kind_of, objects
from noria.operator.resource import Resource
from noria.operator.settings import Settings

Make = Callable[..., Any]


def rendered(resource: Resource, settings: Settings, served: Any = OPTIONAL) -> dict[str, Any]:
    found = objects(resource, resource.model(), settings, served)
    return {f"{body['kind']}/{body['metadata']['name']}": body for body in found}


def test_a_model_owns_its_monitor_its_rules_and_its_dashboard(
    resource: Make, settings: Make
) -> None:
    found = rendered(resource(), settings())
    assert list(found) == [
        "ConfigMap/noria-monitor-flights",
        "PersistentVolumeClaim/noria-monitor-flights",
        "Service/noria-monitor-flights",
        "Deployment/noria-monitor-flights",
        "PodMonitor/noria-monitor-flights",
        "PodMonitor/noria-server-flights",
        "PrometheusRule/noria-flights",
        "ConfigMap/noria-dashboard-flights",
    ]
    for body in found.values():
        meta = body["metadata"]
        assert meta["namespace"] == "prod"
        assert meta["labels"]["noria.dev/model"] == "flights"
        assert meta["labels"]["app.kubernetes.io/part-of"] == "noria"
        (owner,) = meta["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("Model", "u-1", True)
        assert kind_of(body).kind == body["kind"]


def test_what_the_cluster_or_the_settings_lack_is_left_out(resource: Make, settings: Make) -> None:
    kinds = [key.partition("/")[0] for key in rendered(resource(), settings(), frozenset())]
    assert not {"PodMonitor", "PrometheusRule"} & set(kinds)
    without = rendered(resource(), settings(MANAGE_RULES="false", MANAGE_DASHBOARDS="false"))
    assert "PrometheusRule/noria-flights" not in without
    assert "ConfigMap/noria-dashboard-flights" not in without


def test_prometheus_selects_what_is_for_it_by_its_own_labels(
    resource: Make, settings: Make
) -> None:
    found = rendered(resource(), settings(PROMETHEUS_LABELS="release=kps,team=a"))
    for body in found.values():
        selected = body["metadata"]["labels"].get("release") == "kps"
        assert selected == (body["kind"] in ("PodMonitor", "PrometheusRule"))


def test_the_monitors_pod_is_restricted(resource: Make, settings: Make) -> None:
    deployment = rendered(resource(), settings(IMAGE_PULL_SECRETS="a"))[
        "Deployment/noria-monitor-flights"
    ]
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    pod = deployment["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["imagePullSecrets"] == [{"name": "a"}]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["tmp"] == "/tmp"
    assert {"readinessProbe", "livenessProbe", "startupProbe"} <= set(container)
    assert container["resources"]["limits"]["memory"]


def test_the_monitor_answers_to_the_names_that_it_is_called_by(
    resource: Make, settings: Make
) -> None:
    given = settings(
        MONITOR_URL="http://gate.example/{namespace}/{model}", MONITOR_ALLOWED_HOSTS="a.example"
    )
    found = rendered(resource(), given)["Deployment/noria-monitor-flights"]
    (container,) = found["spec"]["template"]["spec"]["containers"]
    arguments = container["args"]
    names = [arguments[i + 1] for i, word in enumerate(arguments) if word == "--allowed-host"]
    assert names == [
        "noria-monitor-flights",
        "noria-monitor-flights.prod",
        "noria-monitor-flights.prod.svc",
        "noria-monitor-flights.prod.svc.cluster.local",
        "gate.example",
        "a.example",
    ]


def test_the_monitor_gets_what_it_watches_as_a_file_and_restarts_when_that_changes(
    resource: Make, settings: Make, tmp_path: Path
) -> None:
    def both(made: Resource) -> tuple[str, str]:
        found = rendered(made, settings())
        (text,) = found["ConfigMap/noria-monitor-flights"]["data"].values()
        pod = found["Deployment/noria-monitor-flights"]["spec"]["template"]
        return text, pod["metadata"]["annotations"]["noria.dev/config-digest"]

    written, digest = both(resource())
    file = tmp_path / "monitor.json"
    file.write_text(written)
    config = MonitorConfig.from_model(resource().model())
    assert replace(read(file), family=config.family) == config
    assert read(file).family.metrics == config.family.metrics
    touched = resource(resourceVersion="99", annotations={"a": "b"}, labels={})
    assert both(touched) == (written, digest)
    other = Resource({**resource().body, "spec": {**resource().body["spec"]}})
    other.body["spec"]["monitoring"] = {"window": {"rows": 777}}
    assert both(other)[1] != digest


def test_a_dashboard_is_found_by_grafana_and_is_json(resource: Make, settings: Make) -> None:
    found = rendered(resource(), settings())["ConfigMap/noria-dashboard-flights"]
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    (text,) = found["data"].values()
    assert json.loads(text)


def test_rendering_twice_gives_the_same(resource: Make, settings: Make) -> None:
    assert rendered(resource(), settings()) == rendered(resource(), settings())


def test_a_server_of_ones_own_is_scraped_where_it_says_and_gets_the_pods_labels(
    resource: Make, settings: Make
) -> None:
    def servers(**serving: Any) -> dict[str, Any]:
        made = Resource({**resource().body, "spec": {**resource().body["spec"]}})
        made.body["spec"]["serving"] = serving
        (endpoint,) = rendered(made, settings())["PodMonitor/noria-server-flights"]["spec"][
            "podMetricsEndpoints"
        ]
        return dict(endpoint)

    assert servers() == {"portNumber": 8080, "path": "/metrics", "interval": "15s"}
    runtime = {"name": "kserve-tritonserver", "format": "onnx", "port": 9999}
    quality = {"analysis": [{"metric": "auc", "min": 0.5}]}
    metrics = {"requests": ["nv_inference_request_success"]}
    found = servers(runtime={**runtime, "metrics": metrics}, canary=quality)
    assert found["portNumber"] == 9999
    assert found["relabelings"] == [
        {
            "sourceLabels": ["__meta_kubernetes_pod_label_noria_dev_model"],
            "targetLabel": "model",
        },
        {
            "sourceLabels": ["__meta_kubernetes_pod_label_noria_dev_version"],
            "targetLabel": "version",
        },
    ]
    elsewhere = {**metrics, "port": 8002, "path": "/stats"}
    found = servers(runtime={**runtime, "metrics": elsewhere}, canary=quality)
    assert (found["portNumber"], found["path"]) == (8002, "/stats")
