"""The pages as one ASGI app: what is asked for, and what a person sends."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from noria.asgi import Gate, Hosts, Probe, Refused
from noria.asgi.gate import as_text
from noria.errors import InvalidInput, NoriaError
from noria.loop.values import Command, Verb
from noria.places import Detail, Place
from noria.places.watched import Watched
from noria.ui import meaning
from noria.ui.actions import choice, choices
from noria.ui.chronicle import Chain, Wanted, check_chain, lines, page_of
from noria.ui.door import BOUNDS, Door, local_path, read_form, session_cookie
from noria.ui.pages import HERE, Frame, Pages, gains_of, monitoring_of
from noria.ui.security import SESSION_SECONDS, Guard, same_origin
from noria.ui.sent import SentCommands, command_id
from noria.ui.words import CATALOGUES, choose

MOST_NAME: Final = 60
MOST_REASON: Final = 500
_NEWEST: Final = 12
_LOOK_BACK: Final = 60
_CHAIN_SECONDS: Final = 60.0
_YEAR: Final = 365 * 24 * 3600
_NOT_ALLOWED: Final = 405
_TOO_LARGE: Final = 413


@dataclass(frozen=True, slots=True)
class Options:
    """How the pages are served. ``person``: who asks, unless the form says otherwise."""

    read_only: bool = False
    person: str = ""
    cluster: bool = False


class Ui:
    """The pages over one place.

    Args:
        place: Where they read.
        guard: Who may come in, and which forms are ours.
        options: How they are served.
        now: Tells the time, in UTC.
    """

    def __init__(
        self,
        place: Place,
        guard: Guard,
        options: Options,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._place = place
        self._guard = guard
        self._options = options
        self._now = now
        self._pages = Pages()
        self._sent = SentCommands()
        self._chains: dict[str, tuple[str, float, Chain]] = {}
        self._readable = Probe(lambda: _look(place), "what the pages are made from")

    def gate(self, hosts: Hosts) -> Gate:
        """Return the ASGI application."""
        routes = [
            Route("/", self._overview),
            Route("/models/{name}", self._model),
            Route("/models/{name}/ledger", self._ledger),
            Route("/models/{name}/do/{verb}", self._command, methods=["GET", "POST"]),
            Route("/login", self._door, methods=["GET", "POST"]),
            Route("/logout", self._logout, methods=["POST"]),
            Route("/livez", self._lives),
            Route("/healthz", self._healthy),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ]
        refusals = {404: self._not_found, 405: self._not_found, Refused: self._refuse,
                    NoriaError: self._failed, Exception: self._unforeseen}  # fmt: skip
        pages = Starlette(routes=routes, exception_handlers=refusals)
        # A path is what was asked for, exactly.
        pages.router.redirect_slashes = False
        return Gate(Door(pages, self._guard), BOUNDS, hosts, refuse=as_text)

    # Pages.

    def _overview(self, request: Request) -> Response:
        """Show every model, those that need attention first."""
        models = self._place.overview()
        find = request.query_params.get("find", "")[:MOST_NAME]
        trouble = request.query_params.get("trouble") == "1"
        shown = [m for m in models if find.lower() in m.name.lower()]
        shown = [m for m in shown if m.troubled or not trouble]
        return self._page(
            request,
            "overview.html",
            models=models,
            shown=sorted(shown, key=lambda m: not m.troubled),
            find=find,
            trouble=trouble,
        )

    def _model(self, request: Request) -> Response:
        """Show one model."""
        detail = self._detail(request)
        frame = self._frame(request)
        state = detail.state
        after = 0 if state is None else max(0, state.head.sequence - _LOOK_BACK)
        recent = [x for x in lines(self._place.entries(detail.view.name)) if x.sequence > after]
        rollout = None if state is None else state.rollout
        steps = () if rollout is None or detail.model is None else meaning.steps_of(
            detail.model, rollout
        )  # fmt: skip
        return self._page(
            request,
            "model.html",
            detail=detail,
            view=detail.view,
            state=state,
            rollout=rollout,
            steps=steps,
            choices=choices(detail, read_only=self._options.read_only),
            monitoring=monitoring_of(frame.words, detail, self._watched(detail)),
            gain_plot=gains_of(frame.words, detail),
            recent=[line for line in recent if line.change][: -_NEWEST - 1 : -1],
            chain=self._chain(detail),
            sent=self._sent.fate(request.query_params.get("sent", ""), detail, recent),
        )

    def _ledger(self, request: Request) -> Response:
        """Show a page of the ledger."""
        detail = self._detail(request)
        query = request.query_params
        wanted = Wanted(
            query.get("kind", "")[:MOST_NAME],
            query.get("mention", "").strip()[:MOST_NAME],
            query.get("holds") == "1",
        )
        number = query.get("page", "1")
        every = lines(self._place.entries(detail.view.name))
        page = page_of(
            [line for line in every if wanted.fits(line)],
            int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 1,
        )
        return self._page(
            request,
            "ledger.html",
            view=detail.view,
            page=page,
            wanted=wanted,
            kinds=sorted({line.kind for line in every} | ({wanted.kind} - {""})),
            chain=self._chain(detail),
        )

    async def _lives(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _healthy(self, _: Request) -> Response:
        """Say whether pages can be made: whether there is something to read them from."""
        problem = await self._readable.problem()
        # Who may not see the pages may ask this: it says no more than that.
        said = "what the pages are made from can't be read now" if problem else "ok"
        return PlainTextResponse(f"{said}\n", status_code=503 if problem else 200)

    # Commands.

    async def _command(self, request: Request) -> Response:
        if request.method == "POST":
            return await self._act(request)
        return await run_in_threadpool(self._confirm, request)

    def _confirm(self, request: Request) -> Response:
        """Say what a command will do, and ask for a reason."""
        detail, verb = self._detail(request), self._verb(request)
        self._check(request, detail, verb)
        return self._form(request, detail, verb)

    def _form(
        self,
        request: Request,
        detail: Detail,
        verb: Verb,
        fields: Mapping[str, str] | None = None,
        problem: str = "",
    ) -> Response:
        frame, given = self._frame(request), fields or {}
        session = self._session(request) or self._guard.new_session()
        key = given.get("id") or secrets.token_hex(12)
        answer = self._page(
            request,
            "confirm.html",
            view=detail.view,
            verb=verb.value,
            question=meaning.question(frame.words, verb, detail),
            key=key,
            token=self._guard.form_token(session, detail.view.name, verb.value, key),
            name=given.get("name") or request.cookies.get("noria_name") or self._options.person,
            reason=given.get("reason", ""),
            problem=problem,
            most_name=MOST_NAME,
            most_reason=MOST_REASON,
        )
        answer.status_code = 422 if problem else 200
        self._keep_session(request, answer, session)
        return answer

    async def _act(self, request: Request) -> Response:
        """Take a command."""
        if not same_origin(request.headers):
            raise Refused(403, self._frame(request).words("foreign-origin"))
        fields = await read_form(request)
        return await run_in_threadpool(self._submit, request, fields)

    def _submit(self, request: Request, fields: Mapping[str, str]) -> Response:
        t, verb = self._frame(request).words, self._verb(request)
        name, key, session = (
            request.path_params["name"],
            fields.get("id", ""),
            self._session(request),
        )
        about = (name, verb.value, key)
        if not session or not self._guard.made_form(fields.get("token", ""), session, *about):
            raise Refused(403, t("stale-form"))
        there = f"/models/{quote(name, safe='')}?sent={key}"
        if key in self._sent:  # a second click: the first one counts
            return RedirectResponse(there, status_code=303)
        detail = self._detail(request)
        self._check(request, detail, verb)
        by, reason = _one_line(fields.get("name", "")), _one_line(fields.get("reason", ""))
        if not 0 < len(by) <= MOST_NAME:
            return self._form(request, detail, verb, fields, t("name-missing", most=MOST_NAME))
        if not 0 < len(reason) <= MOST_REASON:
            return self._form(request, detail, verb, fields, t("reason-missing", most=MOST_REASON))
        command = Command(command_id(key), verb, self._now(), by, reason)
        self._place.submit(name, command)
        self._sent.note(key, detail, command)
        answer = RedirectResponse(there, status_code=303)
        answer.set_cookie("noria_name", _ascii(by), max_age=_YEAR, httponly=True, samesite="strict")
        return answer

    # Coming in.

    async def _door(self, request: Request) -> Response:
        return await self._login(request) if request.method == "POST" else self._login_page(request)

    def _login_page(self, request: Request) -> Response:
        return self._login_form(request, request.query_params.get("next", "/"))

    async def _login(self, request: Request) -> Response:
        t = self._frame(request).words
        if not same_origin(request.headers):
            raise Refused(403, t("foreign-origin"))
        fields = await read_form(request)
        there = local_path(fields.get("next", "/"))
        try:
            opened = self._guard.opens(fields.get("token", ""))
        except InvalidInput:
            return self._login_form(request, there, t("token-wait"), 429)
        if not opened:
            return self._login_form(request, there, t("token-wrong"), 403)
        answer = RedirectResponse(there, status_code=303)
        self._keep_session(request, answer, self._guard.new_session())
        return answer

    def _login_form(
        self, request: Request, there: str, problem: str = "", status: int = 200
    ) -> Response:
        answer = self._page(request, "login.html", there=local_path(there), problem=problem)
        answer.status_code = status
        return answer

    def _logout(self, request: Request) -> Response:
        if not same_origin(request.headers):
            raise Refused(403, self._frame(request).words("foreign-origin"))
        answer = RedirectResponse("/login", status_code=303)
        answer.delete_cookie(session_cookie(request))
        return answer

    def _session(self, request: Request) -> str:
        cookie = request.cookies.get(session_cookie(request), "")
        return cookie if cookie and self._guard.knows_session(cookie) else ""

    def _keep_session(self, request: Request, answer: Response, session: str) -> None:
        answer.set_cookie(
            session_cookie(request),
            session,
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )

    # What the others share.

    def _detail(self, request: Request) -> Detail:
        name = request.path_params["name"]
        detail = self._place.detail(name)
        if detail is None:
            raise Refused(404, self._frame(request).words("no-such-model", name=name))
        return detail

    def _verb(self, request: Request) -> Verb:
        try:
            return Verb(request.path_params["verb"])
        except ValueError as error:
            raise Refused(404, self._frame(request).words("no-such-page")) from error

    def _check(self, request: Request, detail: Detail, verb: Verb) -> None:
        t = self._frame(request).words
        why_not = choice(verb, detail, read_only=self._options.read_only).why_not
        if why_not:
            status = 403 if self._options.read_only else 409
            raise Refused(status, t("not-now", why=t(f"why-not.{why_not}")))

    def _watched(self, detail: Detail) -> Watched | NoriaError:
        try:
            return self._place.watched(detail.view.name)
        except NoriaError as error:
            return error

    def _chain(self, detail: Detail) -> Chain | None:
        """Check the chain, again after a minute: a change behind the loop's back has to show."""
        if detail.state is None:
            return None
        name, head = detail.view.name, detail.state.head
        known = self._chains.get(name)
        if known is not None and known[0] == head.hash and known[1] > time.monotonic():
            return known[2]
        found = check_chain(self._place.entries(name), head)
        self._chains[name] = (head.hash, time.monotonic() + _CHAIN_SECONDS, found)
        return found

    def _page(self, request: Request, template: str, **values: Any) -> Response:
        frame = self._frame(request)
        answer = HTMLResponse(self._pages.render(template, frame, **values))
        answer.headers["content-language"] = frame.words.language
        answer.headers["vary"] = "accept-language, cookie"
        if request.query_params.get("lang") in CATALOGUES:
            answer.set_cookie(
                "noria_lang", frame.words.language, max_age=_YEAR, httponly=True, samesite="strict"
            )
        return answer

    def _frame(self, request: Request) -> Frame:
        query = request.query_params
        words = choose(
            query.get("lang"),
            request.cookies.get("noria_lang"),
            request.headers.get("accept-language", ""),
        )
        asked = [(key, value) for key, value in query.multi_items() if key != "lang"]
        here = request.url.replace(query="").include_query_params(**dict(asked))
        return Frame(
            words=words,
            place=self._place.name,
            cluster=self._options.cluster,
            read_only=self._options.read_only,
            signed_in=self._guard.token is not None and bool(self._session(request)),
            here=here.path + (f"?{here.query}&" if here.query else "?"),
            now=self._now(),
        )

    def _not_found(self, request: Request, error: Exception) -> Response:
        answer = self._error(request, 404, self._frame(request).words("no-such-page"))
        if isinstance(error, HTTPException):
            answer.status_code = error.status_code
            allowed = {"allow": "GET, HEAD"} if error.status_code == _NOT_ALLOWED else {}
            answer.headers.update(error.headers or allowed)
        return answer

    def _refuse(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, Refused):
            raise error
        if error.status == _TOO_LARGE:
            return self._error(request, _TOO_LARGE, self._frame(request).words("too-large"))
        answer = self._error(request, error.status, str(error))
        for name, value in error.headers:
            answer.headers[name.decode()] = value.decode()
        return answer

    def _unforeseen(self, request: Request, _: Exception) -> Response:
        """Make the page of an error that the gate then tells the log."""
        return PlainTextResponse(self._frame(request).words("unforeseen"), status_code=500)

    def _failed(self, request: Request, error: Exception) -> Response:
        said = self._frame(request).words("part-failed", error=str(error))
        return self._error(request, 503, said)

    def _error(self, request: Request, status: int, message: str) -> Response:
        answer = self._page(request, "error.html", message=message)
        answer.status_code = status
        return answer


def _look(place: Place) -> None:
    """Read from where the pages read, of a model that need not be there."""
    next(iter(place.entries("noria-page-health")), None)


def _one_line(said: str) -> str:
    """Return text as one line without control characters: the ledger is read in terminals."""
    return " ".join("".join(c if c.isprintable() else " " for c in said).split())


def _ascii(name: str) -> str:
    """Return a name as a cookie may hold it; others are typed again."""
    return name if name.isascii() and name.isprintable() and not set(name) & set('",;\\') else ""
