"""Zips from outside, bounded at each layer before it is read.

A zip states how many members it has and how large they are, and an array how many
numbers follow; any of it may be a lie. So the directory is measured before it is
parsed, only members that are asked for are unpacked, and each of them no further
than it may go.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from noria.errors import InvalidInput, NoriaError

_END: Final = struct.Struct("<4s4H2LH")
_END_SIGNATURE: Final = b"PK\5\6"
_END64_SIGNATURE: Final = b"PK\6\7"
_END64_BYTES: Final = 20
_MOST_COMMENT: Final = 1 << 16
_ENTRY_BYTES: Final = 512
"""The most of the directory for one member: 46 bytes, its name and what is added to it."""
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_VERSIONS: Final[dict[tuple[int, int], Callable[[IO[bytes]], tuple[Any, bool, Any]]]] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}
_KINDS: Final = "fiub"
_MOST_DIMENSIONS: Final = 2


class Archive:
    """A zip in memory of at most ``most_members``, that unpacks to at most ``most_bytes``.

    ``what`` is its name in messages. Each method raises ``InvalidInput`` for what is no such zip.
    """

    def __init__(self, data: bytes, what: str, *, most_members: int, most_bytes: int) -> None:
        self._what = what
        self._left = self._most = most_bytes
        _measure(data, what, most_members)
        with self._reading():
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        self.names = tuple(self._zip.namelist())
        if len(self.names) > most_members:
            raise InvalidInput(f"{what}: it holds more than {most_members} files")

    def read(self, name: str) -> bytes:
        """Return a member's content."""
        with self._opened(name) as member:
            content: bytes = member.read(self._left + 1)
        self._take(name, len(content))
        return content

    def array(self, name: str) -> NDArray[Any]:
        """Return a member that is an array of plain numbers, of one or two dimensions."""
        with self._opened(name) as member:
            header = _VERSIONS.get(npy.read_magic(member))
            if header is None:
                raise InvalidInput(f"{self._what}: {name} is no array of a known format")
            shape, by_column, dtype = header(member)
            if (
                dtype.kind not in _KINDS
                or len(shape) > _MOST_DIMENSIONS
                or min(shape, default=0) < 0
            ):
                raise InvalidInput(f"{self._what}: {name} is no array of plain numbers")
            # What it says to hold is measured before a byte of it is read.
            size = math.prod(shape) * dtype.itemsize
            self._take(name, size)
            content = bytearray(member.read(size))
            if len(content) != size or member.read(1):
                raise InvalidInput(f"{self._what}: {name} does not hold what its header says")
        found: NDArray[Any] = np.frombuffer(content, dtype)
        return found.reshape(shape, order="F") if by_column else found.reshape(shape)

    def _take(self, name: str, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise InvalidInput(f"{self._what}: {name} unpacks to over {self._most} bytes")

    @contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        with self._reading():
            if self._zip.getinfo(name).compress_type not in _METHODS:
                raise InvalidInput(f"{self._what}: {name} is packed by an unusual method")
            with self._zip.open(name) as member:
                yield member

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except NoriaError:
            raise
        except Exception as error:  # whatever breaks in the reading depends on the bytes alone
            raise InvalidInput(f"{self._what}: can't be unpacked: {error}") from error


def _measure(data: bytes, what: str, most_members: int) -> None:
    """Refuse a zip whose directory is too large to be parsed; Python's reader parses all of it."""
    place = data.rfind(_END_SIGNATURE, max(0, len(data) - _END.size - _MOST_COMMENT))
    if place < 0 or len(data) - place < _END.size:
        raise InvalidInput(f"{what}: is no zip")
    _, _, _, _, members, size, _, _ = _END.unpack_from(data, place)
    locator = data[max(0, place - _END64_BYTES) : place]
    if members > most_members or size > most_members * _ENTRY_BYTES:
        raise InvalidInput(f"{what}: it holds more than {most_members} files")
    if locator.startswith(_END64_SIGNATURE):
        raise InvalidInput(f"{what}: is a zip of over 4 GiB or 65,535 files")
