"""What stands before every page: who is let in, headers, and how forms are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs, quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from noria.asgi import Bounds, Refused
from noria.errors import shorten
from noria.ui.security import HEADERS, Guard
from noria.ui.words import choose

BOUNDS: Final = Bounds(max_body=16 << 10, max_held=4 << 20, body_seconds=10.0, drain_seconds=3)
"""Of the page: what comes in are forms, typed by a person."""

_FORM: Final = "application/x-www-form-urlencoded"
_MAX_FIELDS: Final = 20
_OPEN: Final = frozenset({"/login", "/healthz", "/livez"})
_STATIC: Final = "/static/"


class Door:
    """An ASGI app around the pages.

    Args:
        app: The pages.
        guard: Who may come in.
    """

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the pages answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if not scope["path"].startswith(_STATIC):
                    headers["cache-control"] = "no-store"
            await send(message)

        request = Request(scope, receive)
        refusal = self._refusal(request)
        await (self._app if refusal is None else refusal)(scope, receive, hardened)

    def _refusal(self, request: Request) -> Response | None:
        # The very value that the routes compare; a URL is put together from headers too.
        path: str = request.scope["path"]
        if self._guard.token is None or path in _OPEN or path.startswith(_STATIC):
            return None
        if self.session(request):
            return None
        if request.method not in ("GET", "HEAD"):
            t = choose(None, None, request.headers.get("accept-language", ""))
            return PlainTextResponse(t("sign-in"), status_code=401)
        query = request.scope["query_string"].decode("latin-1")
        here = path + (f"?{query}" if query else "")
        return RedirectResponse(f"/login?next={quote(here, safe='')}", status_code=303)

    def session(self, request: Request) -> str:
        """Return the session that a request shows, empty when it has none that holds."""
        cookie = request.cookies.get(session_cookie(request), "")
        return cookie if cookie and self._guard.knows_session(cookie) else ""


def session_cookie(request: Request) -> str:
    """Return the cookie's name: browsers share cookies between the ports of one host."""
    port = request.headers.get("host", "").rpartition(":")[2]
    return f"noria_session_{port if port.isdigit() else 0}"


def local_path(wanted: str) -> str:
    """Return where to go after signing in: a path of this page, whatever was asked for."""
    local = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if local and wanted.isprintable() else "/"


async def read_form(request: Request) -> Mapping[str, str]:
    """Read a form, the first value of each field.

    Raises:
        Refused: It is no form, or too large.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("", _FORM):
        raise Refused(415, f"content-type: {shorten(kind)}, and {_FORM} is expected")
    try:
        fields = parse_qs(
            (await request.body()).decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except UnicodeDecodeError as error:
        raise Refused(400, f"form: {error}") from error
    except ValueError as error:
        raise Refused(413, f"form: {error}") from error
    return {name: values[0] for name, values in fields.items()}
