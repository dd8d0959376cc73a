"""``spec.task``: what kind of model this is. The families are those that are installed."""

from __future__ import annotations

from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from pydantic import Field, create_model

from noria.spec.families import FromFamilies, installed
from noria.spec.family import Family
from noria.spec.section import Section

_FAMILY: Final = "The task family: what is predicted, from what."
_OPTIONS: Final = "Options of this family. Each has a default."


class TaskSection(Section):
    """One task family with its options; each family has a class of its own."""

    family: str = Field(description=_FAMILY)
    options: Section = Field(description=_OPTIONS)

    @classmethod
    def family_name(cls) -> str:
        """Return the value of ``family`` that stands for this class."""
        return str(get_args(cls.model_fields["family"].annotation)[0])


@cache
def task_classes() -> tuple[type[TaskSection], ...]:
    """Return the class of ``spec.task`` of each installed family, in the catalogue's order."""
    return tuple(_class_of(plugin.family) for plugin in installed().plugins)


def _class_of(family: Family) -> type[TaskSection]:
    title = "".join(part.capitalize() for part in family.name.split("-"))
    fields: dict[str, Any] = {
        "family": (Literal[family.name], Field(description=_FAMILY)),
        "options": (family.options, Field(default_factory=family.options, description=_OPTIONS)),
    }
    return create_model(
        title, __base__=TaskSection, __doc__=family.about, __module__=__name__, **fields
    )


def _union() -> Any:
    classes = task_classes()
    if len(classes) == 1:
        return classes[0]
    return Annotated[reduce(or_, classes), Field(discriminator="family")]


Task: TypeAlias = Annotated[TaskSection, FromFamilies(_union)]
"""The union of the families' classes; ``family`` says which."""
