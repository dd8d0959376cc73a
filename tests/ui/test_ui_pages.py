"""What the pages show, in every state and in both languages."""

from __future__ import annotations

import re
import string
from xml.etree import ElementTree

import httpx
import pytest

from noria.loop.values import Verb
from noria.places.machine import Machine
from noria.ui.words import CATALOGUES, Words, choose
from noria.ui.words.particles import settle
from tests.ui.places import STATES, Place, breaker, canary, paused, running, serving, training


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_stage_has_its_page(
    place: Place, pages: httpx.Client, state: str, language: str
) -> None:
    STATES[state](place.world(prompt=state != "deploying"))
    for path in ("/", "/models/flights", "/models/flights/ledger"):
        page = pages.get(path, headers={"accept-language": language})
        assert page.status_code == 200
        assert page.headers["content-language"] == language
        assert f'<html lang="{language}">' in page.text
    t = Words(language)
    said = t(f"stage.{state}", version="2")
    assert said in text_of(pages.get(f"/?lang={language}").text)
    assert said in text_of(pages.get(f"/models/flights?lang={language}").text)


def test_a_home_without_models_says_what_to_do_next(place: Place, pages: httpx.Client) -> None:
    page = pages.get("/").text
    assert "noria init my-model" in page
    assert "noria up -f my-model/model.yaml" in page
    assert "아직 모델이 없습니다" in pages.get("/?lang=ko").text


def test_looking_at_a_home_that_is_not_there_makes_nothing(place: Place) -> None:
    place.home.forget_everything()
    with running(Machine(place.home.root)) as pages:
        assert pages.get("/").status_code == 200
        assert pages.get("/models/flights").status_code == 404
    assert not place.home.root.exists()


def test_a_model_that_never_turned_is_shown(place: Place, pages: httpx.Client) -> None:
    place.model()
    assert "not started" in pages.get("/").text
    page = pages.get("/models/flights").text
    assert "its loop has never turned" in page
    assert "/do/" not in page


def test_the_rollout_shows_its_steps_and_their_evidence(place: Place, pages: httpx.Client) -> None:
    canary(place.world())
    page = pages.get("/models/flights").text
    assert "step 2 of 2 (50 %)" in page
    steps = re.findall(r'<li class="(\w+)"[^>]*><strong>(\d+) %', page)
    assert steps == [("done", "10"), ("now", "50"), ("ahead", "100")]
    said = text_of(page)
    assert "10 % of the traffic, decided 2026-01-01" in said
    assert page.count('class="verdict pass"') == 4  # two checks, two gates
    assert "v1 50 %" in said
    assert "asked for" in said  # nothing serves here, so the split is what the loop wanted


def test_what_needs_attention_comes_first_and_says_why(place: Place, pages: httpx.Client) -> None:
    serving(place.world("aaa"))
    breaker(place.world("zzz"))
    page = pages.get("/").text
    assert page.index("/models/zzz") < page.index("/models/aaa")
    assert "loop-breaker: 3 candidates in a row were shown worse or failed in canary" in page
    assert "1 need attention" in page
    only = pages.get("/?trouble=1").text
    assert "/models/aaa" not in only
    assert 'href="/models/zzz"' in only
    model = pages.get("/models/zzz").text
    assert 'href="/models/zzz/do/reset-breaker"' in model
    assert "3 of 3" in model
    assert model.count("refused") >= 3


@pytest.mark.parametrize(
    ("make", "enabled"),
    [
        (serving, {"train"}),
        (training, {"abort"}),
        (canary, {"promote", "pause", "abort", "train"}),
        (paused, {"promote", "resume", "abort", "train"}),
        (breaker, {"train", "reset-breaker"}),
    ],
    ids=["serving", "training", "canary", "paused", "breaker"],
)
def test_only_what_makes_sense_can_be_pressed(
    place: Place, pages: httpx.Client, make: object, enabled: set[str]
) -> None:
    assert callable(make)
    make(place.world())
    page = pages.get("/models/flights").text
    assert set(re.findall(r'href="/models/flights/do/([a-z-]+)"', page)) == enabled
    whys = re.findall(r'id="why-([a-z-]+)">([^<]+)<', page)
    assert {verb for verb, _ in whys} == {verb.value for verb in Verb} - enabled
    assert all(why.strip() for _, why in whys)
    for verb in {verb.value for verb in Verb} - enabled:
        assert pages.get(f"/models/flights/do/{verb}").status_code == 409


def test_what_waits_in_the_inbox_is_listed(place: Place, pages: httpx.Client) -> None:
    world = place.world()
    canary(world)
    world.tell(Verb.PAUSE, reason="holidays")
    page = text_of(pages.get("/models/flights").text)
    assert "Waiting in the inbox Pause by ann" in page
    assert "one waits in the inbox already" in page


