"""What one Model's loop is made of on the cluster: the seam between its parts and its keeper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from monitoring.link import MonitorLink
from noria.loop.ports import Metrics, Pipelines, Registry, Store, Traffic
from noria.operator.resource import Resource
from noria.spec import Model


def _nothing() -> None:
    """Close nothing."""


def _no_address() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Ports:
    """The adapters of one Model.

    Attributes:
        monitor: The link to its monitor.
        url: Where clients send requests, empty while that is not known.
        close: Closes connections.
    """

    pipelines: Pipelines
    registry: Registry
    traffic: Traffic
    metrics: Metrics
    store: Store
    monitor: MonitorLink
    url: Callable[[], str] = field(default=_no_address)
    close: Callable[[], None] = field(default=_nothing)


class Wiring(Protocol):
    """Makes ports, and what takes a Model down."""

    def ports(self, resource: Resource, model: Model) -> Ports:
        """Return the ports of a Model.

        Raises:
            NoriaError: The cluster lacks a part, or does not answer now.
        """

    def store(self, resource: Resource) -> Store:
        """Return the store of a Model, whatever its spec says."""

    def pipelines(self, resource: Resource) -> Pipelines:
        """Return what cancels runs of a Model, whatever its spec says."""

    def remove(self, resource: Resource) -> bool:
        """Take down what serves a Model. Returns whether it is gone; call again until it is."""
