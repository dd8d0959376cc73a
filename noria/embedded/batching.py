"""A batch of predictions by a registered version, on this machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from noria.embedded.home import Home
from noria.embedded.monitor import MonitorProcess
from noria.embedded.survey import lost_registry, served_at
from noria.errors import InvalidInput, RegistryError, Unavailable, shorten

if TYPE_CHECKING:
    from noria.spec import Model
    from noria.tasks.package import Manifest
    from serving.batch.job import Log, Progress, Wanted
    from serving.batch.writing import Stamp
    from serving.service import Loaded


def predict_batch(
    home: Home,
    name: str,
    version: str | None,
    wanted: Wanted,
    show: Callable[[Progress], None],
    *,
    told: bool,
) -> Progress:
    """Answer the rows of files by the champion, or by another version.

    ``told``: the model's monitor hears of the answers, as of those of the server.

    Raises:
        InvalidInput: The model or the version is not known, or the input is wrong.
        Conflict: The folder has other answers.
        Unavailable: The monitor is to hear of the answers and is not up.
        NoriaError: The model can't be loaded, fails, or its answers can't be written.
    """
    model, path = home.model(name)
    if lost := lost_registry(home, name):
        raise RegistryError(lost)
    with _opened(home.tracking_uri, home.artifacts, name, version, path.parent) as (loaded, stamp):
        stamp = msgspec.structs.replace(stamp, logged=told)
        with _log(home, model, stamp, loaded.manifest, told=told) as log:
            from serving.batch.job import run

            return run(loaded, stamp, wanted, log, show)


def predict_registered(
    tracking_uri: str,
    name: str,
    version: str | None,
    wanted: Wanted,
    show: Callable[[Progress], None],
) -> Progress:
    """Answer the rows of files by a version of a registry, where nothing else is known of it.

    Features that are looked up come from the project in the folder that the process is in.

    Raises:
        InvalidInput: The model or the version is not registered, or the input is wrong.
        Conflict: The folder has other answers.
        NoriaError: MLflow is away; the model can't be loaded, fails, or can't be written down.
    """
    with (
        tempfile.TemporaryDirectory(prefix="noria-batch-") as scratch,
        _opened(tracking_uri, Path(scratch), name, version, Path.cwd()) as (loaded, stamp),
    ):
        from serving.batch.job import run

        return run(loaded, stamp, wanted, None, show)


@contextmanager
def _opened(
    tracking_uri: str, artifacts: Path, name: str, version: str | None, project: Path
) -> Iterator[tuple[Loaded, Stamp]]:
    """Load a version, the champion where none is named."""
    # Read when the libraries are imported: rows are answered in threads of our own.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    from noria.loop.ports import CHAMPION
    from noria.registry import MlflowRegistry
    from serving.batch.writing import Stamp
    from serving.metrics import ServerMetrics
    from serving.runner import Batching
    from serving.service import load

    registry = MlflowRegistry(tracking_uri, artifacts)
    found = version or registry.alias(name, CHAMPION)
    if found is None:
        raise InvalidInput(
            f"{name} has no champion", fix="start it with `noria up`, or give --version"
        )
    info = registry.version(name, found)
    if info is None:
        known = ", ".join(one.version for one in registry.versions(name)) or "none yet"
        raise InvalidInput(f"{name} has no version {shorten(found)}; it has: {known}")
    loaded = load(
        registry.package_path(name, found),
        digest=info.digest,
        feature_base=project,
        name=name,
        version=found,
        batching=Batching(),
        metrics=ServerMetrics(name, found),
    )
    try:
        yield loaded, Stamp(name, found, info.digest)
    finally:
        loaded.runner.close()


@contextmanager
def _log(
    home: Home, model: Model, stamp: Stamp, manifest: Manifest, *, told: bool
) -> Iterator[Log | None]:
    if not told:
        yield None
        return
    from serving.batch.telling import MonitorLog
    from serving.predicted import Source, columns_of

    settings = model.spec.serving.payload_log
    if unknown := set(settings.redact) - columns_of(manifest):
        raise InvalidInput(
            f"spec.serving.payloadLog.redact: {shorten(sorted(unknown)[0])} is no input or output "
            f"of version {stamp.version}",
            fix="correct the name: what has to stay here can't be told from the rest",
        )
    if served_at(home, model.name) is None:
        raise Unavailable(
            f"model {model.name!r} is not up in {home.root}, and --log tells its monitor",
            fix=f"run {home.command('up')} first, or leave --log out",
        )
    monitor = MonitorProcess(home.file(model.name), home.monitor(model.name))
    source = Source(
        model.name, stamp.version, model.metadata.namespace, redact=frozenset(settings.redact)
    )
    log = MonitorLog(monitor.url, source, stamp.digest, settings.sample)
    try:
        yield log
    finally:
        log.close()
