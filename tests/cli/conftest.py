"""A loop in memory behind the commands, so that what they print can be read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from noria.cli.app import application
from noria.errors import InvalidInput
from noria.loop.ledger import GENESIS, Head, LedgerEntry, append
from noria.loop.values import GateResult, RunPhase, RunResult, RunStatus, Verdict

NOW = datetime(2013, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Status:
    model: str = "flights"
    stage: str = "canary"
    champion: str | None = "1"
    candidate: str | None = "2"
    weights: dict[str, int] = field(default_factory=lambda: {"1": 90, "2": 10})
    step: str | None = "1 of 2, 10 %"
    last_verdict: str | None = "inconclusive"
    retrains_left: int | None = 5
    run: str | None = None
    drift: str | None = "features: temp, dewp"
    performance: dict[str, Any] = field(default_factory=lambda: {"auc": 0.69123, "accuracy": None})
    breaker_open: bool = False
    paused: bool = False
    url: str | None = "http://127.0.0.1:8080/v2/models/flights"
    processes: tuple[str, ...] = ("server v1 (pid 41)", "loop (pid 40)")
    problem: str | None = None


def ledger(*sentences: str) -> list[LedgerEntry]:
    entries: list[LedgerEntry] = []
    head = GENESIS
    for number, text in enumerate(sentences):
        note = {
            "kind": "rollout" if "canary" in text else "run",
            "text": text,
            "change": True,
        }
        entries.append(append(head, NOW + timedelta(hours=number), "flights", [note], []))
        head = entries[-1].head
    return entries


class Loop:
    """The functions of the facade over plain attributes."""

    def __init__(self) -> None:
        self.models: list[Status] = [Status()]
        self.ledger = ledger("drift in temp starts run 1", "canary of v2 at 10 %", "v2 promoted")
        self.submitted: list[tuple[str, str, str, str]] = []
        self.asked: list[dict[str, Any]] = []
        self.replayed: list[tuple[datetime | None, datetime | None, float]] = []
        self.brought_up: list[Path] = []
        self.phase = RunPhase.SUCCEEDED
        self.champion: str | None = None
        self.is_down = False
        self.turns: Callable[[Path], bool] = lambda _: True

    def up(self, home: Path, model_paths: list[Path], tell: Callable[[str], None]) -> None:
        tell("flights: starting")
        self.brought_up = model_paths

    def head(self, home: Path, model: str) -> Head:
        self._known(model)
        return self.ledger[-1].head if self.ledger else GENESIS

    def down(self, home: Path) -> None:
        self.is_down = True

    def status(self, home: Path) -> list[Status]:
        return self.models

    def turning(self, home: Path) -> bool:
        return self.turns(home)

    def submit(self, home: Path, model: str, verb: str, reason: str, by: str) -> None:
        self._known(model)
        self.submitted.append((model, verb, reason, by))

    def entries(self, home: Path, model: str) -> Iterator[LedgerEntry]:
        self._known(model)
        yield from self.ledger

    def train(self, home: Path, model_path: Path, on_step: Callable[[str], None]) -> RunStatus:
        on_step("ingest: 6,000 rows")
        if self.phase is not RunPhase.SUCCEEDED:
            return RunStatus("run-1", self.phase, "the train step failed")
        gate = GateResult("auc >= 0.55", Verdict.FAIL, "0.540 on 1200 rows", 0.54, 0.55, 1200)
        return RunStatus(
            "run-1", self.phase, result=RunResult("7", 6000, {"auc": 0.54}, (gate,), self.champion)
        )

    def text_columns(self, home: Path, model: str) -> frozenset[str]:
        self._known(model)
        return frozenset({"zip", "carrier"})

    def predict(self, home: Path, model: str, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(body)
        return {"predictions": [{"probability": 0.25}]}

    def replay(
        self,
        home: Path,
        model_path: Path,
        start: datetime | None,
        end: datetime | None,
        speed: float,
        on_progress: Callable[[datetime, int, int], None],
    ) -> None:
        self.replayed.append((start, end, speed))
        for day in range(60):
            on_progress(NOW + timedelta(days=day), day * 100, 6000)

    def _known(self, model: str) -> None:
        if model != "flights":
            raise InvalidInput(f"there is no model {model!r} here", fix="see `noria status`")


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    made = Loop()
    monkeypatch.setitem(sys.modules, "noria.embedded", made)
    return made


Noria = Callable[..., Result]


@pytest.fixture
def noria(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Noria:
    """Run a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NORIA_HOME", raising=False)
    monkeypatch.delenv("NORIA_DEBUG", raising=False)
    runner = CliRunner()

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return runner.invoke(application(), list(arguments), input=stdin)

    return run


@pytest.fixture
def project(noria: Noria, tmp_path: Path) -> Path:
    """A scaffolded model's file."""
    assert noria("init", "parcels").exit_code == 0
    return tmp_path / "parcels" / "model.yaml"
