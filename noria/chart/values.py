"""The values of the Helm chart: closed, frozen, each with a reason in its description.

``values.schema.json`` and the commented ``values.yaml`` are generated from these classes.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

_LABEL: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_QUANTITY: Final = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"

Name: TypeAlias = Annotated[str, StringConstraints(pattern=_LABEL, max_length=63)]
Quantity: TypeAlias = Annotated[str, StringConstraints(pattern=_QUANTITY)]
OptionalName: TypeAlias = Annotated[
    str, StringConstraints(pattern=_LABEL.replace("^", "^(").replace("$", ")?$"), max_length=63)
]
SecretKey: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)
]
Digest: TypeAlias = Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64})?$")]
Duration: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}(ms|s|m|h|d)$")]
Host: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[^\s,]+$")]
"""One of MLflow's hosts, whose list is joined by commas."""
LabelValue: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)
]
"""The value of a Kubernetes label; those of Prometheus' objects are joined by commas."""
Url: TypeAlias = Annotated[str, StringConstraints(pattern=r"^(https?://[^\s]+)?$")]


class Values(BaseModel):
    """A closed part of the chart's values. YAML keys are camelCase."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class Global(Values):
    """What holds for every pod."""

    image_registry: str = Field(
        default="",
        pattern=r"^([a-z0-9.-]+(:[0-9]+)?(/[-a-z0-9._/]+)?)?$",
        description="Registry of every image, such as registry.example.com/team, in front of the "
        "repository. Empty: as the node's container runtime completes short names.",
    )
    image_pull_secrets: list[Name] = Field(
        default=[], description="Names of existing Secrets to pull images with."
    )


class Image(Values):
    """A container image: by digest if one is given, else by tag."""

    repository: str = Field(
        pattern=r"^[a-z0-9]+([-._/][a-z0-9]+)*$",
        description="Repository, without the registry.",
    )
    tag: str = Field(
        default="",
        pattern=r"^([a-zA-Z0-9_][-.a-zA-Z0-9_]{0,127})?$",
        description="Tag. Empty: the chart's appVersion.",
    )
    digest: Digest = Field(
        default="", description="Digest, sha256:... It wins over the tag; use it in production."
    )


class Images(Values):
    """The images of Noria. manifests/images/Dockerfile builds them."""

    pull_policy: Literal["IfNotPresent", "Always", "Never"] = Field(
        default="IfNotPresent", description="When the node pulls an image again."
    )
    operator: Image = Field(
        default=Image(repository="noria-operator"),
        description="Operator, webhook, storage initializer and `noria doctor`.",
    )
    components: Image = Field(
        default=Image(repository="noria-components"),
        description="Steps of pipelines; also the MLflow server and the Feast server.",
    )
    serving: Image = Field(
        default=Image(repository="noria-serving"), description="The model server."
    )
    monitoring: Image = Field(
        default=Image(repository="noria-monitoring"),
        description="The monitor of one model. noria-monitoring-alibi has Alibi Detect in it "
        "(BSL 1.1: most production use needs a licence from Seldon).",
    )


class Crds(Values):
    """The CustomResourceDefinition of Model."""

    enabled: bool = Field(
        default=True,
        description="Install it with the chart. false: somebody else applies manifests/crd.",
    )
    keep: bool = Field(
        default=True,
        description="Keep it, and so every Model, when the chart is uninstalled.",
    )


class Requirements(Values):
    """CPU and memory."""

    cpu: Quantity = Field(default="100m", description="CPUs, a Kubernetes quantity.")
    memory: Quantity = Field(default="256Mi", description="Memory, a Kubernetes quantity.")


class Resources(Values):
    """What a container asks for and may use."""

    requests: Requirements = Field(default=Requirements(), description="What it asks for.")
    limits: Requirements = Field(
        default=Requirements(cpu="1", memory="1Gi"), description="What it may use."
    )


class Toleration(Values):
    """A taint that pods may run on in spite of."""

    key: str = Field(default="", description="Key of the taint. Empty: every key.")
    operator: Literal["Equal", "Exists"] = Field(
        default="Equal", description="How the value is compared."
    )
    value: str = Field(default="", description="Value of the taint.")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        default="", description="Effect of the taint. Empty: every effect."
    )


class Scheduling(Values):
    """Where the chart's own pods run."""

    node_selector: dict[str, str] = Field(default={}, description="Labels that a node must have.")
    tolerations: list[Toleration] = Field(default=[], description="Taints that they tolerate.")
    priority_class_name: str = Field(default="", description="Priority class. Empty: the default.")


