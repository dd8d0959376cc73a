"""Ports that remember what they last said, so that the status tells what the loop saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final

from noria.errors import NoriaError, Unavailable
from noria.loop.ports import Metrics, Pipelines, Registry, Traffic
from noria.loop.values import (
    Measurement,
    MetricQuery,
    RunRequest,
    RunStatus,
    Signal,
    VersionInfo,
)

PIPELINES: Final = "Pipelines"
REGISTRY: Final = "Registry"
TRAFFIC: Final = "Traffic"
METRICS: Final = "Metrics"


class Sight:
    """What was seen of the world in this cycle: problems by part, and the traffic.

    Args:
        lost: Whether another operator may lead by now: then nothing is asked or done any more.
    """

    def __init__(self, lost: Callable[[], bool]) -> None:
        self._lost = lost
        self.problems: dict[str, str] = {}
        self.ready: Mapping[str, bool] = {}
        self.weights: Mapping[str, int] = {}

    def begin(self) -> None:
        """Forget the problems of the cycle before."""
        self.problems = {}

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Note what goes wrong with a part, and let it go on."""
        try:
            if self._lost():
                raise Unavailable("another operator may lead by now")
            yield
        except NoriaError as error:
            self.problems.setdefault(part, str(error))
            raise


class SeenPipelines:
    """A ``Pipelines`` port whose failures are noted."""

    def __init__(self, port: Pipelines, sight: Sight) -> None:
        self._port = port
        self._sight = partial(sight.of, PIPELINES)

    def start(self, request: RunRequest) -> None:
        """Start a run."""
        with self._sight():
            self._port.start(request)

    def status(self, run_id: str) -> RunStatus:
        """Say where a run is."""
        with self._sight():
            return self._port.status(run_id)

    def cancel(self, run_id: str) -> None:
        """Stop a run."""
        with self._sight():
            self._port.cancel(run_id)


class SeenRegistry:
    """A ``Registry`` port whose failures are noted."""

    def __init__(self, port: Registry, sight: Sight) -> None:
        self._port = port
        self._sight = partial(sight.of, REGISTRY)

    def versions(self, model: str) -> tuple[VersionInfo, ...]:
        """Return every version."""
        with self._sight():
            return self._port.versions(model)

    def version(self, model: str, version: str) -> VersionInfo | None:
        """Return one version."""
        with self._sight():
            return self._port.version(model, version)

    def alias(self, model: str, alias: str) -> str | None:
        """Return the version that an alias points at."""
        with self._sight():
            return self._port.alias(model, alias)

    def set_alias(
        self, model: str, alias: str, version: str | None, *, expected: str | None
    ) -> None:
        """Point an alias at a version."""
        with self._sight():
            self._port.set_alias(model, alias, version, expected=expected)


class SeenTraffic:
    """A ``Traffic`` port whose failures are noted, and the split that it reports."""

    def __init__(self, port: Traffic, sight: Sight) -> None:
        self._port = port
        self._seen = sight
        self._sight = partial(sight.of, TRAFFIC)

    def deploy(self, model: str, version: str) -> None:
        """Start serving a version."""
        with self._sight():
            self._port.deploy(model, version)

    def ready(self, model: str) -> Mapping[str, bool]:
        """Return the deployed versions."""
        with self._sight():
            self._seen.ready = dict(self._port.ready(model))
        return self._seen.ready

    def set_weights(self, model: str, weights: Mapping[str, int]) -> None:
        """Split the traffic."""
        with self._sight():
            self._port.set_weights(model, weights)

    def weights(self, model: str) -> Mapping[str, int]:
        """Return the split in force."""
        with self._sight():
            self._seen.weights = dict(self._port.weights(model))
        return self._seen.weights

    def retire(self, model: str, version: str) -> None:
        """Stop a version."""
        with self._sight():
            self._port.retire(model, version)


class SeenMetrics:
    """A ``Metrics`` port whose failures are noted."""

    def __init__(self, port: Metrics, sight: Sight) -> None:
        self._port = port
        self._sight = partial(sight.of, METRICS)

    def measure(self, query: MetricQuery) -> Measurement:
        """Measure once."""
        with self._sight():
            return self._port.measure(query)

    def signals(self, model: str) -> tuple[Signal, ...]:
        """Return the signals."""
        with self._sight():
            return self._port.signals(model)
