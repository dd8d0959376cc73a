"""The prerequisites of Noria on a cluster, one small function each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from noria.doctor.cluster import Cluster
from noria.doctor.finding import Finding, Level
from noria.errors import Denied, NoriaError
from noria.kube.kinds import (
    CLUSTER_SERVING_RUNTIME,
    CLUSTER_STORAGE_CONTAINER,
    CRD,
    GATEWAY,
    MODEL,
    NODE,
    POD_MONITOR,
    PROMETHEUS_RULE,
    SERVING_RUNTIME,
    STORAGE_CLASS,
    TRAIN_JOB,
)
from noria.kube.kserve import choose

Check = Callable[[Cluster], Finding]
_GPU: Final = "nvidia.com/gpu"
_PRODUCT: Final = "nvidia.com/gpu.product"
_DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
_SCHEME: Final = "models:/"
_DENIED: Final = (401, 403)


def diagnose(cluster: Cluster) -> tuple[Finding, ...]:
    """Make every check; one that this identity may not make is a warning.

    Raises:
        Unavailable: The API server does not answer any more.
    """
    return tuple(_made(name, check, cluster) for name, check in CHECKS.items())


def api_server(cluster: Cluster) -> Finding:
    """Name the API server's version."""
    return _ok("Kubernetes API", cluster.client.server_version())


def model_crd(cluster: Cluster) -> Finding:
    """Look for the Model resource, in the version that this Noria writes."""
    name = "Model resource"
    if cluster.has(MODEL):
        return _ok(name, MODEL.api_version)
    found = cluster.get(CRD, f"{MODEL.plural}.{MODEL.group}")
    if found is None:
        said = "the cluster has no Models"
        return _missing(name, said, "noria schema crd | kubectl apply --server-side -f -")
    served = ", ".join(v["name"] for v in found["spec"]["versions"] if v.get("served"))
    return _missing(
        name,
        f"the cluster serves {served or 'no version'}, this is for {MODEL.version}",
        "upgrade the CRD: noria schema crd | kubectl apply --server-side -f -",
    )


def permission(cluster: Cluster) -> Finding:
    """Ask whether this identity may create a Model."""
    name, namespace = "Your rights", cluster.expected.namespace
    if cluster.client.allowed("create", MODEL, namespace):
        return _ok(name, f"you may create Models in {namespace}")
    return _missing(
        name,
        f"you may not create Models in {namespace}",
        "ask for the verb create on models.noria.dev, or name another namespace with -n",
    )


def kserve(cluster: Cluster) -> Finding:
    """Say which KServe there is, in which mode."""
    name, seen = "KServe", cluster.kserve
    if not seen.installed:
        return _missing(
            name,
            "the cluster has no InferenceServices",
            "install KServe 0.15 or later; 0.21 splits traffic by itself",
        )
    if seen.controller is False:
        return _warn(
            name,
            "the cluster has InferenceServices, and no controller that is available serves them",
            "install KServe's, or see why it isn't: "
            "kubectl get pods -A -l control-plane=kserve-controller-manager",
        )
    version = f"version {seen.version}" if seen.version else "of an unknown version"
    canary = "with" if seen.canary_field else "without"
    mode = f"default mode {seen.mode}" if seen.mode else "its configuration can't be read"
    return _ok(name, f"{version}, {canary} spec.canary, {mode}")


def traffic(cluster: Cluster) -> Finding:
    """Say how traffic would be split."""
    try:
        chosen = choose(cluster.kserve, cluster.expected.traffic, cluster.expected.gateway)
    except NoriaError as error:
        return _missing("Traffic split", error.message, error.fix)
    return _ok("Traffic split", f"{chosen.way}: {chosen.why}")