class SecretRef(Values):
    """A key of an existing Secret in the release's namespace."""

    name: OptionalName = Field(default="", description="Name of the Secret. Empty: none.")
    key: SecretKey = Field(default="token", description="Key in it.")


class Account(Values):
    """A service account that the chart makes."""

    annotations: dict[str, str] = Field(
        default={}, description="Annotations, such as the cloud's role for it."
    )


class Accounts(Values):
    """The service accounts, named noria-operator, noria-webhook, noria-training, noria-serving."""

    operator: Account = Field(default=Account(), description="The operator's.")
    webhook: Account = Field(default=Account(), description="The webhook receiver's.")
    training: Account = Field(
        default=Account(),
        description="Of the steps of pipelines; one in each watched namespace, and in those of "
        "pipelines.namespace and pipelines.runNamespaces.",
    )
    serving: Account = Field(
        default=Account(), description="Of model servers; one in each watched namespace."
    )


class Pipelines(Values):
    """Where training runs."""

    host: Url = Field(
        default="http://ml-pipeline.kubeflow.svc:8888",
        description="URL of the Kubeflow Pipelines API.",
    )
    namespace: OptionalName = Field(
        default="",
        description="Kubeflow profile that runs belong to. Empty: single-user Kubeflow Pipelines.",
    )
    run_namespaces: list[Name] = Field(
        default=[],
        description="Further namespaces that pods of runs are in, where they need the account "
        "noria-training: kubeflow, for single-user Kubeflow Pipelines.",
    )
    token_audience: str = Field(
        default="",
        pattern=r"^[-a-zA-Z0-9._:/]*$",
        description="Audience of a service account token that is mounted for the API, such as "
        "pipelines.kubeflow.org for multi-user Kubeflow. Empty: none.",
    )
    token_secret: SecretRef = Field(
        default=SecretRef(),
        description="Bearer token for the API from a Secret, instead of tokenAudience.",
    )
    ca_secret: SecretRef = Field(
        default=SecretRef(key="ca.crt"), description="CA that signed the API's certificate."
    )


class Monitor(Values):
    """The monitors that the operator starts, one for each model."""

    storage_class: str = Field(
        default="", description="Storage class of a monitor's log. Empty: the cluster's default."
    )
    storage_size: Quantity = Field(
        default="1Gi", description="Size of a monitor's log, a Kubernetes quantity."
    )
    url: str = Field(
        default="http://noria-monitor-{model}.{namespace}.svc:8080",
        description="How a monitor is reached; {model} and {namespace} are filled in.",
    )
    allowed_hosts: list[str] = Field(
        default=[],
        description="Further names that monitors may be called by, beside those of their "
        "Services and their addresses: an ingress, another cluster domain.",
    )


class Operator(Values):
    """The operator."""

    replicas: int = Field(
        default=1,
        ge=1,
        le=5,
        description="Pods. One acts, by a Lease; the others wait to take over.",
    )
    namespaces: list[Name] = Field(
        default=[],
        description="Namespaces whose Models it reconciles; they must exist. It gets a Role in "
        "each. Empty: the release's own.",
    )
    cycle: Duration = Field(
        default="10s", description="Time between two looks at each model, a duration."
    )
    traffic: Literal["auto", "standard", "routes", "knative"] = Field(
        default="auto",
        description="How traffic is split: standard is spec.canary of KServe >= 0.21; routes is an "
        "HTTPRoute over one InferenceService for each version; knative is canaryTrafficPercent. "
        "auto chooses by what the cluster has.",
    )
    gateway: str = Field(
        default="kserve/kserve-ingress-gateway",
        pattern=r"^([-a-z0-9]+/[-a-z0-9]+)?$",
        description="Gateway of the models' HTTPRoutes, as NAMESPACE/NAME.",
    )
    manage_rules: bool = Field(
        default=False,
        description="Make a PrometheusRule for each model. Needs the Prometheus operator's CRDs.",
    )
    manage_dashboards: bool = Field(
        default=True,
        description="Make a ConfigMap with a Grafana dashboard for each model.",
    )
    ledger_key: SecretRef = Field(
        default=SecretRef(key="key.pem"),
        description="Ed25519 private key (PEM) that signs the ledgers' heads in the registry.",
    )
    monitor: Monitor = Field(default=Monitor(), description="The monitors that it starts.")
    resources: Resources = Field(default=Resources(), description="CPU and memory.")


