"""What the installed packages ask for is installed, but for the caps that are lifted on purpose."""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent


class Lifted(NamedTuple):
    """A cap that the lock does not keep, as the package writes it, and why."""

    package: str
    requirement: str
    cap: str
    reason: str


LIFTED = (
    Lifted("alibi-detect", "numpy", "<2.0.0", "Noria and most of the rest need numpy 2"),
    Lifted("alibi-detect", "numba", "<0.60.0", "0.60 is the first that works with numpy 2"),
    Lifted("alibi-detect", "pillow", "<11.0.0", "kserve asks for pillow 12.3 or newer"),
)


def broken() -> Iterator[tuple[str, Requirement, str | None]]:
    """Package, what it asks for, and the version that is there instead."""
    for distribution in importlib.metadata.distributions():
        name = canonicalize_name(distribution.name)
        for text in distribution.requires or ():
            asked = Requirement(text)
            if asked.marker is not None and not asked.marker.evaluate({"extra": ""}):
                continue
            try:
                there = importlib.metadata.version(asked.name)
            except importlib.metadata.PackageNotFoundError:
                yield name, asked, None
                continue
            if not asked.specifier.contains(there, prereleases=True):
                yield name, asked, there


def test_every_requirement_that_is_not_met_is_on_the_list() -> None:
    known = {(one.package, one.requirement) for one in LIFTED}
    unknown = [
        f"{package} asks for {asked}, and {there or 'none'} is installed"
        for package, asked, there in broken()
        if (package, canonicalize_name(asked.name)) not in known
    ]
    assert unknown == []


def test_nothing_on_the_list_is_stale_or_more_than_a_cap() -> None:
    found = {
        (package, canonicalize_name(asked.name)): (asked, there)
        for package, asked, there in broken()
    }
    for one in LIFTED:
        asked, there = found[one.package, one.requirement]
        caps = [str(part) for part in asked.specifier if part.operator == "<"]
        assert caps == [one.cap]
        assert there is not None
        rest = ",".join(str(part) for part in asked.specifier if part.operator != "<")
        assert Requirement(f"{asked.name}{rest}").specifier.contains(there)
        assert Version(there) >= Version(one.cap.removeprefix("<"))


def test_the_lock_overrides_nothing_and_lifts_only_what_is_on_the_list() -> None:
    uv = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]
    assert not {"override-dependencies", "constraint-dependencies"} & set(uv)
    for told in uv["dependency-metadata"]:
        distribution = importlib.metadata.distribution(told["name"])
        assert distribution.version == told["version"]
        real = {
            canonicalize_name(asked.name): asked.specifier
            for asked in map(Requirement, distribution.requires or ())
            if asked.marker is None
        }
        ours = {
            canonicalize_name(asked.name): asked.specifier
            for asked in map(Requirement, told["requires-dist"])
        }
        assert set(ours) == set(real)
        differ = {name for name in real if ours[name] != real[name]}
        assert differ == {one.requirement for one in LIFTED if one.package == told["name"]}


def test_the_page_for_contributors_tells_each_cap() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    for one in LIFTED:
        assert f"| `{one.requirement}{one.cap}` |" in page
