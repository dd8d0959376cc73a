"""The working side of a task family: what its description names by a dotted path."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from noria.errors import InvalidInput, NotInstalled
from noria.spec.families import describe
from noria.spec.family import Family

if TYPE_CHECKING:
    from pathlib import Path

    from noria.spec import ModelSpec
    from noria.tasks.protocol import TaskFamily


def family(name: str) -> TaskFamily:
    """Return the learner of the task family called ``name``.

    Raises:
        NotInstalled: There is no such family here, or it needs what is not installed.
        InvalidInput: Its learner lacks a function.
    """
    found = describe(name)
    learner = load(found, found.learner)
    missing = lacking(learner)
    if missing:
        raise InvalidInput(
            f"spec.task.family: {name} can't be trained: {found.learner} has no "
            f"{', '.join(missing)}",
            fix=f"mend the family; `noria family check {name}` says what else it lacks",
        )
    return cast("TaskFamily", learner)


def lacking(learner: object) -> tuple[str, ...]:
    """Return the functions of ``TaskFamily`` that a learner does not have."""
    from noria.tasks.protocol import TaskFamily

    asked = (name for name in vars(TaskFamily) if not name.startswith("_"))
    return tuple(name for name in asked if not callable(getattr(learner, name, None)))


def require(spec: ModelSpec) -> None:
    """See to it that the model can be trained here.

    Raises:
        NotInstalled: A library of the family or of an algorithm is missing.
        InvalidInput: The family's learner lacks a function.
    """
    found = describe(spec.task.family)
    algorithms = (spec.train.algorithm, *spec.train.ensemble.members)
    missing = found.missing(algorithms)
    if missing:
        raise NotInstalled(
            f"spec.task.family: {found.name} needs {', '.join(missing)}, which is not installed",
            fix=f"install {found.install(algorithms) or ' '.join(missing)}",
        )
    family(found.name)


def template(name: str) -> Mapping[str, str]:
    """Return the texts, by file name, that a new project of the family starts with.

    Raises:
        NotInstalled: As ``family``.
    """
    found = describe(name)
    return cast("Mapping[str, str]", load(found, found.template))


def drafted(
    name: str, folder: Path, data: Path, target: str | None, family: str | None
) -> Mapping[str, str]:
    """Return the texts, by file name, of a new project that learns from a file of rows.

    Args:
        name: Of the family that looks at the rows.
        folder: Of the project; its name is the model's.
        data: The rows.
        target: The column to predict.
        family: The family that the project shall have; None: as the rows suggest.

    Raises:
        InvalidInput: The family can't tell a model from rows, or the target is none.
        DataError: The file can't be read.
        NotInstalled: As ``family``.
    """
    found = describe(name)
    if not found.draft:
        raise InvalidInput(
            f"--data: {name} can't tell a model from rows",
            fix=f"leave --data out: `noria init NAME --family {name}` starts with made-up rows",
        )
    draft = load(found, found.draft)
    return cast("Mapping[str, str]", draft(folder.name, folder, data, target, family))


def load(described: Family, path: str) -> Any:
    """Return what ``path`` (``module:attribute``) of a family's description names.

    Raises:
        NotInstalled: The module or the attribute is not there, or a library that it imports.
    """
    module, _, attribute = path.partition(":")
    where = f"spec.task.family: {described.name}"
    install = described.needs.install or "the package that brings the family again"
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise NotInstalled(
            f"{where} needs {error.name or module}, which is not installed",
            fix=f"install {install}",
        ) from error
    except AttributeError as error:
        raise NotInstalled(
            f"{where} names {path!r}, which is not there", fix=f"install {install}"
        ) from error
