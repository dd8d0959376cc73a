"""What the operator is told: environment variables, read once, each checked by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from string import Formatter
from typing import Any, Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from pydantic_core import PydanticCustomError

from noria.errors import InvalidInput, Problem, shorten
from noria.spec.units import BYTES_PATTERN, parse_duration

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_KEY: Final = re.compile(r"([a-z0-9][-a-z0-9.]{0,252}/)?[A-Za-z0-9][-\w.]{0,62}")
_VALUE: Final = re.compile(r"([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?")
_IMAGE: Final = re.compile(r"[\w.\-:/]+(@sha256:[0-9a-f]{64})?")
_SHORTEST_CYCLE: Final = timedelta(milliseconds=100)
_PORTS: Final = range(1, 65536)
_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


TrafficMode: TypeAlias = Literal["auto", "standard", "routes", "knative"]
_MODES: Final = get_args(TrafficMode)
_PULL_POLICIES: Final = ("IfNotPresent", "Always", "Never")


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's settings; each field's variable is ``NORIA_`` and its name in capitals.

    Attributes:
        namespaces: The namespaces whose Models are kept; nothing is read outside of them.
        pod_namespace: Where the operator runs: its Lease is there.
        pod_name: Its identity in the Lease.
        cycle: How often each loop turns.
        kfp_host: Kubeflow Pipelines' API.
        kfp_namespace: The namespace of runs and experiments; empty for a single-user install.
        kfp_token_file: A projected service-account token for Pipelines, read for each request.
        kfp_ca_file: The certificate authority of its TLS.
        ledger_key: Ed25519 private key that signs the ledgers' heads in the registry.
        mlflow_uri: The tracking server, which is also the registry.
        mlflow_artifacts: Where downloaded references are kept.
        prometheus_url: Where latencies, error rates and samples come from; empty for none.
        prometheus_labels: What the PodMonitors and PrometheusRules carry, so that Prometheus
            selects them: ``release=kube-prometheus-stack``.
        components_image: Runs the steps of a training pipeline.
        monitoring_image: Runs the monitor of each Model.
        serving_runtime: The KServe runtime of the model servers.
        traffic: How versions share traffic; ``auto``: by what the cluster has.
        gateway: The Gateway of the HTTPRoutes, as namespace/name; empty: KServe's own.
        monitor_storage_class: Of the monitors' claims; empty: the cluster's default.
        monitor_storage_size: Of the monitors' claims.
        monitor_url: Where a monitor answers; holds ``{model}`` and ``{namespace}``.
        monitor_allowed_hosts: Further names that monitors may be called by.
        manage_rules: Whether a PrometheusRule is kept for each Model.
        manage_dashboards: Whether a dashboard ConfigMap is kept for each Model.
        metrics_port: Of /metrics, /healthz and /readyz.
        image_pull_secrets: Names of Secrets in the Models' namespaces.
        image_pull_policy: When nodes pull Noria's own images again; empty: as Kubernetes does.
        training_service_account: Of the training pods.
        serving_service_account: Of the model servers.
        mlflow_secret: A Secret whose keys become variables of pods that talk to MLflow.
    """

    namespaces: tuple[str, ...]
    pod_namespace: str
    pod_name: str
    cycle: timedelta
    kfp_host: str
    kfp_namespace: str
    kfp_token_file: Path | None
    kfp_ca_file: Path | None
    ledger_key: Path | None
    mlflow_uri: str
    mlflow_artifacts: Path | None
    prometheus_url: str
    prometheus_labels: Mapping[str, str]
    components_image: str
    monitoring_image: str
    serving_runtime: str
    traffic: TrafficMode
    gateway: str
    monitor_storage_class: str
    monitor_storage_size: str
    monitor_url: str
    monitor_allowed_hosts: tuple[str, ...]
    manage_rules: bool
    manage_dashboards: bool
    metrics_port: int
    image_pull_secrets: tuple[str, ...]
    image_pull_policy: str
    training_service_account: str
    serving_service_account: str
    mlflow_secret: str

    def monitor_of(self, model: str, namespace: str) -> str:
        """Return the address of a Model's monitor."""
        return self.monitor_url.format(model=model, namespace=namespace)


