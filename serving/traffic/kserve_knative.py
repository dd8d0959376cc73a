"""The Traffic port on KServe's Knative mode: ``canaryTrafficPercent``, one step of history.

One InferenceService per model. Its predictor is the newest version; Knative makes a revision
of each form that it had. KServe remembers the revision that last had all of the traffic
(``latestRolledoutRevision``): the newest gets ``canaryTrafficPercent``, that one the rest.
So two versions can be there at once, and no more:

- a version starts with percent 0, beside the one that was rolled out;
- percent 100 makes KServe note it as rolled out; the one before can still be gone back to;
- retiring the one before takes the percent away, which ends that;
- retiring the newest puts the other's form back as a new revision, and the percent goes once
  that is ready: Knative leads "the newest" to the newest *ready* revision, which until then is
  the one that is to go.

Nothing is remembered here: each call reads the cluster, writes at most once, and that write
fails with ``Conflict`` when somebody else wrote meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from noria.errors import TrafficError, Unavailable
from noria.kube.kinds import INFERENCE_SERVICE, Kind
from serving.traffic.kserve_driver import KServeDriver, not_ready
from serving.traffic.kserve_objects import (
    CLUSTER_LOCAL,
    MODEL_LABEL,
    VERSION_LABEL,
    VISIBILITY,
    check_name,
    inference_service,
    predictor,
)
from serving.traffic.split import FULL, check_split
from serving.traffic.workload import why_down, write_spec

REVISION: Final = Kind("serving.knative.dev", "v1", "revisions", "Revision")
_PERCENT: Final = "canaryTrafficPercent"


@dataclass(frozen=True, slots=True)
class _Revision:
    version: str
    ready: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    """An InferenceService and its revisions by name."""

    raw: Mapping[str, Any]
    revisions: Mapping[str, _Revision]

    @property
    def predictor(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.raw["spec"]["predictor"]
        return found

    @property
    def newest(self) -> str:
        return str(self.predictor["labels"][VERSION_LABEL])

    @property
    def percent(self) -> int | None:
        return self.predictor.get(_PERCENT)

    @property
    def dark(self) -> bool:
        labels = self.raw["metadata"].get("labels", {})
        return bool(labels.get(VISIBILITY) == CLUSTER_LOCAL)

    @property
    def said(self) -> Mapping[str, Any]:
        components = self.raw.get("status", {}).get("components", {})
        found: Mapping[str, Any] = components.get("predictor", {})
        return found

    @property
    def rolled_out(self) -> str:
        return str(self.said.get("latestRolledoutRevision", ""))

    @property
    def is_rolled_out(self) -> bool:
        """The newest version is the one that last had all of the traffic."""
        created = self.said.get("latestCreatedRevision", "")
        return bool(created) and created == self.rolled_out and self._made(created)

    @property
    def is_ready(self) -> bool:
        """The newest version's own revision can answer."""
        created = self.said.get("latestCreatedRevision", "")
        known = self.revisions.get(created)
        up = created == self.said.get("latestReadyRevision") and self._made(created)
        return up and known is not None and known.ready

    @property
    def other(self) -> str | None:
        """The name of the revision beside the newest version, with another version, if any."""
        names = [self.rolled_out]
        if self.percent is not None and self.is_rolled_out:
            names.append(str(self.said.get("previousRolledoutRevision", "")))
        for name in names:
            known = self.revisions.get(name)
            if known is not None and known.version != self.newest:
                return name
        return None

    @property
    def deployed(self) -> dict[str, bool]:
        found = {self.newest: self.is_ready}
        if self.other is not None:
            beside = self.revisions[self.other]
            found[beside.version] = beside.ready
        return found

    @property
    def split(self) -> dict[str, int] | None:
        """Percent by version; None when Knative has not said it, or says what can't be."""
        if self.dark:
            return {}
        found: dict[str, int] = {}
        for target in self.said.get("traffic") or ():
            share = target.get("percent") or 0
            known = self.revisions.get(target.get("revisionName", ""))
            if share and known is None:
                return None
            if share and known is not None:
                found[known.version] = found.get(known.version, 0) + share
        return found if sum(found.values()) == FULL else None

    def _made(self, revision: str) -> bool:
        known = self.revisions.get(revision)
        return known is not None and known.version == self.newest


