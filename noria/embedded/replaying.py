"""``noria replay``: a model's own rows, sent to it as requests while it is up."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from noria.embedded.home import Home
from noria.embedded.monitor import MonitorProcess
from noria.embedded.survey import served_at
from noria.errors import Unavailable
from noria.replay import Client, Labels, infer_body, moment, read_history, steps
from noria.spec import load_model

_PERIOD_MS: Final = 3_600_000
_MOST_ROWS: Final = 64
_LABEL_BATCH: Final = 500


def replay_rows(
    home: Home,
    model_path: Path,
    between: tuple[datetime | None, datetime | None],
    speed: float,
    on_progress: Callable[[datetime, int, int], None],
) -> None:
    """Send the rows of a time, hour by hour, and each label once it was known.

    Raises:
        Unavailable: The model is not up.
        DataError: There is no such row.
        ServingError: The model refuses the rows.
    """
    model = load_model(model_path)
    name = model.metadata.name
    url = served_at(home, name)
    if url is None:
        raise Unavailable(
            f"model {name!r} is not up in {home.root}", fix=f"run `noria up -f {model_path}` first"
        )
    history = read_history(model.spec, model_path.parent, *between)
    labels = Labels(history)
    client = Client(url, name)
    run = f"replay-{time.time_ns():x}"
    began, first = time.monotonic(), int(history.event_ms[0])
    with MonitorProcess(model_path, home.monitor(name)).fresh_client() as monitor:

        def deliver(until_ms: int) -> None:
            known = labels.known(until_ms)
            for start in range(0, len(known), _LABEL_BATCH):
                batch = [label for _, label in known[start : start + _LABEL_BATCH]]
                monitor.feedback(name, batch)

        for end, rows in steps(history, _PERIOD_MS):
            if speed:
                time.sleep(max(0.0, (end - first) / 1000 / speed - (time.monotonic() - began)))
            for start in range(rows.start, rows.stop, _MOST_ROWS):
                part = slice(start, min(start + _MOST_ROWS, rows.stop))
                answer = client.infer(infer_body(history, part), f"{run}-{start}")
                labels.answered(part, answer.request_id)
            deliver(end)
            on_progress(moment(end), rows.stop, len(history))
        deliver(int(history.label_ms.max()))
    client.close()
