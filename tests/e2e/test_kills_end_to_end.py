"""After a kill -9 of anything, ``noria up`` carries on where it was."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from tests.e2e.conftest import NAME, ROW, Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

_ASK = ("predict", NAME)
_FEBRUARY = (
    *("replay", "-f", "model.yaml", "--start", "2013-02-01", "--end", "2013-02-04"),
    *("--seen", "mark"),
)


def test_whatever_is_killed_the_loop_carries_on(delays: Project) -> None:
    first = _a_training_that_down_cut_off_goes_on(delays)
    delays.until(lambda m: m["champion"] == "1" and m["doing"] == "serving")

    delays.month(3)
    delays.ok("rollout", "retrain", NAME)
    second = delays.until(lambda m: m["run"] is not None)["run"]
    _kill_run(delays, second)  # and the loop, at once: nobody is left to see it fail
    delays.ok("up", "--detach")
    delays.until(lambda m: m["weights"] == {"1": 80, "2": 20})
    delays.ok("rollout", "pause", NAME)
    delays.until(lambda m: m["stage"]["paused"])

    _all_at_once(delays)
    for victim in ("monitor", "server v1", "server v2", "traefik"):
        _one_under_a_running_loop(delays, victim)

    delays.kill("loop")
    delays.ok("rollout", "promote", NAME)  # nobody there to read it
    delays.ok("up", "--detach")
    delays.until(lambda m: m["champion"] == "2" and m["weights"] == {"2": 100})
    delays.kill("loop", "server v2")
    delays.ok("up", "--detach")
    delays.until(lambda m: m["doing"] == "serving" and m["weights"] == {"2": 100})

    said = delays.ok("why", NAME, "--last", "0")
    assert said.count("v2 is the champion") == 1
    assert said.count(f"{first} starts") == 1
    assert said.count(f"{second} starts") == 1
    assert "made no candidate" not in said
    assert sorted(path.name for path in (delays.home / "runs").iterdir()) == [first, second]
    assert "unbroken" in delays.ok("ledger", "verify", NAME)
    assert _answers(delays)


def _a_training_that_down_cut_off_goes_on(delays: Project) -> str:
    ran = delays.noria("up", "-f", "model.yaml", "--detach", "--timeout", "1")
    assert ran.code == 1
    assert "still at it" in ran.err
    run: str = delays.until(lambda m: m["run"] is not None)["run"]
    delays.ok("down")
    stopped = delays.model()
    assert (stopped["doing"], stopped["run"]) == ("stopped (was: training)", run)
    delays.ok("up", "--detach")
    return run


def _kill_run(delays: Project, run: str) -> None:
    leader = delays.home / "runs" / run / "runner.json"
    deadline = time.monotonic() + 120
    while not leader.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    loop = delays.pids()["loop"]
    os.kill(loop, signal.SIGKILL)
    os.killpg(json.loads(leader.read_text())["pid"], signal.SIGKILL)


def _all_at_once(delays: Project) -> None:
    before = delays.model()
    delays.kill("loop")
    orphaned = delays.model()
    assert orphaned["doing"].endswith("its loop does not run")
    assert "next: noria up" in delays.ok("status")
    assert _answers(delays)
    delays.kill("monitor", "server v1", "server v2", "traefik")
    assert not delays.model()["processes"]
    assert delays.noria(*_ASK, stdin=json.dumps(ROW)).code == 1
    delays.ok("up", "--detach")
    after = delays.model()
    kept = ("url", "weights", "champion", "candidate", "stage", "retrains_left")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert _answers(delays)
    delays.ok(*_FEBRUARY)


def _one_under_a_running_loop(delays: Project, victim: str) -> None:
    before = delays.pids()
    delays.kill(victim)
    deadline = time.monotonic() + 120
    while (after := delays.pids()).get(victim) in (None, before[victim]):
        assert time.monotonic() < deadline, delays.log()
        time.sleep(0.1)
    assert {**after, victim: 0} == {**before, victim: 0}
    delays.until(
        lambda m: m["weights"] == {"1": 80, "2": 20} and "not answer" not in m["drift_note"]
    )
    while not _answers(delays):
        assert time.monotonic() < deadline, delays.log()


def _answers(delays: Project) -> bool:
    return delays.noria(*_ASK, stdin=json.dumps(ROW)).code == 0
