"""The monitor itself, in this process and on the clock of the events."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from monitoring.config import MonitorConfig
from monitoring.service import Monitor, Setting
from noria.errors import InvalidInput
from noria.loop.values import Signal, from_json
from noria.predictions import MEDIA_TYPE, Block, DictColumn, Output, Values, Vectors, encode
from noria.tasks.encoding import days_before
from noria.tasks.sources.rows import moments
from noria.tasks.sources.typed import read_as
from noria.values.vectors import stacked, width_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from noria.measures.measurement import Measurement
    from noria.spec import Model

Places = npt.NDArray[np.int64]

_LABEL_BATCH: Final = 1000
_HEADERS: Final = {"content-type": MEDIA_TYPE}


class Watcher:
    """Feeds the monitor of a model with answered rows and labels. Close it.

    Args:
        model: The model.
        frame: The ``n`` rows, in the order of their events.
        label_ms: (n,) when each label became known.
        home: An empty folder for the monitor's files.
        now: The wall clock, epoch seconds.
    """

    def __init__(
        self,
        model: Model,
        frame: pd.DataFrame,
        label_ms: Places,
        home: Path,
        now: Callable[[], float],
    ) -> None:
        config = MonitorConfig.from_model(model)
        self._name = model.name
        self._monitor = Monitor(config, Setting(home, clock="event"), now)
        self._numbers = {
            name: read_as(frame[name], "number")
            for name in config.inputs
            if config.features.get(name) == "numeric"
        }
        if config.event_time is not None:
            event = moments(frame, config.event_time)
            self._numbers[config.event_time] = event.astype(np.float64)
            for column, name in model.spec.data.distances().items():
                if name in config.features:
                    self._numbers[name] = days_before(moments(frame, column), event)
        self._texts = {
            name: _coded(read_as(frame[name], "text"))
            for name in config.inputs
            if name in config.texts or config.features.get(name) == "categorical"
        }
        self._vectors = {
            name: stacked(found, width_of(found))
            for name, found in (
                (name, read_as(frame[name], "vector"))
                for name in config.inputs
                if config.features.get(name) == "vector"
            )
        }
        self._labels: list[Any] = frame[model.spec.data.target].tolist()
        self._label_ms: list[int] = label_ms.tolist()
        self._waiting: list[Future[int]] = []
        self.foreign_labels = 0

    def champion(self, version: str, reference: Path, *, champion: bool) -> None:
        """Give it a version's reference."""
        body = msgspec.json.encode({"path": str(reference), "champion": champion})
        self._waiting.append(self._monitor.put_reference(version, body))

    def answered(self, version: str, rows: Places, said: npt.NDArray[np.float64]) -> None:
        """Tell it of rows that a version answered, one request each, in order."""
        if not len(rows):
            return
        inputs: dict[str, Values] = {
            name: values[rows].tobytes() for name, values in self._numbers.items()
        }
        for name, (table, codes) in self._texts.items():
            inputs[name] = _texts(table, codes[rows])
        block = Block(
            self._name,
            version,
            tuple(f"r{row}" for row in rows.tolist()),
            np.ones(len(rows), np.int32).tobytes(),
            inputs,
            {"probability": Output(said.tobytes(), 1 if said.ndim == 1 else said.shape[1])},
            {
                name: Vectors(values.shape[1], values[rows].astype(np.float32).tobytes())
                for name, values in self._vectors.items()
            },
        )
        self._waiting.append(self._monitor.accept(_HEADERS, encode(block)))

    def labelled(self, rows: Places) -> None:
        """Tell it the labels of rows; those of a class that the champion does not know are left."""
        for start in range(0, len(rows), _LABEL_BATCH):
            part = rows[start : start + _LABEL_BATCH].tolist()
            try:
                self._feed(part)
            except InvalidInput:
                for row in part:
                    try:
                        self._feed([row])
                    except InvalidInput:
                        self.foreign_labels += 1

    def flush(self) -> None:
        """Have it work through all that it was told."""
        for future in self._waiting:
            future.result()
        self._waiting.clear()
        self._monitor.flush()

    def measure(self, metric: str, version: str | None, since: float) -> Measurement:
        """Measure a version's rows that arrived at or after ``since``, epoch seconds."""
        return self._monitor.measure(metric, version, since)[1]

    def signals(self) -> tuple[Signal, ...]:
        """Return the signals about the present champion, oldest first."""
        return tuple(from_json(bytes(raw), Signal) for raw in self._monitor.signals())

    @property
    def watched(self) -> str:
        """The version whose reference the windows are held against."""
        return self._monitor.snapshot.champion

    def close(self) -> None:
        """Stop it."""
        self._monitor.close()

    def _feed(self, rows: Sequence[int]) -> None:
        labels = [
            {"id": f"r{row}:0", "label": self._labels[row], "time": self._label_ms[row]}
            for row in rows
        ]
        body = msgspec.json.encode({"labels": labels})
        self._waiting.append(self._monitor.feedback(body)[0])


def _coded(values: npt.NDArray[Any]) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    import pandas as pd

    codes, table = pd.factorize(values)
    return tuple(map(str, table)), codes.astype(np.int32)


def _texts(table: tuple[str, ...], codes: npt.NDArray[np.int32]) -> DictColumn:
    """Return some rows' texts with no more of the table than they need."""
    used, places = np.unique(codes, return_inverse=True)
    kept = tuple(table[code] for code in used.tolist() if code >= 0)
    offset = int(len(used) > 0 and used[0] < 0)
    return DictColumn(kept, (places - offset).astype(np.int32).tobytes())
