"""Noria on a Kubernetes API: the one package that imports the kubernetes client.

``KubeClient`` and the kinds are here. ``noria.kube.store`` has the loop's store,
``noria.kube.lease`` the leader election, ``noria.kube.events`` Kubernetes Events;
they are imported from there, so that importing this package costs next to nothing.
"""

from __future__ import annotations

from noria.kube.client import KubeClient
from noria.kube.kinds import Kind

__all__ = ["Kind", "KubeClient"]
