"""A feature that never leaves the server is no missing feature."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def reference(tmp_path: Path, world: Any) -> Path:
    found: Path = world.reference(tmp_path / "reference")
    return found


def test_redacted_features_are_neither_missing_nor_drifting(
    bench: Callable[..., Any], reference: Path, world: Any, wire: Any
) -> None:
    b = bench(redact=("carrier", "distance"))
    b.champion("1", reference)
    for i in range(3):
        request = world.request(200)
        request["inputs"] = [
            t for t in request["inputs"] if t["name"] not in ("carrier", "distance")
        ]
        b.post(f"r{i}", "request", request)
        b.post(f"r{i}", "response", wire.response(world.scores(200)))
    status = b.status()
    assert status["windows"]["features"] == {"index": 3, "rows": 0}
    assert status["quality"]["missing"] == 0.0
    assert status["problems"] == {}
    assert status["signals"] == []


def test_the_features_in_clear_are_still_watched(
    bench: Callable[..., Any], reference: Path, world: Any, wire: Any
) -> None:
    b = bench(redact=("carrier",))
    b.champion("1", reference)
    request = world.request(200, shift=3.0)
    request["inputs"] = [t for t in request["inputs"] if t["name"] != "carrier"]
    b.post("r", "request", request)
    b.post("r", "response", wire.response(world.scores(200)))
    (signal,) = b.signals()
    assert signal["id"] == "flights/1/features/0"
    assert "wind" in signal["detail"]


def test_a_detector_of_a_type_watches_those_in_clear_and_without_any_says_so(
    bench: Callable[..., Any], reference: Path
) -> None:
    detectors = [{"name": "numbers", "kind": "ks", "types": ["numeric"]}]
    some = bench(redact=("wind",), detectors=detectors)
    assert some.config.detectors[0].columns == ("distance",)
    none = bench(redact=("wind", "distance"), detectors=detectors)
    none.champion("1", reference)
    assert "is not in the reference" in none.status()["problems"]["numbers"]
