"""What an answer of the API server means: an object, nothing, or one of Noria's errors.

The statuses are those of "Kubernetes API Conventions", section "HTTP Status codes"; a
failure's body is a ``Status`` object, whose message and causes are kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from noria.errors import ClusterError, Conflict, Denied, InvalidInput, NoriaError, Unavailable
from noria.kube.kinds import Kind
from noria.kube.transport import Answer

_MAX_CHARS: Final = 2000
_TEST_FAILED: Final = "test failed"


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


def failure(call: Call, answer: Answer) -> NoriaError:
    """Return the error for an answer that is not a success. It says who was asked for what."""
    said = f"{call}: {_message(answer)} (HTTP {answer.status})"
    make = _BY_STATUS.get(answer.status)
    if make is not None:
        return make(call, answer, said)
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable(said, fix="try again later")
    return ClusterError(said)


def _conflict(_call: Call, _answer: Answer, said: str) -> NoriaError:
    return Conflict(said, fix="read it and decide again")


def _unknown_caller(_call: Call, _answer: Answer, said: str) -> NoriaError:
    return Denied(said, fix="check the token or the client certificate")


def _forbidden(call: Call, _answer: Answer, said: str) -> NoriaError:
    return Denied(said, fix=f"let this identity {call.verb!r} {call.resource!r} by a Role")


def _invalid(call: Call, answer: Answer, said: str) -> NoriaError:
    # A JSON patch's test that fails is answered 422, yet it is a lost compare-and-swap.
    if call.verb == "patch" and _TEST_FAILED in _message(answer):
        return Conflict(said, fix="read it and decide again")
    return InvalidInput(said)


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
    422: _invalid,
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
