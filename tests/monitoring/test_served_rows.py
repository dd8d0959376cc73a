"""Labelled rows are kept as a table: each sample once, with the newest label, at any moment."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from monitoring.config import MonitorConfig
from monitoring.service import Monitor, Setting
from noria.served.rows import (
    LABELLED,
    PREDICTED,
    PREDICTION,
    REQUEST,
    ROW,
    VERSION,
    labelled,
)
from noria.served.table import FOLDER, ServedTable
from noria.spec import load_model

START = 1_700_000_000.0
DAY = 86_400.0
FIRST = "2023-11-14"


class Shop:
    """A monitor of a model whose labelled rows are kept, and what was sent to it."""

    def __init__(self, folder: Path, wire: SimpleNamespace, **served: Any) -> None:
        self.wire = wire
        document = wire.document(performance={"metrics": ["auc"], "maxLabelLag": "30d"})
        document["spec"]["data"]["served"] = served
        document["spec"]["data"]["features"].append({"name": "member", "type": "boolean"})
        folder.mkdir(exist_ok=True)
        (folder / "model.yaml").write_text(yaml.safe_dump(document))
        self.config = MonitorConfig.from_model(load_model(folder / "model.yaml"))
        self.home = folder / "home"
        self.now = START
        self.monitor = self.open()

    def open(self) -> Monitor:
        return Monitor(self.config, Setting(self.home), lambda: self.now)

    def restart(self) -> None:
        self.monitor.close()
        self.monitor = self.open()

    def champion(self, reference: Path) -> None:
        body = json.dumps({"path": str(reference), "champion": True}).encode()
        self.monitor.put_reference("1", body).result()

    def ask(
        self,
        request: str,
        wind: list[float | None],
        *,
        when: list[str] | None = None,
        keys: list[Any] | None = None,
        form: str = "events",
        version: str = "1",
    ) -> None:
        rows = len(wind)
        tensor = self.wire.tensor
        body = {
            "inputs": [
                tensor("carrier", "BYTES", ["AA"] * rows),
                tensor("distance", "FP64", [100.0 + n for n in range(rows)]),
                tensor("wind", "FP64", wind),
                tensor("member", "BOOL", [n % 2 == 0 for n in range(rows)]),
                tensor("scheduled", "BYTES", when or ["2023-11-14T10:00:00Z"] * rows),
                tensor("flight_id", "BYTES", keys or [f"{request}-{n}" for n in range(rows)]),
            ]
        }
        scores = np.linspace(0.1, 0.9, rows)
        if form == "blocks":
            headers, content = self.wire.block([(request, body, scores)], version)
            self.monitor.accept(headers, content).result()
            return
        for kind, sent in (("request", body), ("response", self.wire.response(scores))):
            headers = self.wire.headers(request, kind, version)
            self.monitor.accept(headers, json.dumps(sent).encode()).result()

    def label(self, **labels: Any) -> None:
        """Label rows by the request's id and row, joined by an underscore."""
        self.send([{"id": name.replace("_", ":"), "label": y} for name, y in labels.items()])

    def send(self, labels: list[dict[str, Any]]) -> None:
        body = json.dumps({"model": self.wire.model, "labels": labels}).encode()
        self.monitor.feedback(body)[0].result()

    @property
    def table(self) -> ServedTable:
        return ServedTable(self.home / FOLDER)

    def rows(self, as_of: float | None = None) -> dict[tuple[str, int], dict[str, Any]]:
        self.monitor.flush()
        return read(self.table, as_of)


def read(table: ServedTable, as_of: float | None = None) -> dict[tuple[str, int], dict[str, Any]]:
    found = [row for piece in labelled(table, as_of).pieces for row in piece.table.to_pylist()]
    rows = {(row[REQUEST], row[ROW]): row for row in found}
    assert len(rows) == len(found)
    return rows


@pytest.fixture
def shop(tmp_path: Path, wire: SimpleNamespace, world: Any) -> Iterator[Callable[..., Shop]]:
    made: list[Shop] = []

    def make(**served: Any) -> Shop:
        found = Shop(tmp_path / f"shop{len(made)}", wire, **served)
        reference = tmp_path / f"reference{len(made)}"
        found.champion(world.reference(reference, 400, classes=(0, 1)))
        made.append(found)
        return found

    yield make
    for one in made:
        one.monitor.close()


@pytest.mark.parametrize("form", ["events", "blocks"])
def test_a_labelled_row_is_kept_as_it_was_asked(shop: Callable[..., Shop], form: str) -> None:
    found = shop()
    when = ["2023-11-14T10:00:00Z", "2023-11-15T11:30:00.250Z", "2023-11-15T12:00:00Z"]
    found.ask("a", [1.5, None, 3.0], when=when, form=form)
    found.now += 3600
    found.label(a_0=1, a_1=0)
    rows = found.rows()
    assert set(rows) == {("a", 0), ("a", 1)}
    row = rows["a", 1]
    assert row["wind"] is None
    assert (row["carrier"], row["distance"], row["member"]) == ("AA", 101.0, False)
    assert row["flight_id"] == "a-1"
    assert row["scheduled"].isoformat() == "2023-11-15T11:30:00.250000+00:00"
    assert (row["late"], row[VERSION], row[PREDICTION]) == (0, "1", [0.5])
    assert row[PREDICTED].timestamp() == START
    assert row[LABELLED].timestamp() == START + 3600
    assert rows["a", 0]["member"] is True
    assert found.table.days() == ("2023-11-14", "2023-11-15")


