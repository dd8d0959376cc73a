"""What each step of the training pipeline does: read files, call the task family, write files.

Frames are Parquet files, values are JSON files, models are package folders. A
step is a fresh process, so everything heavy is imported where it is used.
``model`` is the model resource (see ``resource``);
``base`` is the project's folder, or the project itself (see ``project``).
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from components.failure import says_why
from components.order import Order
from components.project import project_folder
from components.resource import read_model
from noria.deadline import OutOfTime, time_limit
from noria.errors import InvalidInput, TrainingError
from noria.spec import Model
from noria.spec.family import TORCHRUN
from noria.spec.units import format_duration
from noria.tasks.families import family
from noria.tasks.held_out import read_held_out
from noria.tasks.package import read_manifest
from noria.tasks.protocol import ByColumn, Choosing, Evaluation, TuneResult
from noria.tasks.sources.size import free_memory, room_for

if TYPE_CHECKING:
    import pandas as pd

    from noria.spec import ModelSpec
    from noria.tasks.origins import Fitter
    from noria.tasks.protocol import TaskFamily

T = TypeVar("T")

SEARCH_FOLDER: Final = "NORIA_SEARCH_FOLDER"
"""Environment variable: where a search is kept, for a runner that can start the run again."""

Step = TypeVar("Step", bound=Callable[..., Any])


def _in_time(step: Step) -> Step:
    """Hold a step to ``spec.train.compute.timeout``, where no scheduler of a cluster does."""

    @functools.wraps(step)
    def limited(**arguments: Any) -> Any:
        timeout = read_model(arguments["model"]).spec.train.compute.timeout
        try:
            with time_limit(timeout.total_seconds()):
                return step(**arguments)
        except OutOfTime as error:
            raise TrainingError(
                f"{step.__name__}: it took longer than spec.train.compute.timeout, "
                f"{format_duration(timeout)}",
                fix="raise it, or train on less",
            ) from error

    return cast(Step, limited)


@says_why
@_in_time
def ingest(*, model: str, base: str, as_of: str, rows: Path, served: str = "") -> str:
    """Write the labelled rows known at ``as_of`` (ISO-8601; empty: all); return their sha256.

    ``served`` is where the rows are that were served (see ``noria.tasks.sources.served``).
    """
    resource = read_model(model)
    spec = resource.spec
    moment = datetime.fromisoformat(as_of) if as_of else None
    folder = project_folder(base)
    room = room_for(spec, folder, free_memory())
    if room is not None and room.is_short:
        sys.stderr.write(f"{room.text}\n")

    def source() -> pd.DataFrame:
        return family(spec.task.family).ingest(spec, folder, moment)

    if spec.data.served is None:
        frame = source()
    else:
        from noria.tasks.sources.served import ingested

        frame = ingested(spec, resource.name, served, moment, source)
    _write_frame(frame, rows)
    return fingerprint(frame)


@says_why
@_in_time
def validate(*, model: str, rows: Path, report: Path) -> None:
    """Hold the rows against the spec's rules; write what was checked."""
    spec = read_model(model).spec
    tasks = family(spec.task.family)
    found = tasks.validate(spec, _read_rows(tasks, spec, rows))
    for check in found.checks:
        sys.stdout.write(f"{check.name}: {check.detail}\n")
    _write_json(found, report)


@says_why
@_in_time
def features(*, model: str, base: str, rows: Path, frame: Path) -> None:
    """Write the rows with looked-up features, as of each row's event, and time features."""
    spec = read_model(model).spec
    tasks = family(spec.task.family)
    read = _read_rows(tasks, spec, rows)
    joined = tasks.features(spec, project_folder(base), read)
    if joined is read:
        frame.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(rows, frame)
        return
    # What is said of the rows goes on with them, however a family joins its features.
    joined.attrs = {**read.attrs, **joined.attrs}
    _write_frame(joined, frame)


@says_why
@_in_time
def split(
    *,
    model: str,
    champion: str,
    registry: tuple[str, Path],
    frame: Path,
    train: Path,
    test: Path,
) -> None:
    """Write the rows to tune on and the rows that judge, with their places in ``frame``."""
    resource = read_model(model)
    spec = resource.spec
    rival = _package_of(resource.name, champion, registry)
    tasks = family(spec.task.family)
    parts = tasks.split(spec, _read_rows(tasks, spec, frame), rival)
    for part, path in ((parts.train, train), (parts.test, test)):
        _write_rows(part, path)


