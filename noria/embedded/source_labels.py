"""The labels that a source brings by itself, sent to the monitor whenever its files change."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from noria.embedded.home import Home
from noria.embedded.survey import served_at
from noria.errors import NoriaError
from noria.files import for_appending
from noria.spec import Model
from noria.tasks.sources.files import stamp_of

_SECONDS: Final = 30.0
_LAST_CHARS: Final = 300


class SourceLabels:
    """Sends the labels of a model whose source brings them, whenever its files have changed.

    It does so in a process of its own (``noria label``), for reading a source takes memory that
    whoever supervises should not hold. A model whose labels only come as feedback, or
    that has none, is left alone.
    """

    def __init__(
        self, home: Home, model: Model, path: Path, elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        """Watch the source of the model at ``path``; nothing is read yet."""
        self._home, self._model, self._base = home, model, path.parent
        self._elapsed = elapsed
        self._next = elapsed()
        self._log = home.monitor(model.name) / "labels.log"
        self._sent: tuple[tuple[str, int, int], ...] = ()
        self._sending: tuple[tuple[str, int, int], ...] = ()
        self._child: subprocess.Popen[bytes] | None = None
        self._problem = ""

    def ensure(self) -> list[str]:
        """Send what is new; return what is wrong. It never waits."""
        spec = self._model.spec
        unlabelled = spec.data.target is None and spec.family.target is None
        if unlabelled or not spec.family.key_has_time:
            return []
        if self._child is not None and (code := self._child.poll()) is not None:
            self._child = None
            if code:
                self._problem = f"labels of the source: {self._last_words()}"
            else:
                self._sent, self._problem = self._sending, ""
        if self._child is None and self._elapsed() >= self._next:
            self._next = self._elapsed() + _SECONDS
            self._start()
        return [self._problem] if self._problem else []

    def close(self) -> None:
        """End the process that sends, if there is one."""
        if self._child is not None:
            self._child.terminate()
            self._child.wait()

    def _start(self) -> None:
        try:
            stamp = stamp_of(self._model.spec.data, self._base)
            served = served_at(self._home, self._model.name)
            if not stamp or stamp == self._sent or served is None:
                return
            # What the monitor has dropped as too old can get no label any more.
            since = datetime.now(UTC) - 2 * self._model.spec.monitoring.performance.max_label_lag
            words = ("label", self._model.name, "--since", f"{since:%Y-%m-%dT%H:%M:%S}")
            self._log.unlink(missing_ok=True)
            with for_appending(self._log).open("ab") as log:
                self._child = subprocess.Popen(
                    [sys.executable, "-m", "noria.cli", *words, "--home", str(self._home.root)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            self._sending = stamp
        except (NoriaError, OSError) as error:
            self._problem = f"labels of the source: {error}"

    def _last_words(self) -> str:
        try:
            said = self._log.read_bytes()[-_LAST_CHARS:].decode("utf-8", "replace")
        except OSError:
            said = ""
        return " ".join(said.split()) or f"see {self._log}"
