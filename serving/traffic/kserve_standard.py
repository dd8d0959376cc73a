"""The Traffic port on KServe's own canary: ``spec.canary[]`` in Standard mode, KServe >= 0.21.

One InferenceService per model: ``spec.predictor`` is the stable version, each other one an
entry of ``spec.canary``. KServe makes a Deployment and a Service of each and writes their
weights into its HTTPRoute. The order in which versions change places is what this module is
for; `docs/kserve.md` has the reasons:

- a version starts with percent 0 and an explicit server, else KServe gives it none at all;
- its servers come first and its share after them;
- all of the traffic is a percent of 100; only when the old version is retired, and the route
  is seen to lead past it, does the new one become the stable predictor: KServe deletes the
  old one's servers before it moves the route;
- a version that gets nothing is taken out only after the route says so.

Nothing is remembered here: each call reads the cluster, writes at most once, and that write
fails with ``Conflict`` when somebody else wrote meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noria.errors import TrafficError, Unavailable
from noria.kube.kinds import HTTP_ROUTE, INFERENCE_SERVICE
from serving.traffic.gateway import in_force
from serving.traffic.kserve_driver import KServeDriver, not_ready
from serving.traffic.kserve_objects import (
    check_name,
    check_overlay,
    inference_service,
    predictor,
    predictor_name,
    replicas_for,
    service_name,
)
from serving.traffic.kserve_state import Canaries
from serving.traffic.split import check_split
from serving.traffic.workload import available, why_down, write_spec


class KServeStandardTraffic(KServeDriver):
    """Implements ``noria.loop.ports.Traffic``; see ``KServeDriver``."""

    def deploy(self, model: str, version: str) -> None:
        """Start serving a version with no traffic, and return at once. Idempotent.

        Raises:
            TrafficError: It can't be served under that name, or somebody else's service has it.
            Conflict, Unavailable, ClusterError: The cluster did not take it.
        """
        check_name(model, version)
        seen = self._look(model)
        if seen is None:
            made = {
                **self._predictor(model, version, self._options.replicas),
                "name": predictor_name(version),
            }
            body = inference_service(
                model, model, self._namespace, self._options, made, mode="Standard"
            )
            self._client.create(INFERENCE_SERVICE, body, self._namespace)
        elif version not in seen.versions:
            beside = self._predictor(model, version, 1)
            check_overlay(model, version, beside, seen.stable.predictor)
            self._write(seen.added(beside, version))

    def ready(self, model: str) -> Mapping[str, bool]:
        """Return every deployed version and whether it can answer now."""
        seen = self._look(model)
        if seen is None:
            return {}
        return {version: self._answers(seen, version) for version in seen.versions}

    def problems(self, model: str) -> Mapping[str, str]:
        """Return why a version can't answer, as KServe tells it of all together, or its pods."""
        seen = self._look(model)
        if seen is None:
            return {}
        return {
            version: said
            for version in seen.versions
            if not self._answers(seen, version)
            and (said := why_down(self._client, self._namespace, model, version, seen.raw))
        }

    def set_weights(self, model: str, weights: Mapping[str, int]) -> None:
        """Ask for a split; KServe and the gateway bring it about. Idempotent.

        A version's servers for its share are started first: while they are, this raises
        ``Unavailable`` and is to be called again.

        Raises:
            TrafficError: The sum is wrong or a version isn't ready. Nothing changed.
            Unavailable: Servers are starting. The split is as it was.
            Conflict: Somebody else changed the InferenceService.
        """
        wanted = check_split(model, weights)
        seen = self._look(model)
        down = [v for v in wanted if seen is None or not self._is_up(seen, v)]
        if seen is None or down:
            raise not_ready(model, down)
        stable = seen.stable.version
        if stable not in wanted and not self._answers(seen, stable):
            # KServe writes no route while the stable version is down, so it can't be led past
            # it; there is nothing to lose either.
            largest = max(wanted, key=lambda version: wanted[version])
            self._write(seen.promoted(largest).split(wanted, self._servers(wanted)))
            return
        servers = self._servers(wanted)
        short = {
            entry.version: self._available(model, entry.version)
            for entry in seen.canary
            if wanted.get(entry.version, 0) > entry.percent
            and self._available(model, entry.version) < servers[entry.version]
        }
        if short:
            self._write(seen.grown(servers))
            said = ", ".join(f"v{v} has {n} of {servers[v]} servers" for v, n in short.items())
            raise Unavailable(f"{model}: {said}", fix="the split follows once they have started")
        self._write(seen.split(wanted, servers))

    def weights(self, model: str) -> Mapping[str, int]:
        """Return the split that the gateway has taken; empty while that can't be known."""
        seen = self._look(model)
        return (self._split(seen) or {}) if seen is not None else {}

    def retire(self, model: str, version: str) -> None:
        """Stop a version. Idempotent.

        Retiring the stable version makes the canary that has its traffic the stable one.

        Raises:
            TrafficError: The version has weight, or that can't be known. Nothing changed.
            Unavailable: Its successor's servers are starting, or it takes another call.
            Conflict: Somebody else changed the InferenceService.
        """
        seen = self._look(model)
        if seen is None or version not in seen.versions:
            return
        split = self._split(seen)
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
        if version != seen.stable.version:
            if seen.entry(version).percent and not seen.dark:
                # It gets nothing because it is down; it must not come back while it goes.
                self._write(seen.quiet(version))
                raise Unavailable(
                    f"{model}: the share that version {version} would get is taken back first",
                    fix="it goes when it is asked for again",
                )
            self._write(seen.without(version))
        elif not seen.canary:
            revision = seen.raw["metadata"]["resourceVersion"]
            self._client.delete(
                INFERENCE_SERVICE, model, self._namespace, resource_version=revision
            )
        else:
            self._write(seen.promoted(self._successor(seen, split)))

    # -- looking

    def _look(self, model: str) -> Canaries | None:
        found = self._client.get(INFERENCE_SERVICE, model, self._namespace)
        if found is None:
            return None
        if "deletionTimestamp" in found["metadata"]:
            raise Unavailable(f"{model}: its InferenceService is being deleted")
        return Canaries.read(model, found)

    def _split(self, seen: Canaries) -> Mapping[str, int] | None:
        """Return the split in force by version; None when it can't be known."""
        if seen.dark:
            return {}
        found: Mapping[str, int] | None = {}
        # Clients come by the first; the second, for the predictor alone, must agree when it is
        # there: both lead to servers that a promotion takes away.
        for name in (f"{seen.model}-predictor", seen.model):
            route = self._client.get(HTTP_ROUTE, name, self._namespace)
            if route is None:
                continue
            services = {service_name(seen.model, version): version for version in seen.versions}
            split = in_force(route)
            if split is None or any(split[other] for other in split.keys() - services.keys()):
                return None
            mine = {services[service]: share for service, share in split.items() if share}
            if found and found != mine:
                return None
            found = mine
        return found

    def _is_up(self, seen: Canaries, version: str) -> bool:
        return version in seen.versions and self._answers(seen, version)

    def _answers(self, seen: Canaries, version: str) -> bool:
        return seen.ready[version] and self._available(seen.model, version) > 0

    def _available(self, model: str, version: str) -> int:
        """Return how many servers of a version answer, none while they are being replaced."""
        return available(self._client, self._namespace, service_name(model, version))

    def _successor(self, seen: Canaries, split: Mapping[str, int]) -> str:
        """Return the canary that is to be the stable version.

        Raises:
            Unavailable: It lacks servers.
        """
        entry = max(seen.canary, key=lambda e: (split.get(e.version, 0), e.percent))
        servers = replicas_for(split.get(entry.version, 0), self._options.replicas)
        if split and self._available(seen.model, entry.version) < servers:
            raise Unavailable(
                f"{seen.model}: version {entry.version} has not all of its {servers} servers",
                fix="the old version is kept until it has",
            )
        return entry.version

    # -- writing

    def _servers(self, wanted: Mapping[str, int]) -> dict[str, int]:
        replicas = self._options.replicas
        return {version: replicas_for(share, replicas) for version, share in wanted.items()}

    def _predictor(self, model: str, version: str, replicas: int) -> dict[str, Any]:
        artifact = self._resolve(model, version)
        options = self._options
        return predictor(
            model,
            version,
            self._namespace,
            artifact,
            options,
            replicas=replicas,
            grpc=options.grpc,
        )

    def _write(self, wanted: Canaries) -> None:
        spec = wanted.spec(self._options.replicas)
        write_spec(self._client, INFERENCE_SERVICE, wanted.raw, spec, visible=not wanted.dark)
