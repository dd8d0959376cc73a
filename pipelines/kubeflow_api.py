"""The door to a Kubeflow Pipelines server: settings, authentication, timeouts, errors.

API v2beta1 goes through the services that Kubeflow Pipelines generates and ships
(``kfp_server_api``). What a run was made of and what its pods printed is only in
older APIs of the same server, which are read here. What any of it raises never
leaves this module.
"""

from __future__ import annotations

import importlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from components import BASE_IMAGE
from noria.errors import InvalidInput, NoriaError, PipelineError, Unavailable, shorten

PROJECT: Final = "/model"
"""Folder of the project in an image built on Noria's."""

_PAGE: Final = 100
_CONNECT_SECONDS: Final = 10.0
_MAX_SAID_CHARS: Final = 600
_MAX_READ_BYTES: Final = 64 << 20
_MAX_ERROR_BYTES: Final = 64 << 10
_CHUNK_BYTES: Final = 64 << 10
_LOG_TAIL_BYTES: Final = 256 << 10
_PROJECTED: Final = "/var/run/secrets/kubeflow/pipelines/token"
_PROJECTED_ENV: Final = "KF_PIPELINES_SA_TOKEN_PATH"
_LOGIN: Final = (
    "give a token that it accepts: a projected service account token with audience "
    "pipelines.kubeflow.org, and the right to run pipelines in that namespace"
)

NAMESPACE_FIX: Final = (
    "give your profile's (--namespace, NORIA_KFP_NAMESPACE, pipelines.namespace of the chart)"
)


@dataclass(frozen=True, slots=True)
class KubeflowSettings:
    """Where Kubeflow Pipelines is, and what its pods get.

    Args:
        host: URL of the API or of a gateway before it, with ``/pipeline`` where there is one.
        ui: URL of its page for people, which is another service; empty where that is not known.
        namespace: The profile's namespace; empty for an installation of a single user.
        experiment: The experiment that all runs of this installation are in.
        token_file: File with a bearer token, read again for each request. Without one: the
            projected token of this pod when there is one, else no authentication.
        ca_file: CA certificates (PEM) to trust instead of the public ones.
        image: Image of the steps where ``spec.train.compute.image`` names none.
        base: The project: its folder in the image, or packed (see ``components.project``).
        tracking_uri: MLflow's, as the pods reach it.
        artifacts: Folder in the pods for downloads from MLflow (and, with an SQLite tracking
            URI on a shared volume, of its artifacts).
        mlflow_secret: Secret whose keys become environment variables of the pods.
        service_account: Of the pods; empty for the server's default.
        pull_secrets: Secrets to pull the image with.
        pull_policy: When a node pulls it again; empty: as Kubernetes does.
        shared_claim: PersistentVolumeClaim (ReadWriteMany) that the nodes of a run share.
        served: URL of the monitor that has the rows that were served, as the pods reach it (of
            replicas the URLs of all, separated by spaces); empty: runs read the source alone.
        timeout: Longest time of one request, seconds.
    """

    host: str
    ui: str = ""
    namespace: str = ""
    experiment: str = "noria"
    token_file: Path | None = None
    ca_file: Path | None = None
    image: str = BASE_IMAGE
    base: str = PROJECT
    tracking_uri: str = ""
    artifacts: str = "/tmp/noria-artifacts"  # noqa: S108 - in a pod of its own
    mlflow_secret: str = ""
    service_account: str = ""
    pull_secrets: tuple[str, ...] = ()
    pull_policy: str = ""
    shared_claim: str = ""
    served: str = ""
    timeout: float = 30.0

    def __post_init__(self) -> None:
        if not self.host.startswith(("http://", "https://")):
            raise InvalidInput(
                f"host: {shorten(self.host)} is not a URL",
                fix="write http:// or https:// and the host of Kubeflow Pipelines",
            )
        if self.ui and not self.ui.startswith(("http://", "https://")):
            raise InvalidInput(
                f"ui: {shorten(self.ui)} is not a URL", fix="write http:// or https:// and the host"
            )
        for url in self.served.split():
            if not url.startswith(("http://", "https://")):
                raise InvalidInput(
                    f"served: {shorten(url)} is not a URL",
                    fix="write http:// or https:// and the host of the model's monitor",
                )
        if not self.timeout > 0:
            raise InvalidInput(f"timeout: {self.timeout} s is no time", fix="write one over 0")


