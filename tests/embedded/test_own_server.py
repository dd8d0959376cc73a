"""A server of one's own on one machine: Noria's takes its place where it can, and says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from noria.embedded.home import Home
from noria.embedded.own_server import served_here
from noria.embedded.supervisor import supervise
from noria.errors import InvalidInput
from noria.places.machine import Machine
from noria.spec import load_model
from noria.spec.runtime import NORIA
from noria.view import facts

IMAGE = f"registry.example/parcels@sha256:{'0' * 64}"


def own_server(parcels: Path, **runtime: Any) -> None:
    model = yaml.safe_load(parcels.read_text())
    metrics = {"requests": ["http_requests_total"], "errors": ["failures_total"]}
    model["spec"]["serving"] = {
        "runtime": {"image": IMAGE, "metrics": metrics, **runtime},
        "canary": {"analysis": [{"metric": "error-rate", "max": 0.01}]},
    }
    parcels.write_text(yaml.safe_dump(model))


def test_norias_server_serves_and_is_counted_by_its_own_names(parcels: Path) -> None:
    own_server(parcels)
    model = load_model(parcels)
    assert model.spec.serving.metrics != NORIA
    here = served_here(model)
    assert here.spec.serving.runtime is None
    assert here.spec.serving.metrics == NORIA
    assert here.spec.serving.canary == model.spec.serving.canary


def test_the_status_says_so(parcels: Path, tmp_path: Path) -> None:
    own_server(parcels)
    home = Home(tmp_path / "home").create()
    home.remember(load_model(parcels), parcels)
    (view,) = Machine(home.root).overview()
    assert ("caution", view.cautions[-1]) in facts(view)
    assert view.cautions[-1] == (
        f"spec.serving.runtime: {IMAGE} has no effect on one machine: Noria's server serves"
    )


def test_a_protocol_that_it_does_not_speak_is_refused_before_anything_starts(
    parcels: Path, tmp_path: Path
) -> None:
    own_server(parcels, protocol="openai")
    home = Home(tmp_path / "home")
    with pytest.raises(InvalidInput, match=r"protocol: openai needs .*: kubectl apply"):
        supervise(home, [parcels], lambda _: None)
    assert home.names() == ()
