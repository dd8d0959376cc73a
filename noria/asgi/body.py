"""Bodies: read whole, within bounds of one and of all together, and decoded within them."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from noria.asgi.bounds import Bounds
from noria.asgi.refusal import Refused
from noria.errors import shorten

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_GZIP: Final = 31
_ZLIB: Final = 15
_RAW_DEFLATE: Final = -15
_WBITS: Final = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}
_ACCEPTED: Final = ((b"accept-encoding", b"gzip, deflate"),)
_ZLIB_METHOD: Final = 8
_LONG: Final = 18  # digits of a length


class Gone(Exception):
    """The client has hung up: there is nobody to answer."""


class Bodies:
    """All bodies that one server holds.

    Args:
        bounds: How much and how long.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._held = 0
        # In the order in which they began to be read.
        self._coming: dict[Body, None] = {}

    def take(self, body: Body, size: int) -> None:
        """Put bytes on the account of a body; those that have come longest give way.

        Raises:
            Refused: It is too large, or there is no room.
        """
        body.size += size
        self._held += size
        while self._held > self._bounds.max_held:
            oldest = next(iter(self._coming), body)
            if oldest is body:
                raise Refused(503, "body: too many are held; send it again later")
            oldest.give_way()

    def begin(self, body: Body) -> None:
        """Note that a body starts to come."""
        self._coming[body] = None

    def whole(self, body: Body) -> None:
        """Note that all of it is here: it gives way to nobody any more."""
        self._coming.pop(body, None)

    def release(self, body: Body) -> None:
        """Take a body off the account."""
        self._coming.pop(body, None)
        self._held -= body.size
        body.size = 0


class Body:
    """The body of one request, which is read once, when it is asked for.

    Args:
        bodies: All of the server.
        bounds: How much and how long.
        headers: The request's, names in lower case.
        receive: Of the server.
        whole: Tells whether all of it is here already.
    """

    def __init__(
        self,
        bodies: Bodies,
        bounds: Bounds,
        headers: Mapping[str, str],
        receive: Receive,
        whole: Callable[[], bool],
    ) -> None:
        self.size = 0
        self._bodies = bodies
        self._bounds = bounds
        self._headers = headers
        self._receive = receive
        self._whole = whole
        self._clock: asyncio.Timeout | None = None
        self._gave_way = False

    def give_way(self) -> None:
        """End the reading, for the sake of another."""
        self._gave_way = True
        self._bodies.release(self)
        if self._clock is not None:
            self._clock.reschedule(asyncio.get_running_loop().time())

    async def read(self) -> bytes:
        """Return all of it, decoded.

        Raises:
            Refused: It is too large, too slow, or of a coding that is not understood.
            Gone: The client has hung up.
        """
        length, coding = self._said()
        if length > self._bounds.max_body:
            raise self._too_large()
        content = await (self._pieces() if self._whole() else self._coming())
        if not coding:
            return content
        # Off the loop: a small body may be much when it is unpacked.
        decoded = await asyncio.to_thread(decode, content, coding, self._bounds.max_body)
        self._bodies.take(self, len(decoded))
        return decoded

    async def _coming(self) -> bytes:
        self._bodies.begin(self)
        try:
            async with asyncio.timeout(self._bounds.body_seconds) as self._clock:
                return await self._pieces()
        except TimeoutError:
            if self._gave_way:
                raise Refused(503, "body: too many are held; send it again later") from None
            raise Refused(408, f"body: not whole after {self._bounds.body_seconds:g} s") from None
        finally:
            self._clock = None
            self._bodies.whole(self)

    async def _pieces(self) -> bytes:
        pieces: list[bytes] = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            piece: bytes = message.get("body", b"")
            if piece:
                pieces.append(piece)
                self._bodies.take(self, len(piece))
                if self.size > self._bounds.max_body:
                    raise self._too_large()
            if not message.get("more_body", False):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _said(self) -> tuple[int, str]:
        """Return the length that the headers state (0: none), and the coding (empty: none)."""
        text = self._headers.get("content-length", "0")
        if not (text.isascii() and text.isdigit()):
            raise Refused(400, "content-length: this is no length")
        length = int(text) if len(text) <= _LONG else self._bounds.max_body + 1
        said = self._headers.get("content-encoding")
        if said is None:
            return length, ""
        codings = [each.strip().lower() for each in said.split(",")]
        codings = [each for each in codings if each not in ("", "identity")]
        if len(codings) > 1 or (codings and codings[0] not in _WBITS):
            raise Refused(
                415,
                f"content-encoding: {shorten(said)}, and gzip or deflate, once, is understood",
                _ACCEPTED,
            )
        return length, codings[0] if codings else ""

    def _too_large(self) -> Refused:
        return Refused(
            413, f"body: larger than {self._bounds.max_body} bytes; send less in one request"
        )


def decode(content: bytes, coding: str, most: int) -> bytes:
    """Return a body without its coding.

    Raises:
        Refused: It is not of that coding, is not whole, or unpacks to over ``most`` bytes.
    """
    wbits = _WBITS[coding]
    if wbits == _ZLIB and content and content[0] & 0x0F != _ZLIB_METHOD:
        wbits = _RAW_DEFLATE  # what some senders call deflate
    pieces: list[bytes] = []
    left = most
    rest = content
    while True:
        unpacker = zlib.decompressobj(wbits)
        try:
            piece = unpacker.decompress(rest, left + 1)
        except zlib.error as error:
            raise Refused(400, f"body: is not {coding}: {error}") from error
        left -= len(piece)
        if left < 0:
            raise Refused(413, f"body: unpacks to more than {most} bytes; send less in one request")
        pieces.append(piece)
        if not unpacker.eof:
            raise Refused(400, f"body: the {coding} is not whole")
        rest = unpacker.unused_data
        if not rest:
            return b"".join(pieces)
        if wbits != _GZIP:
            raise Refused(400, f"body: something follows the {coding}")
