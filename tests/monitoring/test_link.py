"""The link from the loop to the monitor: which version it watches, and from when on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitoring.link import MonitorLink
from noria.loop.state import Rollout, RolloutPhase, State

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def rolled(version: str, champion: str | None = None) -> State:
    rollout = Rollout(version, champion, NOW, NOW, "", RolloutPhase.STEPPING, NOW)
    return State("flights", champion=champion, rollout=rollout)


def test_a_first_version_is_watched_from_its_first_request_on(
    bench: Callable[..., Any], world: Any, tmp_path: Path
) -> None:
    b = bench()
    b.predict("early", 120)
    assert b.status()["counts"]["dropped"]["blind"] == 120
    reference = world.reference(tmp_path / "reference")

    def put(model: str, version: str, champion: bool) -> None:
        assert model == "flights"
        b.champion(version, reference, champion=champion)

    link = MonitorLink(lambda _: b.status(), put)
    assert link.told("flights", rolled("1")) == ""
    b.predict("first", 200, shift=3.0)
    assert [s["source"] for s in b.signals()] == ["features"]
    assert b.status()["counts"]["dropped"]["blind"] == 120
    # The next one is not watched before it has won.
    assert link.told("flights", rolled("2", champion="1")) == ""
    assert b.status()["champion"] == "1"
    assert link.told("flights", State("flights", champion="2")) == ""
    assert b.status()["champion"] == "2"