def gateway(cluster: Cluster) -> Finding:
    """Look for the Gateway API, and for the gateway that traffic comes through."""
    name, seen = "Gateway API", cluster.kserve
    if not seen.routes_served:
        if seen.knative:
            return _ok(name, "absent; Knative does without")
        return _missing(
            name,
            "the cluster has no HTTPRoutes",
            "install the Gateway API's CRDs and a gateway (Envoy Gateway, Istio, ...)",
        )
    wanted = cluster.expected.gateway or seen.gateway
    if not wanted:
        there = ", ".join(seen.gateways)
        if there:
            return _ok(name, f"gateways: {there}")
        return _missing(name, "there is no gateway", "create a Gateway, and name it to Noria")
    namespace, _, gateway_name = wanted.partition("/")
    found = cluster.get(GATEWAY, gateway_name, namespace) if gateway_name else None
    if found is None:
        return _missing(
            name,
            f"there is no gateway {wanted}",
            "create it, or name another: NORIA_GATEWAY=namespace/name",
        )
    conditions = {c["type"]: c["status"] for c in found.get("status", {}).get("conditions", ())}
    if conditions.get("Programmed") == "False":
        return _warn(
            name,
            f"gateway {wanted} is not programmed",
            f"kubectl describe gateway -n {namespace} {gateway_name}",
        )
    return _ok(name, f"gateway {wanted}")


def knative(cluster: Cluster) -> Finding:
    """Say whether Knative Serving is there; only KServe's Knative mode needs it."""
    if cluster.kserve.knative:
        return _ok("Knative", "installed")
    if cluster.kserve.mode in ("Knative", "Serverless"):
        return _warn(
            "Knative",
            f"KServe's default mode is {cluster.kserve.mode}, and Knative is not installed",
            "set deploy.defaultDeploymentMode of inferenceservice-config to Standard",
        )
    return _ok("Knative", "absent; Standard mode does without")


def initializer(cluster: Cluster) -> Finding:
    """Look for the storage container that fetches ``models:/`` URIs."""
    name = "models:/ for KServe"
    fix = "install Noria's chart, which has the ClusterStorageContainer noria-models"
    if not cluster.has(CLUSTER_STORAGE_CONTAINER):
        return _missing(name, "the cluster has no ClusterStorageContainers", "install KServe")
    for item in cluster.list(CLUSTER_STORAGE_CONTAINER):
        formats = item["spec"].get("supportedUriFormats", ())
        if any(each.get("prefix") == _SCHEME for each in formats):
            return _ok(name, f"ClusterStorageContainer {item['metadata']['name']}")
    return _missing(name, f"no ClusterStorageContainer takes {_SCHEME}", fix)


def runtime(cluster: Cluster) -> Finding:
    """Look for the runtime of Noria's server."""
    name, wanted = "Model server", cluster.expected.runtime
    places = ((SERVING_RUNTIME, cluster.expected.namespace), (CLUSTER_SERVING_RUNTIME, None))
    for kind, namespace in places:
        found = cluster.get(kind, wanted, namespace)
        if found is None:
            continue
        if found["spec"].get("disabled"):
            fix = f"kubectl edit {kind.plural} {wanted}"
            return _missing(name, f"{kind.kind} {wanted} is disabled", fix)
        return _ok(name, f"{kind.kind} {wanted}, image {_image(found)}")
    return _missing(
        name,
        f"there is no ServingRuntime {wanted} in {cluster.expected.namespace}, and none of "
        "the cluster",
        "install Noria's chart, which has it",
    )


def pipelines(cluster: Cluster) -> Finding:
    """Ask Kubeflow Pipelines whether it is well."""
    return _service(
        cluster,
        "Kubeflow Pipelines",
        cluster.expected.kfp_host,
        "/apis/v2beta1/healthz",
        "--kfp-host",
    )


def mlflow(cluster: Cluster) -> Finding:
    """Ask MLflow whether it is well."""
    return _service(cluster, "MLflow", cluster.expected.mlflow_uri, "/health", "--mlflow-uri")


def prometheus(cluster: Cluster) -> Finding:
    """Ask Prometheus whether it is ready."""
    return _service(
        cluster, "Prometheus", cluster.expected.prometheus_url, "/-/ready", "--prometheus-url"
    )


def prometheus_operator(cluster: Cluster) -> Finding:
    """Look for the kinds that scraping and alert rules are configured with."""
    name = "Prometheus operator"
    absent = [kind.kind for kind in (PROMETHEUS_RULE, POD_MONITOR) if not cluster.has(kind)]
    if not absent:
        return _ok(name, "PrometheusRules and PodMonitors")
    return _warn(
        name,
        f"the cluster has no {' and no '.join(absent)}: rules and scraping are yours to configure",
        "install kube-prometheus-stack, or load the output of python -m monitoring.rules",
    )


