"""The link to a Model's monitor: it is sent the reference of every version that serves."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from noria.errors import NoriaError
from noria.loop.state import State

_FILES: Final = ("reference.json", "rows.npz")
_LOOKS: Final = 3
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


class Monitor(Protocol):
    """What the link needs of ``monitoring.client.MonitorClient``."""

    def put_reference_bytes(self, model: str, version: str, data: bytes, *, champion: bool) -> None:
        """Give a version's reference as a zip of its two files."""

    def status(self, model: str) -> dict[str, Any]:
        """Return what the monitor knows: ``champion`` is the version it watches against."""


class MonitorLink:
    """Tells one monitor which versions serve.

    Args:
        monitor: The monitor's client.
        reference: Returns the folder of a version's reference.
    """

    def __init__(self, monitor: Monitor, reference: Callable[[str, str], Path]) -> None:
        self._monitor = monitor
        self._reference = reference
        self._told: dict[str, bool] = {}
        self._behind = 0

    def tell(self, model: str, state: State) -> str:
        """Give the monitor the reference of every version that serves, once.

        Returns what is wrong, empty when the monitor watches the champion.
        """
        wanted: dict[str, bool] = {}
        if state.rollout is not None:
            wanted[state.rollout.version] = False
        if state.champion is not None:
            wanted[state.champion] = True
        try:
            known = self._monitor.status(model).get("champion")
            self._look(state.champion, known)
            for version, champion in wanted.items():
                if self._told.get(version) == champion:
                    continue
                data = zipped(self._reference(model, version))
                self._monitor.put_reference_bytes(model, version, data, champion=champion)
                self._told[version] = champion
        except NoriaError as error:
            self._told.clear()
            return str(error)
        return ""

    def _look(self, champion: str | None, known: object) -> None:
        """Forget what the monitor was told when it does not know it: it lost its claim.

        It takes a moment to work through its log, so it is asked several times.
        """
        behind = champion is not None and self._told.get(champion) and known != champion
        self._behind = self._behind + 1 if behind else 0
        if self._behind >= _LOOKS:
            self._behind = 0
            self._told.clear()


def zipped(folder: Path) -> bytes:
    """Return a reference's two files as a zip: the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in _FILES:
            info = zipfile.ZipInfo(name, _EPOCH)
            archive.writestr(info, (folder / name).read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
