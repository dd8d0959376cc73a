"""Rows of several named targets are kept as a table: a column each, as far as it is known."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from noria.served.rows import (
    LABELLED,
    PREDICTION,
    REQUEST,
    ROW,
    SOURCE,
    TARGETS,
    labelled,
    of_target,
)
from noria.served.summary import export, summary
from noria.served.table import FOLDER, ServedTable

NAMES = ("price", "stock", "2")
JUDGE = "judge:rules"
EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


@pytest.fixture
def model_file(tmp_path: Path, wire: Any) -> Callable[..., Path]:
    """A model of values whose labelled rows are kept."""

    def write(*, feature: str = "", **monitoring: Any) -> Path:
        document = wire.document(**monitoring)
        if feature:
            document["spec"]["data"]["features"].append({"name": feature, "type": "numeric"})
        document["spec"]["task"]["family"] = "tabular-regression"
        document["spec"]["data"]["served"] = {"retention": "36500d"}
        path = tmp_path / "model.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    return write


@pytest.fixture
def kept(bench: Callable[..., Any]) -> Any:
    """A monitor of it; its champion comes with the test."""
    return bench(detectors=[], performance={"metrics": ["mae"], "maxLabelLag": "30d"})


def champion(b: Any, tmp_path: Path, *targets: str, version: str = "1") -> None:
    folder: Path = b.world.reference(tmp_path / f"reference-{version}")
    document = json.loads((folder / "reference.json").read_text())
    document["prediction"] = {"kind": "value", "targets": targets}
    (folder / "reference.json").write_text(json.dumps(document))
    b.champion(version, folder)
    b.monitor.flush()


def told(b: Any, row: int = 0, **more: Any) -> None:
    """Label one target of a row, or with a list all of them."""
    b.label([{"id": f"r:{row}", **more}])


def rows(b: Any, as_of: float | None = None) -> dict[int, dict[str, Any]]:
    """Rows of the table by their place in the request."""
    b.monitor.flush()
    pieces = labelled(ServedTable(b.home / FOLDER), as_of).pieces
    found = [row for piece in pieces for row in piece.table.to_pylist()]
    assert len({(row[REQUEST], row[ROW]) for row in found}) == len(found)
    return {row[ROW]: row for row in found}


def said(row: dict[str, Any]) -> dict[str, tuple[Any, Any, Any]]:
    """Each target's label, who said it, and when."""
    return {
        name: (
            row[name],
            row[of_target(SOURCE, name)],
            None
            if row[of_target(LABELLED, name)] is None
            else row[of_target(LABELLED, name)].timestamp(),
        )
        for name in row[TARGETS]
    }


