"""Writes one candidate into MLflow: the run, the model from code, the version."""

from __future__ import annotations

import importlib.metadata
import json
import math
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from noria.errors import RegistryError
from noria.registry.candidate import Candidate
from noria.registry.card import model_card
from noria.registry.catalog import PREFIX
from noria.registry.client import client, ensure_registered, load, translated
from noria.registry.signature import input_example, model_signature
from noria.tasks.package import MANIFEST_NAME, Manifest, package_digest, read_manifest
from noria.tasks.pickles import pickle_in

_CODE: Final = Path(__file__).with_name("pyfunc_model.py")
_MAX_PARAM_CHARS: Final = 6000
_DESCRIPTION: Final = "Registered by Noria; the model card is the run's artifact `model_card.md`."


def record(tracking_uri: str, artifacts_dir: Path, candidate: Candidate) -> str:
    """Log everything about ``candidate`` and return its new version.

    The version is made last and with all its tags at once, so that it is
    never seen half done; what a crash leaves behind is a failed run and no version.

    Raises:
        RegistryError, Unavailable: MLflow refused, or doesn't answer.
    """
    _refuse_pickles(candidate.package)
    manifest = read_manifest(candidate.package)
    digest = package_digest(candidate.package)
    mlflow = load()
    server = client(tracking_uri)
    with translated(f"register {candidate.model} (run {candidate.run_id})"):
        experiment = _experiment(server, candidate.model, tracking_uri, artifacts_dir)
        _close_leftovers(server, experiment, candidate.run_id)
        mlflow.set_tracking_uri(tracking_uri)
        mlflow.set_registry_uri(tracking_uri)
        run = server.create_run(
            experiment,
            run_name=candidate.run_id,
            tags={f"{PREFIX}run_id": candidate.run_id, f"{PREFIX}model": candidate.model},
        )
        try:
            model = _log_model(mlflow, run.info.run_id, candidate, manifest)
            tags = _tags(candidate, digest) | {
                "package": f"{model.artifact_path}/artifacts/{candidate.package.name}",
                "reference": f"{run.info.artifact_uri}/{candidate.reference.name}",
            }
            _log_run(server, run.info.run_id, candidate, manifest, digest)
            version = _make_version(server, candidate.model, run.info.run_id, model, tags)
        except BaseException:
            server.set_terminated(run.info.run_id, "FAILED")
            raise
        server.set_terminated(run.info.run_id)
    return version


def _experiment(server: Any, model: str, tracking_uri: str, artifacts_dir: Path) -> str:
    found = server.get_experiment_by_name(model)
    if found is not None:
        return str(found.experiment_id)
    if tracking_uri.startswith(("http://", "https://")):
        # A server has its own store, which others reach too; a folder of ours they would not.
        return str(server.create_experiment(model))
    location = (artifacts_dir / model).as_uri()
    return str(server.create_experiment(model, artifact_location=location))


def _close_leftovers(server: Any, experiment: str, run_id: str) -> None:
    """Mark what an earlier, killed attempt at this registration left behind."""
    quoted = run_id.replace("'", "")
    found = server.search_runs(
        [experiment], f"tags.`{PREFIX}run_id` = '{quoted}' and attributes.status = 'RUNNING'"
    )
    for run in found:
        server.set_terminated(run.info.run_id, "FAILED")


def _log_model(mlflow: Any, run_id: str, candidate: Candidate, manifest: Manifest) -> Any:
    with warnings.catch_warnings():
        # It warns about type hints, integer columns and examples: all are deliberate here.
        warnings.simplefilter("ignore")
        with mlflow.start_run(run_id=run_id):
            return mlflow.models.Model.log(
                artifact_path=None,
                name="model",
                flavor=_Unvalidated(mlflow),
                flavor_name="mlflow.pyfunc",
                validate_serving_input=False,
                python_model=str(_CODE),
                artifacts={"package": candidate.package.absolute().as_uri()},
                signature=model_signature(manifest),
                input_example=input_example(manifest, candidate.example),
                conda_env=_environment(),
                metadata={"noria": {"model": candidate.model, "run_id": candidate.run_id}},
            )


class _Unvalidated:
    """MLflow's pyfunc flavor, without a trial prediction on the input example.

    The trial would load the model once more, with all its libraries, only to log
    a warning when it fails; the model was evaluated a moment ago.
    """

    def __init__(self, mlflow: Any) -> None:
        self._mlflow = mlflow

    def save_model(self, *, validate_serving_input: bool, **arguments: Any) -> None:
        """Save as ``mlflow.pyfunc`` does."""
        del validate_serving_input
        with _requirements_as_they_are():
            self._mlflow.pyfunc.save_model(**arguments)


