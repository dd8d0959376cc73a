"""A model that was trained elsewhere, put where the next run of the pipeline finds it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

from noria.embedded.home import Home
from noria.errors import InvalidInput, NoriaError
from noria.files import room_problem

_URI: Final = ("models:/", "runs:/")


def receive(home: Home, name: str, source: str) -> Path:
    """Copy a trained model to where the project of a known model takes it, in place of the last.

    Args:
        home: Where the model is known.
        name: The model.
        source: A folder, or a URI that MLflow resolves.

    Raises:
        InvalidInput: The model takes none, or the source is no folder with files.
        NoriaError: It can't be copied.
        RegistryError, Unavailable: MLflow does not give it.
    """
    resource, file = home.model(name)
    place = resource.spec.family.receives_in(resource.spec.task.options)
    if not place:
        raise InvalidInput(
            f"{name}: {resource.spec.task.family} takes no model that was trained elsewhere, as "
            "spec.task.options are",
            fix="write family: custom with options: {trained: trained}",
        )
    target = file.parent / place
    with tempfile.TemporaryDirectory(prefix="noria-receive-") as scratch:
        _replace(target, _found(source, Path(scratch)))
    return target


def _found(source: str, scratch: Path) -> Path:
    if source.startswith(_URI) or "://" in source:
        from noria.registry.elsewhere import download

        return download(source, scratch)
    folder = Path(source)
    if not folder.is_dir() or not any(folder.iterdir()):
        raise InvalidInput(
            f"--model: {source} is no folder with a model in it",
            fix="give the folder of an MLflow model, or one that holds the model's file",
        )
    return folder


def _replace(target: Path, source: Path) -> None:
    """Put a copy in place of ``target``: whole, or not at all."""
    draft = target.with_name(f".{target.name}.new")
    last = target.with_name(f".{target.name}.last")
    try:
        for leftover in (draft, last):
            shutil.rmtree(leftover, ignore_errors=True)
        shutil.copytree(source, draft, symlinks=True)
        if target.exists():
            target.rename(last)
        draft.rename(target)
        shutil.rmtree(last, ignore_errors=True)
    except OSError as error:
        raise NoriaError(
            f"{target}: the model can't be copied there: {error.strerror or error}",
            fix=room_problem(target.parent) or "see that the folder can be written",
        ) from error