class KubeflowApi:
    """The calls that Noria makes. Thread-safe; connects with the first of them.

    Every method raises ``Unavailable`` when the server can't be reached or is
    failing, ``InvalidInput`` when it refuses what was sent, and
    ``PipelineError`` for everything else.
    """

    def __init__(self, settings: KubeflowSettings) -> None:
        self._settings = settings
        self._client: Any = None
        self._connecting = threading.Lock()

    def find_experiment(self) -> str | None:
        """Return the id of the experiment, or None."""
        settings = self._settings
        found = self._call(
            "experiments",
            "experiment_service_list_experiments",
            namespace=settings.namespace,
            page_size=_PAGE,
            filter=_named(settings.experiment),
        )
        items = found.experiments or []
        return str(items[0].experiment_id) if items else None

    def make_experiment(self) -> str:
        """Return the id of the experiment, which is made if it isn't there."""
        known = self.find_experiment()
        if known is not None:
            return known
        settings = self._settings
        body = _models().V2beta1Experiment(
            display_name=settings.experiment,
            description="Training runs that Noria started.",
            namespace=settings.namespace or None,
        )
        try:
            made = self._call(
                "experiments", "experiment_service_create_experiment", experiment=body
            )
        except _AlreadyThere:
            known = self.find_experiment()
            if known is None:
                raise
            return known
        return str(made.experiment_id)

    def runs(self, experiment: str, name: str) -> tuple[Any, ...]:
        """Return every run of that display name (``V2beta1Run``), the oldest first."""
        found: list[Any] = []
        token = ""
        while True:
            page = self._call(
                "runs",
                "run_service_list_runs",
                experiment_id=experiment,
                page_token=token,
                page_size=_PAGE,
                sort_by="created_at asc",
                filter=_named(name),
            )
            found.extend(page.runs or [])
            token = page.next_page_token or ""
            if not token:
                return tuple(sorted(found, key=lambda run: (run.created_at, run.run_id)))

    def run(self, run_id: str) -> Any:
        """Return one run with its details (``V2beta1Run``); ``run_id`` is the server's id."""
        return self._call("runs", "run_service_get_run", run_id=run_id)

    def create(
        self, experiment: str, name: str, pipeline: dict[str, Any], arguments: dict[str, str]
    ) -> str:
        """Create a run and return the server's id of it."""
        server = _models()
        body = server.V2beta1Run(
            experiment_id=experiment,
            display_name=name,
            pipeline_spec=pipeline,
            runtime_config=server.V2beta1RuntimeConfig(parameters=arguments),
            service_account=self._settings.service_account or None,
        )
        return str(self._call("runs", "run_service_create_run", run=body).run_id)

    def terminate(self, run_id: str) -> None:
        """Stop a run. The server refuses it for one that has ended."""
        self._call("runs", "run_service_terminate_run", run_id=run_id)

    def archive(self, run_id: str) -> None:
        """Take a run out of the lists that people look at."""
        self._call("runs", "run_service_archive_run", run_id=run_id)

    def multi_user(self) -> bool:
        """Whether the server keeps users apart, by namespace and by who asks."""
        return bool(self._call("health", "healthz_service_get_healthz").multi_user)

    def workflow(self, run_id: str) -> dict[str, Any] | None:
        """Return Argo's Workflow of a run, as the server was last told; None before that.

        Raises:
            PipelineError: It can't be read: the server has none of that API, or forbids it.
        """
        doing = "read the workflow"
        with self._reading(doing, f"/apis/v1beta1/runs/{quote(run_id)}") as chunks:
            content = b"".join(chunks)
        try:
            manifest = (json.loads(content).get("pipeline_runtime") or {}).get("workflow_manifest")
            found = json.loads(manifest) if manifest else None
        except (ValueError, AttributeError, TypeError) as error:
            raise PipelineError(f"{doing}: the server's answer is no run: {error}") from error
        if found is not None and not isinstance(found, dict):
            raise PipelineError(f"{doing}: {shorten(found)} is no workflow")
        return found

    def log(self, run_id: str, pod: str) -> str:
        """Return the end of what a pod of a run printed, also of one that is gone.

        Raises:
            PipelineError: There is no such pod, its log is not kept, or it is too long.
        """
        path = f"/apis/v1alpha1/runs/{quote(run_id)}/nodes/{quote(pod)}/log"
        tail = b""
        with self._reading("read the log", path) as chunks:
            for chunk in chunks:
                tail = (tail + chunk)[-_LOG_TAIL_BYTES:]
        return tail.decode(errors="replace")

    @contextmanager
    def _reading(self, doing: str, path: str) -> Iterator[Iterator[bytes]]:
        """Open what the generated client has no call for; bounded in bytes and in time."""
        with _translated(self._settings, doing):
            client = self._connected()
            config, limit = client.configuration, self._settings.timeout
            authorization = config.get_api_key_with_prefix("authorization")
            answer = client.rest_client.pool_manager.request(
                "GET",
                f"{config.host}{path}",
                headers={"Authorization": authorization} if authorization else {},
                preload_content=False,
                timeout=_models().rest.urllib3.Timeout(
                    connect=min(limit, _CONNECT_SECONDS), read=limit
                ),
            )
            try:
                chunks = _bounded(answer.stream(_CHUNK_BYTES), doing, limit)
                if answer.status != 200:
                    raise _unreadable(f"{doing}: {self._settings.host}", answer.status, chunks)
                yield chunks
            finally:
                answer.close()

    def _call(self, service: str, method: str, **arguments: Any) -> Any:
        doing = method.split("_service_")[1].replace("_", " ")
        with _translated(self._settings, doing):
            server, client = _models(), self._connected()
            services = {
                "runs": server.RunServiceApi,
                "experiments": server.ExperimentServiceApi,
                "health": server.HealthzServiceApi,
            }
            call = getattr(services[service](client), f"{method}_with_http_info")
            limit = self._settings.timeout
            answer, _, headers = call(
                **arguments, _request_timeout=(min(limit, _CONNECT_SECONDS), limit)
            )
            # A login page answers 200 to anything; read as an empty list, it would start a run.
            if "json" not in headers.get("Content-Type", ""):
                raise PipelineError(
                    f"{doing}: {self._settings.host} answers "
                    f"{headers.get('Content-Type') or 'nothing'}, not JSON",
                    fix="is this Kubeflow Pipelines, and does it ask for a login? " + _LOGIN,
                )
            return answer

    def _connected(self) -> Any:
        with self._connecting:
            if self._client is None:
                self._client = _connect(self._settings)
            return self._client


