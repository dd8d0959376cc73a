"""One turn of the wheel by hand: up, predict, replay, retrain, canary, promotion, down."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import NAME, ROW, Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(800)]

_PAIRS = [f"{name}={value}" for name, value in ROW.items()]
_ROWS = [f"--row={pair}" for pair in _PAIRS]


def test_a_model_is_served_retrained_rolled_out_and_promoted(delays: Project) -> None:
    delays.ok("validate", "-f", "model.yaml")
    assert delays.noria("predict", NAME, *_ROWS).code == 2  # not known here yet
    delays.ok("up", "-f", "model.yaml", "--detach")

    again = delays.noria("up", "-f", "model.yaml", "--detach")
    assert again.code == 2
    assert "runs here already" in again.err

    _predicts(delays)
    february = ("replay", "-f", "model.yaml", "--start", "2013-02-01", "--end", "2013-02-10")
    refused = delays.noria(*february)
    assert refused.code == 2
    assert "v1 was fitted on events until 2013-03-01T02:59:00" in refused.err
    marked = delays.ok(*february, "--seen", "mark")
    assert "are rows that the version that answered was fitted on" in marked
    served = delays.until(lambda m: m["performance"].get("mae") is not None, seconds=20)
    assert (served["doing"], served["champion"]) == ("serving", "1")
    (shown,) = json.loads(delays.ok("status", "--json"))["models"]
    assert shown == json.loads(json.dumps({field: served[field] for field in shown}))
    assert served["weights"] == {"1": 100}

    delays.month(3)
    assert "inbox" in delays.ok("rollout", "retrain", NAME, "-m", "March is here", "--by", "ann")
    canary = delays.until(lambda m: m["weights"] == {"1": 80, "2": 20})
    assert canary["candidate"] == "2"
    assert canary["retrains_left"] == 5
    delays.ok("rollout", "pause", NAME)
    delays.until(lambda m: m["stage"]["paused"])
    assert f"noria rollout resume {NAME}" in delays.ok("status")
    march = (*february[:4], "2013-03-01", "--end", "2013-03-12", "--seen", "mark")
    delays.ok(*march)
    assert delays.model()["stage"]["step"] == {"number": 1, "count": 2, "percent": 20}
    delays.ok("rollout", "resume", NAME)
    delays.until(lambda m: m["weights"] == {"1": 50, "2": 50})
    # A step counts from where it sees the traffic as asked: some may come and go before.
    for _ in range(10):
        delays.ok(*march)
        if delays.model()["champion"] == "2":
            break
    delays.until(lambda m: m["champion"] == "2" and m["doing"] == "serving")
    delays.until(lambda m: m["weights"] == {"2": 100})

    delays.month(4)
    delays.ok("rollout", "retrain", NAME)
    delays.until(lambda m: m["weights"] == {"2": 80, "3": 20})
    delays.ok("rollout", "abort", NAME, "--by", "ann")
    aborted = delays.until(lambda m: m["weights"] == {"2": 100} and m["doing"] == "serving")
    assert aborted["champion"] == "2"
    assert aborted["last"] == "v3 aborted: ann aborted it"

    said = delays.ok("why", NAME, "--last", "0")
    assert "asked for by ann (March is here)" in said
    assert said.count("v2 is the champion") == 1
    assert "unbroken" in delays.ok("ledger", "verify")

    assert "state is kept" in delays.ok("down")
    stopped = delays.model()
    assert (stopped["doing"], stopped["processes"]) == ("stopped (was: serving)", ())
    refused = delays.noria("predict", NAME, *_ROWS)
    assert refused.code == 1
    assert "noria up" in refused.err
    delays.ok("up", "--detach")
    carried_on = delays.model()
    assert (carried_on["champion"], carried_on["weights"]) == ("2", {"2": 100})
    assert carried_on["url"] == served["url"]
    delays.ok("predict", NAME, *_ROWS)


def _predicts(delays: Project) -> None:
    row = json.loads(delays.ok("predict", NAME, *_ROWS))
    assert len(row["predictions"]) == 1
    several = json.dumps([{**ROW, "pressure": None}] * 3)
    assert len(json.loads(delays.ok("predict", NAME, stdin=several))["predictions"]) == 3
    for wrong, named in (
        ('[{"carrier": "UA"}]', "origin"),
        ('{"inputs": 3}', "inputs"),
        ("[]", "no row"),
        ("{", "not JSON"),
    ):
        ran = delays.noria("predict", NAME, stdin=wrong)
        assert ran.code == 2, wrong
        assert named in ran.err


def test_a_new_project_runs_as_it_is(project: Project) -> None:
    project.ok("init", "parcels")
    file = "parcels/model.yaml"
    project.ok("validate", "-f", file)
    assert "registered parcels version 1" in project.ok("train", "-f", file)
    assert "next: noria up" in project.ok("status")


def test_two_models_share_a_home(project: Project) -> None:
    for name in ("one", "two"):
        project.ok("init", name)
    project.ok("up", "-f", "one/model.yaml", "-f", "two/model.yaml", "--detach")
    before = {model["name"]: model for model in project.models()}
    assert {name: model["weights"] for name, model in before.items()} == {
        "one": {"1": 100},
        "two": {"1": 100},
    }
    urls = [before[name]["url"].removesuffix(f"/v2/models/{name}") for name in ("one", "two")]
    assert urls[0] == urls[1]
    assert project.pids("one")["monitor"] != project.pids("two")["monitor"]
    project.ok("down")
    # Naming one of them leaves nothing of the other unwatched.
    project.ok("up", "-f", "one/model.yaml", "--detach")
    project.until(lambda m: m["weights"] == {"1": 100}, name="two")
    assert "monitor" in project.pids("two")
