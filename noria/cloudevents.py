"""What both ends of a payload event must agree on: its names, and how texts travel in headers.

CloudEvents 1.0.2, HTTP protocol binding, section 3.1.3.2: an attribute's value is
percent-encoded UTF-8 in a header, so that any text can be one. The other headers that
name a request (``x-request-id``) are taken as they come: UTF-8 where the bytes are that,
else Latin-1, and a percent sign is a percent sign.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

REQUEST_TYPE: Final = "org.kubeflow.serving.inference.request"
RESPONSE_TYPE: Final = "org.kubeflow.serving.inference.response"
VERSION_ANNOTATION: Final = "noria.dev/model-version"
BATCH_TYPE: Final = "application/cloudevents-batch+json"
EVENT_TYPE: Final = "application/cloudevents+json"
MAX_ID_CHARS: Final = 256
"""The longest id of a request: the monitor keeps one per prediction."""

_AS_IT_IS: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_QUOTES: Final = 2


def header_text(value: bytes) -> str:
    """Return what a header's bytes say: UTF-8 where they are that, else Latin-1."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def encode_attribute(value: str) -> str:
    """Return an attribute's value as a header carries it: printable ASCII.

    Raises:
        UnicodeEncodeError: The text holds half of a surrogate pair, which no UTF-8 can say.
    """
    return quote(value, safe=_AS_IT_IS)


def decode_attribute(value: bytes) -> str:
    """Return an attribute's value from its header; one that was never encoded stays what it is."""
    text = header_text(value)
    if len(text) >= _QUOTES and text[0] == text[-1] == '"':
        text = _ESCAPED.sub(r"\1", text[1:-1])
    if "%" not in text:
        return text
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return text
