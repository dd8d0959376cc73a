"""Drift, a rule, Alertmanager, the webhook, a run, a canary by PromQL, a promotion: all real."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from noria.places.machine import Machine
from tests.e2e.conftest import Project
from tests.e2e.observed import NAME, WINDOW, Seen, Traffic, adapt, alert_at, entry_at

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        shutil.which("prometheus") is None or shutil.which("prometheus-alertmanager") is None,
        reason="apt-get install prometheus prometheus-alertmanager",
    ),
]

OBSERVERS = ("prometheus", "alertmanager", "webhook")


@pytest.fixture
def parcels(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("NORIA_OBSERVABILITY_PACE", "fast")
    project.ok("init", NAME)
    adapt(project.folder / NAME)
    return project


def observers(project: Project) -> dict[str, tuple[str, int]]:
    """Return address and process id of what observes, as ``status`` shows them."""
    shown = project.ok("status")
    found = re.findall(rf"process +({'|'.join(OBSERVERS)}) (http\S+) \(pid (\d+)\)", shown)
    return {name: (url, int(pid)) for name, url, pid in found}


def entries(project: Project) -> Callable[[], Iterator[Any]]:
    return lambda: Machine(project.home).entries(NAME)


def eventually(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_drift_is_told_by_alertmanager_and_ends_in_a_promotion(parcels: Project) -> None:
    parcels.ok("up", "-f", f"{NAME}/model.yaml", "--observability", "--detach", timeout=500)
    at = observers(parcels)
    assert set(at) == set(OBSERVERS)
    _nobody_else_is_let_in(parcels, at["webhook"][0])
    _what_is_killed_comes_back(parcels, at)

    prometheus = at["prometheus"][0]
    status = parcels.until(lambda m: m["url"] is not None, NAME)
    days = ("--start", "2026-01-01", "--end", "2026-01-05")
    parcels.ok("replay", "-f", f"{NAME}/model.yaml", *days, "--seen", "mark")  # and their labels
    with Traffic(status["url"], parcels.folder / NAME / "data" / "rows.csv") as traffic:
        traffic.sent(2 * WINDOW)
        _the_servers_are_scraped(prometheus)
        assert not [e for e in entries(parcels)() if "drift of" in str(e.notes)]
        traffic.drift()
        run = entry_at(entries(parcels), "drift of alertmanager: alert NoriaDrift")
        assert traffic.drifted_at is not None
        seen = Seen(
            traffic.drifted_at,
            alert_at(prometheus, "NoriaDrift"),
            run,
            entry_at(entries(parcels), "v2 is the champion", 180),
        )
    assert traffic.failed == 0
    print("\nfrom the first drifted event, in seconds:", seen.seconds)

    why = parcels.ok("why", NAME, "--last", "0")
    assert len(re.findall(r"run \S+ starts: drift: alert NoriaDrift", why)) == 1
    assert "step 1 of 2 (30 %) passed: error-rate is 0 over" in why
    for step in Machine(parcels.home).entries(NAME):
        for note in step.notes:
            for judged in note["facts"].get("judged", []):
                assert judged["measurement"]["samples"] >= 60 or judged["verdict"] != "pass"
    assert "unbroken" in parcels.ok("ledger", "verify", NAME)

    parcels.ok("down")
    assert observers(parcels) == {}
    assert _still_running(parcels.home) == []
    # The choice is remembered, and so are the addresses.
    parcels.ok("up", "--detach")
    assert {name: url for name, (url, _) in observers(parcels).items()} == {
        name: url for name, (url, _) in at.items()
    }
    parcels.ok("down")
    parcels.ok("up", "--no-observability", "--detach")
    assert observers(parcels) == {}


def _nobody_else_is_let_in(parcels: Project, webhook: str) -> None:
    token = parcels.home / "observability" / "token"
    assert token.stat().st_mode & 0o777 == 0o600
    body = {"alerts": [], "version": "4"}
    assert httpx.post(f"{webhook}/alerts", json=body).status_code == 401
    secret = {"authorization": f"Bearer {token.read_text()}"}
    assert httpx.post(f"{webhook}/alerts", json=body, headers=secret).status_code == 200
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert token.read_text().encode() not in file.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue


def _what_is_killed_comes_back(parcels: Project, at: dict[str, tuple[str, int]]) -> None:
    for _, pid in at.values():
        os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        now = observers(parcels)
        return set(now) == set(at) and all(now[n][1] != at[n][1] for n in at)

    eventually(back, "what was killed is started again")
    for name, (url, _) in at.items():
        path = "/healthz" if name == "webhook" else "/-/ready"

        def ready(where: str = f"{url}{path}") -> bool:
            try:
                return httpx.get(where).is_success
            except httpx.HTTPError:
                return False

        eventually(ready, f"{name} answers on its old port")
    at |= observers(parcels)


def _still_running(home: Path) -> list[str]:
    """Return the command lines that name the home; one that ended has none, reaped or not."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(home) in line:
            found.append(line)
    return found


def _the_servers_are_scraped(prometheus: str) -> None:
    def jobs() -> bool:
        said = httpx.get(f"{prometheus}/api/v1/targets").json()["data"]["activeTargets"]
        up = {target["labels"]["job"] for target in said if target["health"] == "up"}
        return up == {"noria-loop", "noria-monitor", "noria-server"}

    eventually(jobs, "loop, monitor and server are scraped")
