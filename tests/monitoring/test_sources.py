"""Who says what a label is: feedback, or a judge, whose labels give way to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from sklearn.metrics import mean_absolute_error

from monitoring.config import MonitorConfig
from monitoring.core import MAX_SOURCES
from monitoring.exporting import export
from monitoring.exposition import Exposition
from monitoring.log import EventLog
from monitoring.records import Label, LabelsRecord
from monitoring.sources import check_packed, pack, unpack
from noria.errors import InvalidInput
from noria.served.rows import SOURCE, labelled
from noria.served.table import ServedTable
from noria.spec import load_model, parse_model

Make = Callable[..., Any]
JUDGE = "judge:rules"
EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def said(value: Any, row: int = 0, source: str = JUDGE, **more: Any) -> dict[str, Any]:
    return {"id": f"r:{row}", "label": value, "source": source, **more}


def accuracy(b: Any) -> tuple[float | None, int]:
    b.monitor.flush()
    _, found = b.monitor.measure("accuracy", "1", 0.0)
    return found.value, found.samples


def test_feedback_corrects_a_judge_and_no_judge_corrects_feedback(
    bench: Make, world: Any, tmp_path: Path
) -> None:
    b = bench()
    b.champion("1", world.reference(tmp_path / "reference"))
    right = (b.predict("r", 100) > 0.5).astype(int).tolist()
    wrong = [1 - value for value in right]
    assert b.label([said(wrong[row], row) for row in range(100)]) == (100, 100)
    # Of two judges the first wins.
    assert b.label([said(right[row], row, "judge:other") for row in range(100)]) == (0, 100)
    assert accuracy(b) == (0.0, 100)
    # A person's word takes the judge's place; it needs no word of correction, and no time.
    assert b.label([{"id": f"r:{row}", "label": right[row]} for row in range(60)]) == (60, 60)
    b.restart()
    assert accuracy(b) == (0.6, 100)
    # A judge's never takes a person's, not even as a later correction.
    late = {"time": LATE, "correct": True}
    assert b.label([said(wrong[row], row, **late) for row in range(60)]) == (0, 60)
    # Nor by the other name of the row, which the log can't tell.
    by_key = [{"key": str(row), "label": wrong[row], "source": JUDGE, **late} for row in range(60)]
    assert b.label(by_key) == (60, 60)
    assert accuracy(b) == (0.6, 100)
    # Judges correct each other.
    corrections = [said(right[row], row, "judge:other", **late) for row in range(60, 100)]
    assert b.label(corrections) == (40, 40)
    assert accuracy(b) == (1.0, 100)
    counts = b.status()["counts"]
    assert (counts["joined"], counts["corrected"]) == (100, 100)
    assert counts["sources"] == {"feedback": 60, JUDGE: 160, "judge:other": 40}


@pytest.mark.parametrize("judge_first", [True, False])
def test_labels_that_wait_for_their_prediction_give_way_alike(
    bench: Make, world: Any, tmp_path: Path, judge_first: bool
) -> None:
    b = bench()
    b.champion("1", world.reference(tmp_path / "reference"))
    told = [said(0), {"key": "0", "label": 1}]
    for label in told if judge_first else reversed(told):
        b.label([label])
    b.restart()
    b.predict("r", 1)
    b.monitor.flush()
    export(b.home, b.config, tmp_path / "out")
    (row,) = pq.read_table(tmp_path / "out" / "exchanges.parquet").to_pylist()
    assert (row["label"], row["label_source"]) == (1.0, "feedback")
    assert b.status()["counts"]["joined"] == 1


def test_a_performance_of_feedback_alone_counts_no_judge(
    bench: Make, world: Any, tmp_path: Path
) -> None:
    b = bench(
        performance={"metrics": ["accuracy"], "window": {"rows": 100}, "sources": ["feedback"]}
    )
    b.champion("1", world.reference(tmp_path / "reference"))
    right = (b.predict("r", 300) > 0.5).astype(int).tolist()
    b.label([said(1 - right[row], row) for row in range(300)])
    assert accuracy(b) == (None, 0)
    status = b.status()
    assert status["performance"] == {}
    assert (status["counts"]["joined"], status["counts"]["sources"][JUDGE]) == (300, 300)
    b.restart()
    # Rows that a person judged as well count from then on, and as one row each.
    b.label([{"id": f"r:{row}", "label": right[row]} for row in range(100)])
    assert accuracy(b) == (1.0, 100)
    status = b.status()
    assert status["performance"]["1"]["metrics"]["accuracy"]["value"] == 1.0
    assert status["counts"]["joined"] == 300
    _, rows = b.monitor.measure("labelled-rows", None, 0.0)
    assert rows.samples == 300
    # A judge's correction of its own label stays where it was: unmeasured.
    b.label([said(right[200], 200, time=LATE, correct=True)])
    assert accuracy(b) == (1.0, 100)
    b.restart()
    # A correction of what a person said is measured.
    b.label([{"id": "r:0", "label": 1 - right[0], "time": LATE, "correct": True}])
    assert accuracy(b) == (0.99, 100)
    export(b.home, b.config, tmp_path / "out")
    exchanges = pq.read_table(tmp_path / "out" / "exchanges.parquet").to_pylist()
    assert [row["label_source"] for row in exchanges] == ["feedback"] * 100 + [JUDGE] * 200
    assert [row["label"] for row in exchanges[1:100]] == right[1:100]
    # What the judge had said of those rows is not lost.
    labels = pq.read_table(tmp_path / "out" / "labels.parquet").to_pylist()
    assert [row["label_source"] for row in labels].count(JUDGE) == 300


def test_a_row_of_several_targets_counts_when_none_of_them_is_a_judges(
    bench: Make, world: Any, tmp_path: Path
) -> None:
    b = bench()
    document = yaml.safe_load((tmp_path / "model.yaml").read_text())
    document["spec"]["task"]["family"] = "tabular-regression"
    document["spec"]["monitoring"]["performance"] = {
        "metrics": ["mae"],
        "window": {"rows": 100},
        "sources": ["feedback"],
    }
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(document))
    b.config = MonitorConfig.from_model(load_model(tmp_path / "model.yaml"))
    b.restart()
    b.champion("1", world.reference(tmp_path / "reference"))
    predicted = world.random.normal(10, 3, (100, 2))
    truth = predicted + world.random.normal(0, 1, (100, 2))
    b.predict("r", 100, scores=predicted)
    b.label([said([0.0, row[1]], i) for i, row in enumerate(truth)])
    b.label([{"id": f"r:{i}", "label": row[0], "target": 0} for i, row in enumerate(truth)])
    b.monitor.flush()
    assert b.monitor.measure("mae", "1", 0.0)[1].samples == 0
    b.restart()
    b.label([{"id": f"r:{i}", "label": row[1], "target": 1} for i, row in enumerate(truth)])
    b.monitor.flush()
    _, found = b.monitor.measure("mae", "1", 0.0)
    assert found.value == pytest.approx(mean_absolute_error(truth, predicted))
    export(b.home, b.config, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "exchanges.parquet").to_pylist()
    assert rows[7]["labels"] == list(truth[7])
    assert rows[7]["label_sources"] == ["feedback", "feedback"]


def test_the_served_table_says_who_labelled_a_row(bench: Make, world: Any, tmp_path: Path) -> None:
    b = bench()
    document = yaml.safe_load((tmp_path / "model.yaml").read_text())
    document["spec"]["data"]["served"] = {"retention": "36500d"}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(document))
    b.config = MonitorConfig.from_model(load_model(tmp_path / "model.yaml"))
    b.restart()
    b.champion("1", world.reference(tmp_path / "reference", classes=(0, 1)))
    b.predict("r", 3)
    b.label([said(1, 0), said(1, 1), {"id": "r:2", "label": 0}])
    b.label([{"id": "r:1", "label": 0}])
    b.monitor.flush()
    table = ServedTable(b.home / "served")
    rows = [row for piece in labelled(table).pieces for row in piece.table.to_pylist()]
    found = {row["noria.row"]: (row[SOURCE], row["late"]) for row in rows}
    assert found == {0: (JUDGE, 1), 1: ("feedback", 0), 2: ("feedback", 0)}
    # A part of an earlier version says nothing of sources: all of it is feedback.
    for part in table.parts():
        old = pq.read_table(b.home / "served" / part.name).drop_columns([SOURCE])
        table.remove(part)
        pq.write_table(old, tmp_path / "old.parquet")
        table.write(part.day, part.first, part.last, (tmp_path / "old.parquet").read_bytes())
    rows = [row for piece in labelled(table).pieces for row in piece.table.to_pylist()]
    assert {row[SOURCE] for row in rows} == {"feedback"}


def test_more_sources_than_a_metric_should_have_are_one(
    bench: Make, world: Any, tmp_path: Path
) -> None:
    b = bench()
    b.champion("1", world.reference(tmp_path / "reference"))
    b.predict("r", 50)
    b.label([said(1, row, f"judge:{row}") for row in range(50)])
    found = b.status()["counts"]["sources"]
    assert len(found) == MAX_SOURCES + 1
    assert (found["feedback"], found["other"]) == (0, 50 - (MAX_SOURCES - 1))
    text = Exposition(b.monitor).text().decode()
    assert f'source_labels_total{{model="flights",source="other"}} {found["other"]}.0' in text
    # What is kept of each label is its own source.
    export(b.home, b.config, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "exchanges.parquet").to_pylist()
    assert [row["label_source"] for row in rows] == [f"judge:{row}" for row in range(50)]


@pytest.mark.parametrize("source", ["", " judge", "a b", "ü", "x" * 65, "-x", "a\n"])
def test_what_is_no_name_of_a_source_is_refused(bench: Make, source: str) -> None:
    b = bench()
    with pytest.raises(InvalidInput, match=r"labels\[0\]\.source: .* is not the name of a source"):
        b.label([said(1, source=source)])


def test_the_resource_refuses_it_as_well(wire: Any) -> None:
    document = wire.document(performance={"sources": ["feedback", "a b"]})
    with pytest.raises(InvalidInput, match=r"performance\.sources\[1\]"):
        parse_model(document)


def test_state_and_log_of_an_earlier_version_have_feedback_alone(
    bench: Make, world: Any, tmp_path: Path
) -> None:
    b = bench()
    b.champion("1", world.reference(tmp_path / "reference"))
    right = (b.predict("r", 4) > 0.5).astype(int).tolist()
    b.label([{"id": f"r:{row}", "label": right[row]} for row in range(2)])
    b.label([{"id": "later:0", "label": 1}])
    b.monitor.flush()
    b.monitor.close()
    for file, table, columns in (
        ("state.db", "pairs", ("sources",)),
        ("state.db", "labels", ("source",)),
        ("state.db", "outcomes", ("sources", "measured", "again")),
        ("log.db", "labels", ("judged",)),
    ):
        db = sqlite3.connect(b.home / file)
        for column in columns:
            db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        db.commit()
        db.close()
    b.monitor = b.open()
    # What was known then is feedback: a judge changes nothing of it.
    assert b.label([said(1 - right[0], 0), said(1, 2)]) == (1, 2)
    assert b.label([{"id": "later:0", "label": 0, "source": JUDGE}]) == (0, 1)
    assert accuracy(b)[1] == 3
    assert not b.monitor.damaged_files()
    counts = b.status()["counts"]
    assert (counts["joined"], counts["sources"]) == (3, {"feedback": 3, JUDGE: 1})


def test_a_label_of_an_old_log_is_read_as_feedback(tmp_path: Path) -> None:
    import msgspec

    from monitoring.records import decode

    old = msgspec.msgpack.encode(["l", [["id:r:0", 1.0, None, False]]])
    assert decode(old) == LabelsRecord((Label("id:r:0", 1.0, source="feedback"),))
    log = EventLog(tmp_path / "log.db", lambda: 1.0)
    assert log.append_labels([Label("id:r:0", 1.0, source=JUDGE)]).result() == 1
    assert log.append_labels([Label("id:r:0", 0.0)]).result() == 1
    assert log.append_labels([Label("id:r:0", 1.0, 9, True, JUDGE)]).result() == 0
    log.close()


def test_sources_are_kept_by_name_and_what_is_not_theirs_is_refused() -> None:
    assert pack(["feedback"] * 3) is None
    assert unpack(None, 2) == ["feedback", "feedback"]
    names = ["feedback", JUDGE, "feedback", "judge:other", JUDGE]
    packed = pack(names)
    assert packed is not None
    assert unpack(packed, 5) == names
    check_packed(packed, 5, "x")
    # As many as one request may have, each from somebody else.
    many = [f"judge:{number}" for number in range(100_000)]
    packed_many = pack(many)
    assert packed_many is not None
    assert unpack(packed_many, len(many)) == many
    for body, labels in ((packed, 4), (b"\x00", 1), (packed[:-2] + b"\xff\xff", 5)):
        with pytest.raises(InvalidInput, match="x: "):
            check_packed(body, labels, "x")
