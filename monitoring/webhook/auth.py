"""Who may send alerts: a bearer token, or an HMAC over the body with a time.

The HMAC is the one of Grafana's contact points: hex HMAC-SHA256 over
``<unix time>:<body>``, the time in a header of its own. Secrets are read from files
at each request, so that a rotated one counts at once.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from noria.errors import InvalidInput, Unavailable, shorten

TOKEN_FILE: Final = "NORIA_WEBHOOK_TOKEN_FILE"  # noqa: S105 - a variable's name
HMAC_FILE: Final = "NORIA_WEBHOOK_HMAC_FILE"
SIGNATURE: Final = "x-grafana-alerting-signature"
TIMESTAMP: Final = "x-grafana-alerting-timestamp"
TOLERANCE_SECONDS: Final = 300

_MIN_CHARS: Final = 16
_MAX_TIME_CHARS: Final = 20


@dataclass(frozen=True, slots=True)
class Locks:
    """The files of the secrets. Without one everybody is let in; either key opens."""

    token_file: Path | None = None
    hmac_file: Path | None = None

    def check(self, host: str) -> None:
        """Refuse to be open to others, or to start with an empty or unreadable secret.

        Raises:
            InvalidInput: There is no secret and ``host`` is not loopback, or a file is unfit.
        """
        for variable, path in ((TOKEN_FILE, self.token_file), (HMAC_FILE, self.hmac_file)):
            if path is not None:
                try:
                    _secret(path)
                except Unavailable as error:
                    raise InvalidInput(f"{variable}: {error}") from error
        if not self.closed and not _is_loopback(host):
            raise InvalidInput(
                f"the webhook would be open to everybody on {host}",
                fix=f"set {TOKEN_FILE} or {HMAC_FILE} to a file with a secret, or --host 127.0.0.1",
            )

    @property
    def closed(self) -> bool:
        """Whether any secret is asked for."""
        return self.token_file is not None or self.hmac_file is not None

    def admits_token(self, authorization: str) -> bool:
        """Whether an ``Authorization`` header holds the token.

        Raises:
            Unavailable: The file can't be read now.
        """
        if self.token_file is None:
            return False
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode("utf-8", "surrogateescape")
        same = hmac.compare_digest(given, _secret(self.token_file))
        return same and scheme.lower() == "bearer"

    def admits_signature(self, headers: Mapping[str, str], body: bytes, now: float) -> bool:
        """Whether the signature is that of this body, made lately. ``now``: epoch seconds.

        Raises:
            Unavailable: The file can't be read now.
        """
        said = headers.get(TIMESTAMP, "")
        if self.hmac_file is None or not (said.isascii() and said.isdigit()):
            return False
        if len(said) > _MAX_TIME_CHARS or abs(now - int(said)) > TOLERANCE_SECONDS:
            return False
        wanted = hmac.new(_secret(self.hmac_file), said.encode() + b":" + body, hashlib.sha256)
        given = headers.get(SIGNATURE, "").lower().encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, wanted.hexdigest().encode())


def locks_from_environment(environment: Mapping[str, str]) -> Locks:
    """Return the locks that ``NORIA_WEBHOOK_TOKEN_FILE`` and ``_HMAC_FILE`` name."""
    token, signed = environment.get(TOKEN_FILE, ""), environment.get(HMAC_FILE, "")
    return Locks(Path(token) if token else None, Path(signed) if signed else None)


def _secret(path: Path) -> bytes:
    try:
        found = path.read_bytes().strip()
    except OSError as error:
        raise Unavailable(f"the secret in {path} can't be read: {error.strerror}") from error
    if len(found) < _MIN_CHARS:
        raise Unavailable(
            f"the secret in {path} has {len(found)} characters",
            fix=f"write at least {_MIN_CHARS}: openssl rand -hex 32 > {path}",
        )
    return found


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        raise InvalidInput(
            f"host: {shorten(host)} is no address", fix="write 127.0.0.1, ::1 or 0.0.0.0"
        ) from None
