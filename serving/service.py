"""One model version: its state, and the way of a request from bytes to an answer."""

from __future__ import annotations

import importlib
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from time import perf_counter, time
from typing import Final

import orjson

from noria.cloudevents import MAX_ID_CHARS, decode_attribute, header_text
from noria.errors import NotInstalled, shorten
from noria.http import Request, Response
from noria.tasks.package import Manifest, load_predictor
from serving.columns import Batch, InputBinder
from serving.faults import Faults
from serving.ids import new_id
from serving.metrics import ServerMetrics, WorkerHealth
from serving.oip.rest import Encoded, InferRequest, ResponseEncoder, decode
from serving.oip.v1 import decode_v1, encode_v1
from serving.payloads import PayloadLog
from serving.refusal import Refusal
from serving.runner import Batching, Lookup, Outcome, Runner

READ_HEADERS: Final = frozenset(
    {b"inference-header-content-length", b"ce-id", b"x-request-id", b"origin"}
)
"""The headers that requests are read with, besides those of HTTP itself."""

_BINARY_TYPE: Final = b"application/octet-stream"
_STUCK_SECONDS: Final = 30.0
"""A batch that is under way for longer: requests behind it are better sent elsewhere."""
_HUNG_SECONDS: Final = 300.0
"""The same, when nothing but a restart will do."""
_CLIENT_WENT: Final = 499
"""What nginx logs when nobody was left to answer; no client ever sees it."""
_MAX_MESSAGE_CHARS: Final = 2000


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
    lookup: Lookup = sources.OnlineFeatures(
        base,
        manifest.lookup,
        event_time=manifest.event_time,
        categorical=[
            feature.name for feature in manifest.features if feature.kind == "categorical"
        ],
    )
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

    @property
    def ready(self) -> bool:
        """Whether a request that came now would be answered."""
        return self._state is State.READY and not self._stuck(_STUCK_SECONDS)

    @property
    def alive(self) -> bool:
        """Whether it may still mend by itself; False: only a restart will do."""
        return not self._stuck(_HUNG_SECONDS)

    @property
    def problems(self) -> tuple[str, ...]:
        """What does not do its work, for whoever looks at the server's health."""
        found = []
        if self._stuck(_STUCK_SECONDS) and self._loaded is not None:
            age = self._loaded.runner.age
            found.append(f"a prediction has been under way for {age:.0f} seconds")
        if self._payloads is not None and self._payloads.problem:
            found.append(self._payloads.problem)
        return tuple(found)

    def workers(self) -> tuple[WorkerHealth, ...]:
        """What the threads of this server do."""
        found = []
        if self._loaded is not None:
            runner = self._loaded.runner
            found.append(WorkerHealth("predict", runner.age, runner.failures))
        if self._payloads is not None:
            worker = self._payloads.worker
            found.append(WorkerHealth(worker.name, worker.age, worker.failures))
        return tuple(found)

    def _stuck(self, patience: float) -> bool:
        return self._loaded is not None and self._loaded.runner.age > patience

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
            _check_content(request)
            length = request.headers.get(b"inference-header-content-length")
            call = decode(request.body, length, loaded.binder.raw)
            wanted = loaded.encoder.select(call)
        except Exception as error:  # noqa: BLE001 - whatever reading raises is the request's
            return self._failed("rest", self.faults.unreadable(error), began)

        def encode(request_id: str, outcome: Outcome) -> Response:
            return self._v2_response(loaded.encoder.encode(request_id, outcome.results, wanted))

        return self._infer("rest", request, call, encode, began)

    def infer_v1(self, request: Request) -> Response | Awaitable[Response]:
        """Answer ``POST /v1/models/{m}:predict``."""
        began = perf_counter()
        try:
            loaded = self.loaded
            _check_content(request)
            call = decode_v1(request.body, loaded.manifest.inputs)
        except Exception as error:  # noqa: BLE001 - whatever reading raises is the request's
            return self._failed("v1", self.faults.unreadable(error), began)

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
        try:
            batch: Batch = loaded.binder.bind(call.tensors)
        except Exception as error:
            raise self.faults.unreadable(error) from error
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
        except CancelledError:
            # A version so slow that its clients leave must not look like one without requests.
            self.metrics.answered(protocol, _CLIENT_WENT, perf_counter() - began)
            raise
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
            request_id = request_id_of(request.headers, call.id)
            response = encode(call.id or request_id, outcome)
        except Exception as error:  # noqa: BLE001 - a predictor's odd output is our fault
            return self._failed(protocol, error, began)
        self.record(request_id, outcome)
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


def refusal_response(refusal: Refusal) -> Response:
    """Return the answer to a refused request."""
    headers = b"retry-after: %d\r\n" % refusal.retry_after if refusal.retry_after else b""
    if refusal.allow:
        headers += b"allow: %b\r\n" % refusal.allow.encode()
    told = {"error": str(refusal)[:_MAX_MESSAGE_CHARS]}
    return Response(refusal.status, orjson.dumps(told), headers=headers)


def request_id_of(headers: dict[bytes, bytes], body_id: str | None) -> str:
    """Return what rows are known by: ``ce-id``, ``x-request-id``, the body's id, or a new one.

    Raises:
        Refusal: A header's id is too long to be kept.
    """
    for name, read in _ID_HEADERS:
        given = headers.get(name)
        found = read(given) if given else ""
        if len(found) > MAX_ID_CHARS:
            raise Refusal(
                400,
                f"{name.decode()}: {len(found)} characters; at most {MAX_ID_CHARS} are kept: "
                "send less",
            )
        if found:
            return found
    return body_id or new_id()


_ID_HEADERS: Final = ((b"ce-id", decode_attribute), (b"x-request-id", header_text))
_JSON: Final = b"application/json"


def _check_content(request: Request) -> None:
    """Refuse what a page of another site can make a browser send without asking first.

    That is a form, plain text, or a body without a type; with a body without a type a
    browser says where it comes from, and other clients often send one.
    """
    sent = request.headers.get(b"content-type")
    if sent == _JSON or (sent is None and b"origin" not in request.headers):
        return
    kind = (sent or b"").partition(b";")[0].strip().lower()
    if kind not in (_JSON, _BINARY_TYPE) and not kind.endswith(b"+json"):
        said = "missing" if sent is None else f"{shorten(kind.decode('latin-1'), 60)} is not read"
        raise Refusal(
            415,
            f"Content-Type: {said}",
            fix="send application/json, or application/octet-stream with binary tensors",
        )
