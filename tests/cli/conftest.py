"""A loop in memory behind the commands, so that what they print can be read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from noria.cli.app import application
from noria.embedded.answers import Answers
from noria.embedded.replaying import Progress, Replayed
from noria.errors import InvalidInput
from noria.loop.anchor import Anchor, Evidence
from noria.loop.ledger import GENESIS, LedgerEntry, append
from noria.loop.state import Hold, State
from noria.loop.values import Command, GateResult, RunPhase, RunResult, RunStatus, Verdict
from noria.places import Place
from noria.replay import Answer, History, Replaying
from noria.spec import load_model
from noria.tasks.package import Manifest
from noria.view import LastVerdict, ModelView, Phase, Stage, Step

NOW = datetime(2013, 3, 1, tzinfo=UTC)


STATUS = ModelView(
    "flights",
    Stage(Phase.CANARY, "2", Step(1, 2, 10)),
    champion="1",
    candidate="2",
    weights={"1": 90, "2": 10},
    verdict=LastVerdict("2", "inconclusive", "step 1 of 2 (10 %) held: auc has no data"),
    retrains_left=5,
    drift=("features: temp, dewp",),
    performance={"auc": 0.69123, "accuracy": None},
    url="http://127.0.0.1:8080/v2/models/flights",
    processes=("server v1 (pid 41)", "loop (pid 40)"),
)


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


def replayed_rows(model_path: Path) -> Replayed:
    """Four answered rows of two versions; the first was fitted on two of them."""
    event = np.arange(4, dtype=np.int64) * 1000
    history = History({}, {}, np.array([0, 1, 0, 1]), event, event)
    manifests = {"1": manifest(until=1000), "2": manifest(until=None)}
    answers = Answers(history, manifests.__getitem__)
    score = np.array([0.1, 0.9, 0.2, 0.8])
    for version, rows in (("1", slice(0, 3)), ("2", slice(3, 4))):
        answers.take(rows, Answer("r", version, {"probability": score[rows]}))
    return Replayed(load_model(model_path), history, answers, seconds=1.0)


def manifest(until: int | None) -> Manifest:
    return Manifest(
        model="parcels",
        family="tabular-classification",
        algorithm="linear",
        inputs=(),
        outputs=(),
        features=(),
        classes=(0, 1),
        trained_until=until,
    )


class Loop:
    """The functions of ``noria.embedded`` over plain attributes."""

    def __init__(self) -> None:
        self.models = [STATUS]
        self.holds: tuple[Hold, ...] = ()
        self.ledger = ledger("drift in temp starts run 1", "canary of v2 at 10 %", "v2 promoted")
        self.head = self.ledger[-1].head
        self.anchors: tuple[Anchor, ...] = ()
        self.submitted: list[tuple[str, str, str, str]] = []
        self.asked: list[dict[str, Any]] = []
        self.replayed: list[Replaying] = []
        self.exported: list[tuple[Path, datetime | None, datetime | None]] = []
        self.brought_up: list[Path] = []
        self.phase = RunPhase.SUCCEEDED
        self.champion: str | None = None
        self.gates = (
            GateResult("auc >= 0.55", Verdict.FAIL, "0.540 on 1200 rows", 0.54, 0.55, 1200),
        )
        self.is_down = False
        self.set_aside: list[str] = []
        self.turns: Callable[[Path], bool] = lambda _: True

    def up(self, home: Path, model_paths: list[Path], tell: Callable[[str], None]) -> None:
        tell("flights: starting")
        self.brought_up = model_paths

    def down(self, home: Path) -> None:
        self.is_down = True

    def damaged(self, home: Path) -> list[str]:
        return self.set_aside

    def turning(self, home: Path) -> bool:
        return self.turns(home)

    def train(self, home: Path, model_path: Path, on_step: Callable[[str], None]) -> RunStatus:
        on_step("ingest: 6,000 rows")
        if self.phase is not RunPhase.SUCCEEDED:
            return RunStatus("run-1", self.phase, "the train step failed")
        result = RunResult("7", 6000, {"auc": 0.54}, self.gates, self.champion)
        return RunStatus("run-1", self.phase, result=result)

    def text_columns(self, home: Path, model: str) -> frozenset[str]:
        self.known(model)
        return frozenset({"zip", "carrier"})

    def file_columns(self, home: Path, model: str) -> frozenset[str]:
        self.known(model)
        return frozenset({"photo"})

    def predict(self, home: Path, model: str, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(body)
        return {"predictions": [{"probability": 0.25}]}

    def replay(
        self, home: Path, model_path: Path, wanted: Replaying, show: Callable[[Progress], None]
    ) -> Replayed:
        self.replayed.append(wanted)
        for day in range(60):
            show(Progress(NOW + timedelta(days=day), day * 100, 6000))
        return replayed_rows(model_path)

    def replay_events(
        self,
        home: Path,
        model_path: Path,
        wanted: Replaying,
        show: Callable[[Progress], None],
        tell: Callable[[str], None],
    ) -> Replayed:
        tell("v1 is the champion")
        return self.replay(home, model_path, wanted, show)

    def export(
        self, home: Path, model: str, out: Path, since: datetime | None, until: datetime | None
    ) -> dict[str, int]:
        self.known(model)
        self.exported.append((out, since, until))
        return {"exchanges": 12000, "labels": 9, "windows": 0}

    def known(self, model: str) -> None:
        if model != "flights":
            raise InvalidInput(f"there is no model {model!r} here", fix="see `noria status`")


class LoopPlace(Place):
    """The same loop as a place: what is read of it, and its inbox."""

    def __init__(self, loop: Loop, folder: Path) -> None:
        self.loop = loop
        self.folder = folder

    @property
    def name(self) -> str:
        return str(self.folder)

    def overview(self) -> list[ModelView]:
        return self.loop.models

    def state(self, model: str) -> State:
        self.loop.known(model)
        return State(model, head=self.loop.head, holds=self.loop.holds)

    def turning(self, model: str) -> bool:
        return self.loop.turns(self.folder)

    def entries(self, model: str) -> Iterator[LedgerEntry]:
        yield from self.loop.ledger

    def evidence(self, model: str) -> Evidence:
        self.loop.known(model)
        return Evidence(self.loop.ledger, self.loop.head, self.loop.anchors, "2")

    def submit(self, model: str, command: Command) -> bool:
        self.loop.known(model)
        self.loop.submitted.append((model, command.verb.value, command.reason, command.by))
        return True


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    made = Loop()
    monkeypatch.setitem(sys.modules, "noria.embedded", made)
    places = SimpleNamespace(Machine=lambda folder: LoopPlace(made, folder))
    monkeypatch.setitem(sys.modules, "noria.places.machine", places)
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