def test_each_target_is_kept_by_its_name_as_it_becomes_known(kept: Any, tmp_path: Path) -> None:
    champion(kept, tmp_path, *NAMES)
    kept.predict("r", 2, scores=np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    start = kept.time
    told(kept, label=9.0, target="price", source=JUDGE)
    assert said(rows(kept)[0]) == {
        "price": (9.0, JUDGE, start),
        "stock": (None, None, None),
        "2": (None, None, None),
    }
    kept.restart()
    # A person's word takes the judge's place, and the judge's that of nobody.
    kept.time = start + 10
    told(kept, label=[1.5, 2.5, None])
    told(kept, label=8.0, target="price", source=JUDGE)
    kept.time = start + 20
    told(kept, label=3.5, target="2", source=JUDGE)
    found = rows(kept)
    assert set(found) == {0}
    assert said(found[0]) == {
        "price": (1.5, "feedback", start + 10),
        "stock": (2.5, "feedback", start + 10),
        "2": (3.5, JUDGE, start + 20),
    }
    assert found[0][TARGETS] == list(NAMES)
    assert found[0][PREDICTION] == [1.0, 2.0, 3.0]
    assert found[0][SOURCE] == f"feedback {JUDGE}"
    assert found[0][LABELLED].timestamp() == start + 20
    assert "late" not in found[0]
    # A correction of a row that has all of its labels changes one of them.
    kept.restart()
    kept.time = start + 30
    told(kept, label=2.0, target="stock", time=LATE, correct=True)
    told(kept, label=7.0, target="stock", time=EARLY, correct=True)
    assert said(rows(kept)[0])["stock"] == (2.0, "feedback", start + 30)
    then = [said(rows(kept, start + after)[0]) for after in (0, 10, 20, 30)]
    assert [row["price"][0] for row in then] == [9.0, 1.5, 1.5, 1.5]
    assert [row["stock"][0] for row in then] == [None, 2.5, 2.5, 2.0]
    assert [row["2"][0] for row in then] == [None, None, 3.5, 3.5]
    # The judge's word gave way, and the label that was corrected; the others were only added.
    assert summary(ServedTable(kept.home / FOLDER)).corrections == 2
    assert kept.status()["counts"]["dropped"]["unkept"] == 0


def test_labels_before_their_rows_and_by_key_are_kept_with_them(kept: Any, tmp_path: Path) -> None:
    champion(kept, tmp_path, *NAMES)
    told(kept, 1, label=0.5, target="stock")
    kept.label([{"key": "0", "label": [1.0, None, 3.0]}])
    kept.time += 10
    kept.predict("r", 2, scores=np.ones((2, 3)))
    at = kept.time
    found = rows(kept)
    # A label that waited for its row is no older than the row.
    assert said(found[1]) == {
        "price": (None, None, None),
        "stock": (0.5, "feedback", at),
        "2": (None, None, None),
    }
    assert [found[0][name] for name in NAMES] == [1.0, None, 3.0]
    assert rows(kept, at - 1) == {}


def test_labels_wait_for_the_names_of_their_targets(kept: Any, tmp_path: Path) -> None:
    kept.predict("r", 2, scores=np.ones((2, 3)))
    told(kept, label=[1.0, 2.0, 3.0])
    kept.restart()
    assert rows(kept) == {}
    status = kept.status()
    assert "no champion has named their targets" in status["problems"]["served"]
    champion(kept, tmp_path, *NAMES)
    told(kept, 1, label=[4.0, 5.0, 6.0])
    found = rows(kept)
    assert [[found[row][name] for name in NAMES] for row in (0, 1)] == [[1, 2, 3], [4, 5, 6]]
    status = kept.status()
    assert "served" not in status["problems"]
    assert status["counts"]["dropped"]["unkept"] == 0


def test_targets_without_names_are_kept_by_their_places(kept: Any, tmp_path: Path) -> None:
    kept.predict("r", 3, scores=np.arange(9.0).reshape(3, 3))
    start = kept.time
    told(kept, label=[1.0, 2.0, 3.0])
    assert rows(kept) == {}
    champion(kept, tmp_path)
    kept.time += 10
    told(kept, 1, label=[4.0, None, 6.0])
    told(kept, 2, label=7.0, target=2, source=JUDGE)
    kept.restart()
    found = rows(kept)
    assert said(found[0]) == {
        "target[0]": (1.0, "feedback", start),
        "target[1]": (2.0, "feedback", start),
        "target[2]": (3.0, "feedback", start),
    }
    assert said(found[1])["target[1]"] == (None, None, None)
    assert said(found[2])["target[2]"] == (7.0, JUDGE, start + 10)
    assert found[2][PREDICTION] == [6.0, 7.0, 8.0]
    status = kept.status()
    assert status["counts"]["dropped"]["unkept"] == 0
    assert "served" not in status["problems"]
    # A champion with names keeps the rows that it answers by them.
    champion(kept, tmp_path, *NAMES, version="2")
    kept.predict("s", 1, version="2", scores=np.ones((1, 3)))
    kept.label([{"id": "s:0", "label": [8.0, 9.0, 10.0]}])
    kept.monitor.flush()
    export(ServedTable(kept.home / FOLDER), tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        exported = {row[REQUEST]: row for row in csv.DictReader(file) if row[ROW] == "0"}
    assert [exported["r"][name] for name in ("target[0]", "price")] == ["1", ""]
    assert [exported["s"][name] for name in ("target[0]", "price")] == ["", "8"]


def test_a_column_called_as_a_place_keeps_no_row_and_is_said(
    bench: Callable[..., Any], tmp_path: Path
) -> None:
    b = bench(feature="target[1]", detectors=[], performance={"metrics": ["mae"]})
    champion(b, tmp_path)
    b.predict("r", 1, scores=np.ones((1, 2)))
    told(b, label=[1.0, 2.0])
    assert rows(b) == {}
    status = b.status()
    assert status["counts"]["dropped"]["unkept"] == 1
    assert "the name of the target 'target[1]'" in status["problems"]["served"]


def test_a_champion_that_names_fewer_targets_than_a_row_has_keeps_none_and_counts_it(
    kept: Any, tmp_path: Path
) -> None:
    champion(kept, tmp_path, "price", "stock")
    kept.predict("r", 1, version="0", scores=np.ones((1, 3)))
    kept.label([{"id": "r:0", "label": 1.0, "target": 0}, {"id": "r:0", "label": 2.0, "target": 1}])
    assert rows(kept) == {}
    assert kept.status()["counts"]["dropped"]["unkept"] == 1


@pytest.mark.parametrize("name", ["wind", "flight_id", "noria.row"])
def test_a_target_that_is_called_as_another_column_is_not_kept_and_said(
    kept: Any, tmp_path: Path, name: str
) -> None:
    champion(kept, tmp_path, "price", name, "2")
    kept.predict("r", 1, scores=np.ones((1, 3)))
    told(kept, label=[1.0, 2.0, 3.0])
    assert rows(kept) == {}
    status = kept.status()
    assert status["counts"]["dropped"]["unkept"] == 1
    assert f"the name of the target '{name}'" in status["problems"]["served"]


def test_a_champion_may_name_other_targets_than_the_one_before(kept: Any, tmp_path: Path) -> None:
    champion(kept, tmp_path, "price", "stock")
    kept.predict("r", 1, scores=np.array([[1.0, 2.0]]))
    told(kept, label=[1.0, 2.0])
    champion(kept, tmp_path, "stock", "late", "day", version="2")
    kept.predict("s", 1, version="2", scores=np.array([[1.0, 2.0, 3.0]]))
    kept.label([{"id": "s:0", "label": [3.0, 4.0, 5.0]}])
    champion(kept, tmp_path, version="3")
    kept.predict("t", 1, version="3", scores=np.array([1.0]))
    kept.label([{"id": "t:0", "label": 6.0}])
    kept.monitor.flush()
    table = ServedTable(kept.home / FOLDER)
    export(table, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        found = {row[REQUEST]: row for row in csv.DictReader(file)}
    names = ("price", "stock", "late", "day")
    assert {request: [row[name] for name in names] for request, row in found.items()} == {
        "r": ["1", "2", "", ""],
        "s": ["", "3", "4", "5"],
        "t": ["", "", "6", ""],
    }
    assert json.loads(found["s"][TARGETS]) == ["stock", "late", "day"]
    assert json.loads(found["s"][PREDICTION]) == [1.0, 2.0, 3.0]
    assert summary(table).corrections == 0


def test_of_labels_that_an_earlier_version_took_nobody_knows_when(
    kept: Any, tmp_path: Path
) -> None:
    champion(kept, tmp_path, *NAMES)
    kept.predict("r", 1, scores=np.ones((1, 3)))
    told(kept, label=1.0, target="price")
    kept.monitor.close()
    with sqlite3.connect(kept.home / "state.db") as state:
        state.execute("ALTER TABLE pairs DROP COLUMN told")
    kept.monitor = kept.open()
    kept.time += 10
    told(kept, label=[None, 2.0, 3.0])
    assert said(rows(kept)[0]) == {
        "price": (1.0, "feedback", None),
        "stock": (2.0, "feedback", kept.time),
        "2": (3.0, "feedback", kept.time),
    }