def test_the_ledger_is_paged_and_filtered(place: Place, pages: httpx.Client) -> None:
    world = place.world()
    serving(world)
    for number in range(120):
        world.tell(Verb.PAUSE, key=f"k{number}", reason=f"try{number}")
        world.cycle()
    first = pages.get("/models/flights/ledger").text
    assert first.count("<tr>") == 51  # with the head
    assert "Page 1 of 3" in first
    assert "try119" in first
    assert "try0)" not in first
    last = pages.get("/models/flights/ledger?page=99").text
    assert "Page 3 of 3" in last
    found = text_of(pages.get("/models/flights/ledger?mention=try7").text)
    assert "try7" in found
    assert "try70" not in found
    commands = pages.get("/models/flights/ledger?kind=champion").text
    assert commands.count('class="kind champion"') == commands.count('class="kind ') >= 1
    assert pages.get("/models/flights/ledger?page=x&kind=%3Cb%3E").status_code == 200


def test_the_chain_of_hashes_is_checked(place: Place, pages: httpx.Client) -> None:
    canary(place.world())
    assert "The chain of hashes holds" in pages.get("/models/flights").text


def test_a_changed_ledger_shows(place: Place) -> None:
    import sqlite3
    from contextlib import closing

    canary(place.world())
    with closing(sqlite3.connect(place.home.store)) as db:
        db.execute(
            "UPDATE ledger SET entry = "
            "CAST(replace(CAST(entry AS TEXT), 'asked for', 'begged for') AS BLOB)"
        )
        db.commit()
    with running(Machine(place.home.root)) as pages:
        page = pages.get("/models/flights").text
        assert "The chain of hashes is broken: ledger broken at" in page
        assert "해시 체인이 깨졌습니다" in pages.get("/models/flights/ledger?lang=ko").text


def test_a_model_file_that_went_bad_hides_nothing_else(place: Place, pages: httpx.Client) -> None:
    canary(place.world())
    place.home.file("flights").unlink()
    page = pages.get("/models/flights")
    assert page.status_code == 200
    assert "its file is refused" in page.text
    assert "v2 is to replace v1" in page.text


def test_the_gains_of_the_candidates_are_drawn(place: Place, pages: httpx.Client) -> None:
    breaker(place.world())
    (plot,) = re.findall(r'<svg class="plot gains".*?</svg>', pages.get("/models/flights").text)
    texts = [e.text for e in ElementTree.fromstring(plot).iter("text")]  # noqa: S314 - our own
    assert "v2 auc" in texts
    assert "-0.010 refused" in texts


@pytest.mark.slow
def test_two_hundred_models_are_shown_and_found(place: Place, pages: httpx.Client) -> None:
    for number in range(200):
        serving(place.world(f"m{number:03}"))
    page = pages.get("/").text
    assert page.count('<th scope="row">') == 200
    assert "200 models" in page
    assert pages.get("/?find=m1").text.count('<th scope="row">') == 100


@pytest.mark.parametrize(
    ("asked", "kept", "accepted", "chosen"),
    [
        (None, None, "", "en"),
        (None, None, "ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        (None, None, "en-US,en;q=0.9,ko;q=0.8", "en"),
        (None, None, "fr, ko;q=0.3, en;q=0.2", "ko"),
        (None, None, "ko;q=0, en;q=broken", "en"),
        (None, "ko", "en", "ko"),
        ("en", "ko", "ko", "en"),
        ("xx", "<b>", "ko", "ko"),
    ],
)
def test_the_reader_chooses_the_language(
    asked: str | None, kept: str | None, accepted: str, chosen: str
) -> None:
    assert choose(asked, kept, accepted).language == chosen


def test_a_chosen_language_is_kept(place: Place, pages: httpx.Client) -> None:
    assert 'lang="ko"' in pages.get("/?lang=ko").text
    assert '<html lang="ko">' in pages.get("/").text


def test_both_languages_say_the_same_things() -> None:
    english, korean = CATALOGUES["en"], CATALOGUES["ko"]
    assert list(english) == list(korean)
    fields = string.Formatter()
    for key in english:
        want, have = (
            sorted({name for _, name, _, _ in fields.parse(words[key]) if name})
            for words in (english, korean)
        )
        assert want == have, key
        assert korean[key].strip()
        assert korean[key] != english[key], key


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("v1이(가)", "v1이"),
        ("v2이(가)", "v2가"),
        ("v10을(를)", "v10을"),
        ("v5을(를)", "v5를"),
        ("v6(으)로", "v6으로"),
        ("v8(으)로", "v8로"),
        ("v4(으)로", "v4로"),
        ("모델은(는)", "모델은"),
        ("후보은(는)", "후보는"),
        ("flights을(를)", "flights을(를)"),
    ],
)
def test_a_korean_particle_follows_the_sound_before_it(before: str, after: str) -> None:
    assert settle(before) == after


def test_what_is_not_there_is_not_found(pages: httpx.Client) -> None:
    for path in ("/models/none-such", "/models/..%2f..%2fetc", "/models/a/do/explode", "/nowhere"):
        assert pages.get(path).status_code == 404
