"""The operator and a registry that is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from noria.clocks import WallClock
from noria.errors import Unavailable
from noria.operator.composition import Composition
from noria.operator.settings import Settings


def test_a_registry_that_does_not_answer_is_told_within_a_turn(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
    settings: Callable[..., Settings],
) -> None:
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "to be put back")
        monkeypatch.delenv(name)
    told = settings(MLFLOW_URI="http://127.0.0.1:1", MLFLOW_ARTIFACTS=str(tmp_path))
    composition = Composition(cast("Any", None), told, WallClock())
    began = time.monotonic()
    with pytest.raises(Unavailable):
        composition._registry.versions("flights")
    # MLflow's own client would try for four minutes.
    assert time.monotonic() - began < 60
