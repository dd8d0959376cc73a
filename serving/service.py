"""One model version: its state, and the way of a request from bytes to an answer."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from time import monotonic, perf_counter, time
from typing import Final
from uuid import uuid4

import orjson

from noria.errors import InvalidInput, NotInstalled, Unavailable
from noria.http import Request, Response
from noria.tasks.package import Manifest, load_predictor
from serving.columns import Batch, InputBinder
from serving.ids import new_id
from serving.metrics import ServerMetrics
from serving.oip.rest import MAX_ID_CHARS, Encoded, InferRequest, ResponseEncoder, decode
from serving.oip.v1 import decode_v1, encode_v1
from serving.payloads import PayloadLog
from serving.refusal import Refusal
from serving.runner import Batching, Lookup, Outcome, Runner

READ_HEADERS: Final = frozenset({b"inference-header-content-length", b"ce-id", b"x-request-id"})
"""The headers that requests are read with, besides those of HTTP itself."""

_log: Final = logging.getLogger("serving.service")
_BINARY_TYPE: Final = b"application/octet-stream"
_SERVER_FAULT: Final = 500


class State(StrEnum):
    """Where the server is in its life."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What exists once the package is loaded."""

    manifest: Manifest
    binder: InputBinder
    encoder: ResponseEncoder
    runner: Runner


def load(
    package: Path,
    *,
    digest: str | None,
    feature_base: Path,
    name: str,
    version: str,
    batching: Batching,
    metrics: ServerMetrics,
) -> Loaded:
    """Load a package and measure its predictor. Blocks: call it from a thread.

    Raises:
        IntegrityError: The package is not what its digest says.
        NotInstalled: A library that the package needs is missing.
    """
    predictor = load_predictor(package, digest=digest)
    manifest = predictor.manifest
    lookup = _open_lookup(manifest, feature_base)
    runner = Runner(predictor, lookup, batching, metrics)
    runner.calibrate()
    return Loaded(
        manifest,
        InputBinder(manifest),
        ResponseEncoder(name, version, manifest.outputs),
        runner,
    )


def _open_lookup(manifest: Manifest, base: Path) -> Lookup | None:
    if manifest.lookup is None:
        return None
    try:
        sources = importlib.import_module("noria.tasks.sources.feast")  # heavy
    except ImportError as error:
        raise NotInstalled(
            "this package looks features up in Feast, which is not installed",
            fix="install noria[features]",
        ) from error
    lookup: Lookup = sources.OnlineFeatures(base, manifest.lookup, event_time=manifest.event_time)
    return lookup


