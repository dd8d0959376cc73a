"""Buttons: a confirmation, one durable command, and what became of it."""

from __future__ import annotations

import html
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from noria.loop.sqlite_store import SqliteStore
from noria.loop.state import RolloutPhase
from noria.loop.values import Command
from noria.places.machine import Machine
from noria.ui.app import Options
from tests.ui.places import (
    Place,
    breaker,
    canary,
    form,
    origin,
    paused,
    running,
    send,
    serving,
    training,
)

HOSTILE = "<script>alert('x')</script>\"'&{{7*7}}\x1b[31m"


def inbox(place: Place) -> list[Command]:
    found = SqliteStore(place.home.store).inbox("flights")
    return [message for message in found if isinstance(message, Command)]


def test_an_abort_is_confirmed_accepted_and_done(place: Place, pages: httpx.Client) -> None:
    world = place.world()
    canary(world)
    ask = html.unescape(pages.get("/models/flights/do/abort").text)
    assert "Abort the rollout of v2 of flights?" in ask
    assert "v1 gets 100 % of the traffic back." in ask
    assert "The loop-breaker does not count it" in ask
    assert "No loop runs for this model now" in ask
    answer = send(pages, "flights", "abort", form(pages, "flights", "abort"))
    assert answer.status_code == 303
    there = answer.headers["location"]
    assert "Accepted: Abort. No loop runs" in pages.get(there).text
    assert [(c.verb, c.by, c.reason) for c in inbox(place)] == [("abort", "ann", "because")]
    world.cycle()
    assert world.state.rollout is None or world.state.rollout.phase is RolloutPhase.ABORTING
    world.cycle(3)
    page = pages.get(there).text
    assert "Done: Abort." in page
    assert "ann (because) aborted it" in html.unescape(page)
    assert world.state.outcomes[-1].result == "aborted"
    assert "Done: Abort." not in pages.get("/models/flights").text
    serving(place.world("other"))
    assert "Done: Abort." not in pages.get(there.replace("flights", "other")).text


@pytest.mark.parametrize(
    ("make", "verb", "says"),
    [
        (canary, "promote", "v2 gets 100 % of the traffic"),
        (canary, "pause", "The traffic stays as it is: v1 50 %, v2 50 %."),
        (paused, "resume", "v2 goes on where it was"),
        (training, "abort", "is stopped and makes no candidate"),
        (serving, "train", "The budget counts it: 6 left before it."),
        (breaker, "reset-breaker", "Signals may start runs again."),
    ],
    ids=["promote", "pause", "resume", "cancel", "train", "reset"],
)
def test_each_button_says_what_will_happen_and_the_loop_does_it(
    place: Place, pages: httpx.Client, make: object, verb: str, says: str
) -> None:
    assert callable(make)
    world = place.world()
    make(world)
    ask = html.unescape(pages.get(f"/models/flights/do/{verb}").text)
    assert says in ask
    answer = send(pages, "flights", verb, form(pages, "flights", verb))
    assert answer.status_code == 303
    world.cycle()
    page = html.unescape(pages.get(answer.headers["location"]).text)
    assert "Done: " in page
    assert "ann (because)" in page


def test_a_form_that_is_sent_twice_is_one_command(place: Place, pages: httpx.Client) -> None:
    world = place.world()
    canary(world)
    fields = form(pages, "flights", "pause")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(pages, "flights", "pause", fields), range(8)))
    # One that comes after the first was stored, yet before it was noted, is told that it waits.
    assert {a.status_code for a in answers} <= {303, 409}
    assert len(inbox(place)) == 1
    world.cycle()
    again = send(pages, "flights", "pause", fields)
    assert again.status_code == 303
    assert "Done: Pause." in pages.get(again.headers["location"]).text
    assert inbox(place) == []


@pytest.mark.parametrize(
    "spoil",
    [
        {"token": ""},
        {"token": "0" * 64},
        {"id": "another"},
        {"id": ""},
        {"token": "é"},
    ],
)
def test_a_form_that_is_not_ours_does_nothing(
    place: Place, pages: httpx.Client, spoil: dict[str, str]
) -> None:
    canary(place.world())
    fields = form(pages, "flights", "abort") | spoil
    assert send(pages, "flights", "abort", fields).status_code == 403
    assert inbox(place) == []


