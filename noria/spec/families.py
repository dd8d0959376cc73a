"""Which task families are installed: entry points of the group ``noria.families``.

Noria's own are found the same way. A plug-in that can't be described is set aside with the
reason, and the others work.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Final

from pydantic import GetCoreSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema

from noria.errors import InvalidInput, NotInstalled, shorten
from noria.measures.catalog import METRICS, OwnMetric
from noria.spec.family import SHARED_SOURCES, Family
from noria.spec.words import did_you_mean

if TYPE_CHECKING:
    from noria.spec.task import TaskSection

GROUP: Final = "noria.families"
OURS: Final = "noria"
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_HOW: Final = f"a Python package with an entry point in {GROUP} adds one"


@dataclass(frozen=True, slots=True)
class Plugin:
    """An installed family, and the distribution that brought it."""

    family: Family
    distribution: str
    version: str


@dataclass(frozen=True, slots=True)
class Broken:
    """An entry point that brings no family, and why."""

    name: str
    distribution: str
    problem: str

    def __str__(self) -> str:
        return f"{self.name} of {self.distribution}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The families that are installed, Noria's own first, and the entry points that failed."""

    plugins: tuple[Plugin, ...]
    broken: tuple[Broken, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The families' names."""
        return tuple(plugin.family.name for plugin in self.plugins)

    def find(self, name: str) -> Family:
        """Return a family by its name.

        Raises:
            NotInstalled: There is none of that name here.
        """
        for plugin in self.plugins:
            if plugin.family.name == name:
                return plugin.family
        said, fix = self.unknown(name)
        raise NotInstalled(f"spec.task.family: {said}", fix=fix)

    def unknown(self, name: object) -> tuple[str, str]:
        """Return what is wrong with the name of a family that is not here, and the fix."""
        failed = next((broken for broken in self.broken if broken.name == name), None)
        if failed is not None:
            fix = f"mend or remove the package {failed.distribution}"
            return f"{name} can't be used: {failed.problem}", fix
        said = f"{shorten(name)} is not a task family that is installed here"
        near = did_you_mean(str(name), self.names)
        return said, near or f"installed are {', '.join(self.names)}; {_HOW}"


def only_ours() -> None:
    """See to it that files of this repository are made of Noria's own families alone.

    Raises:
        InvalidInput: Another distribution's family is installed here.
    """
    for plugin in installed().plugins:
        if plugin.distribution != OURS:
            raise InvalidInput(
                f"{plugin.family.name} of {plugin.distribution} is installed here",
                fix="use an environment without it; `noria schema crd` prints a CRD that has it",
            )


@cache
def installed() -> Catalogue:
    """Return the families of this environment; looked up once."""
    found = discover(entry_points(group=GROUP))
    if not found.plugins:
        broken = "".join(f"; {one}" for one in found.broken)
        raise NotInstalled(
            f"no task family is installed, not even Noria's own{broken}",
            fix="install noria again: its metadata is older than its code",
        )
    return found


def describe(name: str) -> Family:
    """Return the description of the installed family ``name``.

    Raises:
        NotInstalled: There is none of that name here.
    """
    return installed().find(name)


def described(task: TaskSection) -> Family:
    """Return the description of a task's family, as the task's options make it.

    Raises:
        NotInstalled: As ``describe``.
    """
    return describe(task.family).of(task.options)


def discover(points: Iterable[EntryPoint]) -> Catalogue:
    """Return what entry points bring. Of two of one name, Noria's own is taken, else neither."""
    plugins: list[Plugin] = []
    broken: list[Broken] = []
    for point in points:
        found = _load(point)
        if isinstance(found, Plugin):
            plugins.append(found)
        else:
            broken.append(found)
    plugins.sort(key=lambda plugin: (plugin.distribution != OURS, plugin.family.name))
    kept: list[Plugin] = []
    for plugin in plugins:
        problem = next(_conflicts(plugin, plugins), "")
        if problem:
            broken.append(Broken(plugin.family.name, plugin.distribution, problem))
        else:
            kept.append(plugin)
    return Catalogue(tuple(kept), tuple(sorted(broken, key=str)))


def _conflicts(plugin: Plugin, plugins: Iterable[Plugin]) -> Iterator[str]:
    """Yield why a plug-in can't be beside the others. Noria's own families never give way."""
    if plugin.distribution == OURS:
        return
    for other in plugins:
        if other is plugin:
            continue
        if other.family.name == plugin.family.name:
            yield f"{other.distribution} brings a family of the same name"
        for key, section in other.family.data.items():
            if plugin.family.data.get(key, section) is not section:
                yield f"{other.distribution} brings another spec.data.source.{key}"


def _load(point: EntryPoint) -> Plugin | Broken:
    distribution = point.dist.name if point.dist is not None else "an unknown distribution"
    try:
        found = point.load()
    except Exception as error:  # noqa: BLE001 - a plug-in's code may raise anything
        said = f"{point.value} can't be imported: {type(error).__name__}: {error}"
        return Broken(point.name, distribution, said)
    if not isinstance(found, Family):
        said = f"{point.value} is a {type(found).__name__}, not a noria.spec.family.Family"
        return Broken(point.name, distribution, said)
    problem = next(_misdescribed(point.name, found), "")
    if problem:
        return Broken(point.name, distribution, problem)
    version = point.dist.version if point.dist is not None else ""
    return Plugin(found, distribution, version)


def _misdescribed(name: str, family: Family) -> Iterator[str]:
    """Yield what would break the resource's schema, and with it the other families."""
    if family.name != name:
        yield f"its family is called {family.name}; entry point and family have one name"
    if not _LABEL.fullmatch(family.name):
        yield f"{shorten(family.name)} is not a DNS label"
    if not family.algorithms:
        yield "it has no algorithm"
    if not family.metrics:
        yield "it has no metric"
    yield from _misnamed_metrics(family)
    yield from (
        f"spec.data.source has the key {key} already, or it is not one lower-case word"
        for key in family.data
        if key in SHARED_SOURCES or not (key.isalpha() and key.islower())
    )
    for kind in (family.options, *family.data.values()):
        try:
            kind.model_rebuild()
        except Exception as error:  # noqa: BLE001 - pydantic's schema builder raises several kinds
            yield f"{kind.__name__} can't be built: {type(error).__name__}: {error}"


def _misnamed_metrics(family: Family) -> Iterator[str]:
    odd = [one for one in family.own_metrics if not isinstance(one, OwnMetric)]
    if odd:
        yield f"own_metrics has a {type(odd[0]).__name__}, not a noria.spec.OwnMetric"
        return
    own = [metric.name for metric in family.own_metrics]
    for name in family.metrics:
        if name not in METRICS and name not in own:
            yield f"{name} is not a metric of noria.measures, and own_metrics does not bring it"
    for place, name in enumerate(own):
        if name in own[:place]:
            yield f"own_metrics brings {name} twice"
        if name not in family.metrics and family.narrow is None:
            yield f"own_metrics brings {name}, and metrics does not name it"
    for metric in family.own_metrics:
        if not metric.judges and metric.name == next(iter(family.metrics), ""):
            yield (
                f"{metric.name} is its default metric and has no interval to judge by; name first "
                "one that has"
            )


class FromFamilies:
    """Marks a field whose type is made of the installed families, when it is first needed.

    So ``import noria.spec`` looks for no plug-in, and a plug-in may import ``noria.spec``.
    """

    def __init__(self, type_of: Callable[[], Any]) -> None:
        self.type_of = type_of

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the schema of the real type."""
        del source  # the class that mypy sees
        return handler.generate_schema(self.type_of())


def field_type(field: FieldInfo) -> Any:
    """Return the type of a field, made of the installed families where it depends on them."""
    marks = (mark for mark in field.metadata if isinstance(mark, FromFamilies))
    mark = next(marks, None)
    return field.annotation if mark is None else mark.type_of()
