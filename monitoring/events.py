"""From HTTP to events: CloudEvents 1.0 in binary, structured and batch mode.

Source: CloudEvents specification 1.0.2, HTTP protocol binding and JSON event
format. Attributes are those of KServe's payload logger.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from noria.cloudevents import (
    BATCH_TYPE,
    EVENT_TYPE,
    MAX_ID_CHARS,
    REQUEST_TYPE,
    RESPONSE_TYPE,
    VERSION_ANNOTATION,
    decode_attribute,
)
from noria.errors import InvalidInput, shorten
from noria.exchange.binary import LENGTH_HEADER

_LENGTH: Final = LENGTH_HEADER.lower()


@dataclass(frozen=True, slots=True)
class Event:
    """One payload event: its identity, and the body still unread.

    ``header_length`` is how many bytes of it are JSON, where binary tensors follow and it is known.
    """

    id: str
    type: str
    model: str
    version: str
    body: bytes | memoryview
    header_length: str = ""


class _Structured(msgspec.Struct):
    id: str
    type: str
    source: str
    specversion: str
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None
    inferenceservicename: str = ""
    annotations: str | dict[str, Any] = ""
    metadata: Any = ""


_one = msgspec.json.Decoder(_Structured)
_many = msgspec.json.Decoder(list[_Structured])
_annotations = msgspec.json.Decoder(dict[str, Any])
_metadata = msgspec.json.Decoder()


def read_events(headers: Mapping[str, str], body: bytes) -> list[Event]:
    """Return the events of one HTTP request.

    Args:
        headers: names in lower case, values in Latin-1.
        body: the whole body.

    Raises:
        InvalidInput: the request is not a CloudEvent that the monitor understands.
    """
    content = media_type(headers)
    try:
        if content == BATCH_TYPE:
            found = _many.decode(body)
            return [_structured(event, f"[{i}].") for i, event in enumerate(found)]
        if content == EVENT_TYPE:
            return [_structured(_one.decode(body), "")]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"body: not a CloudEvent in JSON: {error}") from error
    return [_binary(headers, body)]


def media_type(headers: Mapping[str, str]) -> str:
    """Return what a body is said to be, without parameters and in lower case."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _binary(headers: Mapping[str, str], body: bytes) -> Event:
    identity, kind, specversion = (_needed(headers, n) for n in ("id", "type", "specversion"))
    model = _attribute(headers, "inferenceservicename")
    annotations = _attribute(headers, "annotations")
    length = headers.get(_LENGTH, "") or _length_in(kind, _attribute(headers, "metadata"))
    return _checked(identity, kind, specversion, model, annotations, body, length, "header ce-")


def _needed(headers: Mapping[str, str], name: str) -> str:
    found = _attribute(headers, name)
    if not found:
        raise InvalidInput(
            f"header ce-{name}: missing", fix="send a CloudEvent, as KServe's logger does"
        )
    return found


def _attribute(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(f"ce-{name}", "")
    try:
        return decode_attribute(value.encode("latin-1"))
    except UnicodeEncodeError:
        return decode_attribute(value.encode(errors="replace"))  # whoever read it knew better


def _structured(event: _Structured, where: str) -> Event:
    body: bytes | memoryview
    if event.data_base64 is not None:
        try:
            body = base64.b64decode(event.data_base64, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidInput(f"{where}data_base64: not base64: {error}") from error
    else:
        body = memoryview(event.data)
    return _checked(
        event.id,
        event.type,
        event.specversion,
        event.inferenceservicename,
        event.annotations,
        body,
        _length_in(event.type, event.metadata),
        where,
    )


def _checked(
    identity: str,
    kind: str,
    specversion: str,
    model: str,
    annotations: str | dict[str, Any],
    body: bytes | memoryview,
    length: str,
    where: str,
) -> Event:
    if not specversion.startswith("1."):
        raise InvalidInput(
            f"{where}specversion: {shorten(specversion)} is not 1.0",
            fix="send CloudEvents 1.0, as KServe's logger does",
        )
    if kind not in (REQUEST_TYPE, RESPONSE_TYPE):
        raise InvalidInput(
            f"{where}type: {shorten(kind)} is not a payload event",
            fix=f"use {REQUEST_TYPE} or …response",
        )
    if not identity or len(identity) > MAX_ID_CHARS:
        raise InvalidInput(
            f"{where}id: {shorten(identity)} is empty or over {MAX_ID_CHARS} long",
            fix="send the request's id, the same with its answer",
        )
    return Event(identity, kind, model, _version(annotations, where), body, length)


def _length_in(kind: str, metadata: Any) -> str:
    """Return the length of a request's JSON that its headers say, as KServe's logger keeps them.

    It keeps those that ``metadataHeaders`` names, and puts the request's beside the answer too:
    there they say nothing.
    """
    if kind != REQUEST_TYPE or not metadata:
        return ""
    try:
        found = _metadata.decode(metadata) if isinstance(metadata, str) else metadata
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    for name, values in found.items() if isinstance(found, dict) else ():
        if str(name).lower() == _LENGTH:
            return str(values[0] if isinstance(values, list) and values else values)
    return ""


def _version(annotations: str | dict[str, Any], where: str) -> str:
    if not annotations:
        return ""
    try:
        found = annotations if isinstance(annotations, dict) else _annotations.decode(annotations)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{where}annotations: not a JSON object: {error}",
            fix=f'send {{"{VERSION_ANNOTATION}": "7"}}, or leave it out',
        ) from error
    return str(found.get(VERSION_ANNOTATION, ""))[:64]
