"""An InferenceService with canaries as one value: what is asked of KServe, and what becomes of it.

Pure: made from an object as the cluster has it, and turned into the object that it should be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from noria.errors import TrafficError
from serving.traffic.kserve_objects import (
    CLUSTER_LOCAL,
    MODEL_LABEL,
    VISIBILITY,
    predictor_name,
    version_of,
)
from serving.traffic.split import FULL


@dataclass(frozen=True, slots=True)
class Entry:
    """One version as it is asked for. ``percent`` is what KServe's spec says of it."""

    version: str
    percent: int
    replicas: int
    predictor: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Canaries:
    """``spec.predictor`` and ``spec.canary`` of one InferenceService, and KServe's word on them.

    ``dark``: nothing leads to it from outside yet. The stable version's percent is what the
    canaries leave.
    """

    model: str
    stable: Entry
    canary: tuple[Entry, ...]
    dark: bool
    ready: Mapping[str, bool]
    raw: Mapping[str, Any]

    @classmethod
    def read(cls, model: str, found: Mapping[str, Any]) -> Canaries:
        """Read an object.

        Raises:
            TrafficError: Somebody else made it.
        """
        spec, status = found["spec"], found.get("status", {})
        labels = found["metadata"].get("labels", {})
        canary = tuple(_entry(c["predictor"], c["trafficPercent"]) for c in spec.get("canary", ()))
        left = FULL - sum(entry.percent for entry in canary if entry is not None)
        stable = _entry(spec["predictor"], left)
        if labels.get(MODEL_LABEL) != model or stable is None or None in canary:
            raise TrafficError(
                f"{model}: there is an InferenceService {model!r} that Noria did not make",
                fix="give the model another name, or delete that InferenceService",
            )
        conditions = {c["type"]: c.get("status") for c in status.get("conditions", ())}
        ready = {c["name"]: bool(c.get("ready")) for c in status.get("canaryStatuses", ())}
        # KServe's word on a stable version that has just been promoted is still about it as a
        # canary; its Deployment is the same one.
        name = predictor_name(stable.version)
        ready[name] = conditions.get("PredictorReady") == "True" or ready.get(name, False)
        return cls(
            model,
            stable,
            tuple(entry for entry in canary if entry is not None),
            labels.get(VISIBILITY) == CLUSTER_LOCAL,
            {version: ready.get(predictor_name(version), False) for version in _versions(spec)},
            found,
        )

    @property
    def versions(self) -> tuple[str, ...]:
        """Every version, the stable one first."""
        return (self.stable.version, *(entry.version for entry in self.canary))

    def entry(self, version: str) -> Entry:
        """Return one version's entry; it has to be there."""
        return next(e for e in (self.stable, *self.canary) if e.version == version)

    def added(self, predictor: Mapping[str, Any], version: str) -> Canaries:
        """Start another version, with no traffic and one server."""
        return replace(self, canary=(*self.canary, Entry(version, 0, 1, predictor)))

    def split(self, wanted: Mapping[str, int], replicas: Mapping[str, int]) -> Canaries:
        """Give each canary its percent, and the servers for it; a canary never loses servers.

        With no traffic coming from outside so far, it comes now.
        """
        canary = tuple(
            replace(
                entry,
                percent=wanted.get(entry.version, 0),
                replicas=max(entry.replicas, replicas.get(entry.version, 1)),
            )
            for entry in self.canary
        )
        return replace(self, canary=canary, dark=False)

    def grown(self, replicas: Mapping[str, int]) -> Canaries:
        """Start more servers; the split stays as it is."""
        canary = tuple(
            replace(entry, replicas=max(entry.replicas, replicas.get(entry.version, 1)))
            for entry in self.canary
        )
        return replace(self, canary=canary)

    def promoted(self, version: str) -> Canaries:
        """Make a canary the stable version; the stable one before it is gone."""
        canary = tuple(entry for entry in self.canary if entry.version != version)
        return replace(self, stable=self.entry(version), canary=canary)

    def quiet(self, version: str) -> Canaries:
        """Take back what a canary is to get."""
        canary = tuple(
            replace(entry, percent=0) if entry.version == version else entry
            for entry in self.canary
        )
        return replace(self, canary=canary)

    def without(self, version: str) -> Canaries:
        """Take a canary out."""
        return replace(self, canary=tuple(e for e in self.canary if e.version != version))

    def spec(self, replicas: int) -> dict[str, Any]:
        """Return the spec that asks for all of this, ``replicas`` servers for the stable version.

        KServe takes the servers of every ready canary off the stable version's: they are
        added first, so that it keeps its own until it has nothing more to do.
        """
        beside = sum(entry.replicas for entry in self.canary)
        # It never goes below one, which is all that a single server needs.
        asked = replicas if max(replicas, beside) == 1 else replicas + beside
        name = predictor_name(self.stable.version)
        spec = {key: value for key, value in self.raw["spec"].items() if key != "canary"}
        spec["predictor"] = {**self.stable.predictor, "name": name, "minReplicas": asked}
        canary = [
            {
                "trafficPercent": entry.percent,
                "predictor": {
                    **entry.predictor,
                    "name": predictor_name(entry.version),
                    "minReplicas": entry.replicas,
                },
            }
            for entry in self.canary
        ]
        return {**spec, "canary": canary} if canary else spec


def _entry(predictor: Mapping[str, Any], percent: int) -> Entry | None:
    version = version_of(predictor.get("name", ""))
    if version is None:
        return None
    return Entry(version, percent, predictor.get("minReplicas", 1), predictor)


def _versions(spec: Mapping[str, Any]) -> list[str]:
    predictors = [spec["predictor"], *(c["predictor"] for c in spec.get("canary", ()))]
    return [version for p in predictors if (version := version_of(p.get("name", "")))]
