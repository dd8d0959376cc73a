"""The ``Pipelines`` port on Kubeflow Pipelines.

The server gives every run an id of its own and takes any display name twice, so
idempotence is ours: a run's display name is the loop's ``run_id``, it is looked
for before one is created, and of several the oldest is THE run. Whoever sees
another one, be it the one who just created it, takes it back.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

import yaml

from noria.errors import InvalidInput, NoriaError, PipelineError, Unavailable, shorten
from noria.loop.values import RunPhase, RunRequest, RunResult, RunStatus
from noria.registry import MlflowRegistry
from noria.spec import Model
from pipelines.arguments import model_argument, run_arguments
from pipelines.caching import cache_keys
from pipelines.kubeflow_api import NAMESPACE_FIX, KubeflowApi, KubeflowSettings
from pipelines.kubeflow_status import Look, look
from pipelines.kubeflow_workflow import Workflow, read_workflow
from pipelines.machine import Machine
from pipelines.watch import explain_log

_MAX_NAME_CHARS: Final = 128
_MAX_LOGS: Final = 6
_log = logging.getLogger(__name__)


class Results(Protocol):
    """Finds what a run registered."""

    def __call__(self, model: str, run_id: str) -> RunResult | None:
        """Return the result, or None when the run has not registered a version."""


class KubeflowPipelines:
    """Starts runs on Kubeflow Pipelines, and finds them again by their name.

    Args:
        settings: Where it is, and what its pods get.
        model: Returns the resource of a model's name.
        results: Finds what a run registered; see ``registered``.
    """

    def __init__(
        self, settings: KubeflowSettings, model: Callable[[str], Model], results: Results
    ) -> None:
        self._settings = settings
        self._model = model
        self._results = results
        self._api = KubeflowApi(settings)

    def start(self, request: RunRequest) -> None:
        """Start a run and return at once; a run that was ever started is left alone.

        Raises:
            InvalidInput: The id, the model or a setting is refused.
            PipelineError, Unavailable: It was not started, or that can't be known.
        """
        if not 0 < len(request.run_id) <= _MAX_NAME_CHARS:
            raise InvalidInput(
                f"run id {shorten(request.run_id)} has {len(request.run_id)} characters; "
                f"the name of a run has 1 to {_MAX_NAME_CHARS}"
            )
        self._check_server()
        experiment = self._api.make_experiment()
        if self._settled(experiment, request.run_id) is not None:
            return
        model = self._model(request.model)
        self._api.create(experiment, request.run_id, *run_of(model, request, self._settings))
        # Two may have looked at once and both have found nothing.
        self._settled(experiment, request.run_id)

    def status(self, run_id: str) -> RunStatus:
        """Say where a run is; its result comes from the registry.

        Raises:
            PipelineError, Unavailable: The server or the registry can't tell now.
        """
        seen = self.look(run_id)
        if seen is None:
            return RunStatus(run_id, RunPhase.UNKNOWN)
        if seen.phase not in (RunPhase.SUCCEEDED, RunPhase.FAILED):
            return RunStatus(run_id, seen.phase, seen.detail)
        try:
            made = self._results(seen.model, run_id) if seen.model else None
        except NoriaError as error:
            unread = f"what it registered can't be read from here: {error}"
            raise Unavailable(f"{seen.detail}; {unread}" if seen.detail else unread) from error
        # A run may fail behind its last step, or lose to another of its name that registered.
        if made is not None:
            return RunStatus(run_id, RunPhase.SUCCEEDED, "", made)
        if seen.phase is RunPhase.SUCCEEDED:
            detail = f"run {seen.id} succeeded and registered no version at {self._where()}"
            return RunStatus(run_id, RunPhase.FAILED, detail)
        return RunStatus(run_id, seen.phase, seen.detail)

    def cancel(self, run_id: str) -> None:
        """Terminate a run. Does nothing when it is unknown or over.

        Raises:
            PipelineError, Unavailable: It may still be going.
        """
        experiment = self._api.find_experiment()
        for run in () if experiment is None else self._api.runs(experiment, run_id):
            self._stop(look(run))

    def look(self, run_id: str) -> Look | None:
        """Return what the server says of a run, without asking the registry; None: unknown.

        Raises:
            PipelineError, Unavailable: The server can't tell now.
        """
        experiment = self._api.find_experiment()
        found = None if experiment is None else self._settled(experiment, run_id)
        if found is None:
            return None
        run = self._api.run(found)
        seen = look(run)
        if seen.phase in (RunPhase.SUCCEEDED, RunPhase.CANCELLED):
            return seen
        try:
            workflow = read_workflow(self._api.workflow(found))
        except (PipelineError, InvalidInput) as error:
            workflow = Workflow(hidden=str(error))
        seen = look(run, workflow)
        if seen.phase is RunPhase.FAILED:
            return replace(seen, detail=self._why(seen, workflow))
        if not seen.steps and workflow.hidden and seen.detail.endswith(workflow.hidden):
            return replace(seen, detail=f"{seen.detail}; {self._pods(seen)}")
        return seen

    def url(self, seen: Look) -> str:
        """Return the page of a run for people; empty where the page's address is not known."""
        ui = self._settings.ui.rstrip("/")
        return f"{ui}/#/runs/details/{quote(seen.id)}" if ui else ""

    def _check_server(self) -> None:
        """Refuse a run that would be elsewhere than the settings say, and say what is ignored."""
        host, namespace = self._settings.host, self._settings.namespace
        try:
            several = self._api.multi_user()
        except PipelineError:
            return  # a gateway may hide it; what follows says what is wrong, if anything is
        if several and not namespace:
            raise InvalidInput(
                f"Kubeflow Pipelines at {host} has several users: each run is in a namespace",
                fix=NAMESPACE_FIX,
            )
        if not several and namespace:
            raise InvalidInput(
                f"Kubeflow Pipelines at {host} has a single user: it would start the run in its "
                f"own namespace, not in {shorten(namespace)}",
                fix="leave the namespace out (--namespace, NORIA_KFP_NAMESPACE, "
                "pipelines.namespace of the chart)",
            )
        if not several and self._settings.token_file is not None:
            _log.warning(
                "Kubeflow Pipelines at %s has a single user: it looks at no token, and whoever "
                "reaches it may start runs",
                host,
            )

    def _why(self, seen: Look, workflow: Workflow) -> str:
        """Say which step failed and why: its own last words, else what is known of its pod."""
        problem = ""
        for pod in seen.pods[:_MAX_LOGS]:
            try:
                said = explain_log(self._api.log(seen.id, pod))
            except (PipelineError, InvalidInput) as error:
                problem = problem or str(error)
                continue
            if said:
                return f"{seen.failed}: {said}" if seen.failed else said
        if seen.detail:
            return seen.detail
        unknown = "; ".join(text for text in (problem, workflow.hidden) if text)
        said = f"it failed, and nothing says why{f' ({unknown})' if unknown else ''}"
        where = f"{seen.failed}: {said}" if seen.failed else said
        return f"{where}; {self._pods(seen)}"

    def _pods(self, seen: Look) -> str:
        where = f"-n {self._settings.namespace}" if self._settings.namespace else "--all-namespaces"
        return f"look at its pods: kubectl get pods {where} -l pipeline/runid={seen.id}"

    def _settled(self, experiment: str, run_id: str) -> str | None:
        """Return the server's id of THE run, the oldest; others that still go are taken back.

        One may appear long after its request was given up on, so every look does it.
        """
        found = self._api.runs(experiment, run_id)
        for other in map(look, found[1:]):
            if not other.ended:
                self._stop(other)
                self._api.archive(other.id)
        return str(found[0].run_id) if found else None

    def _stop(self, seen: Look) -> None:
        if seen.ended or seen.stopping:
            return
        try:
            self._api.terminate(seen.id)
        except Unavailable:
            raise
        except NoriaError:
            # It is refused for a run that has ended or that somebody else terminated, which
            # may have happened since we looked.
            now = look(self._api.run(seen.id))
            if not (now.ended or now.stopping):
                raise

    def _where(self) -> str:
        return self._settings.tracking_uri or "the registry"


