"""What HTTP demands of a request, as functions of its parts.

What a client gets wrong is a 4xx, also where 501 or 505 would do: those are read as the
server's faults. Sources: RFC 9110 (semantics) and RFC 9112 (HTTP/1.1); the sections are
named where they apply.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import Final

from noria.http.message import Refused

CODINGS: Final = (b"gzip", b"deflate")
"""The content codings that are decoded."""

_ACCEPT: Final = b"accept-encoding: %b\r\n" % b", ".join(CODINGS)
_ALLOW: Final = b"allow: GET, HEAD, OPTIONS, POST\r\n"
_HOST: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?]*)", re.IGNORECASE)
_REQUEST_LINE: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ \S+ HTTP/1\.[01]\r\n")
_AUTOMATIC: Final = zlib.MAX_WBITS | 32
_RAW: Final = -zlib.MAX_WBITS


def check_old(version: str, headers: Mapping[bytes, bytes]) -> None:
    """Refuse versions other than 1.0, and chunks in it (RFC 9112, 6.1)."""
    if version != "1.0":
        raise Refused(400, "request: the version of HTTP is not 1.1 or 1.0")
    if b"transfer-encoding" in headers:
        raise Refused(400, "Transfer-Encoding: not of HTTP/1.0")


def check_host(value: bytes) -> None:
    """Refuse a Host that no URI could have (RFC 9112, 3.2)."""
    if _HOST.fullmatch(value) is None:
        raise Refused(400, "Host: not a host and port")


def check_hosts(count: int, version: str) -> None:
    """Refuse several Hosts, and HTTP/1.1 without one (RFC 9112, 3.2)."""
    if count > 1 or (count == 0 and version == "1.1"):
        raise Refused(400, f"Host: given {count} times; send it once")


def check_transfer(value: bytes) -> None:
    """Refuse transfer codings that would have to be decoded (RFC 9112, 6.1)."""
    if value.lower() != b"chunked":
        raise Refused(400, "Transfer-Encoding: only chunked is read here")


def check_method(method: bytes) -> None:
    """Refuse to be a proxy (RFC 9110, 9.3.6)."""
    if method == b"CONNECT":
        raise Refused(405, "method: CONNECT is not answered here", _ALLOW)


def check_expectation(value: bytes) -> None:
    """Refuse an expectation other than the one that there is (RFC 9110, 10.1.1)."""
    if value.lower() != b"100-continue":
        raise Refused(417, "Expect: only 100-continue is met here")


def coding_of(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the coding of a request's body, empty when it has none (RFC 9110, 8.4)."""
    coding = headers.get(b"content-encoding", b"").lower()
    if coding in (b"", b"identity"):
        return b""
    if coding == b"x-gzip":
        return b"gzip"
    if coding not in CODINGS:
        raise Refused(
            415,
            f"Content-Encoding: one of {b', '.join(CODINGS).decode()} is read here, once",
            _ACCEPT,
        )
    return coding


def inflate(body: bytes, coding: bytes, most: int) -> bytes:
    """Return what was compressed; never more than ``most`` bytes are made.

    Raises:
        Refused: It is larger, or is not what the coding says.
    """
    parts: list[bytes] = []
    made = 0
    while body or not parts:
        # Some clients take "deflate" at its word and leave the zlib header away.
        bare = coding == b"deflate" and (body[:1] or b"\0")[0] & 0x0F != zlib.DEFLATED
        stream = zlib.decompressobj(_RAW if bare else _AUTOMATIC)
        try:
            parts.append(stream.decompress(body, most - made + 1))
        except zlib.error as error:
            raise Refused(400, f"body: not {coding.decode()}") from error
        made += len(parts[-1])
        if made > most:
            raise Refused(413, f"body: larger than {most} bytes when decoded; send fewer rows")
        if not stream.eof:
            raise Refused(400, f"body: not {coding.decode()}: it ends too early")
        body = stream.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def target_of(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Return path and query of a request target in any of its forms (RFC 9112, 3.2)."""
    if target[:1] != b"/":
        target = _origin_form(method, target)
    if b"#" in target:
        raise Refused(400, "path: has a fragment, which is never sent")
    path, _, query = target.partition(b"?")
    return path, query


def _origin_form(method: bytes, target: bytes) -> bytes:
    if target == b"*" and method == b"OPTIONS":
        return target
    absolute = _ABSOLUTE.match(target)
    if absolute is None or not absolute[1] or _HOST.fullmatch(absolute[1]) is None:
        raise Refused(400, "path: neither a path nor an http URI")
    rest = target[absolute.end() :]
    if not rest and method == b"OPTIONS":
        return b"*"
    return rest if rest.startswith(b"/") else b"/" + rest


def refusal_of(parsed: Exception, data: bytes | memoryview) -> Refused:
    """Return why bytes are refused that the parser could not read."""
    if str(parsed).startswith("Invalid method") and _REQUEST_LINE.match(data):
        return Refused(405, "method: it is not known here", _ALLOW)
    if str(parsed) == "Invalid HTTP version":
        return Refused(400, "request: the version of HTTP is not 1.1 or 1.0")
    return Refused(400, "request: this is not valid HTTP/1.1")