def test_a_form_is_for_one_model_one_verb_and_one_session(
    place: Place, pages: httpx.Client
) -> None:
    canary(place.world())
    canary(place.world("other"))
    fields = form(pages, "flights", "abort")
    assert send(pages, "other", "abort", fields).status_code == 403
    assert send(pages, "flights", "promote", fields).status_code == 403
    with httpx.Client(base_url=pages.base_url) as stranger:
        assert send(stranger, "flights", "abort", fields).status_code == 403
        form(stranger, "flights", "abort")
        assert send(stranger, "flights", "abort", fields).status_code == 403
    assert inbox(place) == []
    assert send(pages, "flights", "abort", fields).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://127.0.0.1:1"},
        {"referer": "http://evil.example/127.0.0.1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
def test_a_post_from_elsewhere_does_nothing(
    place: Place, pages: httpx.Client, headers: dict[str, str]
) -> None:
    canary(place.world())
    fields = form(pages, "flights", "abort")
    sent = origin(pages) | headers if "sec-fetch-site" in headers else headers
    answer = pages.post("/models/flights/do/abort", data=fields, headers=sent)
    assert answer.status_code == 403
    assert "nothing was done" in answer.text
    assert inbox(place) == []


@pytest.mark.parametrize(
    ("field", "value"), [("reason", "   "), ("reason", "x" * 501), ("name", ""), ("name", "x" * 61)]
)
def test_a_form_that_lacks_something_is_asked_for_again(
    place: Place, pages: httpx.Client, field: str, value: str
) -> None:
    canary(place.world())
    fields = form(pages, "flights", "abort") | {field: value}
    answer = send(pages, "flights", "abort", fields)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert inbox(place) == []
    again = dict(re.findall(r'name="(id|token)" value="([^"]*)"', answer.text))
    assert again == {"id": fields["id"], "token": fields["token"]}


def test_hostile_words_stay_words(place: Place, pages: httpx.Client) -> None:
    world = place.world()
    canary(world)
    fields = form(pages, "flights", "pause") | {"reason": HOSTILE, "name": "<b>eve</b>"}
    assert send(pages, "flights", "pause", fields).status_code == 303
    (command,) = inbox(place)
    assert "\x1b" not in command.reason  # the ledger is read in terminals, too
    world.cycle()
    for path in ("/models/flights", "/models/flights/ledger", "/", "/models/flights/do/resume"):
        page = pages.get(path).text
        assert "<script>alert" not in page
        assert "<b>eve" not in page
        assert "49" not in re.findall(r"reason[^<]{0,40}", page)
    assert "&lt;script&gt;alert" in pages.get("/models/flights/ledger").text


@pytest.mark.parametrize(
    "path",
    [
        "/models/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "/?find=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
        "/models/flights/ledger?mention=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&kind=%3Cscript%3E",
        "/?lang=%3Cscript%3E&%3Cscript%3E=%22%3E%3Cscript%3Ealert(1)",
        "/login?next=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
    ],
)
def test_a_hostile_address_stays_words(place: Place, pages: httpx.Client, path: str) -> None:
    serving(place.world())
    page = pages.get(path).text
    assert re.findall(r"<script(?![^>]*src=\"/static/ui\.js)", page) == []


def test_a_hostile_file_name_is_a_model_name_like_any_other(place: Place) -> None:
    note = place.home.root / "models" / "<img src=x onerror=alert(1)>.json"
    note.write_text('{"path": "/nowhere.yaml"}')
    with running(Machine(place.home.root)) as pages:
        page = pages.get("/").text
        assert "<img src=x" not in page
        link = re.search(r'<th scope="row"><a href="([^"]+)"', page)
        assert link is not None
        model = pages.get(html.unescape(link[1]))
        assert model.status_code == 200
        assert "<img src=x" not in model.text


def test_read_only_pages_take_nothing(place: Place) -> None:
    canary(place.world())
    with running(Machine(place.home.root), options=Options(read_only=True)) as pages:
        page = pages.get("/models/flights").text
        assert "Read-only" in page
        assert "/do/" not in page
        assert pages.get("/models/flights/do/abort").status_code == 403
        answer = send(pages, "flights", "abort", {"id": "x", "token": "y"})
        assert answer.status_code == 403
    assert inbox(place) == []


def test_a_huge_form_is_refused(place: Place, pages: httpx.Client) -> None:
    canary(place.world())
    fields = form(pages, "flights", "abort") | {"reason": "x" * 20_000}
    assert send(pages, "flights", "abort", fields).status_code == 413
    many = "&".join(f"f{n}=1" for n in range(100))
    answer = pages.post("/models/flights/do/abort", content=many, headers=origin(pages))
    assert answer.status_code == 413
    assert inbox(place) == []
