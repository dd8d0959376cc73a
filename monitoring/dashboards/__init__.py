"""Grafana as code: dashboards, alert rules and where they are sent."""

from monitoring.dashboards.files import as_json, grafana_files
from monitoring.dashboards.fleet_page import fleet_dashboard
from monitoring.dashboards.model_page import model_dashboard

__all__ = ["as_json", "fleet_dashboard", "grafana_files", "model_dashboard"]
