"""Which loops a command speaks to: those of a folder, or those of a namespace of a cluster.

Adapters are imported when a command needs one and not before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from noria.cli.options import at_home

if TYPE_CHECKING:
    from noria.places import Place


def place_of(home: Path, namespace: str | None, tracking_uri: str | None = None) -> Place:
    """Return the loops of a folder, or of a namespace of the cluster that ``kubectl`` speaks to.

    That is ``$KUBECONFIG``'s, else the pod's own.

    Raises:
        NoriaError: There is no cluster to speak to.
    """
    if namespace is None:
        from noria.places.machine import Machine

        return Machine(home)
    from noria.kube import KubeClient
    from noria.places.cluster import Namespace

    return Namespace(KubeClient.connect(), namespace, tracking_uri=tracking_uri)


def flags(home: Path, namespace: str | None) -> tuple[str, ...]:
    """Return the words that name the place to another command."""
    return at_home(home) if namespace is None else ("--namespace", namespace)
