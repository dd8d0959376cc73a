"""A model whose labels come as feedback alone is retrained on what was served, and is better."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.e2e.conftest import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NAME = "orders"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
BASE = 7 * 96
ROWS = 1_250
START = "2026-01-08"


def rows_of(first: int, last: int) -> pa.Table:
    """Orders, one each quarter of an hour; what is served follows the opposite of the history."""
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, 2))
    sign = np.where(np.arange(ROWS) < BASE, 1.0, -1.0)
    late = sign * (x[:, 0] + x[:, 1]) + random.logistic(0, 0.3, ROWS) > 0
    at = [BEGIN + timedelta(minutes=15 * n) for n in range(ROWS)]
    return pa.table(
        {
            "order": [f"O{n:05}" for n in range(ROWS)],
            "at": at,
            "known": [moment + timedelta(hours=6) for moment in at],
            "a": x[:, 0],
            "b": x[:, 1],
            "kind": np.where(late, "late", "fine").tolist(),
        }
    ).slice(first, last - first)


def document(**served: Any) -> dict[str, Any]:
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": NAME},
        "spec": {
            "task": {"family": "tabular-classification"},
            "data": {
                "source": {"parquet": {"paths": ["rows.parquet"]}},
                "served": served,
                "features": [{"name": "a", "type": "numeric"}, {"name": "b", "type": "numeric"}],
                "target": "kind",
                "eventTime": "at",
                "labelTime": "known",
                "entityKey": ["order"],
                "validation": {"minRows": 100},
            },
            "train": {"algorithm": "linear"},
            "gates": {
                "minRows": 50,
                "champion": [{"metric": "accuracy", "maxDrop": 0.5, "minGain": -1.0}],
            },
            "serving": {
                "canary": {
                    "steps": [50],
                    "minSamples": 20,
                    "stepTimeout": "14d",
                    "analysis": [{"metric": "error-rate", "max": 0.5}],
                }
            },
            "monitoring": {
                "window": {"rows": 100},
                "performance": {"metrics": ["accuracy"], "window": {"rows": 100}},
                "detectors": [{"name": "prediction", "kind": "ks", "watch": "prediction"}],
            },
            "retraining": {
                "signals": ["new-data"],
                "newData": {"growth": 0.5},
                "cooldown": "0s",
                "runsPerDay": 20,
                "trainOn": {"kind": "all"},
            },
        },
    }


def test_labels_that_only_come_back_as_feedback_make_the_next_version_better(
    project: Project,
) -> None:
    # The source ends where the traffic begins, and never grows.
    pq.write_table(rows_of(0, BASE), project.folder / "rows.parquet")
    pq.write_table(rows_of(BASE, ROWS), project.folder / "stream.parquet")
    (project.folder / "model.yaml").write_text(yaml.safe_dump(document(use="alone")))
    command = ("replay", "-f", "model.yaml", "--clock", "event", "--rows", "stream.parquet")
    files = ("--predictions", "p.parquet")
    project.ok(*command, "--start", START, *files, timeout=800)
    found = pq.read_table(project.folder / "p.parquet").to_pandas()
    right = found["label"] == found["model.label"]
    by_version = right.groupby(found["version"]).mean()
    assert by_version["1"] < 0.3
    newest = str(max(map(int, by_version.index)))
    assert newest != "1"
    assert by_version[newest] > 0.8

    cards = [path.read_text() for path in project.home.rglob("model_card.md")]
    assert any("None of the rows that were read was served" in card for card in cards)
    assert any("were served and labelled between" in card for card in cards)
    assert any("the source was not read" in card for card in cards)
    said = json.loads(project.ok("data", NAME, "stats", "--json"))
    # Each row of the stream got its label, and is there once.
    assert said["rows"] == said["labelled"] == said["answered"] == len(found)
    assert said["setting"]["use"] == "alone"
    assert sum(said["days"].values()) == said["rows"]
    project.ok("data", NAME, "export", "--out", "kept.parquet")
    kept = pq.read_table(project.folder / "kept.parquet").to_pandas()
    truth = rows_of(BASE, ROWS).to_pandas().set_index("order")["kind"]
    assert (kept.set_index("order")["kind"] == truth.reindex(kept["order"])).all()