class Webhook(Values):
    """The receiver of Alertmanager's and Grafana's alerts."""

    enabled: bool = Field(
        default=False,
        description="Run it. Needs tokenSecret or hmacSecret: it takes no alert from strangers.",
    )
    replicas: int = Field(default=1, ge=1, le=10, description="Pods.")
    token_secret: SecretRef = Field(
        default=SecretRef(), description="Bearer token that senders must show."
    )
    hmac_secret: SecretRef = Field(
        default=SecretRef(key="hmac"), description="Key of the signature that senders must make."
    )
    resources: Resources = Field(
        default=Resources(
            requests=Requirements(cpu="50m", memory="192Mi"),
            limits=Requirements(cpu="500m", memory="512Mi"),
        ),
        description="CPU and memory.",
    )


class Storage(Values):
    """A PersistentVolumeClaim."""

    size: Quantity = Field(default="10Gi", description="Size, a Kubernetes quantity.")
    class_name: str = Field(default="", description="Storage class. Empty: the default.")


class Database(Values):
    """Where MLflow keeps runs and versions."""

    kind: Literal["sqlite", "postgresql"] = Field(
        default="sqlite",
        description="sqlite is a file on the claim, for one replica; postgresql is for production.",
    )
    uri_secret: SecretRef = Field(
        default=SecretRef(key="uri"),
        description="Secret that holds the database's URI, postgresql://USER:PASSWORD@HOST/NAME.",
    )


class Artifacts(Values):
    """Where MLflow keeps models. Clients reach them through MLflow's server."""

    kind: Literal["pvc", "s3"] = Field(
        default="pvc", description="pvc is a folder on the claim; s3 is a bucket."
    )
    uri: str = Field(
        default="",
        pattern=r"^(s3://[^\s]+)?$",
        description="Bucket and folder, s3://BUCKET/FOLDER (s3 only).",
    )
    endpoint: Url = Field(
        default="", description="URL of an S3 service that is not Amazon's (s3 only)."
    )
    credentials_secret: OptionalName = Field(
        default="",
        description="Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (s3 only). "
        "Empty: what the service account or the node may do.",
    )


class Mlflow(Values):
    """The MLflow server: tracking and the model registry."""

    enabled: bool = Field(default=True, description="Run it. false: use the one at externalUri.")
    external_uri: Url = Field(
        default="", description="URL of an MLflow server that is there already (enabled: false)."
    )
    allowed_hosts: list[Host] = Field(
        default=[],
        description="Further Host headers that the server answers to, such as that of an ingress; "
        "it refuses others, against DNS rebinding.",
    )
    client_secret: OptionalName = Field(
        default="",
        description="Secret whose keys become environment variables of training and of the "
        "storage initializer, such as MLFLOW_TRACKING_TOKEN; in each watched namespace.",
    )
    database: Database = Field(default=Database(), description="Where runs and versions are kept.")
    artifacts: Artifacts = Field(default=Artifacts(), description="Where models are kept.")
    storage: Storage = Field(
        default=Storage(), description="The claim for sqlite and for artifacts of kind pvc."
    )
    replicas: int = Field(
        default=1, ge=1, le=10, description="Pods. More than 1 needs postgresql and s3."
    )
    resources: Resources = Field(
        default=Resources(
            requests=Requirements(cpu="200m", memory="768Mi"),
            limits=Requirements(cpu="2", memory="2Gi"),
        ),
        description="CPU and memory.",
    )


class Feast(Values):
    """Feast's online feature server. Noria's model server can do without: it reads the store."""

    enabled: bool = Field(default=False, description="Run it.")
    config_secret: SecretRef = Field(
        default=SecretRef(key="feature_store.yaml"),
        description="Secret that holds feature_store.yaml, with a registry and an online store "
        "that the pod can reach. Its offline store is noria.tasks.sources.feast_offline."
        "AsOfOfflineStore, as in feature_repo: the image has not all that Feast's own needs.",
    )
    replicas: int = Field(default=1, ge=1, le=50, description="Pods.")
    resources: Resources = Field(
        default=Resources(requests=Requirements(cpu="200m", memory="512Mi")),
        description="CPU and memory.",
    )


