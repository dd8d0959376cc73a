"""A thin, synchronous client of the Kubernetes API: plain JSON in, plain JSON or an error out.

Every request has a timeout. Reads are tried again; writes never are, because an
answer that got lost leaves open whether the server acted. Objects are dicts as
the API has them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from noria.errors import Unavailable
from noria.kube.answers import Call, failure, read_object, read_patched
from noria.kube.kinds import ACCESS_REVIEW, Kind
from noria.kube.transport import Answer, Transport, connect

_CONNECT_SECONDS: Final = 3.0
_READ_SECONDS: Final = 20.0
_PAUSES: Final = (0.2, 0.8)
_PAGE: Final = 500
_STRICT: Final[Mapping[str, str]] = {"fieldValidation": "Strict"}
_APPLY: Final = "application/apply-patch+yaml"
_JSON: Final = "application/json"
_JSON_PATCH: Final = "application/json-patch+json"
_MERGE_PATCH: Final = "application/merge-patch+json"
_BAD_REQUEST: Final = 400
_NOT_FOUND: Final = 404
_GONE: Final = 410

_log = logging.getLogger(__name__)


class KubeClient:
    """One API server, as one identity. Safe to use from many threads.

    Every method may raise, besides what it names:

    * ``Denied``: the identity is unknown, or forbidden to do this.
    * ``InvalidInput``: the server refuses the object; the message is the server's.
    * ``Unavailable``: no answer, or none that is final (5xx, 429). After a write,
      whether the server acted is not known: read before writing again.
    * ``ClusterError``: anything else, such as a kind or a namespace that isn't there.

    Objects are sent with strict field validation where that is safe (``create`` and
    ``apply``): a field that the cluster's version doesn't know is an error, not dropped.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        timeout: float = _READ_SECONDS,
        pauses: Sequence[float] = _PAUSES,
    ) -> None:
        self._transport = transport
        self._timeout = (min(_CONNECT_SECONDS, timeout), timeout)
        self._pauses = tuple(pauses)

    @classmethod
    def connect(cls, kubeconfig: Path | None = None, context: str | None = None) -> KubeClient:
        """Find the cluster: this file, ``$KUBECONFIG``, the pod's own, ``~/.kube/config``.

        No request is made. ``context`` is a name in the file; None means its current one.

        Raises:
            InvalidInput: There is no such file or context, or it can't be used.
        """
        return cls(connect(kubeconfig, context))

    @property
    def host(self) -> str:
        """The API server's address, such as ``https://10.96.0.1:443``."""
        return self._transport.host

    def within(self, seconds: float) -> KubeClient:
        """Return a client on the same connections that waits this long, and tries reads once."""
        return KubeClient(self._transport, timeout=seconds, pauses=())

    def close(self) -> None:
        """Close the connections; those of clients made by ``within`` too."""
        self._transport.close()

    # Reading.

    def get(self, kind: Kind, name: str, namespace: str | None) -> dict[str, Any] | None:
        """Return an object, or None when it, its namespace or its kind is not there."""
        call = Call.of("get", kind, namespace, name)
        answer = self._read(call, kind.path(namespace, name))
        return None if answer.status == _NOT_FOUND else read_object(call, answer)

    def list(
        self, kind: Kind, namespace: str | None, *, labels: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """Return all objects of a kind, of one namespace or (None) of all, by name.

        ``labels`` must all be equal. Every object says its ``apiVersion`` and ``kind``,
        which the API leaves out in lists. Empty when the namespace is not there.

        Raises:
            ClusterError: The cluster has no such kind (``has_kind`` asks first).
        """
        query = {"limit": str(_PAGE)}
        if labels:
            query["labelSelector"] = ",".join(f"{key}={value}" for key, value in labels.items())
        call = Call.of("list", kind, namespace)
        path = kind.path(namespace)
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            answer = self._read(call, path, {**query, "continue": token} if token else query)
            if answer.status == _GONE and token:
                # The list was too slow for the snapshot that its pages come from: begin again.
                found, token = [], ""
                continue
            page = read_object(call, answer)
            named = {"apiVersion": kind.api_version, "kind": kind.kind}
            found.extend({**named, **item} for item in page.get("items") or ())
            token = str(page.get("metadata", {}).get("continue") or "")
            if not token:
                return found

    # Writing.

    def create(self, kind: Kind, body: Mapping[str, Any], namespace: str | None) -> dict[str, Any]:
        """Create an object and return it as the server has it.

        Raises:
            Conflict: It exists. Nothing changed.
        """
        call = Call.of("create", kind, namespace, _name(body))
        # The object's own path ends in its name; refused when name or namespace is missing.
        path = kind.path(namespace, _name(body)).rpartition("/")[0]
        return self._write(call, "POST", path, body, _JSON, _STRICT)

    def replace(self, kind: Kind, body: Mapping[str, Any], namespace: str | None) -> dict[str, Any]:
        """Replace an object if its ``metadata.resourceVersion`` is still the one in ``body``.

        Raises:
            Conflict: Somebody else changed or deleted it first. Nothing changed.
        """
        call = Call.of("update", kind, namespace, _name(body))
        return self._write(call, "PUT", kind.path(namespace, _name(body)), body, _JSON, {})

    def apply(
        self,
        kind: Kind,
        body: Mapping[str, Any],
        namespace: str | None,
        *,
        manager: str = "noria",
        force: bool = True,
    ) -> dict[str, Any]:
        """Make an object have these fields (server-side apply), and return it.

        ``manager`` owns the fields from then on; those it applied before and leaves out
        now are removed. ``force`` takes fields over from other managers. ``apiVersion``
        and ``kind`` may be left out.

        Raises:
            Conflict: Another manager has a different value, and ``force`` is False.
        """
        named = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
        query = {**_STRICT, "fieldManager": manager, "force": "true" if force else "false"}
        call = Call.of("patch", kind, namespace, _name(body))
        path = kind.path(namespace, _name(body))
        return self._write(call, "PATCH", path, named, _APPLY, query)

    def patch_json(
        self, kind: Kind, name: str, namespace: str | None, ops: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Change an object by a JSON patch (RFC 6902): all of the operations, or none.

        Raises:
            Conflict: A ``test`` operation failed, or the object is gone. Nothing changed.
                The server doesn't tell a failed ``test`` from another operation that
                can't be done, so among tests that is a conflict as well.
        """
        call = Call.of("patch", kind, namespace, name)
        path = kind.path(namespace, name)
        return read_patched(call, self._send(call, "PATCH", path, list(ops), _JSON_PATCH, {}), ops)

    def patch_merge(
        self, kind: Kind, name: str, namespace: str | None, body: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Change an object by a merge patch (RFC 7386): None removes a key, lists are replaced.

        With ``metadata.resourceVersion`` in ``body`` it is a compare-and-swap.

        Raises:
            Conflict: Somebody else was first, or the object is gone. Nothing changed.
        """
        call = Call.of("patch", kind, namespace, name)
        return self._write(call, "PATCH", kind.path(namespace, name), body, _MERGE_PATCH, {})

    def patch_status(
        self, kind: Kind, name: str, namespace: str | None, status: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Merge ``status`` into the object's status; None removes a key.

        Raises:
            Conflict: The object is gone.
        """
        call = Call("patch", f"{kind.resource}/status", namespace, name)
        path = f"{kind.path(namespace, name)}/status"
        return self._write(call, "PATCH", path, {"status": dict(status)}, _MERGE_PATCH, {})

    def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str | None,
        *,
        resource_version: str | None = None,
    ) -> bool:
        """Delete an object; what it owns goes in the background. False: it wasn't there.

        Raises:
            Conflict: It is no longer at ``resource_version``. Nothing changed.
        """
        call = Call.of("delete", kind, namespace, name)
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        if resource_version is not None:
            options["preconditions"] = {"resourceVersion": resource_version}
        answer = self._send(call, "DELETE", kind.path(namespace, name), options, _JSON, {})
        if answer.status == _NOT_FOUND:
            return False
        read_object(call, answer)
        return True

    # What the cluster has, and what this identity may do.

    def has_kind(self, kind: Kind) -> bool:
        """Whether the cluster serves this kind in this version."""
        return any(
            (served.plural, served.kind) == (kind.plural, kind.kind)
            for served in self.api_resources(kind.group, kind.version)
        )

    def api_resources(self, group: str, version: str) -> tuple[Kind, ...]:
        """Return the kinds that a group serves in a version; empty when it serves none."""
        root = Kind(group, version, "", "").root
        call = Call("get", root)
        answer = self._read(call, root)
        if answer.status == _NOT_FOUND:
            return ()
        return tuple(
            Kind(group, version, item["name"], item["kind"], namespaced=item["namespaced"])
            for item in read_object(call, answer).get("resources") or ()
            if "/" not in item["name"]
        )

    def versions(self, group: str) -> tuple[str, ...]:
        """Return the versions that a group is served in, the preferred one first."""
        call = Call("get", f"/apis/{group}" if group else "/api")
        answer = self._read(call, call.resource)
        if answer.status == _NOT_FOUND:
            return ()
        said = read_object(call, answer).get("versions") or ()
        return tuple(v if isinstance(v, str) else str(v["version"]) for v in said)

    def server_version(self) -> str:
        """Return the API server's version, such as ``v1.34.2``."""
        call = Call("get", "/version")
        return str(read_object(call, self._read(call, "/version")).get("gitVersion", ""))

    def allowed(self, verb: str, kind: Kind, namespace: str | None) -> bool:
        """Whether this identity may do ``verb`` (``get``, ``create``, ...), by RBAC."""
        attributes = {"verb": verb, "group": kind.group, "resource": kind.plural}
        if namespace:
            attributes["namespace"] = namespace
        asked = {
            "apiVersion": ACCESS_REVIEW.api_version,
            "kind": ACCESS_REVIEW.kind,
            "spec": {"resourceAttributes": attributes},
        }
        call = Call.of("create", ACCESS_REVIEW, None)
        told = self._write(call, "POST", ACCESS_REVIEW.path(None), asked, _JSON, {})
        return bool(told.get("status", {}).get("allowed"))

    def _read(self, call: Call, path: str, query: Mapping[str, str] | None = None) -> Answer:
        """Get a path; again, after a pause, when there was no final answer."""
        for pause in self._pauses:
            try:
                return self._read_once(call, path, query or {})
            except Unavailable as error:
                _log.info("once more in %s s: %s", pause, error)
                time.sleep(pause)
        return self._read_once(call, path, query or {})

    def _read_once(self, call: Call, path: str, query: Mapping[str, str]) -> Answer:
        answer = self._send(call, "GET", path, None, _JSON, query)
        if answer.status >= _BAD_REQUEST:
            refused = failure(call, answer)
            if isinstance(refused, Unavailable):
                raise refused
        return answer

    def _write(
        self,
        call: Call,
        method: str,
        path: str,
        body: Any,
        content_type: str,
        query: Mapping[str, str],
    ) -> dict[str, Any]:
        return read_object(call, self._send(call, method, path, body, content_type, query))

    def _send(
        self,
        call: Call,
        method: str,
        path: str,
        body: Any,
        content_type: str,
        query: Mapping[str, str],
    ) -> Answer:
        try:
            answer = self._transport.send(
                method,
                path,
                query=query,
                body=body,
                content_type=content_type,
                timeout=self._timeout,
            )
        except Unavailable as error:
            raise Unavailable(f"{call}: {error.message}", fix="try again later") from error
        if answer.warning:
            _log.info("%s: the server warns: %s", call, answer.warning)
        return answer


def _name(body: Mapping[str, Any]) -> str:
    metadata = body.get("metadata") or {}
    return str(metadata.get("name") or metadata.get("generateName") or "")