class _AlreadyThere(InvalidInput):
    """The server has one of that name."""


def _connect(settings: KubeflowSettings) -> Any:
    """Return the generated client."""
    server = _models()
    config = server.Configuration(host=settings.host.rstrip("/"))
    config.ssl_ca_cert = None if settings.ca_file is None else str(settings.ca_file)
    # The loop tries again, with pauses; hidden repetitions would only hide how long it waits.
    # A redirection is a login page, and nothing of ours goes there.
    config.retries = server.rest.urllib3.Retry(
        total=None, connect=0, read=0, redirect=0, status=0, other=0, raise_on_redirect=False
    )
    token = settings.token_file or _projected()
    if token is not None:
        config.api_key = {"authorization": ""}
        config.api_key_prefix = {"authorization": "Bearer"}

        def refresh(known: Any) -> None:
            known.api_key["authorization"] = token.read_text(encoding="utf-8").strip()

        config.refresh_api_key_hook = refresh
    return server.ApiClient(config)


def _bounded(chunks: Iterator[bytes], doing: str, seconds: float) -> Iterator[bytes]:
    end = time.monotonic() + seconds
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > _MAX_READ_BYTES or time.monotonic() > end:
            limit = f"{_MAX_READ_BYTES >> 20} MiB or {seconds:g} s"
            raise PipelineError(f"{doing}: the answer is longer than {limit}")
        yield chunk


