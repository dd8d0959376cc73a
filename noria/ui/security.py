"""Who may come in, and what a browser may do with a page.

Without a token everybody who reaches the port is let in, so the port is on loopback then and
answers to loopback's names only: a page of another site that makes its own name mean 127.0.0.1
("DNS rebinding") is refused. A form carries a token that only this process can make, for one
session, model, verb and command; a POST must come from this page's own origin besides.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from noria.asgi import is_loopback
from noria.errors import InvalidInput

HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "object-src 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

SESSION_SECONDS: Final = 12 * 3600
_MIN_TOKEN: Final = 16
_TRIES: Final = 10
_TRIES_SECONDS: Final = 60.0


def read_token(path: Path) -> str:
    """Read the token of a file.

    Raises:
        InvalidInput: It can't be read, or is too short to be a secret.
    """
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"--token-file {path}: can't be read: {error}") from error
    if len(token) < _MIN_TOKEN:
        raise InvalidInput(
            f"--token-file {path}: the token has {len(token)} characters, at least "
            f"{_MIN_TOKEN} are needed",
            fix="make one with `openssl rand -hex 32`",
        )
    return token


def check_address(host: str, token: str | None) -> None:
    """Refuse to be open to others.

    Raises:
        InvalidInput: There is no token and ``host`` is not loopback.
    """
    if token is None and not is_loopback(host):
        raise InvalidInput(
            f"--host {host}: the page would be open to everybody who reaches it",
            fix="give --token-file, or --host 127.0.0.1",
        )


@dataclass(slots=True)
class Guard:
    """Sessions, form tokens and origins of one process.

    Attributes:
        token: What a person must know to come in; None lets everybody in.
        now: Tells the time, in epoch seconds.
    """

    token: str | None
    now: Callable[[], float]
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _failures: deque[float] = field(default_factory=deque)

    def new_session(self) -> str:
        """Return a cookie's value: when it ends, a random part, and a signature."""
        ends = int(self.now()) + SESSION_SECONDS
        said = f"{ends}.{secrets.token_urlsafe(16)}"
        return f"{said}.{self._sign('session', said)}"

    def knows_session(self, cookie: str) -> bool:
        """Whether this process made the cookie, and it has not ended."""
        said, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign("session", said).encode()):
            return False
        return int(said.partition(".")[0]) > self.now()

    def opens(self, token: str) -> bool:
        """Whether the token is right.

        Raises:
            InvalidInput: Too many were wrong within a minute; even the right one waits.
        """
        now = self.now()
        while self._failures and self._failures[0] <= now - _TRIES_SECONDS:
            self._failures.popleft()
        if len(self._failures) >= _TRIES:
            raise InvalidInput("too many wrong tokens", fix="wait a minute")
        right = self.token is not None and hmac.compare_digest(
            token.strip().encode(), self.token.encode()
        )
        if not right:
            self._failures.append(now)
        return right

    def form_token(self, session: str, *about: str) -> str:
        """Return what a form must carry: nobody else can make it for this session."""
        return self._sign("form", session, *about)

    def made_form(self, given: str, session: str, *about: str) -> bool:
        """Whether ``form_token`` made this."""
        return hmac.compare_digest(given.encode(), self.form_token(session, *about).encode())

    def _sign(self, *parts: str) -> str:
        said = b"".join(len(p.encode()).to_bytes(4, "big") + p.encode() for p in parts)
        return hmac.new(self._key, said, hashlib.sha256).hexdigest()


def same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a POST comes from a page of this very host and port.

    Browsers send ``Origin`` with every POST; what sends neither it nor ``Referer`` is refused.
    The scheme is not compared: a proxy in front may speak TLS.
    """
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    came_from = headers.get("origin") or headers.get("referer") or ""
    host = headers.get("host", "")
    try:
        return bool(host) and urlsplit(came_from).netloc == host
    except ValueError:
        return False
