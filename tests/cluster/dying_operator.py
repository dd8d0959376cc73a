"""The operator in a process that kills itself (SIGKILL) right after each act, and before.

After an act, it is done and not crossed out: it dies there for each. Before, it is decided and
stored, and not done: it dies there for each kind of act.
Each place is died at once: a mark in ``NORIA_TEST_MARKS`` says where it was. All else is what
``noria operator`` runs; only its ports are wrapped.

The operator that died is started again, as a kubelet does. Each life is a process of its own,
forked from one that has imported what the operator imports and nothing else: that is what
takes a start its seconds.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from noria.loop.values import RunRequest
from noria.operator.app import Operator
from noria.operator.composition import Composition
from noria.operator.ports import Ports
from noria.operator.resource import Resource
from noria.operator.settings import read_settings
from noria.spec import Model


class Deaths:
    """Dies once at each place that has a name of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    @contextmanager
    def around(self, act: str) -> Iterator[None]:
        self._die(f"before any {act.partition(' ')[0]}")
        yield
        self._die(f"after {act}")

    def _die(self, where: str) -> None:
        mark = self._folder / where
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Port:
    """Any port: the methods that ``mortal`` names die around; the others are the port's own."""

    def __init__(self, port: Any, deaths: Deaths) -> None:
        self._port = port
        self._deaths = deaths

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


class MortalPipelines(Port):
    def start(self, request: RunRequest) -> None:
        number = request.run_id.rpartition("-")[2]
        with self._deaths.around(f"start {number}"):
            self._port.start(request)


class MortalTraffic(Port):
    def deploy(self, model: str, version: str) -> None:
        with self._deaths.around(f"deploy {version}"):
            self._port.deploy(model, version)

    def set_weights(self, model: str, weights: Mapping[str, int]) -> None:
        said = " ".join(f"{version}={share}" for version, share in weights.items())
        with self._deaths.around(f"weights {said}"):
            self._port.set_weights(model, weights)

    def retire(self, model: str, version: str) -> None:
        with self._deaths.around(f"retire {version}"):
            self._port.retire(model, version)


class MortalRegistry(Port):
    def set_alias(
        self, model: str, alias: str, version: str | None, *, expected: str | None
    ) -> None:
        with self._deaths.around(f"alias {version}"):
            self._port.set_alias(model, alias, version, expected=expected)


class Mortal(Composition):
    """The cluster's wiring with ports that die."""

    deaths: Deaths

    def ports(self, resource: Resource, model: Model) -> Ports:
        ports = super().ports(resource, model)
        return replace(
            ports,
            pipelines=MortalPipelines(ports.pipelines, self.deaths),
            traffic=MortalTraffic(ports.traffic, self.deaths),
            registry=MortalRegistry(ports.registry, self.deaths),
        )


# What an operator imports when it first needs it. The last brings MLflow's plugins with it: Feast
# calls itself one, where it is installed.
LATER = (
    "kfp.compiler",
    "pipelines.kubeflow",
    "pipelines.kubeflow_api",
    "mlflow.tracking.request_header.registry",
)
PR_SET_PDEATHSIG = 1


def live() -> int:
    """Run the operator once."""
    # It must not outlive this program: nobody else would know of it.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return Operator(read_settings(os.environ), Mortal).run()


def main() -> int:
    """Run the operator until it ends by itself."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    Mortal.deaths = Deaths(Path(os.environ["NORIA_TEST_MARKS"]))
    for name in LATER:
        importlib.import_module(name)
    while True:
        life = os.fork()
        if life == 0:
            os._exit(live())
        _, status = os.waitpid(life, 0)
        if os.WIFEXITED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
