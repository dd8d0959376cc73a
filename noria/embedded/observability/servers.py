"""Prometheus, Alertmanager and the receiver of a home: configured, started, kept running."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from monitoring.rules import rule_file
from monitoring.webhook.auth import TOKEN_FILE
from noria.embedded.home import Home
from noria.embedded.observability import configuration
from noria.embedded.observability.choice import PACES, Choice
from noria.embedded.observability.program import Program
from noria.embedded.scraping import targets
from noria.errors import InvalidInput, NotInstalled
from noria.files import read_file, set_aside, write_file
from noria.spec import Model

_RETENTION: Final = "15d"
_PROMETHEUS_FILE: Final = "prometheus.yml"
_ALERTMANAGER_FILE: Final = "alertmanager.yml"
_TOKEN: Final = re.compile(rb"[0-9a-f]{64}")


class Observability:
    """The three processes of a home. Their ports, data and settings survive restarts.

    Args:
        home: The state directory.
    """

    def __init__(self, home: Home) -> None:
        folder = home.observability
        self._home = home
        self.prometheus = Program(
            "prometheus",
            folder / "prometheus",
            "/-/ready",
            [f"--config.file={folder / 'prometheus' / _PROMETHEUS_FILE}"],
        )
        self.alertmanager = Program(
            "alertmanager",
            folder / "alertmanager",
            "/-/ready",
            [f"--config.file={folder / 'alertmanager' / _ALERTMANAGER_FILE}"],
        )
        self.webhook = Program(
            "webhook", folder / "webhook", "/healthz", ["webhook", str(home.root)]
        )
        self._token = folder / "token"
        self._targets = folder / "targets.json"
        self._rules = folder / "rules.yml"

    @property
    def programs(self) -> tuple[Program, ...]:
        """The processes, in the order in which an alert passes them."""
        return (self.prometheus, self.alertmanager, self.webhook)

    def start(self, models: Sequence[Model], choice: Choice) -> None:
        """Configure and start what does not run, and wait until all three answer.

        Raises:
            NotInstalled: Prometheus or Alertmanager is not on the PATH.
            NoriaError: One does not start.
        """
        self.ensure(models, choice)
        for program in self.programs:
            program.wait()

    def ensure(self, models: Sequence[Model], choice: Choice) -> None:
        """Start again what was killed, and tell Prometheus what there is to scrape and to watch.

        Raises:
            NotInstalled: Prometheus or Alertmanager is not on the PATH.
            NoriaError: One can't be started, or a file not be written.
        """
        pace = PACES[choice]
        found = {name: find(name) for name in ("prometheus", "prometheus-alertmanager")}
        _refuse_patterns(self._home.root)
        self._make_token()
        known = {model.name: model.metadata.namespace for model in models}
        _write(self._targets, configuration.scrape_targets(targets(self._home), known))
        changed = _write(self._rules, rule_file(models, pace.rules))
        scraping = configuration.prometheus(pace, self._targets, self._rules, self.alertmanager.url)
        changed |= _write_json(self.prometheus.folder / _PROMETHEUS_FILE, scraping)
        routing = configuration.alertmanager(pace, self.webhook.url, self._token)
        rerouted = _write_json(self.alertmanager.folder / _ALERTMANAGER_FILE, routing)
        self.webhook.launch(
            lambda port: [
                *(sys.executable, "-m", "noria.cli", "webhook"),
                *("--home", str(self._home.root), "--port", str(port)),
            ],
            # This machine's loop, even where a cluster's settings are around.
            {TOKEN_FILE: str(self._token), "NORIA_POD_NAMESPACE": ""},
        )
        if not self.alertmanager.launch(
            lambda port: _alertmanager(found, self.alertmanager.folder, port)
        ):
            self._reload(self.alertmanager, changed=rerouted)
        if not self.prometheus.launch(
            lambda port: _prometheus(found, self.prometheus.folder, port)
        ):
            self._reload(self.prometheus, changed=changed)

    def stop(self) -> None:
        """End all three; what they knew is on disk."""
        for program in self.programs:
            program.stop()

    def problems(self) -> list[str]:
        """Return what is wrong with each that is chosen to run."""
        return [said for program in self.programs if (said := program.problem())]

    def lines(self) -> tuple[str, ...]:
        """Return one line for each that runs, with its address."""
        return tuple(
            f"{program.name} {program.url} (pid {process.pid})"
            for program in self.programs
            if (process := program.process) is not None
        )

    @staticmethod
    def _reload(program: Program, *, changed: bool) -> None:
        if changed:
            program.reload()

    def _make_token(self) -> None:
        """Make the secret that Alertmanager shows to the receiver; nobody else can read it."""
        known = read_file(self._token)
        if known is not None and _TOKEN.fullmatch(known.strip()):
            return
        if known is not None:
            set_aside(self._token, "it is no token of ours")
        write_file(self._token, secrets.token_hex(32).encode())


def _refuse_patterns(root: Path) -> None:
    """Refuse a folder that Prometheus would take for a pattern of file names.

    Raises:
        InvalidInput: Its path has a star.
    """
    if "*" in str(root):
        raise InvalidInput(
            f"--observability: Prometheus can't read files below {root}, whose name has a *",
            fix="choose another folder with NORIA_HOME, or go without: noria up --no-observability",
        )


def find(name: str) -> str:
    """Return the path of Debian's ``prometheus`` or ``prometheus-alertmanager``.

    Raises:
        NotInstalled: It is not on the PATH.
    """
    # Others than Debian call it by its own name.
    for called in (name, name.removeprefix("prometheus-")):
        path = shutil.which(called)
        if path is not None:
            return path
    raise NotInstalled(
        f"--observability needs {name}, which is not on the PATH",
        fix="install both: sudo apt-get install prometheus prometheus-alertmanager "
        "(then `sudo systemctl disable --now prometheus prometheus-alertmanager`: Noria starts "
        "its own), or go without: noria up --no-observability",
    )


def _prometheus(found: Mapping[str, str], folder: Path, port: int) -> list[str]:
    return [
        found["prometheus"],
        f"--config.file={folder / _PROMETHEUS_FILE}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--storage.tsdb.retention.time={_RETENTION}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]


def _alertmanager(found: Mapping[str, str], folder: Path, port: int) -> list[str]:
    return [
        found["prometheus-alertmanager"],
        f"--config.file={folder / _ALERTMANAGER_FILE}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        # Without this it listens for peers on every address.
        "--cluster.listen-address=",
    ]


def _write_json(path: Path, content: Mapping[str, Any]) -> bool:
    """Write a configuration; JSON is YAML."""
    return _write(path, json.dumps(content, indent=1))


def _write(path: Path, text: str) -> bool:
    """Replace a file if it differs; returns whether it did."""
    content = text.encode()
    if read_file(path) == content:
        return False
    write_file(path, content)
    return True
