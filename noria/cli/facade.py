"""What the commands do on this machine: the shape of ``noria.embedded``.

The module is imported when a command needs it and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from monitoring.exporting import Answered
    from noria.embedded.replaying import Progress, Replayed
    from noria.loop.values import RunStatus
    from noria.replay import Replaying
    from noria.served.summary import Summary
    from noria.spec import Served
    from serving.batch.job import Progress as BatchProgress
    from serving.batch.job import Wanted


class Facade(Protocol):
    """The functions of ``noria.embedded``. Each raises ``NoriaError`` and nothing else."""

    def up(self, home: Path, model_paths: Sequence[Path], tell: Callable[[str], None]) -> None:
        """Serve, watch and retrain until SIGTERM; with no paths, the models known in ``home``.

        ``tell`` hears one sentence for each thing that happens.
        """

    def observe(self, home: Path, on: bool) -> None:
        """Say that ``up`` starts Prometheus and Alertmanager in ``home``, or that it does not."""

    def down(self, home: Path) -> None:
        """Stop what ``up`` started; done when nothing runs any more."""

    def damaged(self, home: Path) -> Sequence[str]:
        """Return the files that were set aside because they could not be read."""

    def turning(self, home: Path) -> bool:
        """Whether `up` runs here, and every model's loop has turned in it."""

    def train(self, home: Path, model_path: Path, on_step: Callable[[str], None]) -> RunStatus:
        """Run the training pipeline once; ``on_step`` hears one line for each step."""

    def receive(self, home: Path, model: str, source: str) -> Path:
        """Copy a model that was trained elsewhere to where its project takes it; return where."""

    def text_columns(self, home: Path, model: str) -> Collection[str]:
        """Return the columns that a client sends as text: categories and keys."""

    def file_columns(self, home: Path, model: str) -> Collection[str]:
        """Return the columns that a client sends as the bytes of a file: images."""

    def predict(self, home: Path, model: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send ``body`` to the served model: with ``inputs`` as V2, with ``instances`` as V1."""

    def predict_batch(
        self,
        home: Path,
        model: str,
        version: str | None,
        wanted: Wanted,
        show: Callable[[BatchProgress], None],
        *,
        told: bool,
    ) -> BatchProgress:
        """Answer the rows of files by a registered version (None: the champion), part by part.

        ``told``: the model's monitor hears of the answers.
        """

    def predict_registered(
        self,
        tracking_uri: str,
        model: str,
        version: str | None,
        wanted: Wanted,
        show: Callable[[BatchProgress], None],
    ) -> BatchProgress:
        """Answer the rows of files by a version of another registry; see ``predict_batch``."""

    def replay(
        self, home: Path, model_path: Path, wanted: Replaying, show: Callable[[Progress], None]
    ) -> Replayed:
        """Send a model's rows to it in time order, and each label when it became known.

        The model is up; ``show`` hears where the replay is, each simulated hour.
        """

    def replay_events(
        self,
        home: Path,
        model_path: Path,
        wanted: Replaying,
        show: Callable[[Progress], None],
        tell: Callable[[str], None],
    ) -> Replayed:
        """Run the loop over a model's rows by the clock of their events; nothing is up before.

        ``tell`` hears one sentence for each thing that happens.
        """

    def label(
        self, home: Path, model: str, since: datetime | None, rows: Path | None
    ) -> tuple[int, int]:
        """Send the source's labels to a model's monitor; return how many were new, and known."""

    def served(self, home: Path, model: str) -> tuple[Summary, Answered, Served | None]:
        """Return what is kept of a model's labelled rows, of how many, and by what settings."""

    def export_served(self, home: Path, model: str, out: Path) -> int:
        """Write a model's labelled rows that are kept to one file; return how many."""

    def export(
        self, home: Path, model: str, out: Path, since: datetime | None, until: datetime | None
    ) -> Mapping[str, int]:
        """Write what the model's monitor keeps of [since, until) into ``out``; return the rows."""


def embedded() -> Facade:
    """Return the loop on this machine."""
    return cast(Facade, import_module("noria.embedded"))
