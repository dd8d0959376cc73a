"""A transport that sends what is written in one turn of the event loop as one piece."""

from __future__ import annotations

import asyncio
from typing import Any, Final

_MOST: Final = 64 << 10


class Cork:
    """Around a transport: head and body of an answer, two writes of uvicorn, leave together.

    Two would be two system calls and two packets. Everything else is the transport's.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send soon; at once when it is much."""
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)
        self._size += len(data)
        if self._size > _MOST:
            self.flush()

    def write_eof(self) -> None:
        """Send, and then no more."""
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send, and end."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """End at once."""
        self._held, self._size = [], 0
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Return the bytes that are not sent."""
        return self._size + self._transport.get_write_buffer_size()

    def flush(self) -> None:
        """Send what is held."""
        held, size, self._held, self._size = self._held, self._size, [], 0
        if self._transport.is_closing():
            return
        if size <= _MOST and len(held) > 1:
            held = [b"".join(held)]  # of much, no second copy
        for piece in held:
            self._transport.write(piece)
