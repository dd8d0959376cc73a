"""What ``noria init`` writes, read from the folder ``templates`` of a family's package."""

from __future__ import annotations

from importlib import resources


def texts_of(
    package: str, names: tuple[str, ...] = ("model.yaml", "data.py", "README.md")
) -> dict[str, str]:
    """Return the texts of a package's templates, by file name."""
    folder = resources.files(package).joinpath("templates")
    return {name: folder.joinpath(name).read_text("utf-8") for name in names}
