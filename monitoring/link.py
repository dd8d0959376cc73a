"""The link from the loop to a model's monitor: it is told which versions serve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from noria.errors import NoriaError
from noria.loop.state import State

_LOOKS: Final = 3


class MonitorLink:
    """Tells one monitor which versions serve, and tells it again what it has lost.

    Args:
        status: Returns what the monitor says of a model: ``champion``, and ``blind`` when it
            can't read its reference.
        put: Gives it the reference of (model, version), of the champion or not.
    """

    def __init__(
        self,
        status: Callable[[str], Mapping[str, Any]],
        put: Callable[[str, str, bool], None],
    ) -> None:
        self._status = status
        self._put = put
        self._told: dict[str, bool] = {}
        self._behind = 0

    def told(self, model: str, state: State) -> str:
        """Tell it, and return what is wrong; empty when the monitor watches the champion."""
        try:
            return self.tell(model, state)
        except NoriaError as error:
            return str(error)

    def tell(self, model: str, state: State) -> str:
        """Give the monitor the reference of every version that serves, once.

        Returns why it was blind when it was asked; empty when it was not.

        Raises:
            NoriaError: It does not answer, or does not take them.
        """
        wanted: dict[str, bool] = {}
        if state.rollout is not None:
            wanted[state.rollout.version] = False
        if state.champion is not None:
            wanted[state.champion] = True
        try:
            status = self._status(model)
            self._look(state.champion, status)
            for version, champion in wanted.items():
                if self._told.get(version) == champion:
                    continue
                self._put(model, version, champion)
                self._told[version] = champion
        except NoriaError:
            self._told.clear()
            raise
        return str(status.get("blind") or "")

    def _look(self, champion: str | None, status: Mapping[str, Any]) -> None:
        """Forget what the monitor was told when it does not know it: it lost its claim.

        It takes a moment to work through its log, so it is asked several times.
        """
        lost = status.get("champion") != champion or bool(status.get("blind"))
        behind = champion is not None and self._told.get(champion) and lost
        self._behind = self._behind + 1 if behind else 0
        if self._behind >= _LOOKS:
            self._behind = 0
            self._told.clear()
