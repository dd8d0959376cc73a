"""The objects that a ``Model`` owns, as they should be: a pure function of it and the settings.

The InferenceService is not among them: its driver changes it step by step.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any, Final

from noria.kube.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    POD_MONITOR,
    PROMETHEUS_RULE,
    PVC,
    SERVICE,
    Kind,
)
from noria.operator.objects.monitor import monitor_objects
from noria.operator.objects.observability import dashboard, pod_monitors, rules
from noria.operator.resource import Resource
from noria.operator.settings import Settings
from noria.spec import Model

OWNED: Final = (CONFIG_MAP, PVC, SERVICE, DEPLOYMENT, POD_MONITOR, PROMETHEUS_RULE)
"""The kinds of the objects, in the order in which they are applied."""

OPTIONAL: Final = frozenset({POD_MONITOR, PROMETHEUS_RULE})
"""Kinds that the Prometheus operator brings; a cluster may lack them."""


def objects(
    resource: Resource, model: Model, settings: Settings, served: AbstractSet[Kind]
) -> tuple[dict[str, Any], ...]:
    """Return every object that a Model owns.

    Args:
        resource: The Model as the cluster has it, for its uid and its namespace.
        model: The same, checked.
        settings: The operator's.
        served: Those of ``OPTIONAL`` that the cluster has.
    """
    found = [*monitor_objects(resource, model, settings)]
    if POD_MONITOR in served:
        found += pod_monitors(resource, model, settings)
    if PROMETHEUS_RULE in served and settings.manage_rules:
        found.append(rules(resource, model, settings))
    if settings.manage_dashboards:
        found.append(dashboard(resource, model))
    return tuple(found)


def kind_of(body: dict[str, Any]) -> Kind:
    """Return the kind of one of these objects."""
    return next(kind for kind in OWNED if kind.kind == body["kind"])
