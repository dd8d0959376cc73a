"""Which driver splits the traffic of this cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from noria.kube import KubeClient
from noria.kube.kserve import KServe, choose, read_kserve
from serving.traffic.kserve_knative import KServeKnativeTraffic
from serving.traffic.kserve_objects import Artifact, KServeOptions
from serving.traffic.kserve_routes import KServeRouteTraffic
from serving.traffic.kserve_standard import KServeStandardTraffic

KServeTraffic = KServeStandardTraffic | KServeRouteTraffic | KServeKnativeTraffic


def choose_traffic(
    client: KubeClient,
    namespace: str,
    model: str,
    resolve: Callable[[str, str], Artifact],
    options: KServeOptions,
    *,
    wanted: str = "auto",
    kserve: KServe | None = None,
) -> KServeTraffic:
    """Return the driver for what the cluster has.

    Args:
        client: The Kubernetes API.
        namespace: Where the model lives.
        model: The model's name, for its host name.
        resolve: Says where a version's package is.
        options: How the model is served. An empty ``gateway`` or ``hostname`` becomes what
            KServe is configured with.
        wanted: ``auto``, or the way to use: ``standard``, ``routes`` or ``knative``.
        kserve: What is known of KServe already; None: it is read now.

    Raises:
        InvalidInput: ``wanted`` is no such way.
        TrafficError: Something is missing; the message names it, and how to mend it.
        Unavailable: The API server does not answer.
    """
    seen = kserve if kserve is not None else read_kserve(client)
    chosen = choose(seen, wanted, options.gateway)
    if chosen.way == "standard":
        return KServeStandardTraffic(client, namespace, resolve, options)
    if chosen.way == "knative":
        return KServeKnativeTraffic(client, namespace, resolve, options)
    routed = replace(
        options,
        gateway=chosen.gateway,
        hostname=options.hostname or seen.hostname(model, namespace),
    )
    return KServeRouteTraffic(client, namespace, resolve, routed)