class InferenceService:
    """Answers inference requests of one model version."""

    def __init__(
        self, name: str, version: str, metrics: ServerMetrics, payloads: PayloadLog | None
    ) -> None:
        self.name = name
        self.version = version
        self.metrics = metrics
        self.faults = Faults()
        self._payloads = payloads
        self._state = State.LOADING
        self._loaded: Loaded | None = None
        self._version_header = b"x-noria-model-version: " + version.encode() + b"\r\n"

    @property
    def state(self) -> State:
        """Where the server is in its life."""
        return self._state

    @property
    def loaded(self) -> Loaded:
        """The model.

        Raises:
            Refusal: It is not loaded yet (503).
        """
        if self._loaded is None:
            raise Refusal(503, f"model {self.name}: still loading", retry_after=1)
        return self._loaded

    def become_ready(self, loaded: Loaded) -> None:
        """Take requests from now on."""
        self._loaded = loaded
        if self._state is State.LOADING:
            self._state = State.READY
            self.metrics.ready = True

    def start_draining(self) -> None:
        """Stop being ready; requests that still come are answered."""
        self._state = State.DRAINING
        self.metrics.ready = False

    def infer_v2(self, request: Request) -> Response | Awaitable[Response]:
        """Answer ``POST /v2/models/{m}/infer``."""
        began = perf_counter()
        try:
            loaded = self.loaded
            _check_json_or_binary(request)
            call = decode(request.body, request.headers.get(b"inference-header-content-length"))
            wanted = loaded.encoder.select(call)
        except Exception as error:  # noqa: BLE001 - becomes a status and a message
            return self._failed("rest", error, began)

        def encode(request_id: str, outcome: Outcome) -> Response:
            return self._v2_response(loaded.encoder.encode(request_id, outcome.results, wanted))

        return self._infer("rest", request, call, encode, began)

    def infer_v1(self, request: Request) -> Response | Awaitable[Response]:
        """Answer ``POST /v1/models/{m}:predict``."""
        began = perf_counter()
        try:
            loaded = self.loaded
            _check_json_or_binary(request)
            call = decode_v1(request.body, loaded.manifest.inputs)
        except Exception as error:  # noqa: BLE001 - becomes a status and a message
            return self._failed("v1", error, began)

        def encode(_: str, outcome: Outcome) -> Response:
            return Response(200, encode_v1(outcome.results), headers=self._version_header)

        return self._infer("v1", request, call, encode, began)

    def start(self, call: InferRequest) -> Outcome | Awaitable[Outcome]:
        """Bind a request's tensors and predict.

        Raises:
            Refusal: The tensors don't fit the model, or the server is overloaded.
            Exception: What the predictor raised.
        """
        loaded = self.loaded
        batch: Batch = loaded.binder.bind(call.tensors)
        return loaded.runner.run(batch)

    def record(self, request_id: str, outcome: Outcome) -> None:
        """Count an answered request's rows and log its payload."""
        self.metrics.rows += outcome.rows
        if self._payloads is not None:
            self._payloads.offer(request_id, outcome, time())

    def _infer(
        self,
        protocol: str,
        request: Request,
        call: InferRequest,
        encode: Callable[[str, Outcome], Response],
        began: float,
    ) -> Response | Awaitable[Response]:
        try:
            outcome = self.start(call)
        except Exception as error:  # noqa: BLE001 - becomes a status and a message
            return self._failed(protocol, error, began)
        if isinstance(outcome, Outcome):
            return self._succeeded(protocol, request, call, encode, began, outcome)
        return self._infer_later(protocol, request, call, encode, began, outcome)

    async def _infer_later(
        self,
        protocol: str,
        request: Request,
        call: InferRequest,
        encode: Callable[[str, Outcome], Response],
        began: float,
        pending: Awaitable[Outcome],
    ) -> Response:
        self.metrics.inflight += 1
        try:
            outcome = await pending
        except Exception as error:  # noqa: BLE001 - becomes a status and a message
            return self._failed(protocol, error, began)
        finally:
            self.metrics.inflight -= 1
        return self._succeeded(protocol, request, call, encode, began, outcome)

    def _succeeded(
        self,
        protocol: str,
        request: Request,
        call: InferRequest,
        encode: Callable[[str, Outcome], Response],
        began: float,
        outcome: Outcome,
    ) -> Response:
        try:
            row_id = row_id_of(request.headers, call.id)
            response = encode(call.id or row_id, outcome)
        except Exception as error:  # noqa: BLE001 - a predictor's odd output is our fault
            return self._failed(protocol, error, began)
        self.record(row_id, outcome)
        self.metrics.answered(protocol, response.status, perf_counter() - began)
        return response

    def _v2_response(self, encoded: Encoded) -> Response:
        if encoded.header_length is None:
            return Response(200, encoded.body, headers=self._version_header)
        return Response(
            200,
            encoded.body,
            content_type=_BINARY_TYPE,
            headers=self._version_header
            + b"inference-header-content-length: %d\r\n" % encoded.header_length,
        )

    def _failed(self, protocol: str, error: Exception, began: float) -> Response:
        refusal = self.faults.refusal(error)
        self.metrics.answered(protocol, refusal.status, perf_counter() - began)
        return refusal_response(refusal)


class Faults:
    """Turns what was raised into an answer, and logs what was our fault."""

    def __init__(self) -> None:
        self._next_trace = 0.0

    def refusal(self, error: Exception) -> Refusal:
        """Return a status and a message that leaks nothing."""
        if isinstance(error, Refusal):
            return error
        if isinstance(error, InvalidInput):
            return Refusal(400, str(error))
        if isinstance(error, Unavailable):
            _log.error("a part that this model needs does not answer: %s", error)
            return Refusal(503, "server: the feature store does not answer", retry_after=1)
        incident = uuid4().hex
        # A predictor that always fails must not fill the disk: one trace a second is enough.
        now = monotonic()
        traced = now >= self._next_trace
        if traced:
            self._next_trace = now + 1.0
        kind = type(error).__name__
        _log.error("incident %s: %s", incident, kind, exc_info=error if traced else None)
        return Refusal(_SERVER_FAULT, f"server: internal error, incident {incident}")


def refusal_response(refusal: Refusal) -> Response:
    """Return the answer to a refused request."""
    headers = b"retry-after: %d\r\n" % refusal.retry_after if refusal.retry_after else b""
    return Response(refusal.status, orjson.dumps({"error": str(refusal)}), headers=headers)


def row_id_of(headers: dict[bytes, bytes], body_id: str | None) -> str:
    """Return what rows are known by: ``ce-id``, ``x-request-id``, the body's id, or a new one.

    Raises:
        Refusal: A header's id is too long to be kept.
    """
    given = headers.get(b"ce-id") or headers.get(b"x-request-id")
    if given is None:
        return body_id or new_id()
    if len(given) > MAX_ID_CHARS:
        name = "ce-id" if headers.get(b"ce-id") else "x-request-id"
        raise Refusal(400, f"{name}: longer than {MAX_ID_CHARS} characters")
    return given.decode("latin-1")


_JSON_TYPES: Final[Sequence[bytes]] = (b"application/json", b"application/octet-stream")


def _check_json_or_binary(request: Request) -> None:
    sent = request.headers.get(b"content-type")
    if sent is None:
        return
    kind = sent.partition(b";")[0].strip().lower()
    if kind not in _JSON_TYPES and not kind.endswith(b"+json"):
        raise Refusal(
            415,
            f"Content-Type: {kind.decode('latin-1')[:60]!r} is not read here",
            fix="send application/json, or application/octet-stream with binary tensors",
        )
