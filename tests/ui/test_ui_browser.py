"""The pages in a real browser: Debian's Chromium, driven over the DevTools protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from noria.places.machine import Machine
from tests.ui.browser import Tab, browsing, find
from tests.ui.places import Place, breaker, canary, running

pytestmark = pytest.mark.slow

WIDER_THAN_THE_SCREEN = (
    "document.documentElement.scrollWidth > document.documentElement.clientWidth"
)
UNNAMED = """[...document.querySelectorAll('a, button, input:not([type=hidden]), select, textarea')]
    .filter(e => !(e.textContent.trim() || e.labels?.length || e.getAttribute('aria-label')))
    .map(e => e.outerHTML)"""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = find()
    if found is None:
        pytest.skip("chromium is not installed, and only root can install it")
    return found


@pytest.fixture
def tab(chromium: str, tmp_path: Path) -> Iterator[Tab]:
    with browsing(chromium, tmp_path / "profile") as opened:
        yield opened


def test_a_person_aborts_a_rollout(
    place: Place, pages: httpx.Client, tab: Tab, tmp_path: Path
) -> None:
    world = place.world()
    canary(world)
    tab.open(str(pages.base_url))
    tab.click('a[href="/models/flights"]')
    tab.wait("location.pathname === '/models/flights'")
    tab.settle()
    tab.click("a.button.abort")
    tab.wait("location.pathname.endsWith('/do/abort')")
    tab.settle()
    assert tab.ask("document.activeElement.id") == "reason"
    tab.type("#reason", "it answers too late")
    tab.click("#do")
    tab.wait("location.search.startsWith('?sent=')")
    tab.settle()
    assert "Accepted: Abort" in tab.ask("document.querySelector('[role=status]').innerText")
    world.cycle(4)
    # The page finds out by itself.
    tab.wait("document.querySelector('[role=status]').innerText.includes('Done: Abort')")
    said = tab.ask("document.querySelector('main').innerText")
    assert "it answers too late" in said
    assert "No rollout is in progress." in said
    tab.screenshot(tmp_path / "after.png")
    assert (tmp_path / "after.png").stat().st_size > 10_000
    assert world.state.outcomes[-1].result == "aborted"
    assert tab.problems == []


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("language", ["en", "ko"])
def test_pages_fit_the_screen_and_name_their_controls(
    place: Place, pages: httpx.Client, tab: Tab, width: int, language: str
) -> None:
    canary(place.world())
    breaker(place.world("a-model-with-a-long-name-that-nobody-would-want-to-type"))
    tab.language(language)
    tab.shape(width, 900)
    model = "models/flights"
    for path in ("", model, f"{model}/ledger", f"{model}/do/promote", "login"):
        tab.open(f"{pages.base_url}/{path}")
        assert not tab.ask(WIDER_THAN_THE_SCREEN), path
        assert tab.ask(UNNAMED) == [], path
        assert tab.ask("document.documentElement.lang") == language
        assert tab.ask("document.querySelectorAll('h1').length") == 1
    assert tab.problems == []


def test_it_works_without_script(place: Place, tab: Tab) -> None:
    world = place.world()
    canary(world)
    with running(Machine(place.home.root)) as pages:
        tab.call("Emulation.setScriptExecutionDisabled", value=True)
        tab.open(f"{pages.base_url}/models/flights/do/pause")
        tab.type("#name", "ann")
        tab.type("#reason", "holidays")
        tab.click("#do")
        tab.wait("location.search.startsWith('?sent=')")
        world.cycle()
        tab.open(tab.ask("location.href"))
        assert "Done: Pause." in tab.ask("document.querySelector('[role=status]').innerText")
    assert world.state.rollout is not None
    assert world.state.rollout.paused is not None


def test_text_can_be_read_in_light_and_dark(place: Place, pages: httpx.Client, tab: Tab) -> None:
    canary(place.world())
    breaker(place.world("broken"))
    for scheme in ("light", "dark"):
        if scheme == "dark":
            tab.dark()
        for path in ("", "models/flights", "models/broken", "models/flights/do/abort"):
            tab.open(f"{pages.base_url}/{path}")
            assert tab.ask(FAINT) == [], (scheme, path)
    tab.ask("document.querySelector('h1').style.color = '#444'")
    assert len(tab.ask(FAINT)) == 1  # the check does see


# WCAG 2.1, 1.4.3: text needs a contrast of 4.5 to 1; what is disabled is exempt.
FAINT = """(() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = e => { for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0.99) return c;
  } return [255, 255, 255]; };
  return [...document.querySelectorAll('body *')]
    .filter(e => !e.closest('svg, :disabled, .skip') && e.checkVisibility())
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
    .map(e => { const a = light(parse(getComputedStyle(e).color)), b = light(ground(e));
      return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), e.outerHTML.slice(0, 120)]; })
    .filter(([ratio]) => ratio < 4.5);
})()"""