@says_why
@_in_time
def tune(*, model: str, train: Path, params: Path, workdir: Path) -> None:
    """Write the hyperparameters to train with; a killed search carries on.

    It is kept in ``workdir``, or in the folder that ``SEARCH_FOLDER`` names.
    """
    spec = read_model(model).spec
    tasks = family(spec.task.family)
    chooses = isinstance(tasks, Choosing) and tasks.chooses(spec)
    if spec.train.search.kind == "none" and not chooses:
        _write_json(TuneResult(params=dict(spec.train.hyperparameters)), params)
        return
    workdir = Path(os.environ.get(SEARCH_FOLDER) or workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    _write_json(tasks.tune(spec, _read_rows(tasks, spec, train), workdir), params)


@says_why
def train(
    *,
    model: str,
    champion: str,
    registry: tuple[str, Path],
    frame: Path,
    test: Path,
    params: Path,
    candidate: Path,
    package: Path,
    held_out: Path,
    nodes: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Predict the rows of ``test`` by rolling origins, and with ``train.refit`` fit on all rows.

    ``nodes`` has ``run_id``, ``image`` and ``claim`` when several nodes train together.
    """
    on_nodes = read_model(model).spec.train.compute.nodes > 1
    (_train_on_nodes if on_nodes else _train_here)(
        model=model,
        champion=_package_of(read_model(model).name, champion, registry),
        frame=frame,
        test=test,
        params=params,
        candidate=candidate,
        package=package,
        held_out=held_out,
        nodes=nodes,
    )


@_in_time
def fit_package(*, model: str, rows: Path, params: Path, package: Path | None) -> None:
    """Fit on all rows of a file as ordered; write the package, or only take part in it.

    ``params`` is an ``Order``.
    """
    import numpy as np

    from noria.tasks.candidate import Here
    from noria.tasks.judging import Recipe

    resource = read_model(model)
    order = _read_json(params, Order)
    tasks, frame = family(resource.spec.task.family), _read_frame(rows)
    here = Here(tasks, resource.spec, frame, order.params, resource.name)
    recipe = Recipe(order.half_life, order.rounds)
    fitted = here.fit(np.arange(len(frame)), recipe)
    if package is not None:
        here.save(fitted, package, recipe)


@_in_time
def _train_here(
    *, model: str, frame: Path, params: Path, nodes: Mapping[str, str], **rest: Any
) -> None:
    from noria.tasks.candidate import Here

    del nodes
    resource = read_model(model)
    tasks = family(resource.spec.task.family)
    rows = _read_rows(tasks, resource.spec, frame)
    given = _read_json(params, TuneResult).params
    _train(resource, rows, Here(tasks, resource.spec, rows, given, resource.name), **rest)


def _train_on_nodes(
    *, model: str, frame: Path, params: Path, nodes: Mapping[str, str], **rest: Any
) -> None:
    resource = read_model(model)
    spec = resource.spec
    if not family(spec.task.family).distributes(spec):
        raise InvalidInput(
            f"spec.train.compute.nodes: {spec.train.compute.nodes} nodes, and "
            f"{spec.train.algorithm} trains on one",
            fix="write 1, and raise cpu and memory instead",
        )
    from components.nodes import Nodes, NodesFitter

    algorithm = spec.family.algorithm(spec.train.algorithm)
    machine = Nodes(
        nodes.get("run_id", ""),
        nodes.get("image", ""),
        nodes.get("claim", ""),
        spec.train.compute,
        launcher=TORCHRUN if algorithm is None else algorithm.launcher,
    )
    rows = _read_frame(frame)
    given = _read_json(params, TuneResult).params
    with tempfile.TemporaryDirectory() as folder:
        _train(resource, rows, NodesFitter(resource, machine, rows, given, Path(folder)), **rest)


def _train(
    resource: Model,
    rows: pd.DataFrame,
    fitter: Fitter,
    *,
    champion: Path | None,
    test: Path,
    candidate: Path,
    package: Path,
    held_out: Path,
) -> None:
    from noria.tasks.candidate import places_of, train
    from noria.tasks.sources.stored import read_index

    train(
        family(resource.spec.task.family),
        resource.spec,
        rows,
        places_of(read_index(test)),
        fitter,
        champion=champion,
        candidate=candidate,
        package=package,
    ).write(held_out)


@says_why
@_in_time
def evaluate(
    *,
    model: str,
    candidate: Path,
    test: Path,
    held_out: Path,
    champion: str,
    registry: tuple[str, Path],
    evaluation: Path,
    plots: Path,
) -> dict[str, float]:
    """Measure the predictions, and the champion on the same rows; return the finite metrics."""
    resource = read_model(model)
    spec = resource.spec
    rival = _package_of(resource.name, champion, registry)
    plots.mkdir(parents=True, exist_ok=True)
    found = family(spec.task.family).evaluate(
        spec, candidate, _read_frame(test), read_held_out(held_out), rival, plots
    )
    _write_json(found, evaluation)
    return {name: item.value for name, item in found.metrics.items() if item.value is not None}


@says_why
@_in_time
def reference(
    *, model: str, package: Path, frame: Path, test: Path, held_out: Path, reference: Path
) -> None:
    """Write what the monitor compares live rows with."""
    spec = read_model(model).spec
    tasks = family(spec.task.family)
    rows, judged = (_read_rows(tasks, spec, path) for path in (frame, test))
    tasks.reference(spec, package, rows, judged, read_held_out(held_out), reference)


@says_why
def register(
    *,
    model: str,
    run: dict[str, str],
    registry: tuple[str, Path],
    package: Path,
    reference: Path,
    evaluation: Path,
    plots: Path,
    params: Path,
    test: Path,
) -> str:
    """Make a version of the package and return it; the same run gets the same version again.

    ``run`` has ``run_id``, ``as_of``, ``reason``, ``champion``, ``fingerprint`` and ``base``.
    """
    from noria.registry import Candidate, MlflowRegistry
    from noria.tasks.sources.served import served_in
    from noria.tasks.sources.stored import first_row

    resource = read_model(model)
    judged = first_row(test)
    return MlflowRegistry(*registry).register(
        Candidate(
            model=resource.name,
            run_id=run["run_id"],
            package=package,
            reference=reference,
            plots=plots,
            evaluation=_read_json(evaluation, Evaluation),
            rows=read_manifest(package).rows,
            champion=run["champion"] or None,
            as_of=datetime.fromisoformat(run["as_of"]),
            fingerprint=run["fingerprint"],
            code_version=code_version(resource, project_folder(run["base"])),
            reason=run["reason"],
            spec=resource.model_dump_json(by_alias=True),
            params=_read_json(params, TuneResult).params,
            example=_example(resource, judged),
            cautions=resource.spec.family.cautions_of(resource.spec.task.options),
            served=served_in(judged),
        )
    )


def fingerprint(frame: pd.DataFrame) -> str:
    """Return a sha256 over columns, types and values of a frame, in order."""
    import hashlib

    import pandas as pd

    from noria.values.vectors import holds_vectors

    digest = hashlib.sha256()
    for name in frame.columns:
        digest.update(f"{name} {frame[name].dtype}\n".encode())
    vectors = [name for name in frame.columns if holds_vectors(frame[name])]
    for name in vectors:
        for vector in frame[name]:
            digest.update(b"" if vector is None else vector.tobytes())
    # Without vectors it is the frame itself: to drop no column would copy them all.
    scalars = frame.drop(columns=vectors) if vectors else frame
    digest.update(pd.util.hash_pandas_object(scalars, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def code_version(resource: Model, base: Path) -> str:
    """Return which code made a model: Noria's version, and digests of the project's files."""
    import hashlib
    from importlib.metadata import version

    spec = resource.spec
    found = [f"noria {version('noria')}"]
    for name in (spec.data.module, *spec.family.files_of(spec.task.options)):
        path = base / name if name else None
        if path is not None and path.is_file():
            found.append(f"{name} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}")
    return ", ".join(found)


def _package_of(model: str, champion: str, registry: tuple[str, Path]) -> Path | None:
    if not champion:
        return None
    from noria.registry import MlflowRegistry

    return MlflowRegistry(*registry).package_path(model, champion)


def _example(resource: Model, judged: pd.DataFrame) -> dict[str, Any]:
    """Return the first held-out row as a client would send it."""
    import pandas as pd

    names = family(resource.spec.task.family).request_columns(resource.spec)
    if not len(judged):
        return {}
    row = {name: judged[name].iloc[0] for name in names if name in judged.columns}
    return {
        name: None if pd.api.types.is_scalar(value) and pd.isna(value) else value
        for name, value in row.items()
    }


def _read_frame(path: Path) -> pd.DataFrame:
    from noria.tasks.sources import stored

    return stored.read_frame(path)


def _read_rows(tasks: TaskFamily, spec: ModelSpec, path: Path) -> Any:
    """Return rows as the family takes them: whole, or column by column."""
    if isinstance(tasks, ByColumn) and tasks.by_column(spec):
        from noria.tasks.sources.stored import StoredRows

        return StoredRows(path)
    return _read_frame(path)


def _write_rows(rows: Any, path: Path) -> None:
    """Write a frame, or rows that are read column by column."""
    from noria.tasks.sources.stored import whole

    _write_frame(whole(rows), path)


def _write_frame(frame: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Numbers rarely repeat: a table of their values is made in vain.
    texts = [str(name) for name in frame if frame[name].dtype == object]
    # The index of the rows of a split are their places in the frame.
    frame.to_parquet(path, use_dictionary=texts)


def _read_json(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidInput(f"{path}: no {kind.__name__}: {error}") from error


def _write_json(value: object, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(value))