def registered(tracking_uri: str, artifacts: Path) -> Results:
    """Return what finds results in an MLflow registry, as this process reaches it."""
    registry = MlflowRegistry(tracking_uri, artifacts)

    def result(model: str, run_id: str) -> RunResult | None:
        from pipelines.local import registered_result

        return registered_result(registry, model, run_id)

    return result


def run_of(
    model: Model, request: RunRequest, settings: KubeflowSettings
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the server gets for a run: the compiled pipeline, and its arguments.

    Raises:
        InvalidInput: The resource and the project are too large for their parameters.
        PipelineError: The pipeline can't be compiled.
    """
    from pipelines.generate import compile_machine

    if model.name != request.model:
        raise InvalidInput(f"the resource is {model.name!r}, the run is for {request.model!r}")
    compute = model.spec.train.compute
    image = compute.image or settings.image
    if compute.nodes > 1 and not settings.shared_claim:
        raise InvalidInput(
            f"spec.train.compute.nodes: {compute.nodes} nodes need a volume to share",
            fix="name a ReadWriteMany PersistentVolumeClaim (shared_claim)",
        )
    keys = cache_keys(
        model, request, image=image, base=settings.base, tracking_uri=settings.tracking_uri
    )
    machine = Machine(
        compute,
        keys if compute.cache else {},
        settings.mlflow_secret,
        settings.pull_secrets,
        settings.shared_claim,
        settings.pull_policy,
    )
    arguments = run_arguments(
        request,
        model=model_argument(model),
        base=Path(settings.base) if settings.base.startswith("/") else settings.base,
        tracking_uri=settings.tracking_uri,
        artifacts=Path(settings.artifacts),
        served=settings.served if model.spec.data.served is not None else "",
    )
    with tempfile.TemporaryDirectory(prefix="noria-") as folder:
        compiled = compile_machine(machine, Path(folder) / "pipeline.yaml", image=image)
        documents = list(yaml.load_all(compiled.read_text(), _Loader))
    if len(documents) != 2:
        raise PipelineError(f"the compiled pipeline has {len(documents)} documents, not two")
    return {"pipeline_spec": documents[0], "platform_spec": documents[1]}, arguments


_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
