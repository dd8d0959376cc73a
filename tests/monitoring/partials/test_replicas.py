"""Three replicas and an aggregator find what one monitor finds in the same rows."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from monitoring.config import MonitorConfig
from monitoring.dependence import Dependence
from monitoring.detectors import DetectorConfig
from monitoring.detectors.statistics import ks_of_cells, ks_statistic
from monitoring.detectors.univariate import UnivariateDetector
from monitoring.exporting import export
from monitoring.exposition import Exposition
from monitoring.partials.replica import Replica
from monitoring.partials.sender import Sender
from monitoring.partials.sketches import CellGrid, cells_of, distinct
from monitoring.processor import Role
from monitoring.readers import Outbox
from monitoring.records import PartialRecord, decode
from monitoring.service import Monitor, Setting
from monitoring.table import Column, Table
from noria.errors import InvalidInput, Unavailable
from noria.labels import counted
from noria.predictions import decode as decode_block
from noria.served.rows import PREDICTION, SOURCE, labelled
from noria.served.table import FOLDER, ServedTable
from noria.spec import load_model

WHEN = "2013-02-01T00:00:00Z"
ROWS = 10
REQUESTS = 20
"""Requests of one partial: 200 rows, and 12 partials to a window."""
DETECTORS = [
    {"name": "features", "kind": "tabular", "watch": "features"},
    {"name": "joint", "kind": "mmd", "options": {"referenceRows": 200}},
    {"name": "prediction", "kind": "ks", "watch": "prediction"},
]


class Fleet:
    """Three replicas and their aggregator, in this process; the network is a loop."""

    def __init__(self, model: Path, home: Path) -> None:
        self.config = MonitorConfig.from_model(load_model(model))
        self.home = home
        self.time = 1_700_000_000.0
        self.replicas = {i: self._replica(i) for i in (1, 2, 3)}
        self.aggregator = self._aggregator()

    def _replica(self, i: int) -> Monitor:
        setting = Setting(self.home / f"replica{i}", "event", role=Role(Replica(i, 3)))
        return Monitor(self.config, setting, lambda: self.time)

    def _aggregator(self) -> Monitor:
        setting = Setting(self.home / "aggregator", role=Role(replicas=3))
        return Monitor(self.config, setting, lambda: self.time)

    def restart(self, i: int) -> None:
        self.replicas[i].close()
        self.replicas[i] = self._replica(i)

    def restart_aggregator(self) -> None:
        self.aggregator.close()
        self.aggregator = self._aggregator()

    def close(self) -> None:
        for monitor in (*self.replicas.values(), self.aggregator):
            monitor.close()

    def monitors(self) -> list[Monitor]:
        return [self.aggregator, *self.replicas.values()]

    def ship(self, i: int, *, forget: bool = True) -> int:
        """Send what replica ``i`` has; without ``forget`` as if the answer was lost."""
        self.replicas[i].flush()
        outbox = Outbox(self.home / f"replica{i}" / "state.db")
        found = outbox.first(1000)
        if found:
            body = msgspec.msgpack.encode([msgspec.Raw(record) for _, record in found])
            self.aggregator.partials(body).result()
            if forget:
                outbox.forget(found[-1][0])
        outbox.close()
        return len(found)

    def beat(self, i: int) -> None:
        alive = PartialRecord(i, self.replicas[i].role.replica.life, 0)
        self.aggregator.partials(msgspec.msgpack.encode([alive])).result()


def champion(monitor: Monitor, reference: Path) -> None:
    body = json.dumps({"path": str(reference), "champion": True}).encode()
    monitor.put_reference("1", body).result()


@pytest.fixture
def fleet(tmp_path: Path, model_file: Callable[..., Path], world: Any) -> Iterator[Fleet]:
    model = model_file(
        window={"rows": 2400},
        detectors=DETECTORS,
        performance={
            "metrics": ["auc", "log-loss"],
            "window": {"rows": 300},
            "drop": {"metric": "auc", "max": 0.03},
        },
    )
    found = Fleet(model, tmp_path)
    reference = world.reference(tmp_path / "reference", 2000, auc=0.95)
    for monitor in found.monitors():
        champion(monitor, reference)
    yield found
    found.close()


def request(world: Any, wire: SimpleNamespace, name: str, shift: float) -> list[tuple[Any, bytes]]:
    body = world.request(ROWS, shift, when=WHEN)
    if name.endswith("77"):
        body["inputs"][0]["data"][0] = "never-seen"
        body["inputs"][1]["data"][3] = None
    scores = world.scores(ROWS)
    if name.endswith(("0", "3", "7")):
        return [wire.block([(name, body, scores)])]
    return [
        (wire.headers(name, "request"), json.dumps(body).encode()),
        (wire.headers(name, "response"), json.dumps(wire.response(scores)).encode()),
    ]


def scores_of(events: list[tuple[Any, bytes]]) -> list[float]:
    if len(events) == 1:
        values = decode_block(events[0][1]).outputs["probability"].values
        assert isinstance(values, bytes)
        return np.frombuffer(values, np.float64).tolist()
    return json.loads(events[1][1])["outputs"][0]["data"]


def send(monitor: Monitor, events: list[tuple[Any, bytes]]) -> None:
    for headers, body in events:
        monitor.accept(headers, body).result()


def reports(monitor: Monitor, stream: str) -> list[dict[str, Any]]:
    found = [json.loads(bytes(raw)) for raw in monitor.windows(stream, 100)]
    return [{k: v for k, v in one.items() if k not in ("replicas", "missing")} for one in found]


def found_in(window: dict[str, Any]) -> dict[str, Any]:
    """A window without what depends on which rows came side by side: each replica sees its own."""
    drift = {}
    for name, report in window["drift"].items():
        kept = {k: v for k, v in report.items() if k not in ("p_value", "design_effect")}
        if report["features"]:
            kept = {k: kept[k] for k in ("kind", "window", "threshold", "drift", "samples", "at")}
            kept["features"] = {
                one["name"]: (one["test"], one["statistic"], one["effect"])
                for one in report["features"]
            }
        drift[name] = kept
    return {**window, "drift": drift}


@pytest.mark.slow
def test_three_replicas_find_exactly_what_one_monitor_finds(
    fleet: Fleet, world: Any, wire: SimpleNamespace, tmp_path: Path
) -> None:
    chance = random.Random(7)
    sent: dict[int, list[list[tuple[Any, bytes]]]] = {1: [], 2: [], 3: []}
    for i in range(96 * REQUESTS):
        replica = chance.choice((1, 2, 3))
        events = request(world, wire, f"r{i}", 2.0 if i > 76 * REQUESTS else 0.0)
        sent[replica].append(events)
        # Half of the events come again, some to a replica that has been restarted since.
        chosen = [*events, *chance.sample(events, 1)]
        send(fleet.replicas[replica], chosen)
        if chance.random() < 0.02:
            fleet.restart(chance.choice((1, 2, 3)))
        if chance.random() < 0.05:
            fleet.ship(chance.choice((1, 2, 3)), forget=chance.random() < 0.5)
        if chance.random() < 0.02:
            fleet.restart_aggregator()
    for i in (1, 2, 3):
        fleet.ship(i, forget=False)
        fleet.ship(i)
    counts = fleet.aggregator.flush()
    assert counts["windows"] >= 10
    assert counts["duplicates"] > 0
    dropped = {reason: n for reason, n in counts["dropped"].items() if n}
    assert dropped == {}
    assert counts["rows"] == sum(len(s) // REQUESTS for s in sent.values()) * REQUESTS * ROWS

    # One monitor, given the same rows in the order in which the partials came.
    single = Monitor(fleet.config, Setting(tmp_path / "single", "event"), lambda: 0.0)
    champion(single, tmp_path / "reference")
    taken = {1: 0, 2: 0, 3: 0}
    seen: set[tuple[int, int]] = set()
    with sqlite3.connect(tmp_path / "aggregator" / "log.db") as log:
        for (body,) in log.execute("SELECT body FROM log ORDER BY offset"):
            record = decode(body)
            if not isinstance(record, PartialRecord) or record.stream != "features":
                continue
            if (record.replica, record.seq) in seen:
                continue
            seen.add((record.replica, record.seq))
            start = taken[record.replica]
            taken[record.replica] += REQUESTS
            for events in sent[record.replica][start : start + REQUESTS]:
                send(single, events)
    single.flush()
    for stream in ("features", "prediction"):
        ours, theirs = reports(fleet.aggregator, stream), reports(single, stream)
        assert len(ours) >= 3
        assert [found_in(one) for one in ours] == [found_in(one) for one in theirs]
    drifted = [w["drift"]["features"]["drift"] for w in reports(single, "features")]
    assert drifted[0] is False
    assert drifted[-1] is True
    ours, theirs = (
        sorted(json.loads(bytes(signal))["id"] for signal in monitor.signals())
        for monitor in (fleet.aggregator, single)
    )
    assert ours == theirs
    assert ours
    single.close()


def test_labels_are_measured_by_the_aggregator(
    fleet: Fleet, world: Any, wire: SimpleNamespace
) -> None:
    scores: list[float] = []
    truth: list[int] = []
    for i in range(60):
        events = request(world, wire, f"r{i}", 0.0)
        replica = fleet.replicas[1 + i % 3]
        send(replica, events)
        predicted = scores_of(events)
        found = [(i * 7 + k * 3) % 2 for k in range(ROWS)]
        labels = [{"id": f"r{i}:{k}", "label": y} for k, y in enumerate(found)]
        replica.feedback(json.dumps({"labels": labels}).encode())[0].result()
        scores += predicted
        truth += found
    for i in (1, 2, 3):
        assert fleet.ship(i, forget=False) > 0
        fleet.ship(i)
    assert fleet.aggregator.flush()["joined"] == 600
    _, measured = fleet.aggregator.measure("auc", "1", 0.0)
    from monitoring.measures import measure

    expected = measure("auc", np.array(scores), np.array(truth, np.float64))
    assert (measured.samples, measured.value) == (600, pytest.approx(expected.value, abs=1e-12))
    assert len(fleet.aggregator.windows("performance/1", 10)) == 2
    assert all(b'"performance"' in bytes(signal) for signal in fleet.aggregator.signals())
    assert not fleet.replicas[1].signals()


def test_a_window_without_a_lost_replica_is_not_called_whole(
    fleet: Fleet, world: Any, wire: SimpleNamespace
) -> None:
    for i in (1, 2, 3):
        fleet.beat(i)
    fleet.aggregator.flush()
    assert fleet.aggregator.status()["problems"] == {}
    fleet.time += 60
    for i in range(2400 // ROWS):
        send(fleet.replicas[1 + i % 2], request(world, wire, f"r{i}", 0.0))
    for i in (1, 2):
        fleet.ship(i)
    fleet.aggregator.flush()
    window = json.loads(bytes(fleet.aggregator.windows("features", 1)[0]))
    assert window["replicas"] == {"1": 1200, "2": 1200}
    assert window["missing"] == [3]
    assert fleet.aggregator.status()["problems"] == {
        "replica 3": "its rows are missing: it is silent"
    }
    from monitoring.exposition import Exposition

    text = Exposition(fleet.aggregator).text().decode()
    assert 'replica_silence_seconds{model="flights",replica="3"} 60.0' in text
    assert 'window_replicas_missing{model="flights"} 1.0' in text
    # It comes back with what it has: late, and once.
    fleet.beat(3)
    fleet.aggregator.flush()
    assert fleet.aggregator.status()["problems"] == {}


def test_a_replica_that_lost_its_disk_begins_a_new_life(
    fleet: Fleet, world: Any, wire: SimpleNamespace
) -> None:
    for i in range(REQUESTS):
        send(fleet.replicas[1], request(world, wire, f"r{i}", 0.0))
    fleet.ship(1)
    fleet.replicas[1].close()
    (fleet.home / "replica1").rename(fleet.home / "gone")
    fleet.replicas[1] = fleet._replica(1)
    champion(fleet.replicas[1], fleet.home / "reference")
    for i in range(REQUESTS):
        send(fleet.replicas[1], request(world, wire, f"s{i}", 0.0))
    fleet.ship(1)
    assert fleet.aggregator.flush()["rows"] == 400
    # Another champion at one of them: its partials are of no use here, and counted.
    other = fleet.home / "other"
    world.reference(other, 500)
    champion(fleet.replicas[2], other)
    for i in range(REQUESTS):
        send(fleet.replicas[2], request(world, wire, f"t{i}", 0.0))
    fleet.ship(2)
    assert fleet.aggregator.flush()["dropped"]["other-reference"] == 400


def test_a_correction_reaches_the_aggregator_once(
    fleet: Fleet, world: Any, wire: SimpleNamespace
) -> None:
    def label(value: int, **more: Any) -> tuple[int, ...]:
        labels = [{"id": f"r{i}:0", "label": value, **more} for i in range(REQUESTS)]
        body = json.dumps({"labels": labels}).encode()
        # Labels go to every replica: only one has the prediction.
        return tuple(r.feedback(body)[0].result() for r in fleet.replicas.values())

    for i in range(REQUESTS):
        send(fleet.replicas[1], request(world, wire, f"r{i}", 0.0))
    label(1)
    fleet.ship(1)
    label(0, time="2026-01-02T00:00:00Z", correct=True)
    fleet.restart(1)
    # The answer is lost, and the partial comes twice.
    fleet.ship(1, forget=False)
    fleet.restart_aggregator()
    fleet.ship(1)
    assert label(0, time="2026-01-02T00:00:00Z", correct=True) == (0, 0, 0)
    counts = fleet.aggregator.flush()
    assert (counts["joined"], counts["corrected"]) == (REQUESTS, REQUESTS)
    with fleet.aggregator._reading:
        _, labels, _ = fleet.aggregator._reader.outcomes("1", 0.0)
    assert labels.tolist() == [0.0] * REQUESTS


@pytest.mark.parametrize("sources", [(), ("feedback",)])
def test_who_labelled_a_row_reaches_the_aggregator(
    world: Any, wire: SimpleNamespace, tmp_path: Path, sources: tuple[str, ...]
) -> None:
    model = tmp_path / "sources.yaml"
    watched = {"metrics": ["accuracy"], "window": {"rows": 100}, "sources": list(sources)}
    model.write_text(json.dumps(wire.document(detectors=DETECTORS[:1], performance=watched)))
    fleet = Fleet(model, tmp_path)
    reference = world.reference(tmp_path / "reference", 2000)
    for monitor in fleet.monitors():
        champion(monitor, reference)

    def label(rows: int, value: int, **more: Any) -> None:
        told = [{"id": f"r{i}:{k}", "label": value, **more} for i in range(20) for k in range(rows)]
        body = json.dumps({"labels": told}).encode()
        fleet.replicas[1].feedback(body)[0].result()

    for i in range(20):
        send(fleet.replicas[1], request(world, wire, f"r{i}", 0.0))
    label(ROWS, 0, source="judge:rules")
    fleet.ship(1)
    label(ROWS // 2, 1)
    fleet.restart(1)
    # The answer is lost, and the partial comes twice.
    fleet.ship(1, forget=False)
    fleet.restart_aggregator()
    fleet.ship(1)
    label(ROWS // 2, 0, source="judge:rules", time="2026-01-02T00:00:00Z", correct=True)
    assert fleet.replicas[1].flush()["sources"] == {"feedback": 100, "judge:rules": 200}
    counts = fleet.aggregator.flush()
    assert counts["joined"] == 200
    assert (counts["labels"], counts["sources"]) == (300, {"feedback": 100, "judge:rules": 200})
    # Where a judge counts it is corrected; where it does not its rows count when a person speaks.
    assert counts["corrected"] == (0 if sources else 100)
    with fleet.aggregator._reading:
        _, labels, _ = fleet.aggregator._reader.outcomes("1", 0.0)
    assert sorted(labels.tolist()) == [0.0] * (0 if sources else 100) + [1.0] * 100
    export(fleet.home / "aggregator", fleet.config, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "labels.parquet").to_pylist()
    kept = sorted((row["label_source"], row["label"]) for row in rows)
    judged = 200 if sources else 100
    assert kept == [("feedback", 1.0)] * 100 + [("judge:rules", 0.0)] * judged
    fleet.close()


def test_labels_that_go_to_every_replica_are_counted_once_by_their_source(
    fleet: Fleet, world: Any, wire: SimpleNamespace
) -> None:
    for i in range(9):
        send(fleet.replicas[1 + i % 3], request(world, wire, f"r{i}", 0.0))

    def label(requests: range, source: str) -> None:
        told = [
            {"id": f"r{i}:{row}", "label": row % 2, "source": source}
            for i in requests
            for row in range(ROWS)
        ]
        for replica in fleet.replicas.values():
            replica.feedback(json.dumps({"labels": told}).encode())[0].result()

    label(range(6), "feedback")
    fleet.ship(2, forget=False)
    assert fleet.aggregator.flush()["sources"] == {"feedback": 60}
    label(range(3, 9), "judge:rules")
    for i in (1, 2, 3):
        fleet.ship(i, forget=False)
        fleet.restart_aggregator()
        fleet.ship(i)
    counts = fleet.aggregator.flush()
    # A judge's label of what a person has labelled is none.
    assert counts["sources"] == fleet.replicas[1].flush()["sources"]
    assert counts["sources"] == {"feedback": 60, "judge:rules": 30}
    assert (counts["labels"], counts["joined"]) == (90, 90)
    metrics = Exposition(fleet.aggregator).text().decode()
    named = 'noria_monitor_source_labels_total{model="flights",source='
    assert f'{named}"feedback"}} 60.0' in metrics
    assert f'{named}"judge:rules"}} 30.0' in metrics
    # A replica that begins anew counts on from what it had told.
    fleet.replicas[1].close()
    shutil.rmtree(fleet.home / "replica1")
    fleet.replicas[1] = fleet._replica(1)
    champion(fleet.replicas[1], fleet.home / "reference")
    send(fleet.replicas[1], request(world, wire, "s1", 0.0))
    for replica in fleet.replicas.values():
        body = json.dumps({"labels": [{"id": "s1:0", "label": 1}]}).encode()
        replica.feedback(body)[0].result()
    fleet.ship(1)
    assert fleet.aggregator.flush()["sources"] == {"feedback": 61, "judge:rules": 30}


def test_a_partial_that_is_refused_does_not_hold_up_the_others(
    fleet: Fleet, world: Any, wire: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(REQUESTS):
        send(fleet.replicas[1], request(world, wire, f"r{i}", 0.0))
    fleet.replicas[1].flush()
    outbox = Outbox(fleet.home / "replica1" / "state.db")
    outbox._db.execute("UPDATE outbox SET body = x'91c0' WHERE seq = 1")
    waiting = len(outbox.first(1000))
    assert waiting > 1
    outbox.close()
    taken = []

    def post(_: Sender, records: list[msgspec.Raw]) -> None:
        fleet.aggregator.partials(msgspec.msgpack.encode(records)).result()
        taken.append(len(records))

    monkeypatch.setattr(Sender, "_post", post)
    sender = Sender(
        Outbox(fleet.home / "replica1" / "state.db"), Replica(1, 3, "life"), "http://aggregator"
    )
    deadline = time.monotonic() + 120
    while sum(taken) < waiting - 1:
        assert time.monotonic() < deadline, (taken, sender.problem)
        time.sleep(0.02)
    assert sender.refused == 1
    assert sender.worker.failures == 0
    sender.stop()
    assert fleet.aggregator.flush()["dropped"]["lost-partial"] == 1


def test_partials_of_strangers_are_refused(fleet: Fleet) -> None:
    with pytest.raises(Unavailable, match=r"\[0\]\.replica: 4 is not one of 3"):
        fleet.aggregator.partials(msgspec.msgpack.encode([PartialRecord(4, "x", 1)]))
    with pytest.raises(InvalidInput, match="no partials"):
        fleet.aggregator.partials(b"nonsense")
    with pytest.raises(Unavailable, match="--replicas N"):
        fleet.replicas[1].partials(msgspec.msgpack.encode([PartialRecord(1, "x", 1)]))
    with pytest.raises(InvalidInput, match="such as 2/3"):
        Replica.parse("4/3")


@pytest.mark.parametrize("seed", range(20))
def test_ks_from_counts_is_ks_to_the_bit(seed: int) -> None:
    random_ = np.random.default_rng(seed)
    reference = np.sort(random_.normal(size=random_.integers(1, 300)).round(seed % 4))
    window = np.sort(random_.normal(0.2, 1, size=random_.integers(1, 500)).round(seed % 4))
    places = distinct(reference)
    cells = np.bincount(cells_of(places, window), minlength=2 * places.size + 1)
    assert ks_of_cells(reference, cells) == ks_statistic(reference, window)


@pytest.mark.parametrize("kind", ["ks", "chi-square", "fisher", "tabular"])
def test_detectors_say_the_same_of_sketches_in_any_order(kind: str) -> None:
    random_ = np.random.default_rng(3)

    def table(rows: int) -> Table:
        schema = (
            Column("x", "numeric"),
            Column("b", "numeric"),
            Column("c", "categorical", ("u", "v")),
        )
        x = random_.normal(size=rows)
        x[::17] = np.nan
        columns = {
            "x": x,
            "b": random_.integers(0, 2, rows).astype(np.float64),
            "c": random_.integers(-1, 3, rows).astype(np.int32),
        }
        return Table(schema, columns, rows)

    reference, window = table(2000), table(700)
    detector = UnivariateDetector(DetectorConfig("d", kind), reference)
    grid = CellGrid(reference, {"x": (-2.0, 2.0)}, Dependence(reference, 700))
    parts = [window.slice(start, start + 90) for start in range(0, 700, 90)]
    sketches = [(part.rows, grid.sketch(part)) for part in parts]
    random.Random(1).shuffle(sketches)
    added = grid.add_up(sketches)
    assert all(grid.fits(columns) for _, columns in sketches)
    assert detector.score_counts(added.rows, added.cells) == detector.score(window)


def test_probabilities_of_several_classes_come_whole_from_replicas(
    fleet: Fleet, world: Any, wire: SimpleNamespace, tmp_path: Path
) -> None:
    reference = world.reference(tmp_path / "three", 2000, classes=("cat", "dog", "eel"))
    for monitor in fleet.monitors():
        champion(monitor, reference)
        monitor.flush()
    right: list[bool] = []
    for i in range(30):
        truth, scores = world.classes(400)
        right += (scores.argmax(axis=1) == truth).tolist()
        replica = fleet.replicas[1 + i % 3]
        send(replica, [wire.block([(f"r{i}", world.request(400, when=WHEN), scores)])])
        replica.flush()
        labels = [
            {"id": f"r{i}:{row}", "label": ("cat", "dog", "eel")[k]} for row, k in enumerate(truth)
        ]
        replica.feedback(json.dumps({"model": wire.model, "labels": labels}).encode())[0].result()
    for i in (1, 2, 3):
        fleet.ship(i)
    counts = fleet.aggregator.flush()
    assert {reason: n for reason, n in counts["dropped"].items() if n} == {}
    _, found = fleet.aggregator.measure("accuracy", None, 0.0)
    assert (found.value, found.samples) == (pytest.approx(np.mean(right)), 12_000)
    (learnt, *_) = reports(fleet.aggregator, "prediction")
    assert learnt["learnt"] >= 9600


def test_labels_of_several_targets_come_whole_from_replicas(
    world: Any, wire: SimpleNamespace, tmp_path: Path
) -> None:
    document = wire.document(
        detectors=DETECTORS[:1], performance={"metrics": ["mae"], "window": {"rows": 300}}
    )
    document["spec"]["task"]["family"] = "tabular-regression"
    model = tmp_path / "values.yaml"
    model.write_text(json.dumps(document))
    fleet = Fleet(model, tmp_path)
    reference = world.reference(tmp_path / "reference", 2000)
    for monitor in fleet.monitors():
        champion(monitor, reference)
        monitor.flush()
    errors = world.random.normal(0, [1.0, 2.0], (60, 10, 2))
    for i, error in enumerate(errors):
        replica, scores = fleet.replicas[1 + i % 3], world.random.normal(0, 1, (10, 2))
        send(replica, [wire.block([(f"r{i}", world.request(10, when=WHEN), scores)])])
        replica.flush()
        truth = scores + error
        # One target of each row is corrected later, when the aggregator has the first one.
        labels = [{"id": f"r{i}:{n}", "label": [row[0], 99.0]} for n, row in enumerate(truth)]
        replica.feedback(json.dumps({"labels": labels}).encode())[0].result()
        fleet.ship(1 + i % 3)
        more = {"target": 1, "time": "2026-01-02T00:00:00Z", "correct": True}
        labels = [{"id": f"r{i}:{n}", "label": row[1], **more} for n, row in enumerate(truth)]
        replica.feedback(json.dumps({"labels": labels}).encode())[0].result()
        fleet.ship(1 + i % 3)
    counts = fleet.aggregator.flush()
    assert (counts["joined"], counts["corrected"]) == (600, 600)
    _, found = fleet.aggregator.measure("mae", None, 0.0)
    assert (found.value, found.samples) == (pytest.approx(np.abs(errors).mean()), 600)
    fleet.close()


@pytest.mark.parametrize("names", [("price", "stock"), ()], ids=["named", "counted"])
def test_targets_that_are_labelled_one_by_one_come_whole_from_replicas(
    world: Any, wire: SimpleNamespace, tmp_path: Path, names: tuple[str, ...]
) -> None:
    performance = {"metrics": ["mae"], "window": {"rows": 300}, "sources": ["feedback"]}
    document = wire.document(detectors=DETECTORS[:1], performance=performance)
    document["spec"]["task"]["family"] = "tabular-regression"
    document["spec"]["data"]["served"] = {"retention": "36500d"}
    model = tmp_path / "values.yaml"
    model.write_text(json.dumps(document))
    fleet = Fleet(model, tmp_path)
    reference = world.reference(tmp_path / "reference", 2000)
    said = json.loads((reference / "reference.json").read_text())
    said["prediction"] = {"kind": "value", "targets": names}
    (reference / "reference.json").write_text(json.dumps(said))
    for monitor in fleet.monitors():
        champion(monitor, reference)
        monitor.flush()

    def label(place: int, truth: np.ndarray, request: str, **more: Any) -> None:
        target = names[place] if names else place
        labels = [
            {"id": f"{request}:{row}", "label": value, "target": target, **more}
            for row, value in enumerate(truth[:, place].tolist())
        ]
        # Labels go to every replica: only one has the prediction.
        for replica in fleet.replicas.values():
            replica.feedback(json.dumps({"labels": labels}).encode())[0].result()

    errors = world.random.normal(0, [1.0, 2.0], (30, 10, 2))
    for i, error in enumerate(errors):
        scores = world.random.normal(0, 1, (10, 2))
        block = wire.block([(f"r{i}", world.request(10, start=10 * i, when=WHEN), scores)])
        send(fleet.replicas[1 + i % 3], [block])
        fleet.replicas[1 + i % 3].flush()
        # A judge rates the one, and a person both: the person's word is measured alone.
        label(1, scores + 50.0, f"r{i}", source="judge:rules")
        label(0, scores + error, f"r{i}")
        fleet.ship(1 + i % 3)
        label(1, scores + error, f"r{i}")
        fleet.ship(1 + i % 3)
    fleet.restart_aggregator()
    counts = fleet.aggregator.flush()
    assert {reason: n for reason, n in counts["dropped"].items() if n} == {}
    assert counts["joined"] == 300
    assert counts["sources"] == {"feedback": 600, "judge:rules": 300}
    status = fleet.aggregator.status()
    assert list(status["targets"]) == list(names)
    by_target = np.abs(errors).mean(axis=(0, 1)).tolist()
    shown = names or ("0", "1")
    parts = status["performance"]["1"].parts["mae"]
    assert parts == pytest.approx(dict(zip(shown, by_target, strict=True)))
    _, found = fleet.aggregator.measure("mae", None, 0.0)
    assert (found.value, found.samples) == (pytest.approx(np.mean(by_target)), 300)
    # Each replica keeps the rows that it answered, with both labels.
    columns = names or counted(2)
    for i, replica in fleet.replicas.items():
        replica.flush()
        pieces = labelled(ServedTable(fleet.home / f"replica{i}" / FOLDER)).pieces
        kept = [row for piece in pieces for row in piece.table.to_pylist()]
        off = [[row[name] for name in columns] for row in kept]
        said_by_model = [row[PREDICTION] for row in kept]
        expected = errors[i - 1 :: 3].reshape(-1, 2)
        found_off = sorted(np.subtract(off, said_by_model).tolist())
        np.testing.assert_allclose(found_off, sorted(expected.tolist()))
        assert {row[SOURCE] for row in kept} == {"feedback"}
    fleet.close()
