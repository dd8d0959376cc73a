"""Each version's labels are measured by its own threshold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from noria.errors import InvalidInput

METRICS = ["f1", "accuracy", "class-recall", "auc"]


@pytest.fixture
def reference(world: Any, tmp_path: Path) -> Callable[..., Path]:
    """Write a reference whose model calls a row positive from a probability on."""

    def write(name: str, *thresholds: float) -> Path:
        folder: Path = world.reference(tmp_path / name, classes=(0, 1), f1=0.6)
        file = folder / "reference.json"
        said = json.loads(file.read_text())
        said["prediction"]["thresholds"] = thresholds
        file.write_text(json.dumps(said))
        return folder

    return write


def test_champion_and_candidate_are_measured_by_their_own(
    bench: Callable[..., Any], world: Any, reference: Callable[..., Path]
) -> None:
    drop = {"metric": "f1", "max": 0.05, "confidence": 0.95}
    b = bench(performance={"metrics": METRICS, "window": {"rows": 400}, "drop": drop})
    b.champion("1", reference("one", 0.2))
    b.champion("2", reference("two", 0.35), champion=False)
    b.champion("3", reference("three"), champion=False)
    b.monitor.flush()
    b.restart()
    for version, limit in (("1", 0.2), ("2", 0.35), ("3", 0.5)):
        scores = b.predict(f"r{version}", 400, version=version)
        truth = world.labels(scores)
        labels = [{"id": f"r{version}:{i}", "label": int(one)} for i, one in enumerate(truth)]
        b.label(labels)
        found = b.status()["performance"][version]["metrics"]
        called = scores >= limit
        assert found["f1"]["value"] == pytest.approx(f1_score(truth, called)), version
        assert found["accuracy"]["value"] == pytest.approx(accuracy_score(truth, called)), version
        assert found["auc"]["value"] == pytest.approx(roc_auc_score(truth, scores)), version
        # What a canary's check asks for.
        _, asked = b.monitor.measure("f1", version, 0.0)
        assert (asked.value, asked.samples) == (found["f1"]["value"], 400)
    status = b.status()
    assert status["thresholds"] == {"1": [0.2], "2": [0.35]}
    assert status["performance"]["1"]["drop"]["value"] == pytest.approx(
        status["performance"]["1"]["metrics"]["f1"]["value"]
    )


@pytest.mark.parametrize("thresholds", [(0.2, 0.3), (1.5,), (-0.1,)])
def test_a_reference_with_other_thresholds_is_refused(
    bench: Callable[..., Any], reference: Callable[..., Path], thresholds: tuple[float, ...]
) -> None:
    b = bench()
    with pytest.raises(InvalidInput, match=r"thresholds: .* is not one probability"):
        b.champion("1", reference("bad", *thresholds))
