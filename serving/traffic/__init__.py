"""Drivers of the Traffic port. On one machine: server processes behind Traefik."""

from __future__ import annotations

from serving.traffic.driver import TraefikTraffic
from serving.traffic.launch import ServerLaunch

__all__ = ["ServerLaunch", "TraefikTraffic"]
