"""The status of a Model after a cycle."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from noria.loop.fakes.model import sample_model
from noria.loop.state import (
    ActiveRun,
    Alert,
    Hold,
    Outcome,
    Result,
    Rollout,
    RolloutPhase,
    RunKind,
    RunRecord,
    State,
    TrafficView,
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
SERVING = Seen(TrafficView({"7": True}, {"7": 100}))
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
    assert (said["stage"], said["champion"]) == ("serving", "7")
    assert said["weights"] == said["wanted"] == [{"version": "7", "percent": 100}]
    assert said["printed"] == {"stage": "serving", "traffic": "v7 100 %", "verdict": ""}
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
    seen = Seen(TrafficView({"7": True, "8": True}, {"7": 50, "8": 50}))
    said = status(State("flights", champion="7", rollout=rollout(step=1)), seen)
    assert (said["stage"], said["candidate"], said["paused"]) == ("canary", "8", False)
    assert said["step"] == {"number": 2, "count": 2, "percent": 50}
    assert said["printed"]["stage"] == "canary of v8, step 2 of 2 (50 %)"
    assert said["printed"]["traffic"] == "v7 50 %, v8 50 %"
    assert conditions(said)["Progressing"] == ("True", "Canary")
    paused = status(State("flights", champion="7", rollout=rollout(paused=NOW)), seen)
    assert conditions(paused)["Progressing"] == ("True", "Paused")
    assert paused["paused"]
    assert paused["printed"]["stage"] == "canary of v8, step 1 of 2 (10 %), paused"


def test_what_is_not_seen_is_unknown_and_what_does_not_answer_is_not_ready() -> None:
    state = State("flights", champion="7")
    unseen = Seen(problems={"traffic": "no answer"})
    assert conditions(status(state, unseen))["Ready"] == ("Unknown", "TrafficUnseen")
    assert status(state, unseen)["weights"] == []
    assert status(state, unseen)["printed"]["traffic"] == "v7 100 % (asked for)"
    assert conditions(status(state, unseen))["Degraded"] == ("True", "TrafficUnavailable")
    down = TrafficView({"7": False}, {"7": 100}, {"7": "OOMKilled: it is too small"})
    said = status(state, Seen(down))
    assert conditions(said)["Ready"] == ("False", "NotServing")
    assert (said["stage"], said["printed"]["stage"]) == ("down", "not serving")
    ready = next(c for c in said["conditions"] if c["type"] == "Ready")
    assert ready["message"] == "v7 does not answer: v7: OOMKilled: it is too small"


def test_a_first_run_is_training_and_one_that_failed_asks_for_a_person() -> None:
    record = RunRecord("flights-1", RunKind.FIRST, NOW, "first")
    training = State("flights", run=ActiveRun(REQUEST, RunKind.FIRST), runs=(record,))
    said = conditions(status(training, Seen()))
    assert said["Ready"] == ("False", "NoVersionYet")
    assert said["Training"] == ("True", "RunInFlight")
    assert said["Monitored"] == ("False", "NoVersion")
    failed = RunRecord("flights-1", RunKind.FIRST, NOW, "first", RunPhase.FAILED)
    found = status(State("flights", runs=(failed,)), Seen())
    assert conditions(found)["Ready"] == ("False", "NoVersion")
    message = found["conditions"][0]["message"]
    assert "flights-1 failed" in message
    assert 'noria.dev/command: "train"' in message


def test_alerts_and_a_missing_monitor_are_told_and_block_nothing() -> None:
    state = State("flights", champion="7", alerts=(Alert("breaker", "3 losses", NOW),))
    seen = replace(SERVING, monitor="the monitor does not answer")
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
    why = "error-rate 0.2 over 0.01"
    assert said["verdict"] == {
        "version": "8", "result": "aborted", "detail": why, "percent": None
    }  # fmt: skip
    assert said["printed"]["verdict"] == f"v8 aborted: {why}"


def test_what_was_told_is_read_from_the_status() -> None:
    head = State("flights").head
    assert told_to(status(State("flights", head=type(head)(14, "a" * 64)))) == 14
    assert told_to({}) == 0
    assert told_to({"ledgerHead": "of somebody else"}) == 0


def test_a_step_that_is_held_names_what_it_lacks_not_how_the_last_candidate_ended() -> None:
    before = Outcome("6", "5", Result.REFUSED, "auc 0.5 under 0.6", NOW, "drift")
    lacks = "mae has 12 of 50 samples; 0 of 50 rows answered"
    said = status(
        State(
            "flights",
            champion="7",
            rollout=rollout(),
            outcomes=(before,),
            holds=(Hold("rollout", f"v8: step 1 of 2 (20 %) held: {lacks}"),),
        )
    )
    assert said["printed"]["verdict"] == f"v8 inconclusive: step 1 of 2 (20 %) held: {lacks}"
    assert said["holds"] == [f"v8: step 1 of 2 (20 %) held: {lacks}"]
    progressing = next(c for c in said["conditions"] if c["type"] == "Progressing")
    assert progressing["message"].endswith(f"held: {lacks}")


def test_a_run_says_in_its_condition_what_its_pod_waits_for() -> None:
    waits = "run flights-1 is running: tune: its pod can't start: Unschedulable: no GPU"
    run = ActiveRun(REQUEST, RunKind.FIRST)
    said = status(State("flights", run=run, holds=(Hold("run", waits),)))
    training = next(c for c in said["conditions"] if c["type"] == "Training")
    assert training["message"] == f"run flights-1: {REQUEST.reason}; {waits}"
