"""What each step of the training pipeline does: read files, call the task family, write files.

Frames are Parquet files, values are JSON files, models are package folders. A
step is a fresh process, so everything heavy is imported where it is used.
``model`` is the model resource as JSON, or ``@PATH`` of a file that holds it;
``base`` is the project's folder, or the project itself (see ``project``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from components.project import project_folder
from noria.errors import DataError, InvalidInput
from noria.spec import Model, load_model, parse_model
from noria.tasks.families import family
from noria.tasks.package import read_manifest
from noria.tasks.protocol import Evaluation, TuneResult

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

SEARCH_FOLDER: Final = "NORIA_SEARCH_FOLDER"
"""Environment variable: where a search is kept, for a runner that can start the run again."""


def ingest(*, model: str, base: str, as_of: str, rows: Path) -> str:
    """Write the labelled rows known at ``as_of`` (ISO-8601; empty: all); return their sha256."""
    spec = read_model(model).spec
    moment = datetime.fromisoformat(as_of) if as_of else None
    frame = family(spec.task.family).ingest(spec, project_folder(base), moment)
    _write_frame(frame, rows)
    return fingerprint(frame)


def validate(*, model: str, rows: Path, report: Path) -> None:
    """Hold the rows against the spec's rules; write what was checked."""
    spec = read_model(model).spec
    found = family(spec.task.family).validate(spec, _read_frame(rows))
    _write_json(found, report)


def features(*, model: str, base: str, rows: Path, frame: Path) -> None:
    """Write the rows with looked-up features, as of each row's event, and time features."""
    spec = read_model(model).spec
    joined = family(spec.task.family).features(spec, project_folder(base), _read_frame(rows))
    _write_frame(joined, frame)


def split(*, model: str, frame: Path, train: Path, test: Path) -> None:
    """Write the rows to fit on and the rows that are held out."""
    spec = read_model(model).spec
    parts = family(spec.task.family).split(spec, _read_frame(frame))
    _write_frame(parts.train, train)
    _write_frame(parts.test, test)


def tune(*, model: str, train: Path, params: Path, workdir: Path) -> None:
    """Write the hyperparameters to train with; a killed search carries on.

    It is kept in ``workdir``, or in the folder that ``SEARCH_FOLDER`` names.
    """
    spec = read_model(model).spec
    if spec.train.search.kind == "none":
        _write_json(TuneResult(params=dict(spec.train.hyperparameters)), params)
        return
    workdir = Path(os.environ.get(SEARCH_FOLDER) or workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    _write_json(family(spec.task.family).tune(spec, _read_frame(train), workdir), params)


def train(
    *,
    model: str,
    frame: Path,
    train: Path,
    params: Path,
    candidate: Path,
    package: Path,
    nodes: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Fit on the training rows for the gates, and with ``train.refit`` on all rows to be served.

    ``nodes`` has ``run_id``, ``image`` and ``claim`` when several nodes train together.
    """
    spec = read_model(model).spec
    fit = _fit_here if spec.train.compute.nodes == 1 else _fit_on_nodes
    fit(model=model, rows=train, params=params, package=candidate, nodes=nodes)
    if spec.train.refit:
        fit(model=model, rows=frame, params=params, package=package, nodes=nodes)
    else:
        _copy(candidate, package)


def fit_package(*, model: str, rows: Path, params: Path, package: Path | None) -> None:
    """Fit with the parameters that were chosen; write the package, or only take part in it."""
    resource = read_model(model)
    tasks = family(resource.spec.task.family)
    fitted = tasks.train(resource.spec, _read_frame(rows), _read_json(params, TuneResult).params)
    if package is not None:
        tasks.save(resource.spec, fitted, package, model=resource.name)


def _fit_here(
    *, model: str, rows: Path, params: Path, package: Path, nodes: Mapping[str, str]
) -> None:
    del nodes
    fit_package(model=model, rows=rows, params=params, package=package)


def _fit_on_nodes(
    *, model: str, rows: Path, params: Path, package: Path, nodes: Mapping[str, str]
) -> None:
    from components.nodes import Nodes, own_namespace
    from noria.kube import KubeClient

    resource = read_model(model)
    spec = resource.spec
    if not family(spec.task.family).distributes(spec):
        raise InvalidInput(
            f"spec.train.compute.nodes: {spec.train.compute.nodes} nodes, and "
            f"{spec.train.algorithm} trains on one",
            fix="write 1, and raise cpu and memory instead",
        )
    Nodes(
        nodes.get("run_id", ""),
        nodes.get("image", ""),
        nodes.get("claim", ""),
        spec.train.compute,
    ).fit(
        KubeClient.connect(),
        own_namespace(),
        model=resource.model_dump_json(by_alias=True),
        rows=rows,
        params=params,
        package=package,
    )


def evaluate(
    *,
    model: str,
    candidate: Path,
    test: Path,
    champion: str,
    registry: tuple[str, Path],
    evaluation: Path,
    plots: Path,
) -> dict[str, float]:
    """Measure the candidate, and the champion on the same rows; return the finite metrics."""
    resource = read_model(model)
    spec = resource.spec
    rival: Path | None = None
    if champion:
        from noria.registry import MlflowRegistry

        rival = MlflowRegistry(*registry).package_path(resource.name, champion)
    plots.mkdir(parents=True, exist_ok=True)
    found = family(spec.task.family).evaluate(spec, candidate, _read_frame(test), rival, plots)
    _write_json(found, evaluation)
    return {name: item.value for name, item in found.metrics.items() if item.value is not None}


def reference(*, model: str, package: Path, train: Path, test: Path, reference: Path) -> None:
    """Write what the monitor compares live rows with."""
    spec = read_model(model).spec
    family(spec.task.family).reference(
        spec, package, _read_frame(train), _read_frame(test), reference
    )


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

    resource = read_model(model)
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
            example=_example(resource, test),
        )
    )


def read_model(text: str) -> Model:
    """Return the model resource from its JSON, or from the file that ``@PATH`` names.

    Raises:
        InvalidInput: It is neither, or the resource is refused.
    """
    if text.startswith("@"):
        return load_model(Path(text[1:]))
    try:
        # JSON is YAML, but the YAML reader is a hundred times slower.
        return parse_model(json.loads(text))
    except ValueError as error:
        raise InvalidInput(f"the model resource is not JSON: {error}") from error


def fingerprint(frame: pd.DataFrame) -> str:
    """Return a sha256 over columns, types and values of a frame, in order."""
    import hashlib

    import pandas as pd

    digest = hashlib.sha256()
    for name in frame.columns:
        digest.update(f"{name} {frame[name].dtype}\n".encode())
    digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def code_version(resource: Model, base: Path) -> str:
    """Return which code made a model: Noria's version, and the digest of the project's module."""
    import hashlib
    from importlib.metadata import version

    found = f"noria {version('noria')}"
    module = resource.spec.data.module
    path = base / module if module else None
    if path is None or not path.is_file():
        return found
    return f"{found}, {module} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def _example(resource: Model, test: Path) -> dict[str, Any]:
    """Return the first held-out row as a client would send it."""
    frame = _read_frame(test).head(1)
    names = family(resource.spec.task.family).request_columns(resource.spec)
    return {name: frame[name].iloc[0] for name in names if name in frame.columns and len(frame)}


def _read_frame(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the rows can't be read: {error}") from error


def _write_frame(frame: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False)


def _read_json(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidInput(f"{path}: no {kind.__name__}: {error}") from error


def _write_json(value: object, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(value))


def _copy(source: Path, target: Path) -> None:
    import shutil

    shutil.copytree(source, target, dirs_exist_ok=True)