def test_columns_that_are_redacted_are_nowhere_in_the_files(
    tmp_path: Path, wire: SimpleNamespace, shop: Callable[..., Shop]
) -> None:
    found = shop(redact=["flight_id"])
    found.ask("a", [1.0, 2.0], keys=["secret-one", "secret-two"])
    found.label(a_0=1, a_1=0)
    assert set(found.rows()) == {("a", 0), ("a", 1)}
    for part in found.table.parts():
        content = found.table.read(part)
        assert b"secret" not in content
        assert "flight_id" not in pq.read_schema(found.home / FOLDER / part.name).names


def test_labels_that_come_before_or_late_or_by_key_find_their_rows(
    shop: Callable[..., Shop],
) -> None:
    found = shop()
    found.label(b_1=1)
    found.ask("a", [1.0, 2.0], keys=["k1", "k2"])
    found.now += 10
    found.ask("b", [3.0, 4.0], keys=["k3", "k4"])
    assert set(found.rows()) == {("b", 1)}
    found.now += 20 * DAY
    found.ask("c", [5.0])
    found.send([{"key": "k2", "label": 0}])
    assert set(found.rows()) == {("b", 1), ("a", 1)}
    # Known when both were: a label that waited for its row is no older than the row.
    assert set(found.rows(START + 9)) == set()
    assert set(found.rows(START + 10)) == {("b", 1)}


def test_what_was_asked_is_remembered_until_its_label_can_no_longer_come(
    shop: Callable[..., Shop],
) -> None:
    found = shop()
    found.ask("early", [1.0])
    for n in range(12):  # several windows close, and the log forgets what they needed
        found.ask(f"r{n}", [float(n)] * 100)
    found.monitor.flush()
    found.monitor._processor.prune()
    found.restart()
    found.label(early_0=1)
    rows = found.rows()
    assert rows["early", 0]["wind"] == 1.0
    assert found.monitor.status()["counts"]["unkept"] == 0


def test_of_several_labels_the_newest_known_at_the_moment_counts(
    shop: Callable[..., Shop],
) -> None:
    found = shop()
    found.ask("a", [1.0])
    found.label(a_0=1)
    found.label(a_0=0)  # not a correction: the first one stands
    assert found.rows()["a", 0]["late"] == 1
    corrections = [(100, 0), (200, 1), (300, 0)]
    for after, label in corrections:
        found.now = START + after
        time = f"2023-11-14T23:{after // 100:02d}:00Z"
        found.send([{"id": "a:0", "label": label, "correct": True, "time": time}])
    # One that was made before the last is no newer, whenever it arrives.
    found.send([{"id": "a:0", "label": 1, "correct": True, "time": "2023-11-14T22:00:00Z"}])
    assert found.rows()["a", 0]["late"] == 0
    assert [found.rows(START + at)["a", 0]["late"] for at in (0, 99, 100, 200, 299, 300)] == [
        1, 1, 0, 1, 1, 0,
    ]  # fmt: skip
    assert labelled(found.table).written == 4


def test_the_sample_is_of_whole_requests_and_always_the_same(shop: Callable[..., Shop]) -> None:
    half, again = shop(sample=0.5), shop(sample=0.5)
    for one, form in ((half, "events"), (again, "blocks")):
        for n in range(60):
            one.ask(f"r{n}", [1.0, 2.0], form=form)
        one.send([{"id": f"r{n}:{row}", "label": 1} for n in range(60) for row in (0, 1)])
    kept = half.rows()
    assert 20 < len(kept) < 100
    assert set(kept) == set(again.rows())
    assert {(request, 1 - row) for request, row in kept} == set(kept)


def test_days_past_their_time_are_deleted_whole_by_the_time_of_their_events(
    shop: Callable[..., Shop],
) -> None:
    found = shop(retention="2d")
    days = [f"2023-11-{day}T12:00:00Z" for day in (10, 12, 13, 14)]
    found.ask("a", [1.0, 2.0, 3.0, 4.0], when=days)
    found.label(a_0=1, a_1=1, a_2=0, a_3=1)
    # It is the 14th: the 12th is two days ago, and its day is still within the two.
    assert found.rows().keys() == {("a", 1), ("a", 2), ("a", 3)}
    found.now += DAY
    found.ask("b", [1.0])
    assert found.rows().keys() == {("a", 2), ("a", 3)}
    assert found.table.days() == ("2023-11-13", "2023-11-14")


def test_rows_without_an_event_time_are_counted_and_not_kept(shop: Callable[..., Shop]) -> None:
    found = shop()
    found.ask("a", [1.0, 2.0], when=[None, "2023-11-14T10:00:00Z"])  # type: ignore[list-item]
    found.label(a_0=1, a_1=1)
    assert set(found.rows()) == {("a", 1)}
    assert found.monitor.status()["counts"]["dropped"]["unkept"] == 1


