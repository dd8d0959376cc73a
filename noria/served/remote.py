"""The table of a monitor on another machine: its parts are fetched, and read as they lie here."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec

from noria.errors import StoreError, Unavailable, shorten
from noria.served.table import ServedTable, part_of

if TYPE_CHECKING:
    import httpx

_SCHEMES: Final = ("http://", "https://")
_TIMEOUT: Final = 60.0
_TRIES: Final = 5
_OK: Final = 200
_GONE: Final = 404


class Listing(msgspec.Struct, frozen=True):
    """What ``GET /models/NAME/served`` answers: the parts that count, and those set aside."""

    parts: tuple[str, ...]
    set_aside: tuple[str, ...] = ()


def places(location: str) -> tuple[str, ...]:
    """Return where tables are: a folder, or monitors' URLs, separated by spaces."""
    if location.startswith(_SCHEMES):
        return tuple(dict.fromkeys(location.split()))
    return (location,) if location else ()


@contextmanager
def opened(location: str, model: str) -> Iterator[tuple[ServedTable, tuple[str, ...]]]:
    """Yield the table at ``location``, a folder or a monitor's URL, and what is set aside there.

    What comes from a monitor is complete: it writes all that is labelled before it answers.

    Raises:
        Unavailable: The monitor does not answer.
        StoreError: It answers otherwise, or its parts can't be kept here.
    """
    if not location.startswith(_SCHEMES):
        yield ServedTable(Path(location)), ()
        return
    with tempfile.TemporaryDirectory(prefix="noria-served-") as folder:
        yield ServedTable(Path(folder)), _fetch(location.rstrip("/"), model, Path(folder))


def _fetch(url: str, model: str, folder: Path) -> tuple[str, ...]:
    import httpx

    where = f"{url}/models/{quote(model, safe='')}/served"
    with httpx.Client(timeout=_TIMEOUT, trust_env=False) as http:
        for _ in range(_TRIES):
            listing = _listing(where, _get(http, where))
            if all(_take(http, where, name, folder) for name in listing.parts):
                return listing.set_aside
    raise StoreError(f"{where} changes while it is read", fix="try again")


def _take(http: httpx.Client, where: str, name: str, folder: Path) -> bool:
    """Fetch a part, unless it is here; False when it is gone there."""
    part = part_of(name)
    if part is None:
        raise StoreError(f"{where}: {shorten(name)} names no part of a table")
    path = folder / part.name
    if path.exists():
        return True
    content = _get(http, f"{where}/{part.name}", gone=True)
    if content is None:
        return False
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return True


def _get(http: httpx.Client, url: str, *, gone: bool = False) -> bytes | None:
    import httpx

    try:
        answer = http.get(url)
    except httpx.HTTPError as error:
        raise Unavailable(f"{url}: the monitor does not answer: {error}") from error
    if answer.status_code == _OK:
        return answer.content
    if gone and answer.status_code == _GONE:
        return None
    said = f"{url}: HTTP {answer.status_code}: {shorten(answer.text)}"
    raise (Unavailable if answer.is_server_error else StoreError)(said)


def _listing(where: str, body: bytes | None) -> Listing:
    try:
        return msgspec.json.decode(body or b"", type=Listing)
    except msgspec.DecodeError as error:
        raise StoreError(f"{where}: no list of parts: {error}") from error