class KServeKnativeTraffic(KServeDriver):
    """Implements ``noria.loop.ports.Traffic``; see ``KServeDriver``.

    gRPC has no effect: Knative serves one port.
    """

    def deploy(self, model: str, version: str) -> None:
        """Start serving a version with no traffic, and return at once. Idempotent.

        Raises:
            TrafficError: Two versions have traffic already, or the name can't be served.
            Unavailable: The first version is about to be rolled out.
            Conflict: Somebody else changed the InferenceService.
        """
        check_name(model, version)
        seen = self._look(model)
        if seen is None:
            made = self._predictor(model, version)
            body = inference_service(
                model, model, self._namespace, self._options, made, mode="Knative"
            )
            self._client.create(INFERENCE_SERVICE, body, self._namespace)
        elif version not in seen.deployed:
            self._replace(seen, self._beside(model, version, seen))

    def ready(self, model: str) -> Mapping[str, bool]:
        """Return every deployed version and whether it can answer now."""
        seen = self._look(model)
        return seen.deployed if seen is not None else {}

    def problems(self, model: str) -> Mapping[str, str]:
        """Return why a version can't answer, as KServe tells it of all together, or its pods."""
        seen = self._look(model)
        if seen is None:
            return {}
        return {
            version: said
            for version, ready in seen.deployed.items()
            if not ready
            and (said := why_down(self._client, self._namespace, model, version, seen.raw))
        }

    def set_weights(self, model: str, weights: Mapping[str, int]) -> None:
        """Ask for a split; KServe and Knative bring it about. Idempotent.

        Raises:
            TrafficError: The sum is wrong or a version isn't ready. Nothing changed.
            Conflict: Somebody else changed the InferenceService.
        """
        wanted = check_split(model, weights)
        seen = self._look(model)
        down = [v for v in wanted if seen is None or not seen.deployed.get(v)]
        if seen is None or down:
            raise not_ready(model, down, "revision")
        made = dict(seen.predictor)
        if seen.other is not None:
            made[_PERCENT] = wanted.get(seen.newest, 0)
        self._replace(seen, made, visible=True)

    def weights(self, model: str) -> Mapping[str, int]:
        """Return the split that Knative has in force; empty while that can't be known."""
        seen = self._look(model)
        return (seen.split or {}) if seen is not None else {}

    def retire(self, model: str, version: str) -> None:
        """Stop a version. Idempotent.

        Raises:
            TrafficError: The version has weight, or that can't be known. Nothing changed.
            Unavailable: It takes another call, once what takes its place is ready.
            Conflict: Somebody else changed the InferenceService.
        """
        seen = self._look(model)
        if seen is None:
            return
        if version not in seen.deployed:
            self._finish(model, seen)
            return
        split = seen.split
        if split is None:
            raise TrafficError(
                f"{model}: Knative has not told the split, so version {version} may have traffic",
                fix=f"look at the status of the InferenceService {model}",
            )
        if split.get(version):
            raise TrafficError(
                f"{model}: version {version} still has {split[version]} percent of the traffic",
                fix="give its weight to another version first",
            )
        if version != seen.newest:
            self._end_history(model, seen)
        elif seen.other is None:
            revision = seen.raw["metadata"]["resourceVersion"]
            self._client.delete(
                INFERENCE_SERVICE, model, self._namespace, resource_version=revision
            )
        else:
            kept = seen.revisions[seen.other].version
            self._replace(seen, {**self._predictor(model, kept), _PERCENT: 0})
            raise Unavailable(
                f"{model}: version {version} is taken out; version {kept} gets a revision of its "
                "own in its place",
                fix="this ends once that is ready",
            )

    def _beside(self, model: str, version: str, seen: _Seen) -> dict[str, Any]:
        made = self._predictor(model, version)
        if not seen.rolled_out:
            if seen.is_ready:
                raise Unavailable(
                    f"{model}: version {seen.newest} is about to be rolled out; nothing can be "
                    "put beside it before"
                )
            return made  # what never answered has nothing to lose
        has = (seen.split or {}).get(seen.newest, 0)
        if has and not (has == FULL and seen.is_rolled_out):
            raise TrafficError(
                f"{model}: version {seen.newest} has {has} percent of the traffic, and Knative "
                "mode has room for two versions only",
                fix="promote or abort it first, or use KServe's Standard mode",
            )
        return {**made, _PERCENT: 0}

    def _end_history(self, model: str, seen: _Seen) -> None:
        if not seen.is_rolled_out:
            raise Unavailable(
                f"{model}: KServe has not noted yet that version {seen.newest} is rolled out"
            )
        self._replace(seen, _unpinned(seen.predictor))

    def _finish(self, model: str, seen: _Seen) -> None:
        """End what retiring the newest version began: both revisions are of one version now."""
        known = seen.revisions.get(seen.rolled_out)
        one = known is not None and known.version == seen.newest and not seen.is_rolled_out
        if seen.percent is None or not one:
            return
        if not seen.is_ready:
            raise Unavailable(f"{model}: version {seen.newest}'s own revision is not ready yet")
        self._replace(seen, _unpinned(seen.predictor))

    def _look(self, model: str) -> _Seen | None:
        found = self._client.get(INFERENCE_SERVICE, model, self._namespace)
        if found is None:
            return None
        if "deletionTimestamp" in found["metadata"]:
            raise Unavailable(f"{model}: its InferenceService is being deleted")
        labels = found["metadata"].get("labels", {})
        if labels.get(MODEL_LABEL) != model or VERSION_LABEL not in found["spec"]["predictor"].get(
            "labels", {}
        ):
            raise TrafficError(
                f"{model}: there is an InferenceService {model!r} that Noria did not make",
                fix="give the model another name, or delete that InferenceService",
            )
        listed = self._client.list(REVISION, self._namespace, labels={MODEL_LABEL: model})
        return _Seen(found, {item["metadata"]["name"]: _revision(item) for item in listed})

    def _predictor(self, model: str, version: str) -> dict[str, Any]:
        options = self._options
        artifact = self._resolve(model, version)
        return predictor(
            model,
            version,
            self._namespace,
            artifact,
            options,
            replicas=options.replicas,
            grpc=False,
        )

    def _replace(self, seen: _Seen, predictor: Mapping[str, Any], *, visible: bool = False) -> None:
        spec = {**seen.raw["spec"], "predictor": dict(predictor)}
        write_spec(self._client, INFERENCE_SERVICE, seen.raw, spec, visible=visible)


def _revision(item: Mapping[str, Any]) -> _Revision:
    conditions = {c["type"]: c.get("status") for c in item.get("status", {}).get("conditions", ())}
    version = item["metadata"].get("labels", {}).get(VERSION_LABEL, "")
    return _Revision(version, conditions.get("Ready") == "True")


def _unpinned(predictor: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in predictor.items() if key != _PERCENT}
