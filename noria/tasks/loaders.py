"""Who loads a family's packages: entry points of the group ``noria.loaders``.

They are apart from the families' descriptions, because the model server asks for nothing else and
must start fast: neither pydantic nor the ``Model`` resource is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from noria.errors import NotInstalled, shorten

if TYPE_CHECKING:
    from noria.tasks.package import Manifest, Predictor

    Loader: TypeAlias = Callable[[Manifest, Mapping[str, bytes]], Predictor]

GROUP: Final = "noria.loaders"
_OURS: Final = "noria"


def loader(family: str) -> Loader:
    """Return the function that builds a predictor from a package's manifest and checked files.

    Of two of one name, Noria's own is taken, else neither.

    Raises:
        NotInstalled: There is none here, or two, or it can't be imported.
    """
    found = list(entry_points(group=GROUP, name=family))
    ours = [point for point in found if point.dist is not None and point.dist.name == _OURS]
    points = ours or found
    if not points:
        known = sorted({point.name for point in entry_points(group=GROUP)})
        raise NotInstalled(
            f"nothing here loads packages of the task family {shorten(family)}",
            fix=f"known families: {', '.join(known)}; install the package that brings it",
        )
    if len(points) > 1:
        brought = ", ".join(sorted(point.dist.name for point in points if point.dist is not None))
        raise NotInstalled(
            f"packages of the task family {family} are loaded by {brought}", fix="keep one of them"
        )
    try:
        return cast("Loader", points[0].load())
    except ImportError as error:
        raise NotInstalled(
            f"loading packages of the task family {family} needs {error.name or points[0].module}",
            fix="install it in this environment",
        ) from error
    except AttributeError as error:
        raise NotInstalled(
            f"{points[0].value}, which loads packages of {family}, is not there",
            fix="install the package that brings the family again",
        ) from error
