"""What the commands ask of the loop on this machine: the shape of ``noria.embedded``.

The module is imported when a command needs it and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from noria.loop.ledger import Head, LedgerEntry
    from noria.loop.values import RunStatus


class ModelStatus(Protocol):
    """One model as ``status`` returns it: a frozen dataclass with these fields.

    ``weights`` are percents by version; ``performance`` is metric to value of the
    newest window; ``processes`` are lines such as ``server v3 (pid 4711)``;
    ``problem`` says what keeps the model from being served.
    """

    @property
    def model(self) -> str: ...  # noqa: D102
    @property
    def stage(self) -> str: ...  # noqa: D102
    @property
    def champion(self) -> str | None: ...  # noqa: D102
    @property
    def candidate(self) -> str | None: ...  # noqa: D102
    @property
    def weights(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def step(self) -> Any: ...  # noqa: D102
    @property
    def last_verdict(self) -> Any: ...  # noqa: D102
    @property
    def retrains_left(self) -> int | None: ...  # noqa: D102
    @property
    def run(self) -> Any: ...  # noqa: D102
    @property
    def drift(self) -> Any: ...  # noqa: D102
    @property
    def performance(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def breaker_open(self) -> bool: ...  # noqa: D102
    @property
    def paused(self) -> bool: ...  # noqa: D102
    @property
    def url(self) -> str | None: ...  # noqa: D102
    @property
    def processes(self) -> Sequence[Any]: ...  # noqa: D102
    @property
    def problem(self) -> str | None: ...  # noqa: D102


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

    def status(self, home: Path) -> Sequence[ModelStatus]:
        """Return every model in ``home``, running or not."""

    def turning(self, home: Path) -> bool:
        """Whether `up` runs here, and every model's loop has turned in it."""

    def submit(self, home: Path, model: str, verb: str, reason: str, by: str) -> None:
        """Put a command (a ``Verb`` of the loop) into the model's durable inbox."""

    def entries(self, home: Path, model: str) -> Iterable[LedgerEntry]:
        """Return the model's ledger, oldest first."""

    def head(self, home: Path, model: str) -> Head:
        """Return the end of the model's ledger as the loop's state remembers it."""

    def train(self, home: Path, model_path: Path, on_step: Callable[[str], None]) -> RunStatus:
        """Run the training pipeline once; ``on_step`` hears one line for each step."""

    def text_columns(self, home: Path, model: str) -> Collection[str]:
        """Return the columns that a client sends as text: categories and keys."""

    def predict(self, home: Path, model: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send ``body`` to the served model: with ``inputs`` as V2, with ``instances`` as V1."""

    def replay(
        self,
        home: Path,
        model_path: Path,
        start: datetime | None,
        end: datetime | None,
        speed: float,
        on_progress: Callable[[datetime, int, int], None],
    ) -> None:
        """Send the rows in [start, end) in time order, and each label when it became known.

        ``speed`` is simulated seconds per second, 0 for as fast as it goes;
        ``on_progress`` hears the simulated time, rows sent, rows in all.
        """


def embedded() -> Facade:
    """Return the loop on this machine."""
    return cast(Facade, import_module("noria.embedded"))
