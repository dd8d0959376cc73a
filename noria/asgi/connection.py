"""One connection: uvicorn's protocol, with bounds on what is not yet a request.

uvicorn bounds neither the headers while they come nor the time that anything takes,
and starts as many pipelined requests as a client sends. All of that is counted here,
from raw bytes. A client that is too slow is cut off, not asked to leave: a polite
close waits for the very client that does not read.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Any, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from noria.asgi.cork import Cork
from noria.asgi.crowd import Crowd

_LINGER_SECONDS: Final = 2.0
_LINGER_BYTES: Final = 1 << 20
_LATE_SECONDS: Final = 5.0
_ABSOLUTE: Final = re.compile(rb"https?://(?P<authority>[^/?#@]+)(?P<rest>[/?].*)?", re.I | re.S)

Refuse = Callable[[int, str], tuple[bytes, bytes]]
"""Makes content type and body of the answer to what is no request."""


class _Enough(Exception):
    """Stops the parser: nothing more of this connection is read."""


class Connection(HttpToolsProtocol):
    """One client's connection.

    Args:
        crowd: All connections of the server.
        refuse: Makes the answer to what is no request.
        given: What uvicorn gives its protocols.
    """

    def __init__(self, crowd: Crowd, refuse: Refuse, **given: Any) -> None:
        super().__init__(**given)
        self.address = ""
        self._crowd = crowd
        self._bounds = crowd.bounds
        self._refusal = refuse
        self._in_head = self._in_body = False
        self._refused = self._deferred = self._ended = False
        self._progress = False  # whether what was just fed was a request's own
        self._framing = 0  # bytes fed without any
        self._since = self._unsent_since = 0.0

    # What the crowd asks.

    @property
    def unsent(self) -> int:
        """Bytes of answers that the client has not taken."""
        return 0 if self._ended else self.transport.get_write_buffer_size()

    @property
    def _working(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def abort(self) -> None:
        """End at once, whatever is unsent."""
        if not self._ended:
            self.transport.abort()

    def check(self, now: float) -> None:
        """End when the client is too slow."""
        bounds = self._bounds
        if not self.unsent:
            self._unsent_since = 0.0
        elif not self._unsent_since:
            self._unsent_since = now
        elif now - self._unsent_since > bounds.write_seconds:
            self.abort()
            return
        waited = now - self._since
        if self._refused:
            if waited > _LINGER_SECONDS and not self._working:
                self.abort()
        elif self._in_head:
            if waited > bounds.head_seconds:
                self._say(408, f"headers: not whole after {bounds.head_seconds:g} s")
        elif self._in_body:
            # Who is answered before the body is over may send a little more of it, not for long.
            allowed = bounds.body_seconds + _LATE_SECONDS if self._working else _LINGER_SECONDS
            if waited > allowed:
                self.abort()
        elif not self._working:
            idle = bounds.idle_seconds if self.cycle is not None else bounds.head_seconds
            if waited > idle:
                self.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Come in, if there is room."""
        super().connection_made(cast(asyncio.Transport, Cork(transport, self.loop)))
        self.address = _network(self.client[0] if self.client else "")
        self._since = self.loop.time()
        if not self._crowd.admit(self):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave."""
        self._crowd.leave(self)
        self._ended = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and count what it keeps to itself."""
        if self._refused:
            # Read and dropped, so that the client gets to read the refusal; not for ever.
            self._framing += len(data)
            if self._framing > _LINGER_BYTES:
                self.abort()
            return
        self._unset_keepalive_if_required()
        self._progress = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._ignore_upgrade(data[offer.args[0] :])
            return
        except httptools.HttpParserError:  # also of what was refused already
            self._say(400, "request: this is not valid HTTP/1.1")
            return
        self._framing = 0 if self._progress else self._framing + len(data)
        if self._framing > self._bounds.max_head:
            self._say(431, f"headers: longer than {self._bounds.max_head} bytes in all")

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Answer what was asked by a client that will ask no more; end otherwise."""
        cast(Cork, self.transport).flush()  # the loop will close the transport itself
        if self._in_body or not self._working:
            return False
        self.cycle.keep_alive = False
        return True

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        super().pause_writing()
        self._crowd.stalls(self)

    def resume_writing(self) -> None:
        """Go on answering."""
        super().resume_writing()
        self._crowd.flows(self)
        if self._deferred:
            self._deferred = False
            super().on_response_complete()

    # httptools' callbacks

    def on_message_begin(self) -> None:
        """A request line starts."""
        self._progress = True
        if self._refused:
            raise _Enough
        if len(self.pipeline) >= self._bounds.max_pipelined:
            # Those before it are answered; then the connection ends, and this one is not begun.
            self._refused = True
            self.cycle.keep_alive = False
            raise _Enough
        self._in_head = True
        self._since = self.loop.time()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Part of the request target."""
        super().on_url(url)
        if len(self.url) > self._bounds.max_target:
            self._say(414, f"path: longer than {self._bounds.max_target} bytes")
            raise _Enough

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; of a request that is answered already, a trailer, which nobody reads."""
        if self._refused:
            raise _Enough
        if len(self.headers) >= self._bounds.max_headers:
            self._say(431, f"headers: more than {self._bounds.max_headers}")
            raise _Enough
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The headers are over: what they may not be is refused here."""
        if self._refused or self._upgrades():
            return
        self._progress, self._in_head, self._in_body = True, False, True
        fault = self._fault()
        if fault is not None:
            self._say(*fault)
            raise _Enough
        cast(dict[str, Any], self.scope)["noria.whole"] = self._whole
        super().on_headers_complete()
        # Trailers are no headers: what comes now is not of the scope.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._progress = True
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A whole request is here."""
        self._progress = True
        if self._refused or self._upgrades():
            return
        self._in_body = False
        super().on_message_complete()
        if self._working:
            self._crowd.works(self)
        else:
            self._rest()

    def on_response_complete(self) -> None:
        """An answer is written; the next request waits until the client has read it."""
        if self.pipeline and self.flow.write_paused:
            self._deferred = True
            return
        super().on_response_complete()
        if self._in_body:
            self._since = self.loop.time()
        elif not self._working:
            self._rest()

    # What is no request.

    def _rest(self) -> None:
        self._since = self.loop.time()
        self._crowd.waits(self)

    def _whole(self) -> bool:
        """Whether all of the request's body is here."""
        return not self.cycle.more_body

    def _upgrades(self) -> bool:
        return bool(self.parser.should_upgrade())

    def _fault(self) -> tuple[int, str] | None:
        """Say what HTTP does not allow in this head (RFC 9110, 7.2; RFC 9112, 3.2 and 6)."""
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            return 400, "request: HTTP/1.1 is spoken here"
        bounds = self._bounds
        hosts = size = 0
        coded = False
        for name, value in self.headers:
            size += len(name) + len(value)
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                if coded or value.strip().lower() != b"chunked":
                    return 400, "transfer-encoding: only chunked is understood"
                coded = True
        if size > bounds.max_head:
            return 431, f"headers: longer than {bounds.max_head} bytes in all"
        if coded and version == "1.0":
            return 400, "transfer-encoding: not part of HTTP/1.0"
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            return 400, "host: exactly one is needed"
        if b"#" in self.url:
            return 400, "path: a fragment is never sent"
        return None if self.url.startswith(b"/") else self._absolute()

    def _absolute(self) -> tuple[int, str] | None:
        """Read a target in absolute form: its authority counts, and not the ``Host`` header."""
        if self.url == b"*" and self.parser.get_method() == b"OPTIONS":
            self.url = b"/"
            return None
        found = _ABSOLUTE.fullmatch(self.url)
        if found is None:
            return 400, "path: this is no path"
        self.headers[:] = [header for header in self.headers if header[0] != b"host"]
        self.headers.append((b"host", found["authority"]))
        rest = found["rest"] or b""
        self.url = rest if rest.startswith(b"/") else b"/" + rest
        return None

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read the request as if it had not offered to upgrade (RFC 9110, 7.8).

        Java's client offers HTTP/2 with every request. The parser stops after the head of
        such a request, so a head without the offer is parsed in its place.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._say(405, "method: CONNECT is not answered here")
            return
        version = self.parser.get_http_version().encode()
        self.parser = httptools.HttpRequestParser(self)
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.data_received(b"\r\n".join((*lines, b"", b"")) + rest)

    def _say(self, status: int, message: str) -> None:
        """Answer what is no request, once, and end the connection.

        While another is being answered there is no place for it: that one ends the connection.
        """
        if self._refused:
            return
        self._refused = True
        self._since = self.loop.time()
        self.headers, self.url = [], b""
        if self._working:
            self.cycle.keep_alive = False
            for cycle, _ in self.pipeline:
                cycle.keep_alive = False
            if self._in_body:  # of the very request that is being answered
                self.abort()
            return
        kind, body = self._refusal(status, message)
        head = b"content-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head % (kind, len(body)) + body)
        # Closing with unread bytes makes the kernel send a reset, which can overtake the
        # answer: half-close, and drop what still comes for a while.
        if self.transport.can_write_eof():
            self.transport.write_eof()


def _network(address: str) -> str:
    """Return whose address it is: one host has a whole /64 of IPv6."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return found.exploded[:19]
