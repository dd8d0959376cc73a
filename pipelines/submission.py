"""Runs the training pipeline once on Kubeflow Pipelines: for the command line and for notebooks."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from components import BASE_IMAGE
from components.project import pack
from noria.errors import InvalidInput, NoriaError, Unavailable
from noria.loop.values import RunPhase, RunRequest, RunStatus
from noria.spec import Model, load_model
from pipelines.kubeflow import KubeflowPipelines, registered
from pipelines.kubeflow_api import PROJECT, KubeflowSettings
from pipelines.kubeflow_status import Look

_POLL_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Submission:
    """A run that was started. ``url`` is its page; empty where that is not known."""

    run_id: str
    model: str
    url: str
    pipelines: KubeflowPipelines

    def wait(
        self, tell: Callable[[str], None] = print, *, poll: float = _POLL_SECONDS
    ) -> RunStatus:
        """Follow the run to its end and return how it ended.

        Args:
            tell: Hears the name of each step, and of a time in which nothing can be learnt.
            poll: Longest pause between two looks, seconds; the first ones are shorter.

        Raises:
            PipelineError: The server answers, and not as Kubeflow Pipelines does.
        """
        told: set[str] = set()
        attempt = 0
        while True:
            seen: Look | None = None
            try:
                seen = self.pipelines.look(self.run_id)
            except Unavailable as error:
                now: tuple[str, ...] = (str(error),)  # a server that restarts ends no run
            else:
                if seen is None:
                    return RunStatus(self.run_id, RunPhase.UNKNOWN, "it was deleted")
                # Steps may pass between two looks; in the pauses between steps there is no news.
                now = (*seen.steps, seen.detail) if seen.steps else (seen.detail or seen.phase,)
                if seen.ended:
                    now = seen.steps
            for text in now:
                if text and text not in told:
                    tell(text)
                    told.add(text)
            if seen is not None and seen.ended:
                return self._ended(seen)
            time.sleep(min(poll, 0.5 * 1.5 ** min(attempt, 10)))
            attempt += 1

    def _ended(self, seen: Look) -> RunStatus:
        try:
            return self.pipelines.status(self.run_id)
        except NoriaError as error:
            # The pods could reach the registry; this machine may not.
            return RunStatus(self.run_id, seen.phase, str(error))


def submit(
    model_path: Path | str,
    settings: KubeflowSettings | None = None,
    *,
    host: str = "",
    champion: str | None = None,
    as_of: datetime | None = None,
    reason: str = "submitted by hand",
    run_id: str = "",
) -> Submission:
    """Compile the training pipeline of a model and run it once.

    Args:
        model_path: The model.yaml.
        settings: Where Kubeflow Pipelines is and what its pods get; or only its ``host``.
        host: URL of Kubeflow Pipelines, where there are no settings.
        champion: Version that the gates compare with; None compares with none.
        as_of: Rows known at that time are used; None: now.
        reason: Kept with the version.
        run_id: The run's name; the same name is started once. Empty: a new one.

    Raises:
        InvalidInput: The file, a setting, or what has to travel is refused.
        PipelineError, Unavailable: It was not started, or that can't be known.
    """
    path = Path(model_path)
    model = load_model(path)
    given = settings if settings is not None else KubeflowSettings(host)
    if given.served and model.spec.data.served is None:
        raise InvalidInput(
            f"served: {given.served} has rows that were served, and {model.name} does not learn "
            "from them",
            fix="set spec.data.served, or leave the URL out",
        )
    if given.base == PROJECT:
        given = replace(given, base=project_base(model, path.absolute().parent, given.image))
    moment = as_of or datetime.now(UTC)
    name = run_id or f"{model.name}-{moment:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
    results = registered(given.tracking_uri, Path(given.artifacts))
    pipelines = KubeflowPipelines(given, lambda _: model, results)
    pipelines.start(RunRequest(name, model.name, moment, reason, champion))
    seen = pipelines.look(name)
    url = "" if seen is None else pipelines.url(seen)
    return Submission(name, model.name, url, pipelines)


def project_base(model: Model, folder: Path, image: str) -> str:
    """Return how the project gets into the pods: in its own image, or packed into the pipeline.

    Raises:
        InvalidInput: Files of this machine would be needed and can't travel.
    """
    if model.spec.train.compute.image or image != BASE_IMAGE:
        return PROJECT
    module, source = model.spec.data.module, model.spec.data.source
    if source.feast is not None:
        raise InvalidInput(
            f"spec.data.source.feast: {source.feast.repository} and its data are on this machine, "
            "and every step that looks features up has a machine of its own",
            fix="put the project into an image built on Noria's (folder /model) and name it in "
            "spec.train.compute.image",
        )
    own = model.spec.family.files_of(model.spec.task.options)
    if module is not None:
        return pack(folder, [module, *own])
    stay = [name for name in _files(model) if not Path(name).is_absolute() and "://" not in name]
    if stay:
        raise InvalidInput(
            f"spec.data.source: {stay[0]} lies on this machine, and steps run on others",
            fix="put the project into an image built on Noria's (folder /model) and name it in "
            "spec.train.compute.image, or give spec.data.module, which makes the files there",
        )
    return pack(folder, own) if own else PROJECT


def _files(model: Model) -> Iterator[str]:
    for part in (model.spec.data.source.parquet, model.spec.data.source.csv):
        if part is not None:
            yield from part.paths
