"""The link to a Model's monitor: it is sent the reference of every version that serves."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from noria.errors import NoriaError
from noria.loop.state import State

_FILES: Final = ("reference.json", "rows.npz")
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


class Monitor(Protocol):
    """What the link needs of ``monitoring.client.MonitorClient``."""

    def put_reference_bytes(self, model: str, version: str, data: bytes, *, champion: bool) -> None:
        """Give a version's reference as a zip of its two files."""

    def champion(self, model: str) -> str | None:
        """Return the version that the monitor watches against."""


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
            known = self._monitor.champion(model)
            if state.champion is not None and known != state.champion:
                # It is new, or lost its claim: it knows none of the others either.
                self._told.clear()
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


def zipped(folder: Path) -> bytes:
    """Return a reference's two files as a zip: the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in _FILES:
            info = zipfile.ZipInfo(name, _EPOCH)
            archive.writestr(info, (folder / name).read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
