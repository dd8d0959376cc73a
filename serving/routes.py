"""Which path is answered by what. Paths are compared as raw bytes; the usual ones in one lookup."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version as distribution_version
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

import orjson

from noria.errors import shorten
from noria.http import Request, Response
from serving.metrics import CONTENT_TYPE
from serving.refusal import Refusal
from serving.service import InferenceService, State, refusal_response

Route = Callable[[Request], "Response | Awaitable[Response]"]

EXTENSIONS: Final = ("binary_tensor_data",)
_METHODS: Final = {b"GET": "GET", b"POST": "POST"}


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
        """Answer a request; never raises."""
        route = self._routes.get(request.path)
        if route is not None and route[0] == request.method:
            return route[1](request)
        try:
            return self._find(request)(request)
        except Exception as error:  # noqa: BLE001 - becomes a status and a message
            return refusal_response(self._service.faults.refusal(error))

    def _add(self, method: str, path: str, route: Route) -> None:
        self._routes[path.encode()] = (method.encode(), route)

    def _find(self, request: Request) -> Route:
        """Find a route whose path was written another way, or say what is wrong with it."""
        path = request.path
        decoded = unquote_to_bytes(path).rstrip(b"/") or b"/"
        canonical = quote(decoded, safe="/:").encode()
        found = self._routes.get(canonical)
        if found is None:
            raise self._unknown(decoded.decode("utf-8", "replace"))
        method, route = found
        if request.method != method:
            wanted = _METHODS[method]
            raise Refusal(
                405,
                f"method: {request.method.decode('latin-1')} is not answered here; use {wanted}",
            )
        return route

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
        return _json(200, {"live": True})

    def _ready(self, _: Request) -> Response:
        ready = self._service.state is State.READY
        return _json(200 if ready else 503, {"ready": ready})

    def _model_ready(self, _: Request) -> Response:
        service = self._service
        ready = service.state is State.READY
        return _json(200 if ready else 503, {"name": service.name, "ready": ready})

    def _metadata(self, _: Request) -> Response:
        try:
            return _json(200, model_metadata(self._service))
        except Refusal as refusal:
            return refusal_response(refusal)

    def _metrics(self, _: Request) -> Response:
        return Response(200, self._service.metrics.render(), content_type=CONTENT_TYPE)


def model_metadata(service: InferenceService) -> dict[str, Any]:
    """Return what OIP calls the model's metadata.

    Raises:
        Refusal: The model is not loaded yet.
    """
    manifest = service.loaded.manifest
    return {
        "name": service.name,
        "versions": [service.version],
        "platform": f"noria_{manifest.algorithm}",
        "inputs": [
            {
                "name": given.name,
                "datatype": given.datatype,
                "shape": [-1],
                "parameters": {"kind": given.kind, "optional": given.optional},
            }
            for given in manifest.inputs
        ],
        "outputs": [
            {"name": output.name, "datatype": output.datatype, "shape": [-1, *output.shape]}
            for output in manifest.outputs
        ],
    }


def _json(status: int, content: dict[str, Any]) -> Response:
    return Response(status, orjson.dumps(content))
