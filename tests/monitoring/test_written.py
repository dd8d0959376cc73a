"""What the operator hands to a monitor says the same as the Model that it was taken from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitoring.config import MonitorConfig
from monitoring.written import read, write
from noria.spec import Model, load_model, parse_model

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/model.yaml"))


def same(model: Model, folder: Path) -> MonitorConfig:
    """Write and read a model's configuration; it must be what the model says."""
    file = folder / "monitor.json"
    file.write_text(write(model))
    found, wanted = read(file), MonitorConfig.from_model(model)
    assert replace(found, family=wanted.family) == wanted
    assert found.family.metrics == wanted.family.metrics
    for name in found.metrics:
        assert found.family.named(name) == model.spec.metric(name)
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_comes_back_whole(path: Path, tmp_path: Path) -> None:
    same(load_model(path), tmp_path)


def test_so_does_one_with_vectors_kept_rows_and_all_that_may_be_written(
    wire: Any, tmp_path: Path
) -> None:
    document = wire.document(
        detectors=[{"name": "v", "kind": "mmd", "columns": ["photo"], "options": {"weight": 2}}],
        performance={"drop": {"max": "5%"}, "sources": ["feedback"], "maxLabelLag": "36h"},
    )
    data = document["spec"]["data"]
    data["features"].append({"name": "photo", "type": "vector", "width": 3})
    data["served"] = {"retention": "30d", "sample": 0.5}
    found = same(parse_model(document), tmp_path)
    assert found.widths == {"photo": 3}
    assert found.keeping is not None
    assert found.drop is not None
    assert found.drop.relative
    assert found.max_label_lag == 36 * 3600


def test_so_does_one_of_texts(wire: Any, tmp_path: Path) -> None:
    document = wire.document()
    del document["spec"]["monitoring"]
    document["spec"]["task"] = {"family": "custom", "options": {"command": ["train"]}}
    named = {"name": "vllm", "format": "huggingface"}
    document["spec"]["serving"] = {
        "runtime": {**named, "protocol": "openai", "metrics": {"samples": ["n"]}},
        "canary": {"analysis": [{"metric": "rating", "min": 3}]},
    }
    assert same(parse_model(document), tmp_path).metrics == ("rating",)
