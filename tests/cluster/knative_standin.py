"""Plays KServe in Knative mode and Knative Serving, as both document revisions and traffic.

Each form of the predictor becomes a Revision, ready a moment later unless a test fails its
version. KServe's part: with ``canaryTrafficPercent`` and a revision that was rolled out, the
latest ready revision gets that share and the rolled-out one the rest; without, the latest
gets all. A revision that has all of the traffic is noted as rolled out; when the share of a
rolled-out latest one is lowered, the one before it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from noria.errors import NoriaError
from noria.kube import KubeClient
from noria.kube.kinds import CRD, INFERENCE_SERVICE
from serving.traffic.kserve_knative import REVISION

Object = Mapping[str, Any]


def install(client: KubeClient) -> None:
    """Serve Knative's kinds, with any content."""
    for plural, kind in (("revisions", "Revision"), ("services", "Service")):
        version = {
            "name": "v1",
            "served": True,
            "storage": True,
            "subresources": {"status": {}},
            "schema": {
                "openAPIV3Schema": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                }
            },
        }
        body = {
            "metadata": {"name": f"{plural}.serving.knative.dev"},
            "spec": {
                "group": "serving.knative.dev",
                "scope": "Namespaced",
                "names": {"plural": plural, "kind": kind, "singular": kind.lower()},
                "versions": [version],
            },
        }
        client.apply(CRD, body, None)


class Knative:
    """A thread that reconciles every InferenceService of one namespace."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self.failing: set[str] = set()
        self.held = False
        self.routed: list[dict[str, int]] = []
        self._client = client
        self._namespace = namespace
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="knative stand-in", daemon=True)

    @classmethod
    @contextlib.contextmanager
    def start(cls, client: KubeClient, namespace: str) -> Iterator[Knative]:
        made = cls(client, namespace)
        made._thread.start()
        try:
            yield made
        finally:
            made._stop.set()
            made._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            # A write that lost is seen again at the next round, as a requeue is.
            with contextlib.suppress(NoriaError):
                for service in self._client.list(INFERENCE_SERVICE, self._namespace):
                    metadata = service["metadata"]
                    ours = "deletionTimestamp" not in metadata and "labels" in metadata
                    if ours and not self.held:
                        self._reconcile(service)

    def _reconcile(self, service: Object) -> None:
        name, predictor = service["metadata"]["name"], service["spec"]["predictor"]
        percent = predictor.get("canaryTrafficPercent")
        said = dict(service.get("status", {}).get("components", {}).get("predictor", {}))
        form = {key: value for key, value in predictor.items() if key != "canaryTrafficPercent"}
        digest = hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()[:8]
        created = said.get("latestCreatedRevision", "")
        if not created.endswith(digest):
            number = len(self._client.list(REVISION, self._namespace)) + 1
            created = f"{name}-predictor-{number:05d}-{digest}"
            metadata = {"name": created, "labels": dict(predictor["labels"])}
            body = {
                "apiVersion": REVISION.api_version,
                "kind": REVISION.kind,
                "metadata": metadata,
            }
            self._client.create(REVISION, body, self._namespace)
        ready = self._play_revisions()
        latest = created if ready.get(created) else said.get("latestReadyRevision", "")
        rolled = said.get("latestRolledoutRevision", "")
        traffic = _traffic(latest, rolled, percent)
        now = {**said, "latestCreatedRevision": created, "latestReadyRevision": latest}
        now["traffic"] = traffic
        of_latest = next((t["percent"] for t in traffic if t.get("latestRevision")), None)
        if latest and rolled != latest and of_latest == 100:
            now["previousRolledoutRevision"] = rolled
            now["latestRolledoutRevision"] = latest
        elif latest and rolled == latest == created and (of_latest or 0) < 100:
            whole = sum(t["percent"] for t in traffic if t["revisionName"] == latest) == 100
            if whole and said.get("previousRolledoutRevision"):
                now["latestRolledoutRevision"] = said["previousRolledoutRevision"]
        if now != said:
            body = {"components": {"predictor": now}}
            self._client.patch_status(INFERENCE_SERVICE, name, self._namespace, body)
        split = {t["revisionName"]: t["percent"] for t in traffic if t["percent"]}
        if split and (not self.routed or self.routed[-1] != split):
            self.routed.append(split)

    def _play_revisions(self) -> dict[str, bool]:
        found: dict[str, bool] = {}
        for revision in self._client.list(REVISION, self._namespace):
            name = revision["metadata"]["name"]
            version = revision["metadata"]["labels"]["noria.dev/version"]
            up = version not in self.failing
            found[name] = up
            conditions = [{"type": "Ready", "status": "True" if up else "False"}]
            if revision.get("status", {}).get("conditions") != conditions:
                self._client.patch_status(
                    REVISION, name, self._namespace, {"conditions": conditions}
                )
        return found


def _traffic(latest: str, rolled: str, percent: int | None) -> list[dict[str, Any]]:
    if not latest:
        return []
    if percent is None or not rolled:
        return [{"revisionName": latest, "latestRevision": True, "percent": 100}]
    targets: list[dict[str, Any]] = [
        {"revisionName": latest, "latestRevision": True, "percent": percent}
    ]
    if percent < 100:
        prior = {"revisionName": rolled, "latestRevision": False, "percent": 100 - percent}
        targets.append({**prior, "tag": "prev"})
    return targets
