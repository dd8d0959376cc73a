"""Tables of interactions, a package of them, and a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noria.spec import ModelSpec, parse_model
from noria.tasks.recommendation.family import LEARNER
from noria.tasks.recommendation.fitting import Fitted
from tests.serving.conftest import RunningServer, launch

START = pd.Timestamp("2026-01-05", tz="UTC")

Taken = Sequence[tuple[str, str, float]]
"""User, item, and the day since START."""


def spec_of(
    options: dict[str, Any] | None = None, train: dict[str, Any] | None = None, **data: Any
) -> ModelSpec:
    """Return the spec of readers and books."""
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "books"},
            "spec": {
                "task": {"family": "recommendation", "options": {"k": 3, **(options or {})}},
                "train": train or {},
                "data": {
                    "source": {"csv": {"paths": ["rows.csv"]}},
                    "entityKey": ["reader"],
                    "eventTime": "at",
                    "target": "book",
                    "validation": {"minRows": 1},
                    **data,
                },
            },
        }
    ).spec


def rows_of(taken: Taken, **columns: Any) -> pd.DataFrame:
    """Return the long table, as it is ingested: in the order of time and reader."""
    rows = pd.DataFrame([one[:2] for one in taken], columns=["reader", "book"], dtype=object)
    at = START + pd.to_timedelta([one[2] for one in taken], unit="D")
    rows = rows.assign(at=pd.DatetimeIndex(at).as_unit("us"), **columns)
    return rows.sort_values(["at", "reader"], kind="stable", ignore_index=True)


def fitted(spec: ModelSpec, rows: pd.DataFrame, params: dict[str, Any] | None = None) -> Fitted:
    """Return the model of all rows."""
    samples = LEARNER.features(spec, Path(), rows)
    prepared = LEARNER.prepare(spec, samples)
    return LEARNER.fit(spec, prepared, np.arange(len(samples)), params or {}, None)


def shelves(readers: int = 60, seed: int = 0) -> Taken:
    """Return readers of whom each reads one of two shelves of twelve books alone."""
    chance = np.random.default_rng(seed)
    found = []
    for reader in range(readers):
        shelf = "ab"[reader % 2]
        for book in chance.choice(12, 8, replace=False):
            found.append((f"R{reader:02}", f"{shelf}{book:02}", float(chance.uniform(0, 100))))
    return found


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Readers of two shelves, by the books that are read together."""
    spec = spec_of({"k": 4}, {"algorithm": "item-based"})
    folder = tmp_path_factory.mktemp("package") / "v1"
    LEARNER.save(spec, fitted(spec, rows_of(shelves())), folder, model="books")
    return folder


@pytest.fixture(scope="session")
def server(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of the package, called ``m``."""
    running = launch(tmp_path_factory.mktemp("server"), package)
    yield running
    assert running.stop() == 0
