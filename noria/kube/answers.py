"""What an answer of the API server means: an object, nothing, or one of Noria's errors.

The statuses are those of "Kubernetes API Conventions", section "HTTP Status codes"; a
failure's body is a ``Status`` object, whose message and causes are kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from noria.errors import ClusterError, Conflict, Denied, InvalidInput, NoriaError, Unavailable
from noria.kube.kinds import Kind
from noria.kube.transport import Answer

_MAX_CHARS: Final = 2000
_UNTYPED: Final = "failed to create typed patch object"


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked, in the words of RBAC: ``update configmaps prod/noria-flights-loop``."""

    verb: str
    resource: str
    namespace: str | None = None
    name: str | None = None

    @classmethod
    def of(cls, verb: str, kind: Kind, namespace: str | None, name: str | None = None) -> Call:
        """Return the call for a kind; a kind that lives in no namespace names none."""
        return cls(verb, kind.resource, namespace if kind.namespaced else None, name)

    def __str__(self) -> str:
        target = "/".join(part for part in (self.namespace, self.name) if part)
        return f"{self.verb} {self.resource} {target}".rstrip()


def read_object(call: Call, answer: Answer) -> dict[str, Any]:
    """Return the object in a successful answer.

    Raises:
        ClusterError: The answer is no JSON object.
        Conflict, Denied, InvalidInput, Unavailable, ClusterError: It is a failure.
    """
    if not HTTPStatus(200) <= answer.status < HTTPStatus(300):
        raise failure(call, answer)
    try:
        body = json.loads(answer.body)
    except ValueError as error:
        raise ClusterError(
            f"{call}: the answer is not JSON: {_text(answer.body)}",
            fix="check that the address is a Kubernetes API server's",
        ) from error
    if not isinstance(body, dict):
        raise ClusterError(f"{call}: the answer is no object: {_text(answer.body)}")
    return body


def read_patched(call: Call, answer: Answer, ops: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the object that a JSON patch made.

    A ``test`` that fails is answered like an operation that can't be done: 422, and no
    word of why. With a ``test`` among the operations it is taken for a lost race.

    Raises:
        Conflict: A test failed, it seems.
        Conflict, Denied, InvalidInput, Unavailable, ClusterError: It is another failure.
    """
    tested = any(op.get("op") == "test" for op in ops)
    unprocessable = answer.status == HTTPStatus.UNPROCESSABLE_ENTITY
    # An object that is refused for what it would become has details.
    if tested and unprocessable and not _status(answer).get("details"):
        said = f"{call}: a test of the patch failed: {_message(answer)}"
        raise Conflict(said, fix="read it and decide again")
    return read_object(call, answer)


def failure(call: Call, answer: Answer) -> NoriaError:
    """Return the error for an answer that is not a success. It says who was asked for what."""
    said = f"{call}: {_message(answer)} (HTTP {answer.status})"
    make = _BY_STATUS.get(answer.status)
    if make is not None:
        return make(call, answer, said)
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # Server-side apply answers 500 to a field that a built-in kind doesn't have.
        if _UNTYPED in said:
            return InvalidInput(said)
        return Unavailable(said, fix="try again later")
    return ClusterError(said)


def _conflict(_call: Call, _answer: Answer, said: str) -> NoriaError:
    return Conflict(said, fix="read it and decide again")


def _unknown_caller(_call: Call, _answer: Answer, said: str) -> NoriaError:
    return Denied(said, fix="check the token or the client certificate")


def _forbidden(call: Call, _answer: Answer, said: str) -> NoriaError:
    return Denied(said, fix=f"let this identity {call.verb!r} {call.resource!r} by a Role")


def _not_found(call: Call, answer: Answer, said: str) -> NoriaError:
    # What was to be changed is gone: somebody else was first. A kind that isn't there has no name.
    details = _status(answer).get("details") or {}
    if call.verb in {"update", "patch"} and details.get("name") == call.name:
        return Conflict(said, fix="read it and decide again")
    return ClusterError(said, fix="check that its namespace exists and its kind is installed")


def _busy(_call: Call, _answer: Answer, said: str) -> NoriaError:
    return Unavailable(said, fix="try again later")


_BY_STATUS: Final[Mapping[int, Callable[[Call, Answer, str], NoriaError]]] = {
    400: lambda _call, _answer, said: InvalidInput(said),
    401: _unknown_caller,
    403: _forbidden,
    404: _not_found,
    408: _busy,
    409: _conflict,
    413: lambda _call, _answer, said: InvalidInput(said, fix="make it smaller"),
    422: lambda _call, _answer, said: InvalidInput(said),
    429: _busy,
}


def _status(answer: Answer) -> Mapping[str, Any]:
    try:
        body = json.loads(answer.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) and body.get("kind") == "Status" else {}


def _message(answer: Answer) -> str:
    status = _status(answer)
    said = str(status.get("message") or "") or _text(answer.body) or "no message"
    causes = (status.get("details") or {}).get("causes") or []
    more = [str(cause.get("message", "")) for cause in causes]
    # The message of an invalid object lists its causes already; a failed test's does not.
    extra = "; ".join(cause for cause in more if cause and cause not in said)
    return _cut(f"{said}: {extra}" if extra else said)


def _text(body: bytes) -> str:
    return _cut(body[: _MAX_CHARS * 4].decode(errors="replace").strip())


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 1]}…"
