"""The commands that talk to the loop: what they ask it, and what they say."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow.parquet as pq
import pytest

from noria.cli.background import start
from noria.errors import InvalidInput
from noria.loop import rollout, runs
from noria.loop.anchor import Anchor
from noria.loop.ledger import GENESIS, Head
from noria.loop.state import Hold
from noria.loop.values import RunPhase
from noria.replay import Replaying
from noria.view import Phase, Stage

if TYPE_CHECKING:
    from conftest import Loop, Noria


def test_train_shows_the_steps_the_metrics_and_why_a_gate_failed(
    noria: Noria, loop: Loop, project: Path
) -> None:
    ran = noria("train", "-f", str(project))
    assert ran.exit_code == 0
    assert "ingest: 6,000 rows" in ran.stdout
    assert "registered parcels version 7, 6,000 rows" in ran.stdout
    assert "0.5400" in ran.stdout
    assert "0.540 on 1200 rows" in ran.stdout
    refused = "the loop will not give this version traffic: gate auc >= 0.55: fail (0.540 on"
    assert refused in ran.stdout


def test_train_says_before_it_starts_what_many_rows_take(
    noria: Noria, loop: Loop, project: Path
) -> None:
    assert "training will hold" not in noria("train", "-f", str(project)).stdout
    rows = project.parent / "data" / "rows.csv"
    rows.parent.mkdir(exist_ok=True)
    rows.write_text("a,b\n" * 4_000_000)
    said = noria("train", "-f", str(project)).stdout
    assert re.search(r"about \d,\d{3},\d{3} rows: training will hold about \d\.\d GiB", said)
    assert said.index("training will hold") < said.index("ingest")


def test_train_says_when_a_gate_was_not_measured(noria: Noria, loop: Loop, project: Path) -> None:
    loop.gates = ()
    ran = noria("train", "-f", str(project))
    assert ran.exit_code == 0
    assert "traffic: only 0 of its 1 gates were measured" in ran.stdout


def test_train_says_whether_up_will_serve_the_version(
    noria: Noria, loop: Loop, project: Path
) -> None:
    assert "next: noria up -f" in noria("train", "-f", str(project)).stdout
    loop.champion = "3"
    said = noria("train", "-f", str(project)).stdout
    assert "there is a champion: `noria up` does not serve version 7" in said
    assert "next: noria rollout retrain parcels" in said
    assert "next: noria up" not in said


def test_a_failed_run_is_an_error_with_its_reason(noria: Noria, loop: Loop, project: Path) -> None:
    loop.phase = RunPhase.FAILED
    ran = noria("train", "-f", str(project))
    assert ran.exit_code == 1
    assert "run run-1 failed: the train step failed" in ran.stderr


def test_up_checks_every_file_before_anything_starts(
    noria: Noria, loop: Loop, project: Path
) -> None:
    assert noria("up", "-f", str(project), "-f", "nowhere.yaml").exit_code == 2
    assert loop.brought_up == []
    ran = noria("up", "-f", str(project))
    assert loop.brought_up == [project]
    assert "bringing up parcels" in ran.stdout


def test_up_in_the_background_tells_why_it_stopped(loop: Loop, tmp_path: Path) -> None:
    loop.turns = lambda _: False
    with pytest.raises(InvalidInput, match=r"nowhere.yaml: there is no such file"):
        start(tmp_path / "home", [tmp_path / "nowhere.yaml"], ["x"], timeout=30)


def test_up_in_the_background_is_ready_when_every_model_has_a_url(
    loop: Loop, tmp_path: Path
) -> None:
    loop.turns = lambda home: (home / "up.log").exists()
    found = start(tmp_path / "home", [tmp_path / "nowhere.yaml"], ["flights"], timeout=30)
    assert [view.name for view in found.models] == ["flights"]
    found.process.wait(timeout=20)


def test_up_in_the_background_refuses_a_home_that_is_up(loop: Loop, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="runs here already"):
        start(tmp_path / "home", [], [], timeout=30)


def test_a_command_without_a_loop_to_act_on_it_says_so(noria: Noria, loop: Loop) -> None:
    loop.turns = lambda _: False
    said = noria("rollout", "pause", "flights").stdout
    assert "no loop runs here" in said
    assert "next: noria up" in said


def test_down_says_that_the_state_is_kept(noria: Noria, loop: Loop) -> None:
    assert "the state is kept in .noria" in noria("down").stdout
    assert loop.is_down


def test_status_reads_like_a_report(noria: Noria, loop: Loop) -> None:
    paused = replace(loop.models[0].stage, paused=True)
    loop.models.append(replace(loop.models[0], name="fares", breaker_open=True, stage=paused))
    said = noria("status").stdout
    assert "flights: canary of v2, step 1 of 2 (10 %)\n" in said
    assert "v1 90 %, v2 10 %" in said
    assert "auc 0.6912, accuracy –" in said
    assert "fares: canary of v2, step 1 of 2 (10 %), paused; loop-breaker open" in said
    assert "next: noria why fares\nnext: noria rollout reset-breaker fares\n" in said


def test_status_for_machines_is_json_and_nothing_else(noria: Noria, loop: Loop) -> None:
    found = json.loads(noria("status", "--json").stdout)
    assert found["models"][0]["weights"] == {"1": 90, "2": 10}
    assert found["models"][0]["stage"] == {
        "phase": "canary", "version": "2", "step": {"number": 1, "count": 2, "percent": 10},
        "paused": False,
    }  # fmt: skip
    assert found["models"][0]["processes"] == ["server v1 (pid 41)", "loop (pid 40)"]
    assert Path(found["home"]).is_absolute()


def test_status_says_what_is_wrong_and_which_files_were_set_aside(noria: Noria, loop: Loop) -> None:
    loop.models[0] = replace(
        loop.models[0],
        stage=Stage(Phase.DOWN),
        url=None,
        problem="v1 does not answer: HTTP 502",
        troubles=("the monitor does not run",),
    )
    loop.set_aside = ["up.json.damaged"]
    printed = noria("status").stdout
    assert "damaged files set aside: up.json.damaged" in printed
    assert "flights: not serving" in printed
    assert re.findall(r"problem +(.*)", printed) == [
        "v1 does not answer: HTTP 502",
        "the monitor does not run",
    ]
    told = json.loads(noria("status", "--json").stdout)
    assert told["damaged"] == ["up.json.damaged"]
    assert told["models"][0]["troubles"] == ["the monitor does not run"]


def test_status_of_an_empty_home_says_how_to_begin(noria: Noria, loop: Loop) -> None:
    loop.models = []
    assert "next: noria init my-model" in noria("status").stdout


@pytest.mark.parametrize(
    ("arguments", "stdin", "body"),
    [
        (
            ["-r", "carrier=UA", "-r", "distance=1400", "-r", "temp=null", "-r", 'code="007"'],
            None,
            {"instances": [{"carrier": "UA", "distance": 1400, "temp": None, "code": "007"}]},
        ),
        (
            ["-r", "zip=10001", "-r", "carrier=1e5", "-r", "x=10001"],
            None,
            {"instances": [{"zip": "10001", "carrier": "1e5", "x": 10001}]},
        ),
        (
            ["-r", "zip=null", "-r", 'carrier="7"'],
            None,
            {"instances": [{"zip": None, "carrier": "7"}]},
        ),
        (["-r", "at=2013-02-01T10:00:00Z"], None, {"instances": [{"at": "2013-02-01T10:00:00Z"}]}),
        (["-r", "note=a=b", "-r", "x=NaN"], None, {"instances": [{"note": "a=b", "x": "NaN"}]}),
        ([], '{"carrier": "UA"}', {"instances": [{"carrier": "UA"}]}),
        (["-f", "-"], '[{"a": 1}, {"a": 2}]', {"instances": [{"a": 1}, {"a": 2}]}),
        ([], '{"inputs": []}', {"inputs": []}),
    ],
)
def test_predict_takes_rows_in_the_form_at_hand(
    noria: Noria, loop: Loop, arguments: list[str], stdin: str | None, body: dict[str, Any]
) -> None:
    ran = noria("predict", "flights", *arguments, stdin=stdin)
    assert ran.exit_code == 0
    assert loop.asked == [body]
    assert json.loads(ran.stdout) == {"predictions": [{"probability": 0.25}]}


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["-r", "carrier"], None, "is not KEY=VALUE"),
        (["-r", "a=1", "-r", "a=2"], None, "--row a: given twice"),
        (["-r", "a=1", "-f", "x.json"], None, "only one of them"),
        ([], "carrier=UA", "stdin: not JSON"),
        ([], '{"a": NaN}', "NaN is not JSON"),
        ([], "{}", "holds no row"),
        (["-f", "nowhere.json"], None, "nowhere.json: can't be read"),
    ],
)
def test_predict_says_what_is_wrong_with_a_row(
    noria: Noria, loop: Loop, arguments: list[str], stdin: str | None, said: str
) -> None:
    ran = noria("predict", "flights", *arguments, stdin=stdin)
    assert ran.exit_code == 2
    assert said in ran.stderr
    assert loop.asked == []


def test_replay_tells_each_tenth_once_away_from_a_terminal(
    noria: Noria, loop: Loop, project: Path
) -> None:
    ran = noria("replay", "-f", str(project), "--start", "2013-03-01", "--speed", "3600")
    assert ran.exit_code == 0
    assert loop.replayed == [Replaying(start=datetime(2013, 3, 1, tzinfo=UTC), speed=3600)]
    lines = [line for line in ran.stdout.splitlines() if line.startswith("2013-")]
    assert [line[:10] for line in lines][:3] == ["2013-03-01", "2013-03-07", "2013-03-13"]
    assert len(lines) == 10


def test_replay_tells_how_good_the_answers_were_on_what_is_new_to_the_model(
    noria: Noria, loop: Loop, project: Path
) -> None:
    ran = noria(
        *("replay", "-f", str(project), "--clock", "event", "--seen", "mark"),
        *("--rows", "new.csv", "--predictions", "p.parquet"),
    )
    assert ran.exit_code == 0
    assert loop.replayed == [Replaying(rows=Path("new.csv"), seen="mark")]
    assert "v1 is the champion" in ran.stdout
    assert "4 rows, 3 by v1, 1 by v2" in ran.stdout
    assert "2 of them are rows that the version that answered was fitted on" in ran.stdout
    assert "on 2 rows that are new to it: auc 1," in ran.stdout
    assert pq.read_table("p.parquet").column("seen").to_pylist() == [True, True, False, False]


def test_replay_refuses_an_end_before_its_start(noria: Noria, loop: Loop, project: Path) -> None:
    ran = noria(
        "replay", "-f", str(project), "--start", "2013-03-02", "--end", "2013-03-01"
    )  # fmt: skip
    assert ran.exit_code == 2
    assert loop.replayed == []


def test_export_says_what_it_wrote_and_where(noria: Noria, loop: Loop) -> None:
    ran = noria("export", "flights", "--since", "2013-03-01", "--until", "2013-03-02T12:00:00")
    assert ran.exit_code == 0
    assert "flights-export/exchanges.parquet: 12,000 rows" in ran.stdout
    assert loop.exported == [
        (
            Path("flights-export"),
            datetime(2013, 3, 1, tzinfo=UTC),
            datetime(2013, 3, 2, 12, tzinfo=UTC),
        )
    ]
    assert noria("export", "fares").exit_code == 2
    ran = noria("export", "flights", "--since", "2013-03-02", "--until", "2013-03-01")
    assert ran.exit_code == 2


def test_why_tells_the_decisions_oldest_first(noria: Noria, loop: Loop) -> None:
    lines = noria("why", "flights").stdout.splitlines()
    assert [line.split(maxsplit=3)[-1] for line in lines[:3]] == [
        "drift in temp starts run 1", "canary of v2 at 10 %", "v2 promoted",
    ]  # fmt: skip
    newest = noria("why", "flights", "--last", "1").stdout
    assert "(2 earlier lines" in newest
    assert "v2 promoted" in newest
    assert "drift in temp" not in newest
    assert "drift in temp" not in noria("why", "flights", "--mention", "v2").stdout
    assert "nothing was decided that fits" in noria("why", "flights", "--kind", "alert").stdout


def test_the_kinds_that_the_help_of_why_names_are_those_of_the_loop(
    noria: Noria, loop: Loop
) -> None:
    words = " ".join(noria("why", "--help").stdout.split())
    kinds = words.partition("Only lines of a kind, such as ")[2].partition(".")[0].split(" or ")
    assert kinds == [runs.KIND, rollout.KIND]
    assert "drift in temp starts run 1" in noria("why", "flights", "--kind", kinds[0]).stdout


def test_an_unknown_model_is_bad_input(noria: Noria, loop: Loop) -> None:
    ran = noria("why", "fares")
    assert ran.exit_code == 2
    assert "there is no model 'fares' here" in ran.stderr


def test_ledger_verify_counts_the_decisions_or_names_the_changed_one(
    noria: Noria, loop: Loop
) -> None:
    assert "flights: 3 decisions, unbroken" in noria("ledger", "verify").stdout
    assert noria("ledger", "verify", "flights").exit_code == 0
    changed = msgspec.structs.replace(loop.ledger[1], notes=({"text": "v2 was never tried"},))
    loop.ledger[1] = changed
    ran = noria("ledger", "verify")
    assert ran.exit_code == 1
    assert "ledger broken at 2" in ran.stderr


def test_ledger_verify_compares_with_what_the_registry_keeps(noria: Noria, loop: Loop) -> None:
    assert "flights: not anchored" in noria("ledger", "verify").stdout
    loop.anchors = (Anchor("v2", loop.head),)
    assert "anchored in the registry on v2 at 3, unsigned" in noria("ledger", "verify").stdout
    loop.anchors = (Anchor("v2", Head(3, "f" * 64)),)
    ran = noria("ledger", "verify")
    assert ran.exit_code == 1
    assert "ledger broken at or before 3" in ran.stderr
    loop.ledger, loop.head = [], GENESIS
    assert "entries 1 to 3 are missing" in noria("ledger", "verify").stderr


def test_an_exported_ledger_is_verified_without_the_store(
    noria: Noria, loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = noria("ledger", "export", "flights", "-o", "flights.jsonl")
    assert "3 decisions written to flights.jsonl (not signed" in ran.stdout
    assert "next: noria ledger verify --file flights.jsonl" in ran.stdout
    assert (
        "flights: 3 decisions, unbroken"
        in noria("ledger", "verify", "--file", "flights.jsonl").stdout
    )
    file = tmp_path / "flights.jsonl"
    file.write_bytes(file.read_bytes().replace(b"canary of v2", b"canary of v3"))
    ran = noria("ledger", "verify", "--file", "flights.jsonl")
    assert (ran.exit_code, "ledger broken at 2" in ran.stderr) == (1, True)
    for damage in (b"", b"\xff", b"[]"):
        file.write_bytes(damage)
        assert noria("ledger", "verify", "--file", "flights.jsonl").exit_code == 2
    assert noria("ledger", "verify", "--file", "missing.jsonl").exit_code == 2
    assert noria("ledger", "export", "flights", "-o", "no/folder/here").exit_code == 2
    monkeypatch.setenv("NORIA_LEDGER_KEY", str(file))
    assert "holds no Ed25519 private key" in noria("ledger", "export", "flights", "-o", "x").stderr


@pytest.mark.parametrize(
    ("word", "verb"),
    [("promote", "promote"), ("abort", "abort"), ("pause", "pause"), ("resume", "resume"),
     ("retrain", "train"), ("reset-breaker", "reset-breaker")],
)  # fmt: skip
def test_rollout_puts_a_command_with_its_reason_into_the_inbox(
    noria: Noria, loop: Loop, word: str, verb: str
) -> None:
    ran = noria("rollout", word, "flights", "-m", "it is Friday", "--by", "kim")
    assert ran.exit_code == 0
    assert loop.submitted == [("flights", verb, "it is Friday", "kim")]
    assert "next: noria why flights" in ran.stdout


def test_the_home_comes_from_the_option_or_the_environment(
    noria: Noria, loop: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path / "elsewhere"))
    assert json.loads(noria("status", "--json").stdout)["home"] == str(tmp_path / "elsewhere")
    given = noria("status", "--json", "--home", str(tmp_path / "given")).stdout
    assert json.loads(given)["home"] == str(tmp_path / "given")


def test_why_ends_with_what_is_waited_for_now(noria: Noria, loop: Loop) -> None:
    loop.holds = (Hold("rollout", "v2: step 1 of 2 held: auc has no data"),)
    assert "\n  now  v2: step 1 of 2 held: auc has no data\n" in noria("why", "flights").stdout


def test_next_steps_name_the_home_that_was_named(noria: Noria, loop: Loop, tmp_path: Path) -> None:
    home = tmp_path / "it's; $HOME"
    for command in (("status",), ("why", "flights"), ("down",), ("rollout", "pause", "flights")):
        said = noria(*command, "--home", str(home)).stdout
        hints = [
            line.removeprefix("next: ") for line in said.splitlines() if line.startswith("next: ")
        ]
        assert hints, command
        assert all(shlex.split(hint)[-2:] == ["--home", str(home)] for hint in hints), said


def test_messages_name_the_home_that_was_named(noria: Noria, tmp_path: Path) -> None:
    home = tmp_path / "it's; $HOME"
    said = noria("why", "fares", "--home", str(home)).stderr
    command = shlex.split(said.partition("start it with `")[2].rpartition("`")[0])
    assert command == ["noria", "up", "-f", "model.yaml", "--home", str(home)]
