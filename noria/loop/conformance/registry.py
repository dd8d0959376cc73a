"""What every ``Registry`` adapter must show."""

# ruff: noqa: D102 - a test's name is its documentation

from __future__ import annotations

import threading
from functools import partial
from typing import Protocol

from noria.errors import Conflict, RegistryError
from noria.loop.conformance import expect
from noria.loop.ports import CHAMPION, Registry


class RegistryDriver(Protocol):
    """The world behind the adapter. The model has no version at first."""

    port: Registry
    model: str

    def register(self) -> str:
        """Register another version; return its number."""

    def reopen(self) -> Registry:
        """Return another adapter on the same world."""


class RegistryConformance:
    """Versions stay; the alias moves only by compare-and-swap."""

    def test_an_unknown_model_has_nothing(self, driver: RegistryDriver) -> None:
        expect.same(driver.port.versions("no-such-model"), (), "versions")
        expect.same(driver.port.version("no-such-model", "1"), None, "version")
        expect.same(driver.port.alias("no-such-model", CHAMPION), None, "alias")

    def test_versions_are_listed_oldest_first(self, driver: RegistryDriver) -> None:
        # More than nine: text order would put 10 before 2.
        made = [driver.register() for _ in range(11)]
        expect.same([v.version for v in driver.port.versions(driver.model)], made, "versions")

    def test_a_version_is_found_by_its_number(self, driver: RegistryDriver) -> None:
        version = driver.register()
        info = driver.port.version(driver.model, version)
        if info is None:
            raise AssertionError(f"version {version!r} was registered and is not found")
        expect.same((info.model, info.version), (driver.model, version), "name and version")
        expect.true(info.created.utcoffset() is not None, "created is aware")
        expect.same(driver.port.version(driver.model, "404"), None, "an unknown version")

    def test_an_alias_points_where_it_was_put(self, driver: RegistryDriver) -> None:
        version = driver.register()
        expect.same(driver.port.alias(driver.model, CHAMPION), None, "alias before")
        driver.port.set_alias(driver.model, CHAMPION, version, expected=None)
        expect.same(driver.port.alias(driver.model, CHAMPION), version, "alias")
        expect.same(driver.reopen().alias(driver.model, CHAMPION), version, "alias, reopened")

    def test_a_move_from_somewhere_else_is_a_conflict(self, driver: RegistryDriver) -> None:
        first, second, third = driver.register(), driver.register(), driver.register()
        port = driver.port
        port.set_alias(driver.model, CHAMPION, first, expected=None)
        port.set_alias(driver.model, CHAMPION, second, expected=first)
        for expected in (first, None):
            expect.refused(
                Conflict,
                partial(port.set_alias, driver.model, CHAMPION, third, expected=expected),
            )
        expect.same(port.alias(driver.model, CHAMPION), second, "alias after the conflicts")

    def test_an_alias_can_be_taken_away(self, driver: RegistryDriver) -> None:
        version = driver.register()
        driver.port.set_alias(driver.model, CHAMPION, version, expected=None)
        driver.port.set_alias(driver.model, CHAMPION, None, expected=version)
        expect.same(driver.port.alias(driver.model, CHAMPION), None, "alias")

    def test_an_alias_never_points_at_nothing(self, driver: RegistryDriver) -> None:
        driver.register()
        expect.refused(
            RegistryError,
            lambda: driver.port.set_alias(driver.model, CHAMPION, "404", expected=None),
        )
        expect.same(driver.port.alias(driver.model, CHAMPION), None, "alias")

    def test_an_anchor_is_kept_on_its_version(self, driver: RegistryDriver) -> None:
        first, second = driver.register(), driver.register()
        expect.same([v.anchor for v in driver.port.versions(driver.model)], ["", ""], "before")
        driver.port.anchor(driver.model, first, "1:aa")
        driver.port.anchor(driver.model, second, "2:bb")
        driver.port.anchor(driver.model, second, "3:cc:signature+/=")
        kept = [v.anchor for v in driver.reopen().versions(driver.model)]
        expect.same(kept, ["1:aa", "3:cc:signature+/="], "anchors")

    def test_an_anchor_needs_a_version(self, driver: RegistryDriver) -> None:
        driver.register()
        expect.refused(RegistryError, lambda: driver.port.anchor(driver.model, "404", "1:aa"))

    def test_of_many_moves_at_once_one_wins(self, driver: RegistryDriver) -> None:
        versions = [driver.register() for _ in range(4)]
        won: list[str] = []
        start = threading.Barrier(len(versions))

        def move(version: str) -> None:
            port = driver.reopen()
            start.wait()
            try:
                port.set_alias(driver.model, CHAMPION, version, expected=None)
            except Conflict:
                return
            won.append(version)

        threads = [threading.Thread(target=move, args=(v,)) for v in versions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expect.same(len(won), 1, "moves that won")
        expect.same(driver.port.alias(driver.model, CHAMPION), won[0], "alias")
