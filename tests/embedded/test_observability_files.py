"""What Prometheus and Alertmanager are started with, judged by their own checkers."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from monitoring.rules import rule_file
from noria import embedded
from noria.embedded.home import Home
from noria.embedded.observability import Choice, Observability, choose, chosen
from noria.embedded.observability.choice import PACES
from noria.embedded.observability.configuration import alertmanager, prometheus, scrape_targets
from noria.embedded.observability.program import Program
from noria.embedded.scraping import Target
from noria.errors import MonitoringError, NotInstalled
from noria.spec import load_model


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").create()


@pytest.mark.parametrize("choice", ["usual", "fast"])
def test_the_servers_own_checkers_accept_what_is_written(
    choice: Choice, tmp_path: Path, parcels: Path
) -> None:
    if shutil.which("promtool") is None or shutil.which("amtool") is None:
        pytest.skip("apt-get install prometheus prometheus-alertmanager")
    pace = PACES[choice]
    targets, rules = tmp_path / "targets.json", tmp_path / "rules.yml"
    targets.write_text(scrape_targets([], {}))
    rules.write_text(rule_file([load_model(parcels)], pace.rules))
    token = tmp_path / "token"
    token.write_text("a secret of some length")
    prom, am = tmp_path / "prometheus.yml", tmp_path / "alertmanager.yml"
    prom.write_text(json.dumps(prometheus(pace, targets, rules, "http://127.0.0.1:1")))
    am.write_text(json.dumps(alertmanager(pace, "http://127.0.0.1:2", token)))
    for command in (["promtool", "check", "config", prom], ["amtool", "check-config", am]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert token.read_text() not in am.read_text()


def test_targets_carry_their_job_and_the_namespace_that_they_do_not_know() -> None:
    found = [
        Target("noria-loop", "", None, "http://127.0.0.1:1/metrics"),
        Target("noria-server", "m", "3", "http://127.0.0.1:2/metrics"),
        Target("noria-monitor", "n", None, "http://127.0.0.1:3/metrics"),
    ]
    assert json.loads(scrape_targets(found, {"m": "prod", "n": ""})) == [
        {"targets": ["127.0.0.1:1"], "labels": {"job": "noria-loop"}},
        {"targets": ["127.0.0.1:2"], "labels": {"job": "noria-server", "namespace": "prod"}},
        {"targets": ["127.0.0.1:3"], "labels": {"job": "noria-monitor"}},
    ]


def test_what_is_not_installed_is_told_with_the_command_that_installs_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(home.root))
    with pytest.raises(NotInstalled, match="apt-get install prometheus prometheus-alertmanager"):
        embedded.observe(home.root, True)
    assert chosen(home) is None
    with pytest.raises(NotInstalled, match="needs prometheus, which is not on the PATH"):
        Observability(home).ensure([], "usual")


def test_the_choice_is_remembered_until_it_is_taken_back(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("prometheus", "alertmanager"):  # as others than Debian call them
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert chosen(home) is None
    embedded.observe(home.root, True)
    assert chosen(Home(home.root)) == "usual"
    choose(home, "fast")
    assert chosen(home) == "fast"
    embedded.observe(home.root, False)
    assert chosen(home) is None


def test_a_program_that_ends_tells_its_last_words_and_gets_another_port(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    program = Program("prometheus", folder, "/-/ready", [str(folder)])
    port = program.port
    assert Program("prometheus", folder, "/-/ready", [str(folder)]).port == port
    assert program.launch(lambda _: ["/bin/sh", "-c", "echo the disk is full; exit 1"])
    with pytest.raises(MonitoringError, match=r"does not start(.|\n)*the disk is full"):
        program.wait()
    assert program.process is None
    with pytest.raises(MonitoringError, match="can't be started"):
        Program("other", tmp_path / "o", "/-/ready", ["o"]).launch(lambda _: ["/no/such/program"])


def test_a_home_that_is_not_observed_has_no_observers(home: Home) -> None:
    servers = Observability(home)
    assert servers.lines() == ()
    servers.stop()
    assert not home.observability.exists()
