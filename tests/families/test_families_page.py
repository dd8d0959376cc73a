"""The family that docs/families.md builds is whole: its files are taken from the page."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
_BLOCK = re.compile(r"^```(?:toml|python)\n(# (\S+)\n.*?)^```$", re.MULTILINE | re.DOTALL)
Noria = Callable[..., subprocess.CompletedProcess[str]]


def files_of(page: Path) -> dict[str, str]:
    """Return the texts of a page's files, by name."""
    return {name: text for text, name in _BLOCK.findall(page.read_text("utf-8"))}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The folder that the page's package is installed in."""
    folder = tmp_path / "site"
    files = files_of(PAGE)
    project = tomllib.loads(files["pyproject.toml"])["project"]
    info = folder / f"noria_counts-{project['version']}.dist-info"
    for path, text in {
        **{folder / name: text for name, text in files.items()},
        info / "METADATA": f"Metadata-Version: 2.1\nName: {project['name']}\n"
        f"Version: {project['version']}\n",
        info / "entry_points.txt": "\n".join(
            line
            for group, points in project["entry-points"].items()
            for line in (f"[{group}]", *(f"{key} = {value}" for key, value in points.items()))
        ),
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder


def test_the_family_of_the_page_passes_the_suite(noria: Noria, site: Path) -> None:
    ran = noria("family", "check", "counts", "--json", sites=(site,))
    results = json.loads(ran.stdout)
    assert [one for one in results if one["outcome"] != "ok"] == []
    assert f"all {len(results)} checks passed" in PAGE.read_text("utf-8")


def test_the_family_of_the_page_refuses_what_it_can_not_learn_from(
    noria: Noria, site: Path, tmp_path: Path
) -> None:
    assert noria("init", "crossings", "--family", "counts", sites=(site,)).returncode == 0
    file = tmp_path / "crossings" / "model.yaml"
    assert noria("validate", "-f", file, sites=(site,)).returncode == 0
    model = yaml.safe_load(file.read_text())
    del model["spec"]["data"]["target"]
    model["spec"]["train"] = {"hyperparameters": {"rigde": 1}}
    file.write_text(yaml.safe_dump(model))
    ran = noria("validate", "-f", file, sites=(site,))
    assert ran.returncode == 2
    assert "spec.data.target: is missing, and counts learns from a target" in ran.stderr
    assert "hyperparameters.rigde: is unknown to counts; write ridge" in ran.stderr


@pytest.mark.slow
def test_the_suite_asks_for_a_rule_that_what_is_learnt_from_is_there(
    noria: Noria, site: Path
) -> None:
    file = site / "counts" / "describe.py"
    text = file.read_text("utf-8")
    assert text.count("rules=(columns_and_a_target, ") == 1
    file.write_text(text.replace("rules=(columns_and_a_target, ", "rules=("), "utf-8")
    results = json.loads(noria("family", "check", "counts", "--json", sites=(site,)).stdout)
    (failed,) = (one for one in results if one["outcome"] == "failed")
    assert failed["name"] == "asks"
    assert "without spec.data.target it is valid; give the family a rule" in failed["detail"]


def test_the_page_in_korean_has_the_same_files() -> None:
    assert files_of(PAGE.with_name("families.ko.md")) == files_of(PAGE)
