"""The labels that a model's source has by now, sent to its monitor."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from noria.embedded.home import Home
from noria.embedded.monitor import MonitorProcess
from noria.embedded.survey import served_at
from noria.errors import Unavailable
from noria.replay import labels_by_key, read_history

_BATCH: Final = 5000


def label_rows(
    home: Home, model: str, since: datetime | None, rows: Path | None
) -> tuple[int, int]:
    """Send labels by entity key; return how many were new, and how many the monitor knew.

    Args:
        home: Where the model is up.
        model: Its name.
        since: The first event time; None: all rows.
        rows: A file that is read instead of the source.

    Raises:
        Unavailable: The model is not up.
        DataError: The source can't be read, or has no such row.
        InvalidInput: The model names no key, or a label does not fit.
    """
    resource, path = home.model(model)
    if served_at(home, model) is None:
        raise Unavailable(
            f"model {model!r} is not up in {home.root}",
            fix=f"run {home.command('up', '-f', path)} first",
        )
    history = read_history(resource.spec, path.parent, since, None, file=rows)
    labels = labels_by_key(history, resource.spec)
    accepted = duplicates = 0
    with MonitorProcess(path, home.monitor(model)).fresh_client() as monitor:
        while part := _taken(labels):
            answer = monitor.feedback(model, part)
            accepted, duplicates = accepted + answer.accepted, duplicates + answer.duplicates
    return accepted, duplicates


def _taken(labels: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(islice(labels, _BATCH))
