"""Every component: a thin shim whose metadata and interface agree."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

import components
from components import steps

# KFP's own modules warn about their dependencies when they are imported.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

ROOT = Path(components.__file__).parent
NAMES = sorted(path.parent.name for path in ROOT.glob("*/component.py"))


def component(name: str) -> Any:
    return getattr(importlib.import_module(f"components.{name}.component"), name)


def test_all_steps_of_the_training_pipeline_are_there() -> None:
    from pipelines.training import STEPS

    assert sorted(STEPS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_metadata_says_what_the_component_takes_and_gives(name: str) -> None:
    said = yaml.safe_load((ROOT / name / "metadata.yaml").read_text())
    spec = component(name).component_spec

    inputs = spec.inputs or {}
    files = {key for key, item in inputs.items() if item.type.startswith("system.")}
    assert said["name"] == name
    assert set(said["parameters"]) == set(inputs) - files
    assert set(said.get("inputs", {})) == files
    assert set(said["outputs"]) == set(spec.outputs or {})
    assert (ROOT / name / "README.md").read_text().startswith(f"# {name}\n")


@pytest.mark.parametrize("name", NAMES)
def test_the_component_installs_nothing_and_only_calls_its_step(name: str) -> None:
    found = component(name)
    container = found.component_spec.implementation.container

    assert container.image == components.BASE_IMAGE
    assert "pip" not in " ".join(container.command[:3])
    assert f"steps.{name}(" in inspect.getsource(found.python_func)
    assert inspect.getdoc(getattr(steps, name))
