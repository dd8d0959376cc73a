"""Which path is answered by what. Paths are compared as raw bytes; the usual ones in one lookup."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from importlib.metadata import version as distribution_version
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

import orjson

from noria.errors import shorten
from noria.http import Request, Response
from serving.metrics import CONTENT_TYPE
from serving.refusal import Refusal
from serving.service import InferenceService, refusal_response

Route = Callable[[Request], "Response | Awaitable[Response]"]

EXTENSIONS: Final = ("binary_tensor_data",)
_ALLOWED: Final = {b"GET": "GET, HEAD, OPTIONS", b"POST": "POST, OPTIONS"}
_ANY: Final = "GET, HEAD, OPTIONS, POST"
_NO_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Router:
    """Answers every path of the server for one model version."""

    def __init__(self, service: InferenceService) -> None:
        self._service = service
        self._routes: dict[bytes, tuple[bytes, Route]] = {}
        name = quote(service.name, safe="")
        version = quote(service.version, safe="")
        model = f"/v2/models/{name}"
        for base in (model, f"{model}/versions/{version}"):
            self._add("GET", base, self._metadata)
            self._add("GET", f"{base}/ready", self._model_ready)
            self._add("POST", f"{base}/infer", service.infer_v2)
        self._add("GET", "/v2", self._server_metadata)
        self._add("GET", "/v2/models", self._models)
        self._add("GET", "/v2/health/live", self._live)
        self._add("GET", "/v2/health/ready", self._ready)
        self._add("GET", "/v1/models", self._models)
        self._add("GET", f"/v1/models/{name}", self._model_ready)
        self._add("POST", f"/v1/models/{name}:predict", service.infer_v1)
        self._add("GET", "/metrics", self._metrics)
        self._add("GET", "/", self._alive)

    def __call__(self, request: Request) -> Response | Awaitable[Response]:
        """Answer a request.

        Raises:
            Refusal: There is no such path, or not with this method.
        """
        route = self._routes.get(request.path)
        if route is not None and route[0] == request.method:
            return route[1](request)
        return self._find(request)(request)

    def failed(self, error: Exception) -> Response:
        """Answer a request that raised."""
        return refusal_response(self._service.faults.refusal(error))

    def _add(self, method: str, path: str, route: Route) -> None:
        self._routes[_canonical(path.encode())] = (method.encode(), route)

    def _find(self, request: Request) -> Route:
        """Find a route whose path was written another way, or say what is wrong with it."""
        if request.path == b"*":
            return _options(_ANY)
        if _NO_ESCAPE.search(request.path):
            raise Refusal(400, "path: a % is not followed by two hexadecimal digits")
        found = self._routes.get(_canonical(request.path))
        if found is None:
            raise self._unknown(unquote_to_bytes(request.path).decode("utf-8", "replace"))
        method, route = found
        if request.method == method or (request.method == b"HEAD" and method == b"GET"):
            return route
        if request.method == b"OPTIONS":
            return _options(_ALLOWED[method])
        raise Refusal(
            405,
            f"method: {request.method.decode('latin-1')} is not answered here; "
            f"use {method.decode()}",
            allow=_ALLOWED[method],
        )

    def _unknown(self, path: str) -> Refusal:
        service = self._service
        parts = path.split("/")
        known_root = parts[1:3] in (["v2", "models"], ["v1", "models"]) and len(parts) > 3
        if not known_root:
            return Refusal(404, f"path: {shorten(path)} is not known")
        name = parts[3].partition(":")[0] if parts[1] == "v1" else parts[3]
        if name != service.name:
            return Refusal(404, f"model: {shorten(name)} is not served here")
        if parts[4:5] == ["versions"] and len(parts) > 5 and parts[5] != service.version:
            return Refusal(
                404,
                f"version: {shorten(parts[5])} of {service.name} is not served here; "
                f"this is version {service.version}",
            )
        return Refusal(404, f"path: {shorten(path)} is not known")

    # -- answers

    def _alive(self, _: Request) -> Response:
        return _json(200, {"status": "alive"})

    def _server_metadata(self, _: Request) -> Response:
        return _json(
            200,
            {
                "name": "noria",
                "version": distribution_version("noria"),
                "extensions": list(EXTENSIONS),
            },
        )

    def _models(self, _: Request) -> Response:
        return _json(200, {"models": [self._service.name]})

    def _live(self, _: Request) -> Response:
        live = self._service.alive
        return _json(200 if live else 503, {"live": live})

    def _ready(self, _: Request) -> Response:
        service = self._service
        content = {"ready": service.ready, "state": service.state, "problems": service.problems}
        return _json(200 if service.ready else 503, content)

    def _model_ready(self, _: Request) -> Response:
        service = self._service
        ready = service.ready
        return _json(200 if ready else 503, {"name": service.name, "ready": ready})

    def _metadata(self, _: Request) -> Response:
        return _json(200, model_metadata(self._service))

    def _metrics(self, _: Request) -> Response:
        return Response(200, self._service.metrics.render(), content_type=CONTENT_TYPE)


def _options(allowed: str) -> Route:
    """Return what answers OPTIONS (RFC 9110, 9.3.7)."""
    return lambda _: Response(200, b"", headers=b"allow: %b\r\n" % allowed.encode())


def _canonical(path: bytes) -> bytes:
    """Return a path as routes are kept: each segment escaped alike, no slash at the end."""
    parts = path.rstrip(b"/").split(b"/")
    return "/".join(quote(unquote_to_bytes(part), safe=":") for part in parts).encode() or b"/"


def model_metadata(service: InferenceService) -> dict[str, Any]:
    """Return what OIP calls the model's metadata.

    Raises:
        Refusal: The model is not loaded yet.
    """
    manifest = service.loaded.manifest
    slots = service.loaded.binder.slots
    return {
        "name": service.name,
        "versions": [service.version],
        "platform": f"noria_{manifest.algorithm}",
        "inputs": [
            {
                "name": given.name,
                "datatype": given.datatype,
                "shape": [-1, -1] if given.kind == "series" else [-1, *given.shape],
                "parameters": {
                    "kind": given.kind,
                    "optional": given.optional,
                    "nullable": slots[given.name].missing,
                },
            }
            for given in manifest.inputs
        ],
        "outputs": [
            {
                "name": output.name,
                "datatype": output.datatype,
                "shape": [-1, *output.shape],
                "parameters": {"nullable": output.nullable is True},
            }
            for output in manifest.outputs
        ],
    }


def _json(status: int, content: dict[str, Any]) -> Response:
    return Response(status, orjson.dumps(content))
