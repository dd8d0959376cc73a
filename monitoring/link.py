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

        A first version is its champion from the rollout's first step: requests come as soon as
        the address answers, and there is no other reference to hold them to.

        Returns why it was blind when it was asked; empty when it was not.

        Raises:
            NoriaError: It does not answer, or does not take them.
        """
        rolled = None if state.rollout is None else state.rollout.version
        champion = state.champion or rolled
        try:
            status = self._status(model)
            self._look(champion, status)
            for version in dict.fromkeys(filter(None, (rolled, champion))):
                leads = version == champion
                if self._told.get(version) != leads:
                    self._put(model, version, leads)
                    self._told[version] = leads
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
