"""What stands before every page: names it answers to, who is let in, headers, sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs, quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from noria.errors import InvalidInput
from noria.ui.security import HEADERS, Guard
from noria.ui.words import choose

MAX_FORM_BYTES: Final = 16 * 1024
_MAX_FIELDS: Final = 20
_OPEN: Final = ("/login", "/static/", "/healthz")
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
        if not self._guard.knows_host(request.headers.get("host", "")):
            t = choose(None, None, request.headers.get("accept-language", ""))
            return PlainTextResponse(t("foreign-host"), status_code=421)
        path = request.url.path
        if self._guard.token is None or path.startswith(_OPEN) or self.session(request):
            return None
        if request.method != "GET":
            t = choose(None, None, request.headers.get("accept-language", ""))
            return PlainTextResponse(t("sign-in"), status_code=401)
        here = path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(here, safe='')}", status_code=303)

    def session(self, request: Request) -> str:
        """Return the session that a request shows, empty when it has none that holds."""
        cookie = request.cookies.get(session_cookie(request), "")
        return cookie if cookie and self._guard.knows_session(cookie) else ""


def session_cookie(request: Request) -> str:
    """Return the cookie's name: browsers share cookies between the ports of one host."""
    return f"noria_session_{request.url.port or 0}"


def local_path(wanted: str) -> str:
    """Return where to go after signing in: a path of this page, whatever was asked for."""
    local = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if local and wanted.isprintable() else "/"


async def read_form(request: Request) -> Mapping[str, str]:
    """Read a form, the first value of each field.

    Raises:
        InvalidInput: It is too large, or is no form.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM_BYTES:
            raise InvalidInput(f"form: larger than {MAX_FORM_BYTES} bytes")
    try:
        fields = parse_qs(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
        )
    except ValueError as error:
        raise InvalidInput(f"form: {error}") from error
    return {name: values[0] for name, values in fields.items()}
