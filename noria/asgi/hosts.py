"""Which names a server answers to, and whether a browser was sent by somebody else's page.

A page of another site can make its own name mean 127.0.0.1 ("DNS rebinding") and have
a browser ask a server there that trusts everybody who reaches it. The name stays in
the ``Host`` header: a server answers to its own names only. An address can't be
rebound, but only what is bound to more than loopback has any other than loopback's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from noria.errors import InvalidInput, shorten

_HOST: Final = re.compile(
    r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]{1,253})(:(?P<port>[0-9]{1,5}))?", re.ASCII
)
_MAX_PORT: Final = 65535
_OWN_NAMES: Final = frozenset({"localhost"})
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def is_loopback(host: str) -> bool:
    """Whether an address, or one of its names, is this machine's own."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() in _OWN_NAMES


class Hosts:
    """The names of one server.

    Args:
        bound: The address that is listened on.
        allowed: Further names, without a port.
        anybody: Answer to any name: what is asked has to prove itself otherwise.

    Raises:
        InvalidInput: One of ``allowed`` is no name.
    """

    def __init__(self, bound: str, allowed: Sequence[str] = (), *, anybody: bool = False) -> None:
        for name in allowed:
            found = _HOST.fullmatch(name)
            if found is None or found["port"] is not None:
                raise InvalidInput(
                    f"--allowed-host: {shorten(name)} is no name", fix="write it without a port"
                )
        self._names = {_plain(name) for name in (*allowed, bound)} | _OWN_NAMES
        self._anybody = anybody
        self._local = is_loopback(bound)

    def admits(self, host: str) -> bool:
        """Whether a ``Host`` header is well formed, and names this server."""
        found = _HOST.fullmatch(host)
        if found is None or int(found["port"] or 0) > _MAX_PORT:
            return False
        name = _plain(found["name"])
        if self._anybody or name in self._names:
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self._local


def _plain(name: str) -> str:
    return name.strip("[]").lower().removesuffix(".")


def from_elsewhere(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a page of another origin sends what may change something.

    Programs send neither header. The scheme is not compared: a proxy in front may speak TLS.
    """
    if method in _SAFE:
        return False
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    except ValueError:
        return True