class Kserve(Values):
    """What Noria gives to KServe."""

    enabled: bool = Field(
        default=True,
        description="Make the ServingRuntime noria-server in each watched namespace, and the "
        "ClusterStorageContainer for models:/ URIs. Needs KServe's CRDs.",
    )


class Prometheus(Values):
    """Metrics, alerts, dashboards."""

    url: Url = Field(
        default="",
        description="URL of Prometheus. Needed by canaries that look at error-rate or latency.",
    )
    monitors: bool = Field(
        default=False,
        description="Make ServiceMonitors for the chart's own pods. Needs the Prometheus "
        "operator's CRDs.",
    )
    rules: bool = Field(
        default=False,
        description="Make a PrometheusRule for the fleet. Needs the Prometheus operator's CRDs.",
    )
    labels: dict[str, LabelValue] = Field(
        default={},
        description="Labels of ServiceMonitors, PodMonitors and rules that your Prometheus selects "
        "by, such as release: kube-prometheus-stack.",
    )
    namespace: Name = Field(
        default="monitoring",
        description="Namespace of Prometheus and Alertmanager: they may reach the pods' metrics "
        "and the webhook through the NetworkPolicies.",
    )


class Dashboards(Values):
    """The fleet's Grafana dashboard."""

    enabled: bool = Field(default=True, description="Make its ConfigMap.")
    labels: dict[str, str] = Field(
        default={"grafana_dashboard": "1"},
        description="Labels that Grafana's sidecar finds dashboards by.",
    )


class ApiServer(Values):
    """Where the Kubernetes API answers, for the policies' way out."""

    cidr: str = Field(
        default="0.0.0.0/0",
        pattern=r"^([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}$",
        description="Addresses of the API server. Narrow it to your cluster's.",
    )
    ports: list[Annotated[int, Field(ge=1, le=65535)]] = Field(
        default=[443, 6443], description="Its ports."
    )


class NetworkPolicies(Values):
    """Who may speak with whom: nobody, but for one allowance for each component."""

    enabled: bool = Field(
        default=True,
        description="Make them. They hold for pods labelled app.kubernetes.io/part-of: noria.",
    )
    api_server: ApiServer = Field(
        default=ApiServer(), description="Where the Kubernetes API answers."
    )
    egress_cidr: str = Field(
        default="0.0.0.0/0",
        pattern=r"^([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}$",
        description="Addresses of the databases, buckets, pipelines and Prometheus that are used.",
    )
    egress_ports: list[Annotated[int, Field(ge=1, le=65535)]] = Field(
        default=[80, 443, 5000, 5432, 6566, 8080, 8888, 9000, 9090],
        description="Their ports.",
    )


class Tests(Values):
    """The pod of `helm test`, which runs `noria doctor`."""

    enabled: bool = Field(default=True, description="Have it.")


class ChartValues(Values):
    """Values of the chart noria."""

    global_: Global = Field(
        default=Global(), alias="global", description="What holds for every pod."
    )
    images: Images = Field(default=Images(), description="The images.")
    crds: Crds = Field(default=Crds(), description="The CustomResourceDefinition of Model.")
    operator: Operator = Field(default=Operator(), description="The operator.")
    pipelines: Pipelines = Field(default=Pipelines(), description="Where training runs.")
    mlflow: Mlflow = Field(default=Mlflow(), description="Tracking and the model registry.")
    kserve: Kserve = Field(default=Kserve(), description="What Noria gives to KServe.")
    webhook: Webhook = Field(
        default=Webhook(), description="The receiver of Alertmanager's and Grafana's alerts."
    )
    feast: Feast = Field(default=Feast(), description="Feast's online feature server.")
    prometheus: Prometheus = Field(default=Prometheus(), description="Metrics and alerts.")
    dashboards: Dashboards = Field(
        default=Dashboards(), description="The fleet's Grafana dashboard."
    )
    network_policies: NetworkPolicies = Field(
        default=NetworkPolicies(), description="Who may speak with whom."
    )
    service_accounts: Accounts = Field(default=Accounts(), description="The service accounts.")
    scheduling: Scheduling = Field(
        default=Scheduling(), description="Where the chart's own pods run."
    )
    tests: Tests = Field(default=Tests(), description="The pod of `helm test`.")
