"""From bytes to requests: llhttp with bounds on what is not yet whole."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

import httptools

from noria.http import rules
from noria.http.message import CLOSE, KEEP, KEEP_1_0, Refused, Request

if TYPE_CHECKING:
    from noria.http.server import HttpServer

_MAX_HEAD_BYTES: Final = 32 * 1024
_MAX_HEADERS: Final = 128
_MAX_LENGTH_DIGITS: Final = 18
_CHUNK_LINE: Final = 32
"""Bytes that a chunk may cost beside its content: its size, its line ends, a short extension."""


class RequestReader:
    """Reads the requests of one connection; whoever has the connection says what they become.

    Attributes:
        receiving: Whether a request has begun and is not whole.
        used: Whether one has ever begun.
        since: When something happened last.
    """

    def __init__(self, server: HttpServer) -> None:
        self.receiving = self.used = False
        self.since = monotonic()
        self._server = server
        self._wanted = server.headers
        self._parser = httptools.HttpRequestParser(self)
        self._host = b""
        self._framing = 0
        self._loose = 0
        self._url = self._known_url = b""
        self._path = self._query = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._header_count = 0
        self._hosts = 0
        self._tells_connection = False
        self._expect = b""
        self._method = b""
        self._coding = b""
        self._offer = False
        self._connection = KEEP
        self._in_body = False
        self._body: bytes | bytearray = b""

    # -- what the connection does

    def cut(self, reason: str) -> None:
        """End the connection at once, and forget what it holds."""
        raise NotImplementedError

    def _expected(self) -> None:
        raise NotImplementedError

    def _take(self, request: Request) -> None:
        raise NotImplementedError

    def _refuse(self, refused: Refused) -> None:
        raise NotImplementedError

    def _hold(self, size: int) -> bool:
        raise NotImplementedError

    # -- bytes

    def _feed(self, data: bytes | memoryview) -> bool:
        """Parse; False when the request is refused, and what follows is not read."""
        pieces: list[bytes | memoryview] = [data]
        while pieces:
            piece = pieces.pop()
            self._framing += len(piece)
            try:
                self._parser.feed_data(piece)
            except httptools.HttpParserUpgrade as offer:
                # Java's client offers HTTP/2 with every request. The parser stops after
                # such a head; one without the offer is read in its place (RFC 9110, 7.8).
                pieces += (memoryview(piece)[offer.args[0] :], self._head_without_offer())
                self._parser = httptools.HttpRequestParser(self)
                continue
            except httptools.HttpParserError as error:
                self._refuse(self._reason(error, piece))
                return False
            if self._framing > _MAX_HEAD_BYTES:
                # One line without end is no header yet: it is counted while it comes.
                self._refuse(Refused(431, f"request: {_MAX_HEAD_BYTES} bytes beside its body"))
                return False
            if self._framing < 0:
                self._framing = 0
            if self._loose or self.receiving:
                self._count_loose(len(piece))
        return True

    def _count_loose(self, size: int) -> None:
        """Keep the account of what has come of a head, a chunk's line or trailers."""
        loose = self._loose + size if self.receiving and not self._in_body else self._framing
        if loose != self._loose and not self._hold(loose - self._loose):
            self.cut("memory")
        self._loose = loose

    def _reason(self, error: Exception, data: bytes | memoryview) -> Refused:
        cause = error.__context__
        if isinstance(cause, Refused):
            return cause
        if isinstance(error, httptools.HttpParserCallbackError):
            self._server.failed(cause if isinstance(cause, Exception) else error)
            return Refused(500, "server: internal error")
        return rules.refusal_of(error, data)

    def _head_without_offer(self) -> bytes:
        lines = [b"%b %b HTTP/1.1" % (self._method, self._url), b"host:"]
        lines += [b"%b: %b" % header for header in self._headers.items()]
        if self._expect:
            lines.append(b"expect: " + self._expect)
        if self._connection is not KEEP:
            lines.append(b"connection: close")
        return b"\r\n".join((*lines, b"", b""))

    # -- httptools callbacks

    def on_message_begin(self) -> None:
        """A request line starts."""
        self._url = b""
        self._headers = {}
        self._header_bytes = self._header_count = self._hosts = self._framing = 0
        self._tells_connection = False
        self._expect = b""
        self.receiving = self.used = True
        self.since = monotonic()

    def on_url(self, url: bytes) -> None:
        """Part of the request target."""
        self._url += url
        if len(self._url) > _MAX_HEAD_BYTES:
            raise Refused(414, f"path: longer than {_MAX_HEAD_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one trailer, which is counted and dropped (RFC 9110, 6.5.1)."""
        self._header_bytes += len(name) + len(value)
        self._header_count += 1
        if self._header_bytes > _MAX_HEAD_BYTES:
            raise Refused(431, f"headers: longer than {_MAX_HEAD_BYTES} bytes in all")
        if self._header_count > _MAX_HEADERS:
            raise Refused(431, f"headers: more than {_MAX_HEADERS}")
        if self._in_body:
            return
        name = name.lower()
        if name in self._wanted:
            value = value.strip(b" \t")
            before = self._headers.get(name)
            self._headers[name] = value if before is None else before + b", " + value
            if name == b"content-length":
                # llhttp has refused a length of anything but digits.
                if len(value) > _MAX_LENGTH_DIGITS or int(value) > self._server.limits.max_body:
                    raise self._too_large()
            elif name == b"transfer-encoding":
                rules.check_transfer(value)
        elif name == b"host":
            self._hosts += 1
            if value != self._host:
                rules.check_host(value)
                self._host = value
        elif name == b"connection":
            self._tells_connection = True
        elif name == b"expect":
            self._expect = value.strip(b" \t")

    def on_headers_complete(self) -> None:
        """The headers are over; the body, if any, follows."""
        parser = self._parser
        self._method = parser.get_method()
        self._connection = KEEP if parser.should_keep_alive() else CLOSE
        if self._connection is CLOSE or self._tells_connection or self._hosts != 1:
            self._check_version(parser.get_http_version())
        self._coding = (
            rules.coding_of(self._headers) if b"content-encoding" in self._headers else b""
        )
        self._offer = parser.should_upgrade()
        if self._offer:
            rules.check_method(self._method)
            return
        if self._url != self._known_url:
            self._path, self._query = rules.target_of(self._method, self._url)
            self._known_url = self._url if self._url.startswith(b"/") else b""
        self._in_body = True
        if self._expect:
            rules.check_expectation(self._expect)
            self._expected()

    def _check_version(self, version: str) -> None:
        """Check what depends on the version: only 1.1 stays open without saying so."""
        rules.check_hosts(self._hosts, version)
        if version != "1.1":
            rules.check_old(version, self._headers)
            self._expect = b""  # it is not of HTTP/1.0
            if self._connection is KEEP:
                self._connection = KEEP_1_0

    def on_chunk_header(self) -> None:
        """A chunk begins: what its line cost is paid for."""
        self._framing -= _CHUNK_LINE

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._framing -= len(body)
        before = self._body
        if isinstance(before, bytes) and len(before) <= len(body):
            self._body = before + body
        else:
            # Not a list of pieces: of one byte each they would take fifty times their size.
            if isinstance(before, bytes):
                self._body = bytearray(before)
            self._body += body
        if len(self._body) > self._server.limits.max_body:
            raise self._too_large()
        if not self._hold(len(body)):
            raise overloaded()

    def on_message_complete(self) -> None:
        """A whole request is here."""
        if self._offer:
            return
        self.receiving = self._in_body = False
        self._framing = 0
        body, self._body = bytes(self._body), b""
        self._take(Request(self._method, self._path, self._headers, body, self._query))

    def _too_large(self) -> Refused:
        limit = self._server.limits.max_body
        return Refused(413, f"body: larger than {limit} bytes; send fewer rows per request")


def overloaded() -> Refused:
    """Return the refusal of bytes that there is no room for."""
    return Refused(
        503, "server: too much is being received; send again later", b"retry-after: 1\r\n"
    )
