"""The model resource as a pipeline's parameter: JSON, or packed where JSON would be too long."""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import zlib
from pathlib import Path
from typing import Final

from noria.errors import InvalidInput, shorten
from noria.spec import Model, load_model, parse_model

PACKED: Final = "gz:"
MAX_JSON_BYTES: Final = 16 << 20
"""Longest JSON that a packed parameter may unpack to."""


def packed(text: str) -> str:
    """Return JSON as ``gz:`` and base64, in which nothing has to be escaped; stable."""
    return PACKED + base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode("ascii")


def resource_json(text: str) -> str:
    """Return the JSON of a parameter, packed or not.

    Raises:
        InvalidInput: It is damaged, or unpacks to more than ``MAX_JSON_BYTES``.
    """
    if not text.startswith(PACKED):
        return text
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        data = base64.b64decode(text.removeprefix(PACKED), validate=True)
        found = inflate.decompress(data, MAX_JSON_BYTES + 1)
        if len(found) > MAX_JSON_BYTES:
            raise InvalidInput(f"the model resource unpacks to more than {MAX_JSON_BYTES:,} bytes")
        if not inflate.eof:
            raise InvalidInput(f"the model resource {shorten(text, 40)} ends too early")
        return found.decode()
    except (binascii.Error, zlib.error, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"the model resource {shorten(text, 40)} can't be unpacked: {error}",
            fix="submit the run again",
        ) from error


def read_model(text: str) -> Model:
    """Return the model resource from its JSON, packed or not, or from the file of ``@PATH``.

    Raises:
        InvalidInput: It is none of these, or the resource is refused.
    """
    if text.startswith("@"):
        return load_model(Path(text[1:]))
    try:
        # JSON is YAML, but the YAML reader is a hundred times slower.
        return parse_model(json.loads(resource_json(text)))
    except ValueError as error:
        raise InvalidInput(f"the model resource is not JSON: {error}") from error
