"""What Noria asks of a task family, as checks that a third party can run over its own.

``noria family check MODULE`` prints them. Each check has a name and a sentence; it raises ``Unmet``
with what it found, or whatever the family's code raises, and the next one runs. Training is
checked on the project that the family's template makes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final, Literal, TypeAlias

from noria.errors import InvalidInput
from noria.spec.families import GROUP, installed
from noria.spec.family import Family
from noria.tasks.conformance import described, trained
from noria.tasks.conformance.subject import Subject, Unmet

Outcome: TypeAlias = Literal["ok", "failed", "not run"]


@dataclass(frozen=True, slots=True)
class Result:
    """How one check ended; ``detail`` is what it found, empty when all is well."""

    name: str
    sentence: str
    outcome: Outcome
    detail: str = ""


def check_family(path: str) -> Iterator[Result]:
    """Yield the result of every check, in order, as it ends.

    Args:
        path: ``module:attribute`` of a ``Family``, or the name of an installed one.

    Raises:
        InvalidInput: There is no family at ``path``.
    """
    family = _family_at(path)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="noria-family-")))
        subject = Subject(path if ":" in path else _entry_point(path), family, folder)
        missing: tuple[str, ...] = ()
        for check in _CHECKS:
            name = check.__name__
            sentence = " ".join((check.__doc__ or "").split())
            if missing and check in _TRAINING:
                detail = f"{', '.join(missing)} is not installed"
                yield Result(name, sentence, "not run", detail)
                continue
            try:
                check(subject)
            except Unmet as error:
                yield Result(name, sentence, "failed", str(error))
            except Exception as error:  # noqa: BLE001 - the code under test may raise anything
                yield Result(name, sentence, "failed", f"{type(error).__name__}: {error}")
            else:
                yield Result(name, sentence, "ok")
            if check is described.needs:
                missing = family.missing((family.default_algorithm,))


def _family_at(path: str) -> Family:
    if ":" not in path:
        return installed().find(path)
    module, _, attribute = path.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InvalidInput(
            f"{path}: {error}", fix="give module:attribute of a noria.spec.family.Family"
        ) from error
    if not isinstance(found, Family):
        raise InvalidInput(
            f"{path}: is a {type(found).__name__}", fix="name a noria.spec.family.Family"
        )
    return found


def _entry_point(name: str) -> str:
    from importlib.metadata import entry_points

    return next(point.value for point in entry_points(group=GROUP, name=name))


_TRAINING: Final = (
    trained.trains,
    trained.loads,
    trained.repeats,
    trained.answers,
    trained.searches,
    trained.judges,
    trained.measures,
    trained.gates,
    trained.fresh,
    trained.reference,
    trained.refuses,
)
_CHECKS: Final[tuple[Callable[[Subject], None], ...]] = (
    described.light,
    described.installed,
    described.options,
    described.schema,
    described.metrics,
    described.spaces,
    described.paths,
    described.functions,
    described.template,
    described.rules,
    described.asks,
    described.needs,
    *_TRAINING,
)
