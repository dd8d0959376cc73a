"""``noria data``: what is kept of the labelled rows, in words, as JSON and as a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner, Result

from noria.cli.app import application
from noria.embedded.home import Home
from noria.served import rows as names
from noria.served.merging import parquet
from noria.served.table import ServedTable
from noria.spec import parse_model

BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def document(**served: Any) -> dict[str, Any]:
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "orders"},
        "spec": {
            "task": {"family": "tabular-classification"},
            "data": {
                "source": {"csv": {"paths": ["rows.csv"]}},
                "served": served,
                "features": [{"name": "size", "type": "numeric"}],
                "target": "late",
                "eventTime": "at",
                "entityKey": ["order"],
            },
        },
    }


@pytest.fixture
def table(tmp_path: Path) -> ServedTable:
    """Two days of three rows each, of which one label was corrected."""
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(document(retention="180d", redact=["order"])))
    home = Home(tmp_path / "home").create()
    home.remember(parse_model(document()), path)
    found = ServedTable(home.served_rows("orders"))
    for day in (0, 1):
        write(found, day, 10 * day + 1, [1, 0, 1])
    write(found, 1, 21, [0])
    return found


def write(table: ServedTable, day: int, first: int, labels: list[int]) -> None:
    count = len(labels)
    moment = pa.timestamp("us", tz="UTC")
    at = BEGIN + timedelta(days=day)
    content = pa.table(
        {
            names.REQUEST: [f"r{day}-{n}" for n in range(count)],
            names.ROW: pa.array([0] * count, pa.int32()),
            names.NUMBER: range(first, first + count),
            names.VERSION: [str(day + 1)] * count,
            names.PREDICTED: pa.array([at] * count, moment),
            names.LABELLED: pa.array(
                [at + timedelta(hours=n + first) for n in range(count)], moment
            ),
            names.PREDICTION: pa.array([[0.25, 0.75]] * count, pa.list_(pa.float64())),
            "size": [float(n) for n in range(count)],
            "at": pa.array([at] * count, moment),
            "late": labels,
        }
    )
    table.write(f"{at:%Y-%m-%d}", first, first + count - 1, parquet(content))


@pytest.fixture
def noria(tmp_path: Path) -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        home = ("--home", str(tmp_path / "home"))
        return CliRunner().invoke(application(), ["data", *arguments, *home])

    return run


@pytest.mark.usefixtures("table")
def test_stats_say_how_many_of_which_days_and_versions(noria: Callable[..., Result]) -> None:
    ran = noria("orders", "stats")
    assert ran.exit_code == 0, ran.output
    assert "6 kept, 1 labels corrected" in ran.stdout
    assert "v1 3, v2 3" in ran.stdout
    assert "use with-source, retention 180d, sample 1, without order" in ran.stdout
    assert "2026-01-02" in ran.stdout
    assert "median 12.0h" in ran.stdout


@pytest.mark.usefixtures("table")
def test_stats_as_json_have_all_of_it(noria: Callable[..., Result]) -> None:
    said = json.loads(noria("orders", "stats", "--json").stdout)
    assert (said["rows"], said["corrections"], said["files"]) == (6, 1, 3)
    assert said["days"] == {"2026-01-01": 3, "2026-01-02": 3}
    assert said["versions"] == {"1": 3, "2": 3}
    assert said["setting"]["redact"] == ["order"]
    assert (said["answered"], said["labelled"], said["waiting"]) == (0, 0, 0)
    assert said["last_label"] == "2026-01-03T09:00:00+00:00"


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.usefixtures("table")
def test_export_writes_each_row_once_with_its_newest_label(
    noria: Callable[..., Result], tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / "deep" / f"rows.{suffix}"
    ran = noria("orders", "export", "--out", str(out))
    assert ran.exit_code == 0, ran.output
    assert "6 rows" in ran.stdout
    if suffix == "csv":
        with out.open() as file:
            rows = list(csv.DictReader(file))
        assert rows[0][names.PREDICTION] == "[0.25,0.75]"
    else:
        rows = pq.read_table(out).to_pylist()
    labels = {row[names.REQUEST]: int(row["late"]) for row in rows}
    assert labels == {"r0-0": 1, "r0-1": 0, "r0-2": 1, "r1-0": 0, "r1-1": 0, "r1-2": 1}


def test_a_damaged_file_is_named(noria: Callable[..., Result], table: ServedTable) -> None:
    victim = table.parts()[0]
    (table.folder / victim.name).write_bytes(b"PAR1")
    ran = noria("orders", "stats")
    assert ran.exit_code == 0, ran.output
    assert f"{victim.name}.damaged: their rows are missing" in ran.stdout
    assert "3 kept" in ran.stdout


@pytest.mark.usefixtures("table")
def test_what_can_not_be_done_is_said(noria: Callable[..., Result], tmp_path: Path) -> None:
    unknown = noria("fares", "stats")
    assert unknown.exit_code == 2
    assert "model 'fares' is not known" in unknown.stderr
    odd = noria("orders", "export", "--out", "rows.xlsx")
    assert odd.exit_code == 2
    assert "--out: rows.xlsx is neither Parquet nor CSV" in odd.stderr
    assert "end the name in .parquet or .csv" in odd.stderr
    for part in tmp_path.rglob("part-*"):
        part.unlink()
    nothing = noria("orders", "export", "--out", str(tmp_path / "x.csv"))
    assert nothing.exit_code == 2
    assert "has no labelled row" in nothing.stderr
    assert "0 kept" in noria("orders", "stats").stdout
