"""``noria replay --clock event``: the whole loop on a small stream with text labels."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
import yaml

from noria.process import start_time
from tests.e2e.conftest import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NAME = "orders"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = 1_100
START = "2026-01-08"
CHANGE = 600


def rows_of(first: int, last: int) -> pa.Table:
    """Return orders, one each quarter of an hour; after the change the classes trade places."""
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, 2))
    score = np.column_stack([x[:, 0], x[:, 1], -x[:, 0] - x[:, 1]])
    score[CHANGE:] = score[CHANGE:, ::-1]
    codes = (2 * score + random.gumbel(size=score.shape)).argmax(axis=1)
    at = [BEGIN + timedelta(minutes=15 * n) for n in range(ROWS)]
    return pa.table(
        {
            "order": [f"O{n:05}" for n in range(ROWS)],
            "at": at,
            "known": [moment + timedelta(hours=6) for moment in at],
            "a": x[:, 0],
            "b": x[:, 1],
            "kind": np.array(["early", "fine", "late"])[codes].tolist(),
        }
    ).slice(first, last - first)


def document() -> dict[str, Any]:
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": NAME},
        "spec": {
            "task": {"family": "tabular-classification"},
            "data": {
                "source": {"parquet": {"paths": ["rows.parquet"]}},
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
                "newData": {"growth": 0.3},
                "cooldown": "0s",
                "runsPerDay": 20,
                "trainOn": {"kind": "all"},
            },
        },
    }


@pytest.fixture
def orders(project: Project) -> Project:
    pq.write_table(rows_of(0, ROWS), project.folder / "rows.parquet")
    (project.folder / "model.yaml").write_text(yaml.safe_dump(document()))
    return project


EVENTS = ("replay", "-f", "model.yaml", "--clock", "event")


def test_the_loop_runs_over_the_rows_by_their_own_time(orders: Project) -> None:
    files = ("--predictions", "p.parquet", "--report", "r.html")
    said = orders.ok(*EVENTS, "--start", START, *files, timeout=800)
    found = pq.read_table(orders.folder / "p.parquet")
    start = datetime(2026, 1, 8, tzinfo=UTC)
    streamed = rows_of(7 * 96, ROWS)
    assert found.column("label").to_pylist() == streamed.column("kind").to_pylist()
    assert found.column("event_time").to_pylist()[0] == start
    assert not any(found.column("seen").to_pylist())
    chances = [f"probability.{name}" for name in ("early", "fine", "late")]
    total = sum(found.column(name).to_numpy() for name in chances)
    np.testing.assert_allclose(total, 1.0)
    assert set(found.column("model.label").to_pylist()) == {"early", "fine", "late"}

    # The loop went by the events: it trained on what was known, and learned what came.
    assert {"1", "2"} <= set(found.column("version").to_pylist())
    assert "promoted" in said
    why = orders.ok("why", NAME, "--last", "0")
    assert "2026-01-08" in why
    assert "becomes the champion in place of v1" in why
    assert f"{len(streamed):,} rows" in said

    page = (orders.folder / "r.html").read_text()
    assert "With " in page
    assert "the version that it began with" in page
    assert "--clock event" in page

    stopped = orders.model(NAME)
    assert (stopped["doing"], stopped["processes"]) == ("stopped (was: serving)", ())
    _is_not_told_twice(orders)
    _comes_out(orders, len(streamed))


def test_three_classes_whose_labels_come_late_are_watched_and_judged_by_their_performance(
    orders: Project,
) -> None:
    # The champion has only seen rows of before the change; what follows is what the labels show.
    pq.write_table(rows_of(200, ROWS), orders.folder / "rows.parquet")
    changed = document()
    spec = changed["spec"]
    spec["serving"]["canary"]["analysis"] = [{"metric": "log-loss", "maxDrop": 0.05}]
    spec["monitoring"]["performance"] = {
        "metrics": ["log-loss", "accuracy", "auc", "f1"],
        "window": {"rows": 100},
        "drop": {"metric": "accuracy", "max": 0.1},
    }
    spec["retraining"]["signals"] = ["performance"]
    spec["retraining"]["trainOn"] = {"kind": "weighted", "halfLife": 0.05}
    (orders.folder / "model.yaml").write_text(yaml.safe_dump(changed))
    orders.ok(*EVENTS, "--start", "2026-01-07T06:00:00", "--predictions", "p.parquet", timeout=800)

    why = orders.ok("why", NAME, "--last", "0")
    assert "accuracy is 0." in why
    assert "at training" in why
    assert "log-loss" in why
    assert "becomes the champion in place of v1" in why
    found = pq.read_table(orders.folder / "p.parquet").to_pandas()
    right = found["model.label"] == found["label"]
    by_version = right.groupby(found["version"]).mean()
    assert by_version["2"] > by_version["1"] + 0.2


def test_stopping_twice_at_once_leaves_no_process(orders: Project) -> None:
    # Whoever started the tests in the background had interrupts ignored: a child would, too.
    ignored = signal.signal(signal.SIGINT, signal.SIG_DFL)
    replay = subprocess.Popen(
        [sys.executable, "-m", "noria.cli", *EVENTS, "--start", START],
        cwd=orders.folder,
        env={**os.environ, "NORIA_HOME": str(orders.home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, ignored)
    orders.until(lambda model: any("server" in one for one in model["processes"]), NAME, 300)
    running = orders.pids(NAME).values()
    assert running
    for _ in range(3):
        replay.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert replay.wait(60) != 0
    assert orders.model(NAME)["processes"] == ()
    assert not [pid for pid in running if start_time(pid) is not None]


def _is_not_told_twice(orders: Project) -> None:
    again = orders.noria(*EVENTS, "--start", START)
    assert again.code == 2
    assert "has come as far as 2026-01-12" in again.err
    assert "--home" in again.err
    nothing_left = orders.noria(*EVENTS)
    assert nothing_left.code == 2
    assert "no row is later" in nothing_left.err


def _comes_out(orders: Project, rows: int) -> None:
    orders.ok("export", NAME, "--out", "out")
    exchanges = pq.read_table(orders.folder / "out" / "exchanges.parquet")
    assert exchanges.num_rows == rows
    assert exchanges.column("label").null_count == 0


def test_rows_of_a_file_are_told_to_a_model_that_is_up_and_seen_ones_are_refused(
    orders: Project,
) -> None:
    pq.write_table(rows_of(0, 600), orders.folder / "rows.parquet")
    pc.write_csv(rows_of(600, 700), orders.folder / "new.csv")
    orders.ok("up", "-f", "model.yaml", "--detach", timeout=600)

    refused = orders.noria("replay", "-f", "model.yaml")
    assert refused.code == 2
    assert "v1 was fitted on events until 2026-01-07T05:45:00" in refused.err
    assert "--rows FILE" in refused.err
    events = orders.noria(*EVENTS)
    assert events.code == 2
    assert "is up by the wall's clock" in events.err
    assert "--clock event --home" in events.err

    said = orders.ok(
        "replay", "-f", "model.yaml", "--rows", "new.csv", "--predictions", "p.parquet"
    )
    assert "on 100 rows that are new to it: auc" in said
    found = pq.read_table(orders.folder / "p.parquet")
    assert found.column("label").to_pylist() == rows_of(600, 700).column("kind").to_pylist()
    orders.ok("export", NAME, "--out", "out")
    assert pq.read_table(orders.folder / "out" / "labels.parquet").num_rows == 100

    orders.ok("down")
    events = orders.noria(*EVENTS)
    assert events.code == 2
    assert "went by the wall's clock" in events.err
