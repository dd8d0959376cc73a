"""A small model that is up with its own Prometheus and Alertmanager, and traffic that drifts."""

from __future__ import annotations

import csv
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

NAME = "parcels"
WINDOW = 200
MIN_SAMPLES = 60
_ROWS_A_REQUEST = 4
_PAUSE = 0.02


def adapt(folder: Path) -> None:
    """Let the model of ``noria init`` roll out within seconds, once."""
    file = folder / "model.yaml"
    content = yaml.safe_load(file.read_text())
    spec = content["spec"]
    spec["train"]["hyperparameters"] = {"n_estimators": 30}
    spec["gates"] = {
        "minRows": 100,
        "bounds": [{"metric": "auc", "min": 0.5}],
        # No row is new to the champion here, so nothing can be compared with it.
        "champion": [],
    }
    spec["serving"]["canary"] |= {"steps": [30, 60], "minSamples": MIN_SAMPLES}
    spec["serving"]["canary"]["analysis"] = [
        {"metric": "error-rate", "max": 0.01},
        {"metric": "latency-p50", "max": "2s"},
    ]
    spec["monitoring"]["window"] = {"rows": WINDOW}
    # A drift waits for new labelled rows: the few of a replay are enough.
    spec["retraining"] = {"signals": ["drift"], "newData": {"growth": 0.001}, "runsPerDay": 1}
    file.write_text(yaml.safe_dump(content, sort_keys=False))


class Traffic:
    """Clients that ask for rows of the training data, some hundred a second, in a thread."""

    def __init__(self, url: str, rows: Path) -> None:
        self._url = f"{url.partition('/v2/')[0]}/v1/models/{NAME}:predict"
        with rows.open() as file:
            self._rows = list(csv.DictReader(file))
        self._random = random.Random(0)
        self._stop = threading.Event()
        self._longer = 1.0
        self._thread = threading.Thread(target=self._send, daemon=True)
        self.answered = 0
        self.failed = 0
        self.drifted_at: datetime | None = None

    def drift(self) -> None:
        """From now on everybody lives four times as far away."""
        self._longer = 4.0

    def sent(self, rows: int) -> None:
        """Wait until so many rows more were answered."""
        wanted, deadline = self.answered + rows, time.monotonic() + 120
        while self.answered < wanted:
            assert time.monotonic() < deadline, (self.answered, self.failed)
            time.sleep(0.02)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _send(self) -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            while not self._stop.wait(_PAUSE):
                longer = self._longer
                rows = [self._instance(longer) for _ in range(_ROWS_A_REQUEST)]
                if longer > 1 and self.drifted_at is None:
                    self.drifted_at = datetime.now(UTC)
                try:
                    answer = client.post(self._url, json={"instances": rows})
                except httpx.HTTPError:
                    self.failed += 1
                    continue
                self.answered += _ROWS_A_REQUEST * answer.is_success
                self.failed += not answer.is_success

    def _instance(self, longer: float) -> dict[str, Any]:
        row = self._random.choice(self._rows)
        return {
            "parcel_id": row["parcel_id"],
            "ordered": row["ordered"],
            "service": row["service"],
            "distance_km": float(row["distance_km"]) * longer,
            "weight_kg": float(row["weight_kg"]),
        }


@dataclass(frozen=True)
class Seen:
    """When each thing was seen, for the way from the first drifted event to the promotion."""

    drifted: datetime
    alert: datetime
    run: datetime
    promotion: datetime

    @property
    def seconds(self) -> dict[str, float]:
        return {
            what: (at - self.drifted).total_seconds()
            for what, at in (
                ("alert", self.alert),
                ("run", self.run),
                ("promotion", self.promotion),
            )
        }


def entry_at(entries: Callable[[], Iterator[Any]], said: str, seconds: float = 120) -> datetime:
    """Wait for a note in the ledger that holds ``said``; return when it was decided."""
    deadline = time.monotonic() + seconds
    while True:
        for entry in entries():
            if any(said in note["text"] for note in entry.notes):
                found: datetime = entry.at
                return found
        if time.monotonic() > deadline:
            texts = [note["text"] for entry in entries() for note in entry.notes]
            raise AssertionError(f"{said!r} is not in the ledger: {texts}")
        time.sleep(0.05)


def alert_at(prometheus: str, name: str) -> datetime:
    """Return since when Prometheus has an alert active."""
    said = httpx.get(f"{prometheus}/api/v1/alerts", trust_env=False).json()["data"]["alerts"]
    active = [a["activeAt"] for a in said if a["labels"]["alertname"] == name]
    return min(datetime.fromisoformat(at[:26].rstrip("Z") + "+00:00") for at in active)
