"""What Argo's Workflow of a run says that the API of Kubeflow Pipelines leaves out.

The server's own task details have no reason for anything. The workflow's nodes have one for
what never came to run: a pod that no node has room for, an image that can't be pulled, a
service account that does not exist.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from noria.errors import shorten

STEPS: Final = (
    "ingest",
    "validate",
    "features",
    "split",
    "tune",
    "train",
    "evaluate",
    "reference",
    "register",
)
"""The display names of the pipeline's tasks, in order (see ``training``)."""

_MAX_NODES_BYTES: Final = 64 << 20
_DRIVER: Final = "-driver"
_RETRY: Final = re.compile(r"\(\d+\)$")
_STARTING: Final = ("", "PodInitializing", "ContainerCreating")
_EXITED: Final = re.compile(
    r"^(main|wait|init): Error \(exit code \d+\)$|^Error \(exit code \d+\)$"
)
_HANDED_ON: Final = re.compile(r"^child '.*' (failed|errored)$|^No more retries left$")


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the workflow's graph. ``step`` is empty for what belongs to no step.

    ``pod`` is the name of its pod, empty for a node without one. ``kind``, ``phase`` and
    ``message`` are Argo's.
    """

    step: str
    name: str
    kind: str
    phase: str
    message: str
    pod: str

    @property
    def failed(self) -> bool:
        """Whether it ended badly."""
        return self.phase in ("Failed", "Error")

    @property
    def says_why(self) -> bool:
        """Whether its message is a reason, and not only that something exited or failed."""
        return bool(self.message) and not (
            _EXITED.match(self.message) or _HANDED_ON.match(self.message)
        )


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow, read. ``hidden`` says why its nodes can't be seen; empty when they can."""

    nodes: tuple[Node, ...] = ()
    message: str = ""
    stopped: bool = False
    hidden: str = ""

    @property
    def waiting(self) -> str:
        """What keeps a pod from starting, with its step; empty when nothing does."""
        for node in self.nodes:
            if node.kind == "Pod" and node.phase == "Pending" and node.message not in _STARTING:
                return f"{node.step or node.name}: its pod can't start: {node.message}"
        return ""

    @property
    def started(self) -> tuple[str, ...]:
        """The steps that have begun, in order."""
        seen = {node.step for node in self.nodes if node.phase not in ("Omitted", "Skipped", "")}
        return tuple(step for step in STEPS if step in seen)

    @property
    def running(self) -> str:
        """The last step in which something is going on; empty between steps."""
        seen = {node.step for node in self.nodes if node.phase in ("Running", "Pending")}
        return next((step for step in reversed(STEPS) if step in seen), "")

    @property
    def failures(self) -> tuple[Node, ...]:
        """The pods that ended badly: what says why first, then in the order of the steps."""
        order = {step: at for at, step in enumerate(STEPS)}
        found = [node for node in self.nodes if node.failed and node.kind == "Pod"]
        return tuple(
            sorted(found, key=lambda n: (not n.says_why, order.get(n.step, len(STEPS)), n.name))
        )


def read_workflow(manifest: Mapping[str, Any] | None) -> Workflow:
    """Read a workflow as Argo writes it; what is not there, or odd, counts as not said."""
    if manifest is None:
        return Workflow(hidden="the server has not been told of its workflow yet")
    spec, status = _mapping(manifest.get("spec")), _mapping(manifest.get("status"))
    nodes, hidden = _nodes(status)
    name = str(_mapping(manifest.get("metadata")).get("name", ""))
    return Workflow(
        tuple(_node(name, found) for found in nodes),
        str(status.get("message") or ""),
        # To terminate a run is, for Pipelines, to give it no time any more.
        spec.get("activeDeadlineSeconds") == 0,
        hidden,
    )


def _nodes(status: Mapping[str, Any]) -> tuple[Sequence[Mapping[str, Any]], str]:
    found = _mapping(status.get("nodes"))
    packed = status.get("compressedNodes")
    if not found and packed:
        try:
            found = _mapping(json.loads(_inflated(str(packed))))
        except (binascii.Error, zlib.error, ValueError) as error:
            return (), f"Argo compressed its nodes, and they can't be read: {shorten(str(error))}"
    if not found and status.get("offloadNodeStatusVersion"):
        return (), "Argo keeps its nodes in a database, because they are too large"
    nodes = [_mapping(node) for node in found.values()]
    return sorted(nodes, key=lambda node: str(node.get("startedAt") or "")), ""


def _inflated(text: str) -> bytes:
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    found = inflate.decompress(base64.b64decode(text, validate=True), _MAX_NODES_BYTES)
    if not inflate.eof:
        raise ValueError(f"they are damaged, or over {_MAX_NODES_BYTES >> 20} MiB")
    return found


def _node(workflow: str, found: Mapping[str, Any]) -> Node:
    kind = str(found.get("type") or "")
    name = _RETRY.sub("", str(found.get("displayName") or found.get("name") or ""))
    return Node(
        _step(str(found.get("name") or "")),
        name,
        kind,
        str(found.get("phase") or ""),
        " ".join(str(found.get("message") or "").split()),
        _pod(workflow, found) if kind == "Pod" else "",
    )


def _step(name: str) -> str:
    """Return the step in a node's name, such as ``run-x.root.train.executor(0)``."""
    for part in name.split("."):
        step = _RETRY.sub("", part).removesuffix(_DRIVER)
        if step in STEPS:
            return step
    return ""


def _pod(workflow: str, found: Mapping[str, Any]) -> str:
    """Return the pod's name, as Argo makes it of the workflow, the template and a hash."""
    digest = str(found.get("id") or "").rpartition("-")[2]
    template = str(found.get("templateName") or _mapping(found.get("templateRef")).get("template"))
    return f"{workflow}-{template}-{digest}"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
