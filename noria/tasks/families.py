"""Which task families are there, and which of them are installed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

from noria.errors import NotInstalled, SpecError

if TYPE_CHECKING:
    from noria.spec import ModelSpec
    from noria.tasks.protocol import TaskFamily

# Family name -> the module that offers it as ``FAMILIES[name]``. None: it comes later.
_MODULES: Final[Mapping[str, str | None]] = {
    "tabular-classification": "noria.tasks.tabular.family",
    "tabular-regression": "noria.tasks.tabular.family",
    "forecasting": None,
    "clustering": None,
    "anomaly-detection": None,
    "image-classification": None,
    "text-classification": None,
    "token-classification": None,
    "llm-finetuning": None,
    "rag": None,
    "agent": None,
}


def installed() -> tuple[str, ...]:
    """Return the names of the families that can run here, in order."""
    return tuple(name for name, module in _MODULES.items() if module is not None)


def family(name: str) -> TaskFamily:
    """Return the task family called ``name``.

    Raises:
        NotInstalled: There is no such family, it comes in a later version, or
            the libraries that it needs are not installed.
    """
    if name not in _MODULES:
        raise NotInstalled(
            f"spec.task.family: there is no task family {name!r}",
            fix=f"choose one of {', '.join(_MODULES)}",
        )
    module_name = _MODULES[name]
    if module_name is None:
        raise NotInstalled(
            f"spec.task.family: {name} is not installed; it comes in a later version",
            fix=f"installed are {', '.join(installed())}",
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise NotInstalled(
            f"spec.task.family: {name} needs {error.name}, which is not installed",
            fix="install noria[training]",
        ) from error
    return cast("TaskFamily", module.FAMILIES[name])


def check(spec: ModelSpec) -> None:
    """Hold a spec against what its family can do; the schema can't tell all of that.

    Raises:
        SpecError: The family refuses it; every problem is listed.
        NotInstalled: The family can't run here.
    """
    problems = family(spec.task.family).check(spec)
    if problems:
        raise SpecError(problems)