DEFAULT_MONITOR_URL: Final = "http://noria-monitor-{model}.{namespace}.svc:8080"


def read_settings(environment: Mapping[str, str], *, here: Path = _SERVICE_ACCOUNT) -> Settings:
    """Read the settings.

    Args:
        environment: The process's variables.
        here: The file that names the pod's own namespace, for when no variable does.

    Raises:
        InvalidInput: One or more variables are missing or wrong; ``problems`` has all of them.
    """
    read = _Reader(environment)
    own = _own_namespace(here)
    pod_namespace = read("POD_NAMESPACE", own, _namespace)
    settings = Settings(
        pod_namespace=pod_namespace,
        namespaces=read("NAMESPACES", "", _namespaces) or (pod_namespace,),
        pod_name=read("POD_NAME", "noria-operator", _name),
        cycle=read("CYCLE", "10s", _cycle),
        kfp_host=read("KFP_HOST", None, _url),
        kfp_namespace=read("KFP_NAMESPACE", "", _namespace_or_none),
        kfp_token_file=read("KFP_TOKEN_FILE", "", _path),
        kfp_ca_file=read("KFP_CA_FILE", "", _path),
        ledger_key=read("LEDGER_KEY", "", _path),
        mlflow_uri=read("MLFLOW_URI", None, _given),
        mlflow_artifacts=read("MLFLOW_ARTIFACTS", "", _path),
        prometheus_url=read("PROMETHEUS_URL", "", _url_or_none),
        prometheus_labels=read("PROMETHEUS_LABELS", "", _labels),
        components_image=read("COMPONENTS_IMAGE", None, _image),
        monitoring_image=read("MONITORING_IMAGE", None, _image),
        serving_runtime=read("SERVING_RUNTIME", "noria-server", _name),
        traffic=read("TRAFFIC", "auto", _traffic),
        gateway=read("GATEWAY", "", _gateway),
        monitor_storage_class=read("MONITOR_STORAGE_CLASS", "", _name_or_none),
        monitor_storage_size=read("MONITOR_STORAGE_SIZE", "1Gi", _bytes),
        monitor_url=read("MONITOR_URL", DEFAULT_MONITOR_URL, _monitor_url),
        monitor_allowed_hosts=read("MONITOR_ALLOWED_HOSTS", "", _names),
        manage_rules=read("MANAGE_RULES", "true", _true_or_false),
        manage_dashboards=read("MANAGE_DASHBOARDS", "true", _true_or_false),
        metrics_port=read("METRICS_PORT", "9090", _port),
        image_pull_secrets=read("IMAGE_PULL_SECRETS", "", _names),
        image_pull_policy=read("IMAGE_PULL_POLICY", "", _pull_policy),
        training_service_account=read("TRAINING_SERVICE_ACCOUNT", "noria-training", _name),
        serving_service_account=read("SERVING_SERVICE_ACCOUNT", "noria-serving", _name),
        mlflow_secret=read("MLFLOW_SECRET", "", _name_or_none),
    )
    read.refuse()
    return settings


class _Wrong(ValueError):
    def __init__(self, said: str, fix: str) -> None:
        super().__init__(said)
        self.said = said
        self.fix = fix


