"""What every reader is shown of a model: its stage, its split, its last verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from noria.loop.fakes import FakeTraffic, FakeWorld, sample_model
from noria.loop.state import Hold, Outcome, Result, RunKind, RunRecord, State, TrafficView
from noria.loop.values import RunPhase, Verb
from noria.operator.status import Seen, status_of
from noria.spec.schema.crd import crd
from noria.view import (
    Attendance,
    ModelView,
    Phase,
    Stage,
    doing_text,
    facts,
    stage_of,
    stage_text,
    stuck_text,
    traffic_text,
    verdict_text,
    view_of,
)
from noria.view.resource import view_of_resource
from tests.ui.places import STATES, breaker, paused

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SAID = {
    "no-version": "no version",
    "training": "training",
    "serving": "serving",
    "deploying": "deploying v2",
    "canary": "canary of v2, step 2 of 2 (50 %)",
    "promoting": "promoting v2",
    "aborting": "aborting v2",
    "paused": "canary of v2, step 2 of 2 (50 %), paused",
    "breaker": "serving",
}
MAKE: dict[str, Callable[[FakeWorld], None]] = {**STATES, "paused": paused, "breaker": breaker}


def world_in(stage: str) -> FakeWorld:
    world = FakeWorld(sample_model(), traffic=FakeTraffic(prompt=stage != "deploying"))
    MAKE[stage](world)
    return world


def view(world: FakeWorld) -> ModelView:
    return view_of(world.name, world.model.spec, world.state, world.clock.now())


def status(world: FakeWorld, seen: Seen | None = None) -> dict[str, Any]:
    """Return the status as the API server keeps it: without nulls."""
    name = world.name
    seen = seen or Seen(TrafficView(world.traffic.ready(name), world.traffic.weights(name)))
    now = world.clock.now()
    made = status_of(world.model, world.state, seen, generation=1, before={}, now=now)
    return {key: _without_nulls(value) for key, value in made.items() if value is not None}


def _without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: item for key, item in value.items() if item is not None}


@pytest.mark.parametrize("stage", MAKE)
def test_every_stage_is_one_sentence(stage: str) -> None:
    shown = view(world_in(stage))
    assert stage_text(shown.stage) == SAID[stage]


@pytest.mark.parametrize("stage", MAKE)
def test_the_status_of_a_resource_has_the_fields_of_the_view(stage: str) -> None:
    world = world_in(stage)
    told = status(world)
    read = view_of_resource({"metadata": {"name": world.name}, "status": told})
    seen = view_of(
        world.name,
        world.model.spec,
        world.state,
        world.clock.now(),
        serving=Phase(told["stage"]),
        weights=world.traffic.weights(world.name),
    )
    assert read.stage == seen.stage
    assert told["printed"]["stage"] == stage_text(seen.stage)
    # What the conditions say is for them to tell, the state's alerts among it.
    plain = {"problem": None, "troubles": (), "alerts": ()}
    assert replace(read, **plain) == replace(seen, **plain)
    assert bool(read.troubles) == bool(seen.alerts)


@pytest.mark.parametrize("stage", MAKE)
def test_every_field_of_the_status_is_in_the_schema(stage: str) -> None:
    (version,) = crd()["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]["status"]
    _fits(status(world_in(stage)), schema)


def _fits(value: Any, schema: dict[str, Any]) -> None:
    """Check a value by a structural schema, as the API server does: it drops what has none."""
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    assert type(value) is kinds[schema["type"]], (value, schema)
    if isinstance(value, dict):
        assert value.keys() <= schema["properties"].keys()
        for key, item in value.items():
            _fits(item, schema["properties"][key])
    elif isinstance(value, list):
        for item in value:
            _fits(item, schema["items"])


def test_a_status_of_another_release_is_read_as_far_as_it_goes() -> None:
    told = {
        "stage": "canary 2/2 (50 %)",
        "champion": "7",
        "candidate": "8",
        "traffic": "v7 50 / v8 50",
        "lastVerdict": "v8 at 20 %: pass",
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    read = view_of_resource({"metadata": {"name": "flights"}, "status": told})
    assert (read.stage, read.champion) == (Stage(Phase.CANARY, "8"), "7")
    assert (read.weights, read.verdict, read.problem) == ({}, None, None)


def test_a_model_that_no_operator_has_seen_says_so() -> None:
    read = view_of_resource({"metadata": {"name": "flights"}})
    assert (read.attendance, doing_text(read)) == (Attendance.STOPPED, "not started")
    assert ("waits", "no operator has looked at it yet") in facts(read)


def test_what_is_wrong_is_read_from_the_conditions() -> None:
    world = world_in("serving")
    down = TrafficView({"1": False}, {"1": 100}, {"1": "OOMKilled"})
    seen = Seen(down, problems={"registry": "no answer"}, monitor="it does not answer")
    read = view_of_resource({"metadata": {"name": "flights"}, "status": status(world, seen)})
    assert doing_text(read) == "not serving"
    assert read.problem == "NotServing: v1 does not answer: v1: OOMKilled"
    assert [said.partition(":")[0] for said in read.troubles] == [
        "MonitorUnavailable", "RegistryUnavailable"
    ]  # fmt: skip


def test_a_split_that_is_not_seen_is_said_to_be_asked_for() -> None:
    world = world_in("canary")
    shown = view(world)
    assert (shown.weights, shown.wanted) == ({}, {"1": 50, "2": 50})
    assert traffic_text(shown) == "v1 50 %, v2 50 % (asked for)"
    seen = replace(shown, weights={"2": 10, "1": 90, "0": 0})
    assert traffic_text(seen) == "v1 90 %, v2 10 %"
    aborting = view(world_in("aborting"))
    assert aborting.wanted == {"1": 100, "2": 0}
    assert view(world_in("promoting")).wanted == {"1": 0, "2": 100}


def test_without_its_spec_a_canary_has_no_step_and_no_split() -> None:
    state = world_in("canary").state
    shown = view_of("flights", None, state, NOW)
    assert stage_text(shown.stage) == "canary of v2"
    assert (shown.wanted, shown.retrains_left) == ({}, None)


@pytest.mark.parametrize(
    ("attendance", "said"),
    [
        (Attendance.TURNING, "serving"),
        (Attendance.UNATTENDED, "serving; its loop does not run"),
        (Attendance.STOPPED, "stopped (was: serving)"),
    ],
)
def test_a_loop_that_nobody_turns_is_told(attendance: Attendance, said: str) -> None:
    assert doing_text(replace(view(world_in("serving")), attendance=attendance)) == said


def test_a_champion_that_starts_is_named() -> None:
    state = world_in("serving").state
    assert stage_text(stage_of(None, state, Phase.STARTING)) == "starting v1"
    assert stage_text(stage_of(None, state, Phase.DOWN)) == "not serving"
    assert stage_text(stage_of(None, None, Phase.STARTING)) == "not started"


def test_the_last_verdict_is_the_step_that_is_held_then_the_last_one_then_an_end() -> None:
    world = world_in("canary")
    held = view(world).verdict
    assert held is not None
    assert held.result == "inconclusive"
    assert verdict_text(held).startswith("v2 inconclusive: step 2 of 2 (50 %) held: ")
    between = msgspec.structs.replace(world.state, holds=())
    passed = view_of("flights", world.model.spec, between, NOW).verdict
    assert verdict_text(passed) == "v2 pass at 10 %"
    world.tell(Verb.ABORT, reason="looks bad")
    world.cycle(3)
    assert verdict_text(view(world).verdict) == "v2 aborted: ann (looks bad) aborted it"


def test_what_holds_the_verdict_is_not_said_twice() -> None:
    world = world_in("canary")
    names = [name for name, _ in facts(view(world))]
    assert "verdict" in names
    assert "waits" not in names
    more = Hold("retraining", "drift of features waits: 198 of 200 new labelled rows")
    state = msgspec.structs.replace(world.state, holds=(*world.state.holds, more))
    shown = view_of("flights", world.model.spec, state, NOW)
    assert ("waits", more.text) in facts(shown)


def test_why_there_is_nothing_to_serve() -> None:
    failed = RunRecord("flights-1", RunKind.FIRST, NOW, "first", RunPhase.FAILED)
    assert stuck_text(State("flights", runs=(failed,))) == (
        "run flights-1 failed, so there is no version to serve"
    )
    made = RunRecord("flights-2", RunKind.FIRST, NOW, "first", RunPhase.SUCCEEDED, version="1")
    refused = Outcome("1", None, Result.REFUSED, "auc 0.5 under 0.6", NOW, "first")
    state = State("flights", runs=(made,), outcomes=(refused,))
    assert stuck_text(state) == "v1 may not be served: auc 0.5 under 0.6"
    assert stuck_text(msgspec.structs.replace(state, train_asked="ann")) == ""
    assert stuck_text(State("flights", champion="1")) == ""