def _unreadable(where: str, status: int, chunks: Iterator[bytes]) -> NoriaError:
    body = b""
    for chunk in chunks:
        body += chunk
        if len(body) > _MAX_ERROR_BYTES:
            break
    said = _short(_said(body.decode(errors="replace")))
    # 500 is how the server says that there is no such log; the others pass.
    if status in (429, 502, 503, 504):
        return Unavailable(f"{where} answers {status}: {said}")
    return PipelineError(f"{where} answers {status}: {said}")


def _models() -> Any:
    """Return the package of the API's client, which KFP brings with it; it takes a moment."""
    return importlib.import_module("kfp_server_api")


def _projected() -> Path | None:
    path = Path(os.environ.get(_PROJECTED_ENV) or _PROJECTED)
    return path if path.is_file() else None


def _named(name: str) -> str:
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    return json.dumps({"predicates": [predicate]})


@contextmanager
def _translated(settings: KubeflowSettings, doing: str) -> Iterator[None]:
    """Turn what the client and its libraries raise into our errors."""
    where = f"{doing}: Kubeflow Pipelines at {settings.host}"
    try:
        yield
    except NoriaError:
        raise
    except ImportError as error:
        raise PipelineError(
            f"{doing}: the client of Kubeflow Pipelines can't be imported: {error}",
            fix="install noria[pipelines]",
        ) from error
    except Exception as error:
        raise _ours(settings, where, error) from error


def _ours(settings: KubeflowSettings, where: str, error: Exception) -> NoriaError:
    from urllib3.exceptions import HTTPError

    server = _models()
    if isinstance(error, server.ApiException):
        return _refused(where, settings.namespace, error)
    if isinstance(error, HTTPError):
        reason = getattr(error, "reason", None) or error
        if "certificate" in str(reason).lower():
            return PipelineError(
                f"{where} shows a certificate that is not trusted: {_short(str(reason))}",
                fix="give the CA that signed it (ca_file, --ca-file)",
            )
        return Unavailable(f"{where} can't be reached: {_short(str(reason))}")
    if isinstance(error, OSError) and error.filename is not None:
        named = {str(settings.ca_file): "ca_file", str(settings.token_file): "token_file"}
        field = named.get(str(error.filename), "token_file")
        return PipelineError(
            f"{field}: {error.filename} can't be read: {error.strerror}", fix="correct the path"
        )
    if isinstance(error, OSError):
        return Unavailable(f"{where} can't be reached: {_short(str(error))}")
    if isinstance(error, ValueError | TypeError | AttributeError):
        return PipelineError(
            f"{where} gives an answer that its client can't read: {_short(str(error))}",
            fix="is the server of version 2.2 or later?",
        )
    return PipelineError(f"{where}: {type(error).__name__}: {_short(str(error))}")


def _refused(where: str, namespace: str, error: Any) -> NoriaError:
    status = int(error.status or 0)
    body = error.body or error.reason or ""
    said = _short(_said(body.decode(errors="replace") if isinstance(body, bytes) else str(body)))
    if status in (401, 403):
        return PipelineError(f"{where} refuses this identity ({status}): {said}", fix=_LOGIN)
    if status == 409:
        return _AlreadyThere(f"{where} has it already: {said}")
    if status in (400, 422):
        unnamed = not namespace and "multi-user" in said
        return InvalidInput(
            f"{where} refuses the request ({status}): {said}", fix=NAMESPACE_FIX if unnamed else ""
        )
    if status == 429 or status >= 500:
        return Unavailable(f"{where} answers {status}: {said}")
    if 300 <= status < 400:
        return PipelineError(f"{where} sends us elsewhere ({status}); a login?", fix=_LOGIN)
    return PipelineError(f"{where} answers {status}: {said}", fix="is host the address of its API?")


def _said(body: str) -> str:
    """Return what the server said: the message in its JSON, else the body."""
    try:
        found = json.loads(body)
    except ValueError:
        return body
    if not isinstance(found, dict):
        return body
    names = ("message", "error_message", "error")
    return str(next((found[name] for name in names if found.get(name)), body))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_SAID_CHARS else f"{line[: _MAX_SAID_CHARS - 1]}…"
