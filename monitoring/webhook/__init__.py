"""Receives the alerts of Alertmanager and Grafana, and puts them into the loop's inbox."""

from __future__ import annotations

from monitoring.webhook.app import BOUNDS, WebhookApp
from monitoring.webhook.auth import Locks, locks_from_environment
from monitoring.webhook.receiver import Receiver

__all__ = ["BOUNDS", "Locks", "Receiver", "WebhookApp", "locks_from_environment"]
