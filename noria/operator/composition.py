"""The adapters of the cluster, wired: Pipelines, MLflow, KServe, Prometheus, the API server."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from monitoring.adapter import MonitorMetrics
from monitoring.client import MonitorClient
from monitoring.link import MonitorLink
from monitoring.upload import packed
from noria.errors import InvalidInput, RegistryError
from noria.kube import KubeClient
from noria.kube.kinds import HTTP_ROUTE, INFERENCE_SERVICE, POD, PROMETHEUS_RULE
from noria.kube.kserve import KServe, read_kserve
from noria.kube.store import KubeStore
from noria.loop.ports import Clock, Metrics, Pipelines, Store
from noria.operator.objects.common import MODEL_LABEL, metrics_port
from noria.operator.ports import Ports
from noria.operator.resource import Resource
from noria.operator.settings import Settings
from noria.prometheus import PrometheusMetrics
from noria.prometheus.counted import CountedMetrics
from noria.registry import MlflowRegistry
from noria.registry.client import ask_again_soon
from noria.spec import MetricNames, Model
from noria.spec.runtime import Protocol
from pipelines.kubeflow import KubeflowPipelines, registered
from pipelines.kubeflow_api import KubeflowSettings
from serving.traffic.choose import choose_traffic
from serving.traffic.kserve_objects import VERSION_LABEL, Artifact, KServeOptions

_PROMETHEUS_SECONDS: Final = 10.0
_PATHS: Final[Mapping[Protocol, str]] = {
    "v2": "/v2/models/{model}",
    "v1": "/v1/models/{model}:predict",
    "openai": "",
}
"""Where a model is under its address; the paths of an OpenAI server are its own."""


class Composition:
    """Makes the ports of each Model. The registry and its cache are shared."""

    def __init__(self, client: KubeClient, settings: Settings, clock: Clock) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock
        artifacts = settings.mlflow_artifacts
        self._artifacts = artifacts or Path(tempfile.gettempdir()) / "noria-registry"
        ask_again_soon()
        self._registry = MlflowRegistry(settings.mlflow_uri, self._artifacts)

    def ports(self, resource: Resource, model: Model) -> Ports:
        """Return the ports of a Model.

        Raises:
            NoriaError: The cluster has nothing to serve with, or does not answer now.
        """
        monitor = MonitorClient(self._settings.monitor_of(resource.name, resource.namespace))
        traffic = choose_traffic(
            self._client,
            resource.namespace,
            resource.name,
            self._resolve,
            self._options(resource, model),
            wanted=self._settings.traffic,
            kserve=self._kserve(),
        )
        return Ports(
            pipelines=self._pipelines(resource, lambda _: model),
            registry=self._registry,
            traffic=traffic,
            metrics=self._metrics(MonitorMetrics(monitor), resource.namespace, model),
            store=self.store(resource),
            monitor=MonitorLink(monitor.status, self._sender(monitor)),
            url=lambda: self._address(resource, model),
            close=monitor.close,
        )

    def _sender(self, monitor: MonitorClient) -> Callable[[str, str, bool], None]:
        """Return what sends a version's reference: its folder is here, not where the monitor is."""

        def put(model: str, version: str, champion: bool) -> None:  # noqa: FBT001 - the link's form
            data = packed(self._registry.reference_path(model, version))
            monitor.put_reference_bytes(model, version, data, champion=champion)

        return put

    def store(self, resource: Resource) -> Store:
        """Return the store of a Model."""
        return KubeStore(self._client, resource.namespace, now=self._clock.now)

    def pipelines(self, resource: Resource) -> Pipelines:
        """Return what cancels a Model's runs; it starts none."""

        def refuse(name: str) -> Model:
            raise InvalidInput(f"{name} is being deleted in {resource.namespace}: no run starts")

        return self._pipelines(resource, refuse)

    def remove(self, resource: Resource) -> bool:
        """Delete what serves a Model, its route first; returns whether all of it is gone."""
        gone = True
        for kind in (HTTP_ROUTE, INFERENCE_SERVICE):
            if not self._client.has_kind(kind):
                continue
            labels = {MODEL_LABEL: resource.name}
            for found in self._client.list(kind, resource.namespace, labels=labels):
                owners = found["metadata"].get("ownerReferences") or ()
                if any(owner.get("uid") == resource.uid for owner in owners):
                    self._client.delete(kind, found["metadata"]["name"], resource.namespace)
                    gone = False
        return gone

    def _address(self, resource: Resource, model: Model) -> str:
        """Return where clients send requests, by the route or by what KServe says of itself."""
        name, namespace = resource.name, resource.namespace
        own = model.spec.serving.runtime
        path = _PATHS["v2" if own is None else own.protocol].format(model=name)
        route = self._client.get(HTTP_ROUTE, name, namespace)
        if route is not None:
            hosts = route["spec"].get("hostnames") or ()
            # Without a host name the path is the model's on every host of the gateway.
            return f"http://{hosts[0]}{path}" if hosts else path
        found = self._client.get(INFERENCE_SERVICE, name, namespace)
        url = str((found or {}).get("status", {}).get("url", ""))
        return f"{url}{path}" if url else ""

    def _kserve(self) -> KServe:
        """Return what the operator's role lets it see of KServe.

        Whether its CRD has ``spec.canary`` is not in that: who asks for it by name knows.
        """
        seen = read_kserve(self._client)
        native = self._settings.traffic == "standard"
        return replace(seen, canary_field=seen.canary_field or native)

    def _pipelines(self, resource: Resource, model: Callable[[str], Model]) -> Pipelines:
        settings = self._settings
        where = KubeflowSettings(
            host=settings.kfp_host,
            namespace=settings.kfp_namespace,
            token_file=settings.kfp_token_file,
            ca_file=settings.kfp_ca_file,
            image=settings.components_image,
            tracking_uri=settings.mlflow_uri,
            mlflow_secret=settings.mlflow_secret,
            service_account=settings.training_service_account,
            pull_secrets=settings.image_pull_secrets,
            pull_policy=settings.image_pull_policy,
            served=settings.monitor_of(resource.name, resource.namespace),
        )
        return KubeflowPipelines(where, model, registered(settings.mlflow_uri, self._artifacts))

    def _metrics(self, quality: MonitorMetrics, namespace: str, model: Model) -> Metrics:
        settings, names = self._settings, model.spec.serving.metrics
        if not settings.prometheus_url:
            port = metrics_port(model)
            return CountedMetrics(
                lambda: quality,
                lambda name, version: self._servers(namespace, name, version, port, names),
                names,
            )
        pushed = settings.manage_rules and self._client.has_kind(PROMETHEUS_RULE)
        return PrometheusMetrics(
            settings.prometheus_url,
            clock=self._clock,
            quality=quality,
            # Where rules watch the monitor, Alertmanager brings its signals to the webhook.
            signals=None if pushed else quality,
            namespace=namespace,
            names=names,
            timeout=_PROMETHEUS_SECONDS,
        )

    def _servers(
        self, namespace: str, model: str, version: str, port: int, names: MetricNames
    ) -> tuple[str, ...]:
        """Return where the pods that serve a version and are ready have their metrics."""
        labels = {MODEL_LABEL: model, VERSION_LABEL: version}
        pods = self._client.list(POD, namespace, labels=labels)
        return tuple(f"{address}{names.path}" for address in server_addresses(pods, port))

    def _resolve(self, model: str, version: str) -> Artifact:
        info = self._registry.version(model, version)
        if info is None:
            raise RegistryError(f"{model}: there is no version {version} to serve")
        return Artifact(f"models:/{model}/{version}", info.digest)

    def _options(self, resource: Resource, model: Model) -> KServeOptions:
        settings = self._settings
        return KServeOptions.of(
            model,
            resource.namespace,
            owner=resource.owner_reference,
            runtime=settings.serving_runtime,
            service_account=settings.serving_service_account,
            pull_secrets=settings.image_pull_secrets,
            monitor_url=settings.monitor_url,
            gateway=settings.gateway,
        )


def server_addresses(pods: Iterable[Mapping[str, Any]], port: int) -> tuple[str, ...]:
    """Return where the model servers in these pods answer; none for a pod that can't now."""
    return tuple(f"http://{_host(pod['status']['podIP'])}:{port}" for pod in pods if _answers(pod))


def _answers(pod: Mapping[str, Any]) -> bool:
    status = pod.get("status") or {}
    ready = any(
        found.get("type") == "Ready" and found.get("status") == "True"
        for found in status.get("conditions") or ()
    )
    return bool(ready and status.get("podIP")) and "deletionTimestamp" not in pod["metadata"]


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