def test_labels_wait_for_the_names_of_the_classes(
    tmp_path: Path, wire: SimpleNamespace, world: Any
) -> None:
    found = Shop(tmp_path / "named", wire)
    found.ask("a", [1.0, 2.0])
    found.label(a_0=1, a_1=0)
    assert found.rows() == {}
    assert "names no classes" in found.monitor.status()["problems"]["served"]
    found.champion(world.reference(tmp_path / "reference", 400, classes=("on time", "late")))
    assert {row["late"] for row in found.rows().values()} == {"on time", "late"}
    assert found.rows()["a", 0]["late"] == "late"
    assert "served" not in found.monitor.status()["problems"]
    found.monitor.close()


def test_a_class_of_several_is_kept_by_its_name(
    tmp_path: Path, wire: SimpleNamespace, world: Any
) -> None:
    found = Shop(tmp_path / "named", wire)
    names = ("early", "fine", "late")
    found.champion(world.reference(tmp_path / "reference", 400, classes=names))
    found.monitor.flush()
    found.ask("a", [1.0, 2.0, 3.0])
    found.label(a_0="late", a_1="early", a_2="fine")
    rows = found.rows()
    assert [rows["a", n]["late"] for n in range(3)] == ["late", "early", "fine"]
    found.monitor.close()


def test_what_is_lost_of_the_state_is_read_again_and_doubles_nothing(
    shop: Callable[..., Shop],
) -> None:
    found = shop()
    for n in range(20):
        found.ask(f"r{n}", [1.0])
        found.send([{"id": f"r{n}:0", "label": n % 2}])
    before = {sample: row["late"] for sample, row in found.rows().items()}
    found.monitor.close()
    for path in found.home.glob("state.db*"):
        path.unlink()
    found.monitor = found.open()
    after = {sample: row["late"] for sample, row in found.rows().items()}
    assert before == after
    found.send([{"id": "r3:0", "label": 0, "correct": True, "time": "2023-11-14T23:00:00Z"}])
    assert found.rows()["r3", 0]["late"] == 0


def test_a_damaged_part_is_set_aside_and_named_and_the_others_are_read(
    shop: Callable[..., Shop],
) -> None:
    found = shop()
    for n in range(3):
        found.ask(f"r{n}", [1.0], when=[f"2023-11-1{n}T10:00:00Z"])
        found.send([{"id": f"r{n}:0", "label": 1}])
        found.monitor.flush()
    victim = found.table.parts()[1]
    path = found.home / FOLDER / victim.name
    path.write_bytes(path.read_bytes()[:-40])
    told = labelled(found.table)
    assert (told.rows, told.set_aside) == (2, (f"{victim.name}.damaged",))
    assert victim.name in str(found.monitor.damaged_files())
    # What was written to that day is not written again, whatever the reason that it is asked for.
    assert found.table.last_of(victim.day) == victim.last
    found.restart()
    assert len(found.rows()) == 2


def test_many_parts_of_a_day_become_few_and_stay_the_same_rows(
    shop: Callable[..., Shop],
) -> None:
    found = shop()
    for n in range(40):
        found.ask(f"r{n}", [float(n)])
        found.send([{"id": f"r{n}:0", "label": n % 2}])
        found.monitor.flush()
    assert len(found.table.parts()) < 16
    rows = found.rows()
    assert {request: (row["wind"], row["late"]) for (request, _), row in rows.items()} == {
        f"r{n}": (float(n), n % 2) for n in range(40)
    }
    assert labelled(found.table).written == 40


def test_a_merge_that_was_cut_off_doubles_nothing(shop: Callable[..., Shop]) -> None:
    found = shop()
    kept: list[tuple[str, bytes]] = []
    for n in range(16):
        found.ask(f"r{n}", [float(n)])
        found.send([{"id": f"r{n}:0", "label": 1}])
        found.monitor.flush()
        if n == 14:
            kept = [(part.name, found.table.read(part)) for part in found.table.parts()]
    assert len(found.table.parts()) == 1
    for name, content in kept:  # as if the kill had come before they were deleted
        (found.home / FOLDER / name).write_bytes(content)
    assert len(found.table.parts()) == 1
    assert labelled(found.table).written == 16
    found.ask("last", [0.0])
    found.send([{"id": "last:0", "label": 1}])
    assert len(found.rows()) == 17
    assert not found.table.superseded(FIRST)


def test_without_the_setting_the_monitor_keeps_no_rows(
    bench: Callable[..., Any], world: Any, tmp_path: Path
) -> None:
    plain = bench()
    plain.champion("1", world.reference(tmp_path / "reference"))
    plain.predict("a", 5)
    plain.label_request("a")
    plain.status()
    assert not (plain.home / FOLDER).exists()
    with sqlite3.connect(plain.home / "state.db") as state:
        assert state.execute("SELECT count(*) FROM served").fetchone() == (0,)