def trainer(cluster: Cluster) -> Finding:
    """Look for Kubeflow Trainer; only training on several nodes needs it."""
    if cluster.has(TRAIN_JOB):
        return _ok("Kubeflow Trainer", TRAIN_JOB.api_version)
    return _warn(
        "Kubeflow Trainer",
        "the cluster has no TrainJobs: spec.train.compute.nodes has to be 1",
        "install Kubeflow Trainer v2 to train on several nodes",
    )


def gpus(cluster: Cluster) -> Finding:
    """Count the GPUs that nodes offer, by product; only GPU models need them."""
    counts: dict[str, int] = {}
    unlabelled = 0
    for node in cluster.list(NODE):
        offered = int(node.get("status", {}).get("allocatable", {}).get(_GPU, 0))
        product = node["metadata"].get("labels", {}).get(_PRODUCT, "")
        if offered and product:
            counts[product] = counts.get(product, 0) + offered
        elif offered:
            unlabelled += offered
    if unlabelled:
        return _warn(
            "GPUs",
            f"{unlabelled} GPUs are on nodes without the label {_PRODUCT}, so that "
            "spec.train.compute.gpu can't choose them by product",
            "install NVIDIA's GPU feature discovery (it is part of the GPU operator)",
        )
    if counts:
        return _ok("GPUs", ", ".join(f"{n} x {product}" for product, n in sorted(counts.items())))
    return _warn(
        "GPUs",
        f"no node offers {_GPU}: models that train on a GPU can't",
        "add a GPU node pool and NVIDIA's GPU operator when you need one",
    )


def storage(cluster: Cluster) -> Finding:
    """Look for the storage class of the monitors' volumes."""
    name, wanted = "Storage", cluster.expected.storage_class
    classes = {item["metadata"]["name"]: item for item in cluster.list(STORAGE_CLASS)}
    if wanted:
        if wanted in classes:
            return _ok(name, f"StorageClass {wanted}")
        there = ", ".join(classes) or "none"
        return _missing(name, f"there is no StorageClass {wanted} (there is: {there})", "create it")
    for found, item in classes.items():
        if item["metadata"].get("annotations", {}).get(_DEFAULT_CLASS) == "true":
            return _ok(name, f"default StorageClass {found}")
    return _missing(
        name,
        "no StorageClass is the default, so that the monitors' volumes stay unbound",
        f"annotate one with {_DEFAULT_CLASS}=true, or set NORIA_MONITOR_STORAGE_CLASS",
    )


CHECKS: Final[dict[str, Check]] = {
    "Kubernetes API": api_server,
    "Model resource": model_crd,
    "Your rights": permission,
    "KServe": kserve,
    "Traffic split": traffic,
    "Gateway API": gateway,
    "Knative": knative,
    "models:/ for KServe": initializer,
    "Model server": runtime,
    "Kubeflow Pipelines": pipelines,
    "MLflow": mlflow,
    "Prometheus": prometheus,
    "Prometheus operator": prometheus_operator,
    "Kubeflow Trainer": trainer,
    "GPUs": gpus,
    "Storage": storage,
}


def _made(name: str, check: Check, cluster: Cluster) -> Finding:
    try:
        return check(cluster)
    except Denied as error:
        return _warn(name, f"not looked at: {error.message}", "run it with an identity that may")


def _service(cluster: Cluster, name: str, url: str, path: str, option: str) -> Finding:
    if not url:
        return _warn(name, "not looked at: its address is not given", f"give {option} URL")
    asked = url.rstrip("/") + path
    answer = cluster.answer(asked)
    if answer in _DENIED:
        return _warn(name, f"{asked} answers {answer}: it asks for a token", "give Noria one")
    if isinstance(answer, int) and answer < 300:
        return _ok(name, url)
    said = f"answers {answer}" if isinstance(answer, int) else f"does not answer: {answer}"
    return _missing(name, f"{asked} {said}", f"start it, or correct {option}")


def _image(runtime: dict[str, Any]) -> str:
    containers = runtime["spec"].get("containers", ())
    return str(containers[0].get("image", "")) if containers else "none"


def _ok(name: str, found: str) -> Finding:
    return Finding(name, Level.OK, found)


def _warn(name: str, found: str, fix: str) -> Finding:
    return Finding(name, Level.WARN, found, fix)


def _missing(name: str, found: str, fix: str) -> Finding:
    return Finding(name, Level.MISSING, found, fix)
