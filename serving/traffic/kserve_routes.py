"""The Traffic port on one InferenceService per version and an HTTPRoute of our own.

For KServe >= 0.15 in Standard mode, which before 0.21 starts the servers of ``spec.canary[]``
and leads no request to them. Here KServe only runs servers: each version is an
InferenceService ``MODEL-vVERSION`` that KServe makes no route to, all of them serve under the
model's name, and the split is the weights of the HTTPRoute ``MODEL``. Every version has all
of its servers from the start, so that a split needs one write and no order.

Nothing is remembered here: each call reads the cluster, writes at most once, and that write
fails with ``Conflict`` when somebody else wrote meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from noria.errors import TrafficError
from noria.kube import KubeClient
from noria.kube.kinds import HTTP_ROUTE, INFERENCE_SERVICE
from serving.traffic.gateway import in_force, route
from serving.traffic.kserve_driver import KServeDriver, not_ready
from serving.traffic.kserve_objects import (
    MODEL_LABEL,
    VERSION_LABEL,
    Artifact,
    KServeOptions,
    check_name,
    inference_service,
    predictor,
    predictor_name,
    service_name,
)
from serving.traffic.split import check_split
from serving.traffic.workload import available, why_down, write_spec


class KServeRouteTraffic(KServeDriver):
    """Implements ``noria.loop.ports.Traffic``; see ``KServeDriver``. Needs ``options.gateway``."""

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        resolve: Callable[[str, str], Artifact],
        options: KServeOptions,
    ) -> None:
        if options.gateway.count("/") != 1:
            raise TrafficError(
                f"the gateway is {options.gateway!r}", fix="name it as namespace/name"
            )
        super().__init__(client, namespace, resolve, options)

    def deploy(self, model: str, version: str) -> None:
        """Start serving a version with no traffic, and return at once. Idempotent.

        Raises:
            TrafficError: It can't be served under that name, or somebody else's service has it.
            Conflict, Unavailable, ClusterError: The cluster did not take it.
        """
        check_name(model, version)
        name = f"{model}-{predictor_name(version)}"
        found = self._client.get(INFERENCE_SERVICE, name, self._namespace)
        if found is not None:
            if found["metadata"].get("labels", {}).get(MODEL_LABEL) != model:
                raise TrafficError(
                    f"{model}: there is an InferenceService {name!r} that Noria did not make",
                    fix="give the model another name, or delete that InferenceService",
                )
            return
        options = self._options
        artifact = self._resolve(model, version)
        made = predictor(
            model,
            version,
            self._namespace,
            artifact,
            options,
            replicas=options.replicas,
            grpc=options.grpc,
        )
        body = inference_service(name, model, self._namespace, options, made, mode="Standard")
        self._client.create(INFERENCE_SERVICE, body, self._namespace)

    def ready(self, model: str) -> Mapping[str, bool]:
        """Return every deployed version and whether it can answer now."""
        return {
            version: self._answers(model, version, found)
            for version, found in self._deployed(model).items()
        }

    def problems(self, model: str) -> Mapping[str, str]:
        """Return why a version can't answer, as KServe tells it, or its pods."""
        return {
            version: said
            for version, found in self._deployed(model).items()
            if not self._answers(model, version, found)
            and (said := why_down(self._client, self._namespace, model, version, found))
        }

    def set_weights(self, model: str, weights: Mapping[str, int]) -> None:
        """Ask for a split; the gateway brings it about. Idempotent.

        Raises:
            TrafficError: The sum is wrong, a version isn't ready, or somebody else's HTTPRoute
                has the name. Nothing changed.
            Conflict: Somebody else changed the HTTPRoute.
        """
        wanted = check_split(model, weights)
        deployed = self._deployed(model)
        down = [
            version
            for version in wanted
            if version not in deployed or not self._answers(model, version, deployed[version])
        ]
        if down:
            raise not_ready(model, down)
        backends = {service_name(model, version): share for version, share in wanted.items()}
        body = route(model, self._namespace, self._options, backends)
        found = self._route(model)
        if found is None:
            self._client.create(HTTP_ROUTE, body, self._namespace)
        elif _differs(body["spec"], found["spec"]):
            write_spec(self._client, HTTP_ROUTE, found, body["spec"])

    def weights(self, model: str) -> Mapping[str, int]:
        """Return the split that the gateway has taken; empty while that can't be known."""
        return self._split(model) or {}

    def retire(self, model: str, version: str) -> None:
        """Stop a version. Idempotent.

        Raises:
            TrafficError: The version has weight, or that can't be known. Nothing changed.
            Conflict: Somebody else changed the InferenceService.
        """
        found = self._deployed(model).get(version)
        if found is None:
            return
        split = self._split(model)
        if split is None:
            raise TrafficError(
                f"{model}: the gateway has not taken the newest split, so version {version} "
                "may have traffic",
                fix=f"look at the status of the HTTPRoute {model}",
            )
        if split.get(version):
            raise TrafficError(
                f"{model}: version {version} still has {split[version]} percent of the traffic",
                fix="give its weight to another version first",
            )
        metadata = found["metadata"]
        self._client.delete(INFERENCE_SERVICE, metadata["name"], self._namespace)

    # -- looking

    def _deployed(self, model: str) -> dict[str, dict[str, Any]]:
        """Return the InferenceServices by version; those being deleted are gone already."""
        found = self._client.list(INFERENCE_SERVICE, self._namespace, labels={MODEL_LABEL: model})
        versions: dict[str, dict[str, Any]] = {}
        for item in found:
            version = item["spec"]["predictor"].get("labels", {}).get(VERSION_LABEL)
            own = version is not None and item["metadata"]["name"] == _name(model, version)
            if own and "deletionTimestamp" not in item["metadata"]:
                versions[version] = item
        return versions

    def _answers(self, model: str, version: str, found: Mapping[str, Any]) -> bool:
        conditions = found.get("status", {}).get("conditions", ())
        said = {condition["type"]: condition.get("status") for condition in conditions}
        if said.get("PredictorReady") != "True":
            return False
        return available(self._client, self._namespace, service_name(model, version)) > 0

    def _route(self, model: str) -> dict[str, Any] | None:
        found = self._client.get(HTTP_ROUTE, model, self._namespace)
        if found is not None and found["metadata"].get("labels", {}).get(MODEL_LABEL) != model:
            raise TrafficError(
                f"{model}: there is an HTTPRoute {model!r} that Noria did not make",
                fix="give the model another name, or delete that HTTPRoute",
            )
        return found

    def _split(self, model: str) -> Mapping[str, int] | None:
        """Return the split in force by version; None when it can't be known."""
        found = self._route(model)
        if found is None:
            return {}
        split = in_force(found)
        if split is None:
            return None
        prefix, suffix = service_name(model, "\0").split("\0")
        return {
            service.removeprefix(prefix).removesuffix(suffix): share
            for service, share in split.items()
            if share
        }


def _name(model: str, version: str) -> str:
    return f"{model}-{predictor_name(version)}"


def _differs(wanted: Any, found: Any) -> bool:
    """Whether something that is wanted is not found; what the API server adds doesn't count."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return any(_differs(value, found.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) != len(found) or any(map(_differs, wanted, found))
    return bool(wanted != found)
