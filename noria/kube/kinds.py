"""The kinds of object that Noria reads or writes, with what their REST paths are made of.

Kubernetes, "Kubernetes API Concepts": the path of an object is
``/apis/GROUP/VERSION/namespaces/NAMESPACE/PLURAL/NAME`` (``/api/v1/...`` for the core group).
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote

from noria.errors import InvalidInput, shorten


class Kind(NamedTuple):
    """One kind of object in one version. ``group`` is empty for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """What ``apiVersion`` says in an object of this kind: ``apps/v1``, ``v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """The name that RBAC messages use: ``deployments.apps``, ``configmaps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def root(self) -> str:
        """The path of the group's version, where discovery lists what it serves."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """Return the path of one object, or of all of them when ``name`` is None.

        ``namespace`` is ignored for kinds that live in none. None means all of the
        namespaces, which only a list may ask for.

        Raises:
            InvalidInput: The name is empty, or the object's namespace is not given.
        """
        where = self.root
        if self.namespaced and namespace:
            where += f"/namespaces/{quote(namespace, safe='')}"
        where += f"/{self.plural}"
        if name is None:
            return where
        # An empty name would turn "this one" into "all of them".
        if not name:
            raise InvalidInput(f"the name of a {self.kind} is {shorten(name)}", fix="give its name")
        if self.namespaced and not namespace:
            raise InvalidInput(f"{self.kind} {name!r} needs a namespace", fix="give its namespace")
        return f"{where}/{quote(name, safe='')}"


MODEL: Final = Kind("noria.dev", "v1alpha1", "models", "Model")

CONFIG_MAP: Final = Kind("", "v1", "configmaps", "ConfigMap")
EVENT: Final = Kind("", "v1", "events", "Event")
NAMESPACE: Final = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
NODE: Final = Kind("", "v1", "nodes", "Node", namespaced=False)
POD: Final = Kind("", "v1", "pods", "Pod")
PVC: Final = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SECRET: Final = Kind("", "v1", "secrets", "Secret")
SERVICE: Final = Kind("", "v1", "services", "Service")
SERVICE_ACCOUNT: Final = Kind("", "v1", "serviceaccounts", "ServiceAccount")

DAEMON_SET: Final = Kind("apps", "v1", "daemonsets", "DaemonSet")
DEPLOYMENT: Final = Kind("apps", "v1", "deployments", "Deployment")
REPLICA_SET: Final = Kind("apps", "v1", "replicasets", "ReplicaSet")
STATEFUL_SET: Final = Kind("apps", "v1", "statefulsets", "StatefulSet")
JOB: Final = Kind("batch", "v1", "jobs", "Job")
HPA: Final = Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
LEASE: Final = Kind("coordination.k8s.io", "v1", "leases", "Lease")
ENDPOINT_SLICE: Final = Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
INGRESS: Final = Kind("networking.k8s.io", "v1", "ingresses", "Ingress")
NETWORK_POLICY: Final = Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
PDB: Final = Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")

_RBAC: Final = "rbac.authorization.k8s.io"
ROLE: Final = Kind(_RBAC, "v1", "roles", "Role")
ROLE_BINDING: Final = Kind(_RBAC, "v1", "rolebindings", "RoleBinding")
CLUSTER_ROLE: Final = Kind(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDING: Final = Kind(
    _RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
ACCESS_REVIEW: Final = Kind(
    "authorization.k8s.io",
    "v1",
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    namespaced=False,
)
STORAGE_CLASS: Final = Kind(
    "storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False
)
CRD: Final = Kind(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
)

_GATEWAY: Final = "gateway.networking.k8s.io"
GATEWAY: Final = Kind(_GATEWAY, "v1", "gateways", "Gateway")
GATEWAY_CLASS: Final = Kind(_GATEWAY, "v1", "gatewayclasses", "GatewayClass", namespaced=False)
HTTP_ROUTE: Final = Kind(_GATEWAY, "v1", "httproutes", "HTTPRoute")

_KSERVE: Final = "serving.kserve.io"
INFERENCE_SERVICE: Final = Kind(_KSERVE, "v1beta1", "inferenceservices", "InferenceService")
SERVING_RUNTIME: Final = Kind(_KSERVE, "v1alpha1", "servingruntimes", "ServingRuntime")
CLUSTER_SERVING_RUNTIME: Final = Kind(
    _KSERVE, "v1alpha1", "clusterservingruntimes", "ClusterServingRuntime", namespaced=False
)
CLUSTER_STORAGE_CONTAINER: Final = Kind(
    _KSERVE, "v1alpha1", "clusterstoragecontainers", "ClusterStorageContainer", namespaced=False
)
KNATIVE_SERVICE: Final = Kind("serving.knative.dev", "v1", "services", "Service")

_PROMETHEUS: Final = "monitoring.coreos.com"
POD_MONITOR: Final = Kind(_PROMETHEUS, "v1", "podmonitors", "PodMonitor")
PROMETHEUS_RULE: Final = Kind(_PROMETHEUS, "v1", "prometheusrules", "PrometheusRule")
SERVICE_MONITOR: Final = Kind(_PROMETHEUS, "v1", "servicemonitors", "ServiceMonitor")

_TRAINER: Final = "trainer.kubeflow.org"
TRAIN_JOB: Final = Kind(_TRAINER, "v1alpha1", "trainjobs", "TrainJob")
TRAINING_RUNTIME: Final = Kind(_TRAINER, "v1alpha1", "trainingruntimes", "TrainingRuntime")
CLUSTER_TRAINING_RUNTIME: Final = Kind(
    _TRAINER, "v1alpha1", "clustertrainingruntimes", "ClusterTrainingRuntime", namespaced=False
)
