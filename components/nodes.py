"""The train step on several nodes: files out to a shared volume, TrainJobs, packages back."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from components.order import Order
from components.placement import SHARED
from components.trainjob import TrainJob, job_name, run_trainjob
from noria.errors import InvalidInput, TrainingError
from noria.kube import KubeClient
from noria.spec import Compute, Model
from noria.spec.family import TORCHRUN
from noria.tasks.families import family

if TYPE_CHECKING:
    import pandas as pd

    from noria.tasks.judging import Recipe
    from noria.tasks.origins import Places

_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes that one run trains on.

    Args:
        run_id: The run.
        image: Of the nodes.
        claim: PersistentVolumeClaim (ReadWriteMany) that this step and the nodes mount.
        compute: The machine of one node, and how many of them.
        shared: Where the claim is mounted.
        launcher: The command before ``-m components.node``; see ``Algorithm``.
    """

    run_id: str
    image: str
    claim: str
    compute: Compute
    shared: Path = Path(SHARED)
    launcher: tuple[str, ...] = TORCHRUN

    def __post_init__(self) -> None:
        for name in ("run_id", "image", "claim"):
            if not getattr(self, name):
                raise InvalidInput(
                    f"{name}: is empty, and {self.compute.nodes} nodes need it",
                    fix="the installation names a ReadWriteMany claim that the nodes share, and "
                    "the pipeline hands run id and image over",
                )

    def fit(
        self,
        client: KubeClient,
        namespace: str,
        *,
        model: str,
        rows: Path,
        params: Path,
        package: Path,
        poll: float = 5.0,
    ) -> None:
        """Fit on ``rows`` and write the package; the package's own name tells jobs apart.

        Raises:
            TrainingError: The nodes failed, or left no package.
            ClusterError, Denied, InvalidInput, Unavailable: The cluster refuses, or is away.
        """
        job = self._job(package.name)
        folder = self.shared / job.name
        try:
            _hand_over(folder, model, rows, params)
            with _stoppable():
                run_trainjob(client, namespace, job, _say, poll=poll)
            if not (folder / "package").is_dir():
                raise TrainingError(
                    f"TrainJob {namespace}/{job.name} ended well and left no package",
                    fix=f"do its nodes mount the claim {self.claim} at {self.shared}?",
                )
            shutil.copytree(folder / "package", package, dirs_exist_ok=True)
        except OSError as error:
            raise TrainingError(f"the shared volume at {self.shared}: {error}") from error
        shutil.rmtree(folder, ignore_errors=True)

    def _job(self, purpose: str) -> TrainJob:
        folder = self.shared / job_name(self.run_id, purpose)
        command = (
            *(*self.launcher, "-m", "components.node"),
            *("--model", str(folder / "model.json"), "--rows", str(folder / "rows.parquet")),
            *("--params", str(folder / "params.json"), "--out", str(folder / "package")),
        )
        return TrainJob(
            self.run_id,
            purpose,
            self.image,
            command,
            self.compute,
            claim=self.claim,
            mount=str(self.shared),
        )


class NodesFitter:
    """Fits on several nodes, one TrainJob after the other; rows travel as files.

    Args:
        resource: The model.
        nodes: Where.
        rows: All rows.
        params: Hyperparameters.
        folder: An empty folder for files.
    """

    def __init__(
        self,
        resource: Model,
        nodes: Nodes,
        rows: pd.DataFrame,
        params: Mapping[str, Any],
        folder: Path,
    ) -> None:
        self._resource, self._nodes, self._rows = resource, nodes, rows
        self._params, self._folder = dict(params), folder
        self._fits = 0
        tasks = family(resource.spec.task.family)
        self.prepared = tasks.prepare(resource.spec, rows)
        self.own_rounds = tasks.with_rounds(resource.spec, params, 1.0) is not None

    def fit(self, places: Places, recipe: Recipe) -> object:
        """See ``noria.tasks.origins.Fitter``; returns the package's folder."""
        # The number tells a run's jobs apart, and is the same when the step is tried again.
        name = f"fit-{self._fits}"
        self._fits += 1
        rows, params = self._folder / f"{name}.parquet", self._folder / f"{name}.json"
        self._rows.iloc[places].reset_index(drop=True).to_parquet(rows)
        order = Order(self._params, recipe.half_life, recipe.rounds)
        params.write_bytes(msgspec.json.encode(order))
        self._nodes.fit(
            KubeClient.connect(),
            own_namespace(),
            model=self._resource.model_dump_json(by_alias=True),
            rows=rows,
            params=params,
            package=self._folder / name,
        )
        rows.unlink()
        return self._folder / name

    def save(self, fitted: object, package: Path, recipe: Recipe) -> None:
        """See ``noria.tasks.origins.Fitter``; the process that fitted has named the recipe."""
        del recipe
        shutil.copytree(cast("Path", fitted), package, dirs_exist_ok=True)


def own_namespace() -> str:
    """Return the namespace that this pod runs in.

    Raises:
        InvalidInput: This is no pod.
    """
    given = os.environ.get("NAMESPACE")
    if given:
        return given
    try:
        return _NAMESPACE_FILE.read_text().strip()
    except OSError as error:
        raise InvalidInput(
            "several nodes need Kubernetes, and this is no pod",
            fix="submit the run to Kubeflow Pipelines, or write spec.train.compute.nodes: 1",
        ) from error


def _hand_over(folder: Path, model: str, rows: Path, params: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(model)
    for source, name in ((rows, "rows.parquet"), (params, "params.json")):
        draft = folder / f".{name}"
        shutil.copyfile(source, draft)
        draft.replace(folder / name)  # an earlier attempt's nodes may be reading it


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let a terminated run take its TrainJob with it: SIGTERM becomes an exit that cleans up."""

    def leave(number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(128 + number)

    before: Callable[..., object] | int | None = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
