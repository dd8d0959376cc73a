"""Versions and aliases in memory."""

from __future__ import annotations

import threading

import msgspec

from noria.errors import Conflict, RegistryError
from noria.loop.values import VersionInfo


class FakeRegistry:
    """A ``Registry`` port. ``moves`` is every alias move that took effect, in order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.moves: list[tuple[str, str | None, str | None]] = []
        self._versions: dict[tuple[str, str], VersionInfo] = {}
        self._aliases: dict[tuple[str, str], str] = {}

    def versions(self, model: str) -> tuple[VersionInfo, ...]:
        """Return every version of a model, oldest first."""
        return tuple(v for (m, _), v in self._versions.items() if m == model)

    def version(self, model: str, version: str) -> VersionInfo | None:
        """Return one version."""
        return self._versions.get((model, version))

    def alias(self, model: str, alias: str) -> str | None:
        """Return the version an alias points at."""
        return self._aliases.get((model, alias))

    def set_alias(
        self, model: str, alias: str, version: str | None, *, expected: str | None
    ) -> None:
        """Move an alias by compare-and-swap."""
        with self._lock:
            now = self._aliases.get((model, alias))
            if now != expected:
                raise Conflict(f"alias {alias!r} of {model!r} points at {now}, not at {expected}")
            if version is None:
                self._aliases.pop((model, alias), None)
            elif (model, version) not in self._versions:
                raise RegistryError(f"{model!r} has no version {version!r}")
            else:
                self._aliases[model, alias] = version
            self.moves.append((alias, now, version))

    def anchor(self, model: str, version: str, text: str) -> None:
        """Keep an anchor on a version."""
        with self._lock:
            info = self._versions.get((model, version))
            if info is None:
                raise RegistryError(f"{model!r} has no version {version!r}")
            self._versions[model, version] = msgspec.structs.replace(info, anchor=text)

    def register(self, info: VersionInfo) -> None:
        """Driver: add a version."""
        self._versions[info.model, info.version] = info
