"""The status of a Model after a cycle."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from noria.loop.fakes.model import sample_model
from noria.loop.state import (
    ActiveRun,
    Alert,
    Outcome,
    Result,
    Rollout,
    RolloutPhase,
    RunKind,
    RunRecord,
    State,
)
from noria.loop.values import RunPhase, RunRequest
from noria.operator.status import (
    Seen,
    changed,
    failed_status,
    refused_status,
    status_of,
    told_to,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
MODEL = sample_model()
SERVING = Seen(ready={"7": True}, weights={"7": 100})
REQUEST = RunRequest("flights-1", "flights", NOW, "there is no version yet", None)


def status(
    state: State, seen: Seen = SERVING, before: dict[str, Any] | None = None, now: datetime = NOW
) -> dict[str, Any]:
    return status_of(MODEL, state, seen, generation=2, before=before or {}, now=now)


def conditions(said: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in said["conditions"]}


def rollout(**changes: Any) -> Rollout:
    given: dict[str, Any] = {
        "version": "8",
        "champion": "7",
        "started": NOW,
        "as_of": NOW,
        "cause": "drift",
        "phase": RolloutPhase.STEPPING,
        "entered": NOW,
    }
    return Rollout(**{**given, **changes})


def test_a_champion_that_answers_is_ready() -> None:
    said = status(State("flights", champion="7"))
    assert (said["stage"], said["champion"], said["traffic"]) == ("serving", "7", "v7 100")
    assert conditions(said) == {
        "Ready": ("True", "Serving"),
        "Training": ("False", "Idle"),
        "Progressing": ("False", "NoRollout"),
        "Monitored": ("True", "Watching"),
        "Degraded": ("False", "AsExpected"),
    }
    assert said["retrainsLeft"] == 6
    assert {c["lastTransitionTime"] for c in said["conditions"]} == {"2026-01-02T03:04:05Z"}


def test_a_canary_shows_its_step_and_its_split() -> None:
    seen = Seen(ready={"7": True, "8": True}, weights={"7": 50, "8": 50})
    said = status(State("flights", champion="7", rollout=rollout(step=1)), seen)
    assert (said["stage"], said["candidate"]) == ("canary 2/2 (50 %)", "8")
    assert said["traffic"] == "v7 50 / v8 50"
    assert conditions(said)["Progressing"] == ("True", "Stepping")
    paused = status(State("flights", champion="7", rollout=rollout(paused=NOW)), seen)
    assert conditions(paused)["Progressing"] == ("True", "Paused")


def test_what_is_not_seen_is_unknown_and_what_does_not_answer_is_not_ready() -> None:
    state = State("flights", champion="7")
    unseen = Seen(problems={"Traffic": "no answer"})
    assert conditions(status(state, unseen))["Ready"] == ("Unknown", "TrafficUnseen")
    assert conditions(status(state, unseen))["Degraded"] == ("True", "TrafficUnavailable")
    down = Seen(ready={"7": False}, weights={"7": 100})
    assert conditions(status(state, down))["Ready"] == ("False", "NotServing")


def test_a_first_run_is_training_and_one_that_failed_asks_for_a_person() -> None:
    record = RunRecord("flights-1", RunKind.FIRST, NOW, "first")
    training = State("flights", run=ActiveRun(REQUEST, RunKind.FIRST), runs=(record,))
    said = conditions(status(training, Seen()))
    assert said["Ready"] == ("False", "NoVersionYet")
    assert said["Training"] == ("True", "RunInFlight")
    failed = RunRecord("flights-1", RunKind.FIRST, NOW, "first", RunPhase.FAILED)
    found = status(State("flights", runs=(failed,)), Seen())
    assert conditions(found)["Ready"] == ("False", "NoVersion")
    message = found["conditions"][0]["message"]
    assert "flights-1 failed" in message
    assert 'noria.dev/command: "train"' in message


def test_alerts_and_a_missing_monitor_are_told_and_block_nothing() -> None:
    state = State("flights", champion="7", alerts=(Alert("breaker", "3 losses", NOW),))
    seen = Seen(ready={"7": True}, weights={"7": 100}, monitor="the monitor does not answer")
    said = status(state, seen)
    assert conditions(said)["Degraded"] == ("True", "Alert")
    assert conditions(said)["Monitored"] == ("False", "MonitorUnavailable")
    assert conditions(said)["Ready"] == ("True", "Serving")


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    first = status(State("flights", champion="7"))
    again = status(State("flights", champion="7"), before=first, now=LATER)
    assert not changed(first, again)
    training = State("flights", champion="7", run=ActiveRun(REQUEST, RunKind.AUTOMATIC))
    moved = status(training, before=first, now=LATER)
    assert changed(first, moved)
    times = {c["type"]: c["lastTransitionTime"] for c in moved["conditions"]}
    assert times["Training"] == "2026-01-02T03:05:05Z"
    assert times["Ready"] == "2026-01-02T03:04:05Z"


def test_a_refusal_keeps_what_else_was_known() -> None:
    first = status(State("flights", champion="7"))
    refused = refused_status("InvalidSpec", "why", generation=3, before=first, now=LATER)
    assert conditions(refused) == {**conditions(first), "Ready": ("False", "InvalidSpec")}
    assert "champion" not in refused
    assert not changed(
        {**first, **refused},
        refused_status("InvalidSpec", "why", generation=3, before={**first, **refused}, now=LATER),
    )
    failed = failed_status("no answer", generation=3, before=first, now=LATER)
    assert conditions(failed)["Degraded"] == ("True", "TurnFailed")
    assert conditions(failed)["Ready"] == ("True", "Serving")


def test_the_last_verdict_is_that_of_the_last_candidate() -> None:
    outcome = Outcome("8", "7", Result.ABORTED, "error-rate 0.2 over 0.01", NOW, "drift")
    said = status(State("flights", champion="7", outcomes=(outcome,)))
    assert said["lastVerdict"] == "v8 aborted: error-rate 0.2 over 0.01"


def test_what_was_told_is_read_from_the_status() -> None:
    head = State("flights").head
    assert told_to(status(State("flights", head=type(head)(14, "a" * 64)))) == 14
    assert told_to({}) == 0
    assert told_to({"ledgerHead": "of somebody else"}) == 0
