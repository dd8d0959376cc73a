"""Talking to a server byte by byte."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it came; ``headers`` by name in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class RawConnection:
    """A connection that sends what it is told and reads one answer at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._read = b""

    def ask(self, sent: bytes, *, head_only: bool = False) -> Answer:
        self.socket.sendall(sent)
        return self.answer(head_only=head_only)

    def answer(self, *, head_only: bool = False) -> Answer:
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        size = 0 if head_only else int(headers.get("content-length", 0))
        while len(self._read) < size:
            self._more()
        body, self._read = self._read[:size], self._read[size:]
        return Answer(int(first.split()[1]), headers, body)

    def ended(self) -> bool:
        """Wait until the server ends it; whether nothing came before."""
        try:
            return not self._read and not self.socket.recv(1)
        except ConnectionResetError:
            return True

    def _more(self) -> None:
        piece = self.socket.recv(65536)
        if not piece:
            raise EOFError(f"the server ended the connection after {self._read!r}")
        self._read += piece


@contextmanager
def connected(url: str, *, receive_buffer: int = 0) -> Iterator[RawConnection]:
    """Connect; a small receive buffer makes a slow reader of a client."""
    where = httpx.URL(url)
    with socket.socket() as made:
        made.settimeout(20)
        if receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        made.connect((where.host, where.port))
        yield RawConnection(made)