@contextmanager
def _requirements_as_they_are() -> Iterator[None]:
    """Keep MLflow from comparing what a model requires with what is installed here.

    They are the versions that are installed here, and for its warning it reads the metadata of
    every package: two thirds of the time that a registration takes.
    """
    from mlflow.utils import environment

    compared = environment.warn_dependency_requirement_mismatches
    environment.warn_dependency_requirement_mismatches = lambda _: None
    try:
        yield
    finally:
        environment.warn_dependency_requirement_mismatches = compared


def _environment() -> dict[str, Any]:
    """Return what a stranger needs to load the model; inferring it would load the model."""
    versions = [
        f"{name}=={importlib.metadata.version(name)}" for name in ("noria", "mlflow", "numpy")
    ]
    return {
        "name": "noria",
        "channels": ["conda-forge"],
        "dependencies": ["python>=3.11,<3.13", "pip", {"pip": versions}],
    }


def _log_run(
    server: Any, run_id: str, candidate: Candidate, manifest: Manifest, digest: str
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    at = int(candidate.as_of.timestamp() * 1000)
    server.log_batch(
        run_id,
        metrics=[Metric(key, value, at, 0) for key, value in _numbers(candidate).items()],
        params=[
            Param(key, str(value)[:_MAX_PARAM_CHARS]) for key, value in candidate.params.items()
        ],
        tags=[RunTag(f"{PREFIX}{key}", value) for key, value in _tags(candidate, digest).items()],
    )
    with tempfile.TemporaryDirectory() as folder:
        card = Path(folder) / "model_card.md"
        card.write_text(model_card(candidate, manifest, digest))
        server.log_artifact(run_id, str(card))
        if candidate.spec:
            spec = Path(folder) / "model.json"
            spec.write_text(candidate.spec)
            server.log_artifact(run_id, str(spec))
    server.log_artifacts(run_id, str(candidate.reference), candidate.reference.name)
    if candidate.plots is not None and candidate.plots.is_dir():
        server.log_artifacts(run_id, str(candidate.plots), "plots")


def _make_version(server: Any, name: str, run_id: str, model: Any, tags: Mapping[str, str]) -> str:
    ensure_registered(server, name)
    made = server.create_model_version(
        name,
        source=model.model_uri,
        run_id=run_id,
        tags={f"{PREFIX}{key}": value for key, value in tags.items()},
        description=_DESCRIPTION,
        model_id=model.model_id,
    )
    return str(made.version)


def _tags(candidate: Candidate, digest: str) -> dict[str, str]:
    return {
        "run_id": candidate.run_id,
        "digest": digest,
        "fingerprint": candidate.fingerprint,
        "code_version": candidate.code_version,
        "champion": candidate.champion or "",
        "rows": str(candidate.rows),
        "reason": candidate.reason,
        "as_of": candidate.as_of.isoformat(),
        "metrics": json.dumps({name: _finite(item) for name, item in candidate.metrics.items()}),
        "gates": msgspec.json.encode(candidate.gates).decode(),
        "recipe": msgspec.json.encode(candidate.evaluation.choice).decode(),
        **(
            {}
            if candidate.served is None
            else {"served": msgspec.json.encode(candidate.served).decode()}
        ),
    }


def _numbers(candidate: Candidate) -> dict[str, float]:
    """Return every finite number as an MLflow metric; NaN has no place in one."""
    evaluation = candidate.evaluation
    found: dict[str, float | None] = {"rows": float(candidate.rows)}
    for name, item in evaluation.metrics.items():
        found |= {name: item.value, f"{name}.low": item.low, f"{name}.high": item.high}
    found |= {f"baseline.{name}": item.value for name, item in evaluation.baseline.items()}
    found |= {f"vs_champion.{item.metric}": item.difference for item in evaluation.comparisons}
    return {
        key: value for key, value in found.items() if value is not None and math.isfinite(value)
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _refuse_pickles(package: Path) -> None:
    """Refuse a package that holds a pickle, whatever its name says, unless its options allow it.

    Raises:
        RegistryError: The package is no folder, or a file in it is a pickle.
    """
    if not package.is_dir():
        raise RegistryError(f"the model package {package} is no folder")
    allowed = False
    if (package / MANIFEST_NAME).is_file():
        allowed = read_manifest(package).options.get("allowPickle") is True
    for path in package.rglob("*"):
        if allowed or not path.is_file():
            continue
        named = "a pickle" if path.suffix in _PICKLE_NAMES else ""
        found = named or pickle_in(path.read_bytes())
        if found:
            raise RegistryError(
                f"{path} is {found}, which runs code when it is read",
                fix="save the model in its native format",
            )


_PICKLE_NAMES: Final = frozenset({".pkl", ".pickle", ".joblib"})
