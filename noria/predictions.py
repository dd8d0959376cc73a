"""Predictions in columns: what Noria's model server tells Noria's monitor.

One block holds many answered requests of one model version, each column of all of them in
one piece, so that nothing is parsed value by value on either side. It is an answer to
``Accept-Post`` (Linked Data Platform 1.0, section 7.1): a server that finds ``MEDIA_TYPE``
there posts blocks, and CloudEvents in JSON, as KServe's logger writes them, to any other
sink. MessagePack, little-endian; never pickle.

Vectors are float32 here, whatever the model reads: they are watched, not computed with. What has
no form here (a tensor of more than two dimensions) is left out by name, with the reason.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from noria.errors import InvalidInput

MEDIA_TYPE: Final = "application/vnd.noria.predictions+msgpack"
ACCEPT_POST: Final = "accept-post"
"""The header, in lower case, that says which media types may be posted."""


class DictColumn(msgspec.Struct, frozen=True, array_like=True):
    """A column of texts: distinct values and, per row, int32 codes into them (-1 is missing)."""

    values: tuple[str, ...]
    codes: bytes


Values: TypeAlias = bytes | DictColumn
"""One value per row: float64 bytes with NaN for missing, or texts."""


class Vectors(msgspec.Struct, frozen=True, array_like=True):
    """A column of vectors: ``width`` float32 numbers per row, one row after another.

    A row that is missing is NaN as a whole.
    """

    width: int
    values: bytes


class Output(msgspec.Struct, frozen=True, array_like=True):
    """What the model said: ``width`` values per row, one row after another."""

    values: Values
    width: int = 1


class Block(msgspec.Struct, frozen=True, array_like=True):
    """Answered requests in the order of their answers.

    Attributes:
        model: Name of the model.
        version: The version that answered, all of them.
        ids: Their request ids.
        rows: How many rows each has, int32 bytes.
        inputs: What the predictor saw, by input, the rows of all requests.
        outputs: What it said, by output.
        vectors: Inputs that are vectors, by input.
        aside: Inputs and outputs that are left out, with the reason.
    """

    model: str
    version: str
    ids: tuple[str, ...]
    rows: bytes
    inputs: dict[str, Values]
    outputs: dict[str, Output]
    vectors: dict[str, Vectors] = {}
    aside: dict[str, str] = {}


RANK: Final = "rank"
TEXT: Final = "text"
LONG: Final = "long"
NUMBER: Final = "number"
BINARY: Final = "binary"
"""Why a field is set aside: it has more dimensions than a column, it holds texts where numbers are
watched, a text that is too long for a category or a key, no texts where texts are described, or
bytes that are no such tensor."""

MAX_TEXT_CHARS: Final = 32_768
"""Of one value of a row: the server reads no longer one, and the monitor watches none."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Block)


def encode(block: Block) -> bytes:
    """Write a block."""
    return _encoder.encode(block)


def decode(body: bytes) -> Block:
    """Read a block; sizes of columns are not checked.

    Raises:
        InvalidInput: The bytes are not a block.
    """
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"body: no block of predictions: {error}") from error
