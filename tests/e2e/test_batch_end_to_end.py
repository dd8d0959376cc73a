"""A batch by command: before there is a champion, while the model is up, told to its monitor."""

from __future__ import annotations

import json
import shutil

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROWS = 1_500


def test_a_batch_says_what_the_server_says_and_the_monitor_hears_it_once(project: Project) -> None:
    project.ok("init", "parcels", "--family", "tabular-regression")
    command = ("predict-batch", "parcels", "--in", "rows", "--out")
    unknown = project.noria(*command, "answers")
    assert unknown.code == 2
    assert "model 'parcels' is not known" in unknown.err
    project.ok("up", "-f", "parcels/model.yaml", "--detach")
    (project.folder / "rows").mkdir()
    read = pyarrow.csv.read_csv(project.folder / "parcels" / "data" / "rows.csv")
    rows = read.slice(0, ROWS)
    pq.write_table(rows, project.folder / "rows" / "x.parquet")

    assert (
        "has no version '7'; it has: 1" in project.noria(*command, "answers", "--version", "7").err
    )
    assert "1,500 rows answered in 1 part, 0 refused" in project.ok(*command, "answers", "--log")
    found = pq.read_table(project.folder / "answers" / "x-00000.parquet")
    some = rows.slice(0, 50)
    names = ("service", "distance_km", "weight_kg", "ordered")
    asked = [
        {name: value.isoformat() if hasattr(value, "isoformat") else value
         for name, value in row.items() if name in names}
        for row in some.to_pylist()
    ]  # fmt: skip
    served = json.loads(project.ok("predict", "parcels", stdin=json.dumps(asked)))
    assert found["prediction"].to_pylist()[:50] == served["predictions"]
    assert found["parcel_id"].to_pylist() == rows["parcel_id"].to_pylist()

    assert "1 part answered before" in project.ok(*command, "answers", "--log")
    shutil.rmtree(project.folder / "answers")
    project.ok(*command, "answers", "--log")
    project.ok("export", "parcels", "--out", "kept")
    kept = pq.read_table(project.folder / "kept" / "exchanges.parquet").to_pandas()
    # The fifty that the server answered, and each row of the batch once.
    assert len(kept) == ROWS + 50
    project.ok("down")
    away = project.noria(*command, "elsewhere", "--log")
    assert away.code == 1
    assert "is not up" in away.err
    assert "next" not in project.ok(*command, "elsewhere")