class _Reader:
    """Reads variables one by one and keeps what is wrong, so that all of it is told at once."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._problems: list[Problem] = []

    def __call__(self, name: str, default: str | None, parse: Callable[[str], Any]) -> Any:
        """Return the value; None for one that is wrong, which ``refuse`` lets nobody see."""
        variable = f"NORIA_{name}"
        text = self._environment.get(variable, "").strip()
        if not text and default is None:
            self._problems.append(Problem(variable, "is not set", "set it"))
            return None
        try:
            return parse(text or default or "")
        except _Wrong as error:
            self._problems.append(Problem(variable, f"{shorten(text)} {error.said}", error.fix))
            return None

    def refuse(self) -> None:
        if self._problems:
            raise InvalidInput("\n".join(map(str, self._problems)), problems=self._problems)


def _own_namespace(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return "default"


def _given(text: str) -> str:
    return text


def _pull_policy(text: str) -> str:
    if text and text not in _PULL_POLICIES:
        raise _Wrong("is no pull policy", f"use one of {', '.join(_PULL_POLICIES)}")
    return text


def _list(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _namespace(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise _Wrong("is not a namespace", "write a DNS label, such as models")
    return text


def _namespace_or_none(text: str) -> str:
    return _namespace(text) if text else ""


def _namespaces(text: str) -> tuple[str, ...]:
    if any(not _LABEL.fullmatch(name) for name in _list(text)):
        raise _Wrong("is not a list of namespaces", "write names with commas, no patterns: a,b")
    return tuple(_list(text))


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise _Wrong("is not a name of Kubernetes", "use lower-case letters, digits, '-' and '.'")
    return text


def _name_or_none(text: str) -> str:
    return _name(text) if text else ""


def _names(text: str) -> tuple[str, ...]:
    return tuple(_name(name) for name in _list(text))


def _traffic(text: str) -> str:
    if text not in _MODES:
        raise _Wrong("is no way to share traffic", f"write one of {', '.join(_MODES)}")
    return text


def _labels(text: str) -> Mapping[str, str]:
    pairs = [part.partition("=") for part in _list(text)]
    if any(not (eq and _KEY.fullmatch(key) and _VALUE.fullmatch(v)) for key, eq, v in pairs):
        raise _Wrong("is not a list of labels", "write key=value with commas between")
    return {key: value for key, _, value in pairs}


def _gateway(text: str) -> str:
    namespace, slash, name = text.partition("/")
    if text and not (slash and _LABEL.fullmatch(namespace) and _NAME.fullmatch(name)):
        raise _Wrong("is not a Gateway", "write namespace/name: kserve/kserve-ingress-gateway")
    return text


def _cycle(text: str) -> timedelta:
    try:
        cycle = parse_duration(text)
    except PydanticCustomError as error:
        raise _Wrong("is not a duration", "write 500ms, 10s or 1m") from error
    if cycle < _SHORTEST_CYCLE:
        raise _Wrong("is too short", "write 100ms or more; 10s is a good cycle")
    return cycle


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _Wrong("is not an address", "write http://host:port or https://host")
    if parts.username or parts.password:
        # It would be told in messages and in the log.
        raise _Wrong("has a password in it", "take it out; give a token by a file")
    return text.rstrip("/")


def _url_or_none(text: str) -> str:
    return _url(text) if text else ""


def _monitor_url(text: str) -> str:
    fix = f"write an address with {{model}} and {{namespace}}: {DEFAULT_MONITOR_URL}"
    try:
        fields = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise _Wrong("has a brace without its other", fix) from error
    if not fields <= {"model", "namespace"}:
        raise _Wrong("has fields other than model and namespace", fix)
    _url(text.format(model="m", namespace="n"))
    return text.rstrip("/")


def _image(text: str) -> str:
    if not _IMAGE.fullmatch(text):
        raise _Wrong("is not an image", "write registry/name@sha256:... or registry/name:tag")
    return text


def _bytes(text: str) -> str:
    if not re.fullmatch(BYTES_PATTERN, text):
        raise _Wrong("is not an amount of storage", "write bytes with a unit: 1Gi")
    return text


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) not in _PORTS:
        raise _Wrong("is not a port", "write a number from 1 to 65535")
    return int(text)


def _true_or_false(text: str) -> bool:
    if text not in ("true", "false"):
        raise _Wrong("is neither true nor false", "write true or false")
    return text == "true"


def _path(text: str) -> Path | None:
    if text and not text.startswith("/"):
        raise _Wrong("is not an absolute path", "write one that starts with /")
    return Path(text) if text else None
