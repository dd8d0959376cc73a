"""The loop's metrics, rendered from the state of a loop that really turned."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from noria.loop.fakes import FakeWorld, sample_model
from noria.loop.values import RunPhase, Verb
from noria.spec import Model
from noria.telemetry import NAMES, Turned, render, render_all

Series = dict[str, dict[tuple[str, ...], float]]


@pytest.fixture
def world() -> FakeWorld:
    made = FakeWorld(sample_model())
    made.install("1")
    return made


def read(text: bytes) -> Series:
    """Return values by series name and by label values in the order of their names."""
    found: Series = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[key] = sample.value
    return found


def shown(world: FakeWorld) -> Series:
    return read(render(world.model, world.state, world.clock.now()))


def retrain(world: FakeWorld, version: str) -> None:
    world.clock.advance(timedelta(days=70))
    world.signal(f"drift-{version}")
    world.cycle()
    world.finish_run(version)
    world.cycle(4)


def promote(world: FakeWorld, version: str) -> None:
    retrain(world, version)
    champion = world.champion or ""
    world.answer(champion, 5000, error_rate=0.0, auc=0.70)
    world.answer(version, 600, error_rate=0.0, auc=0.71)
    world.cycle(8)
    assert world.champion == version


def test_a_quiet_model_serves_one_version(world: FakeWorld) -> None:
    found = shown(world)
    assert found["noria_loop_champion_info"] == {("flights", "1"): 1.0}
    assert found["noria_loop_weight_percent"] == {("flights", "1"): 100.0}
    stages = {stage for (_, stage), value in found["noria_loop_stage"].items() if value}
    assert stages == {"serving"}
    assert found["noria_loop_retrains_left"] == {("flights",): 6.0}
    assert found["noria_loop_breaker_open"] == {("flights",): 0.0}
    assert "noria_loop_candidate_info" not in found
    assert "noria_loop_rollout_step_age_seconds" not in found


def test_counters_are_there_at_zero_before_anything_was_counted(world: FakeWorld) -> None:
    found = shown(world)
    assert set(found["noria_loop_rollouts_total"].values()) == {0.0}
    assert found["noria_loop_runs_total"]["failed", "automatic", "flights"] == 0.0


def test_a_run_in_flight_shows_with_its_age(world: FakeWorld) -> None:
    world.clock.advance(timedelta(days=8))
    world.signal("drift")
    world.cycle()
    world.clock.advance(timedelta(minutes=5))
    found = shown(world)
    assert found["noria_loop_run_active"] == {("flights",): 1.0}
    assert found["noria_loop_run_age_seconds"] == {("flights",): pytest.approx(310.0)}
    assert found["noria_loop_retrains_left"] == {("flights",): 5.0}
    assert found["noria_loop_stage"]["flights", "training"] == 1.0


def test_a_canary_shows_its_split_its_step_and_its_age(world: FakeWorld) -> None:
    retrain(world, "2")
    world.clock.advance(timedelta(hours=1))
    found = shown(world)
    assert found["noria_loop_candidate_info"] == {("flights", "2"): 1.0}
    assert found["noria_loop_weight_percent"] == {("flights", "1"): 90.0, ("flights", "2"): 10.0}
    assert found["noria_loop_rollout_step"] == {("flights",): 1.0}
    assert 3600 <= found["noria_loop_rollout_step_age_seconds"]["flights",] < 3700
    assert found["noria_loop_rollout_step_timeout_seconds"]["flights",] == 86400
    assert found["noria_loop_stage"]["flights", "canary"] == 1.0


def test_a_paused_rollout_says_so(world: FakeWorld) -> None:
    retrain(world, "2")
    world.tell(Verb.PAUSE)
    world.cycle()
    assert shown(world)["noria_loop_rollout_paused"] == {("flights",): 1.0}


def test_the_gain_of_a_candidate_stays_after_it_won(world: FakeWorld) -> None:
    promote(world, "2")
    found = shown(world)
    assert found["noria_loop_gate_gain"] == {("auc", "flights", "2"): 0.01}
    assert found["noria_loop_rollouts_total"]["flights", "promoted"] == 1.0
    assert found["noria_loop_runs_total"]["succeeded", "automatic", "flights"] == 1.0
    assert found["noria_loop_champion_info"] == {("flights", "2"): 1.0}


def test_counters_go_on_when_the_state_forgets(world: FakeWorld) -> None:
    for number in range(2, 27):
        promote(world, str(number))
    assert len(world.state.outcomes) < 25
    found = shown(world)
    assert found["noria_loop_rollouts_total"]["flights", "promoted"] == 25.0
    assert found["noria_loop_runs_started_total"] == {("flights",): 25.0}


def test_a_failed_run_raises_its_alert_and_counts(world: FakeWorld) -> None:
    world.clock.advance(timedelta(days=8))
    world.signal("drift")
    world.cycle()
    (run_id,) = world.pipelines.running()
    world.pipelines.fail(run_id, "no rows")
    world.cycle(2)
    found = shown(world)
    assert found["noria_loop_alert"] == {("flights", "run-failed"): 1.0}
    assert found["noria_loop_runs_total"][RunPhase.FAILED, "automatic", "flights"] == 1.0


def test_the_text_says_when_the_loop_turned_and_nothing_is_nan(world: FakeWorld) -> None:
    found = shown(world)
    at = found["noria_loop_last_cycle_timestamp_seconds"]["flights",]
    assert at == world.clock.now().timestamp()
    assert not any(math.isnan(v) for rows in found.values() for v in rows.values())


def test_every_name_is_declared(world: FakeWorld) -> None:
    promote(world, "2")
    retrain(world, "3")
    names = {name for name in shown(world) if not name.endswith("_created")}
    assert names <= set(NAMES)


def _named(name: str, namespace: str = "") -> Model:
    model = sample_model()
    meta = model.metadata.model_copy(update={"name": name, "namespace": namespace})
    return model.model_copy(update={"metadata": meta})


def test_models_of_one_process_share_each_family(world: FakeWorld) -> None:
    now = world.clock.now()
    turned = [Turned(_named(n, "shop"), world.state, now) for n in ("flights", "parcels")]
    text = render_all(turned).decode()
    assert text.count("# TYPE noria_loop_retrains_left gauge") == 1
    found = read(text.encode())
    assert found["noria_loop_retrains_left"] == {("flights", "shop"): 6.0, ("parcels", "shop"): 6.0}
