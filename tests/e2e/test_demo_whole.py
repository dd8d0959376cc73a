"""The demo itself, as ``make demo`` runs it, but ended after two months."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

_LAST_MONTH = 3
_PREDICTORS = ("loop", "frozen", "monthly", "no_change")


def test_the_quick_demo_runs_the_loop_for_two_months(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    until = ("--until", str(_LAST_MONTH))
    ran = subprocess.run(
        [sys.executable, "-m", "noria.cli", "demo", "--quick", *until, "--json", str(figures)],
        env={**os.environ, "NORIA_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=1750,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads(figures.read_text())
    assert found["rows"] > 6_000
    for metric in ("auc", "log_loss"):
        assert all(isinstance(found[metric][name], float) for name in _PREDICTORS)
    assert 0.5 < found["auc"]["frozen"] < found["auc"]["loop"] < 1
    assert found["auc"]["no_change"] < found["auc"]["loop"]
    assert 1 <= found["retrains"]["loop"] <= 13
    assert found["retrains"]["monthly"] == _LAST_MONTH - 2
    assert len(found["months"]) == _LAST_MONTH - 1
    assert sum(month["rows"] for month in found["months"]) == found["rows"]
    assert all(isinstance(month["auc"]["loop"], float) for month in found["months"])
    assert len(found["retrain_log"]) == found["retrains"]["loop"]
    assert isinstance(found["drifts"], list)
    assert 0 < found["seconds"] < 1750

    state = tmp_path / "home" / "demo"
    report = (state / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//|url\(\s*["']?http""", report)
    _the_state_can_be_asked_afterwards(state, found["retrains"]["loop"])


def _the_state_can_be_asked_afterwards(state: Path, retrains: int) -> None:
    def noria(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "noria.cli", *arguments, "--home", str(state)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout

    assert "unbroken" in noria("ledger", "verify")
    (model,) = json.loads(noria("status", "--json"))["models"]
    assert (model["stage"]["phase"], model["attendance"]) == ("serving", "stopped")
    assert model["processes"] == []
    assert model["retrains_left"] >= 100 - retrains
    assert "is the champion" in noria("why", "flights", "--last", "0")
