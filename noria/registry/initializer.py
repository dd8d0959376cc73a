"""``python -m noria.registry.initializer models:/NAME/VERSION FOLDER``: put a package in place.

KServe runs it before the model server (a ClusterStorageContainer for ``models:/``). The
package is downloaded beside its place, checked against the digest that the registry noted
when the version was registered, and only then moved there: what a server finds is whole and
is what was registered. Needs MLflow's client (``MLFLOW_TRACKING_URI`` and its usual
variables for credentials), nothing of a model's libraries.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from noria.errors import IntegrityError, InvalidInput, NoriaError, RegistryError
from noria.registry.catalog import our_tags
from noria.registry.client import client, load, translated
from noria.tasks.package import MANIFEST_NAME, read_package

TERMINATION_LOG: Final = Path("/dev/termination-log")
"""Where Kubernetes reads a container's last words, for ``kubectl describe pod``."""

_STAGING: Final = ".noria-download"
_SOURCE: Final = re.compile(r"models:/(?P<name>[^/@]+)/(?P<version>[0-9]+)")


def main(arguments: Sequence[str], *, last_words: Path = TERMINATION_LOG) -> int:
    """Run; returns the exit code: 0 in place, 1 try again or look, 2 the request is wrong."""
    try:
        if len(arguments) != 2:
            raise InvalidInput(
                f"{len(arguments)} arguments", fix="give models:/NAME/VERSION and a folder"
            )
        uri = os.environ.get("MLFLOW_TRACKING_URI", "")
        if not uri:
            raise InvalidInput(
                "MLFLOW_TRACKING_URI is not set",
                fix="set it in the ClusterStorageContainer's container",
            )
        initialise(arguments[0], Path(arguments[1]), uri)
    except NoriaError as error:
        sys.stderr.write(f"{error}\n")
        if last_words.exists():
            last_words.write_text(str(error))
        return error.exit_code
    return 0


def initialise(source: str, folder: Path, tracking_uri: str) -> None:
    """Put the package of a registered version into ``folder``. Idempotent.

    Raises:
        InvalidInput: The source is not ``models:/NAME/VERSION``, or the folder holds
            something else.
        IntegrityError: The package is not the one that was registered. ``folder`` is empty.
        RegistryError, Unavailable: The registry has no such version, or does not answer.
    """
    name, version = parse(source)
    tags = _tags(name, version, tracking_uri)
    if _is_in_place(folder, tags["digest"]):
        return
    staging = folder / _STAGING
    try:
        shutil.rmtree(staging, ignore_errors=True)
        # The same volume as the package's place: a move there is a rename. The rest of the
        # file system may be read-only.
        (staging / "tmp").mkdir(parents=True)
        tempfile.tempdir = str(staging / "tmp")
        package = _download(tags["package"], staging, tracking_uri)
        _check(package, tags["digest"], source)
        _move(package, folder)
    except OSError as error:
        raise RegistryError(f"{source} can't be put into {folder}: {error}") from error
    finally:
        tempfile.tempdir = None
        shutil.rmtree(staging, ignore_errors=True)


def parse(source: str) -> tuple[str, str]:
    """Return the name and the version that a URI says.

    Raises:
        InvalidInput: It holds an alias or a stage, which can point elsewhere tomorrow, or is no
            ``models:/`` URI.
    """
    found = _SOURCE.fullmatch(source)
    if found is not None:
        return found["name"], found["version"]
    if source.startswith("models:/") and ("@" in source or source.count("/") == 2):
        raise InvalidInput(
            f"{source} does not name a version: what it points at can change, and pods that "
            "start later would serve another model than their neighbours",
            fix="name the version: models:/NAME/7",
        )
    raise InvalidInput(f"{source} is not models:/NAME/VERSION", fix="give the version's number")


def _tags(name: str, version: str, tracking_uri: str) -> Mapping[str, str]:
    server = client(tracking_uri)
    with translated(f"read version {version} of {name} from {tracking_uri}"):
        found = server.get_model_version(name, version)
    tags = our_tags(found.tags)
    missing = [key for key in ("package", "digest") if not tags.get(key)]
    if missing or found.status != "READY":
        raise RegistryError(
            f"{name} version {version}: the registry does not say its {' and '.join(missing)}"
            if missing
            else f"{name} version {version}: its status in the registry is {found.status}",
            fix="serve a version that Noria registered",
        )
    return tags


def _is_in_place(folder: Path, digest: str) -> bool:
    """Whether an earlier start of this pod has done it."""
    if not (folder / MANIFEST_NAME).is_file():
        return False
    shutil.rmtree(folder / _STAGING, ignore_errors=True)
    try:
        read_package(folder, digest=digest)
    except IntegrityError:
        return False
    return True


def _download(uri: str, staging: Path, tracking_uri: str) -> Path:
    load()
    with translated(f"download {uri}"):
        from mlflow.artifacts import download_artifacts

        found = download_artifacts(
            artifact_uri=uri, dst_path=str(staging), tracking_uri=tracking_uri
        )
    # A store on a mounted volume is not copied by MLflow: its own folder comes back.
    path = Path(found)
    if staging in path.parents:
        return path
    return Path(shutil.copytree(path, staging / "package", symlinks=True))


def _check(package: Path, digest: str, source: str) -> None:
    try:
        read_package(package, digest=digest)
    except IntegrityError as error:
        raise IntegrityError(
            f"{source}: what the artifact store holds is not what was registered: {error.message}",
            fix="it was changed or damaged after its registration: train again, and find out who "
            "can write to the store",
        ) from error


def _move(package: Path, folder: Path) -> None:
    mine = {path.name for path in package.iterdir()}
    others = {path.name for path in folder.iterdir()} - mine - {_STAGING}
    if others:
        raise InvalidInput(
            f"{folder} holds {', '.join(sorted(others))}", fix="give a folder of its own"
        )
    # The manifest goes first and comes last: without it there is no package.
    for name in sorted(mine, key=lambda name: name != MANIFEST_NAME):
        old = folder / name
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
    for name in sorted(mine, key=lambda name: name == MANIFEST_NAME):
        (package / name).rename(folder / name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
