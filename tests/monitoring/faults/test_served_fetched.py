"""The table of what was served, fetched from a monitor on another machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import yaml

from monitoring.client import MonitorClient
from noria.errors import StoreError, Unavailable
from noria.labels import counted
from noria.served.remote import opened
from noria.served.rows import REQUEST, labelled
from noria.served.table import FOLDER, ServedTable
from noria.spec import ModelSpec, load_model
from noria.tasks.sources.rows import row_columns
from noria.tasks.sources.served import ingested, served_in


@pytest.fixture
def model(wire: SimpleNamespace, tmp_path: Path) -> Path:
    document = wire.document()
    document["spec"]["data"]["served"] = {"retention": "36500d"}
    path = tmp_path / "served.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def keeps(
    lives: Callable[..., Any], wire: SimpleNamespace, world: Any, tmp_path: Path, model: Path
) -> Callable[..., Any]:
    """Start a monitor with labelled rows that nobody has asked it to write yet."""

    def start(requests: Sequence[int], **where: Any) -> Any:
        process = lives(model=model, **where)
        url = process.start()
        with MonitorClient(url) as client:
            reference = tmp_path / "reference"
            if not reference.exists():
                world.reference(reference, 200, classes=(0, 1))
            client.put_reference(wire.model, "1", reference, champion=True)
            for n in requests:
                body = world.request(1, when=f"2013-02-0{1 + n % 2}T10:00:0{n}Z")
                headers, content = wire.block([(f"r{n}", body, world.scores(1))])
                httpx.post(url, headers=headers, content=content).raise_for_status()
                client.feedback(wire.model, [{"id": f"r{n}:0", "label": 1}])
        return process

    return start


@pytest.fixture
def kept(keeps: Callable[..., Any]) -> Any:
    return keeps(range(5))


def test_what_is_fetched_is_what_lies_there_and_all_that_is_labelled(
    kept: Any, wire: SimpleNamespace
) -> None:
    with opened(kept.url, wire.model) as (table, set_aside):
        found = labelled(table)
        here = ServedTable(kept.home / FOLDER)
        assert table.parts() == here.parts()
        assert {day: table.last_of(day) for day in table.days()} == {
            day: here.last_of(day) for day in here.days()
        }
    assert set_aside == ()
    names = [name for piece in found.pieces for name in piece.table[REQUEST].to_pylist()]
    assert sorted(names) == [f"r{n}" for n in range(5)]


def test_the_tables_of_replicas_are_put_together(
    keeps: Callable[..., Any], kept: Any, wire: SimpleNamespace, model: Path, tmp_path: Path
) -> None:
    spec = load_model(model).spec
    other = keeps(range(5, 8), home=tmp_path / "other")

    def rows(*monitors: Any) -> pd.DataFrame:
        none = pd.DataFrame(columns=row_columns(spec.data))
        return ingested(spec, wire.model, " ".join(m.url for m in monitors), None, lambda: none)

    alone = [rows(kept), rows(other)]
    assert [len(frame) for frame in alone] == [5, 3]
    both = rows(other, kept)
    when = str(spec.data.event_time)
    expected = pd.concat(alone)[when].sort_values()
    assert both[when].sort_values().tolist() == expected.tolist()
    told = served_in(both)
    assert told is not None
    assert told.rows == 8
    other.end()
    with pytest.raises(Unavailable, match="does not answer"):
        rows(other, kept)


@pytest.mark.parametrize("names", [("price", "stock"), ()], ids=["named", "counted"])
def test_rows_of_several_targets_are_learned_from_replicas_once_all_labels_are_there(
    lives: Callable[..., Any],
    wire: SimpleNamespace,
    world: Any,
    tmp_path: Path,
    names: tuple[str, ...],
) -> None:
    document = wire.document(detectors=[], performance={"metrics": ["mae"]})
    document["spec"]["task"]["family"] = "tabular-regression"
    document["spec"]["data"]["served"] = {"retention": "36500d"}
    model = tmp_path / "several.yaml"
    model.write_text(yaml.safe_dump(document))
    reference = world.reference(tmp_path / "reference", 200)
    said = json.loads((reference / "reference.json").read_text())
    said["prediction"] = {"kind": "value", "targets": names}
    (reference / "reference.json").write_text(json.dumps(said))
    replicas = [lives(model=model, home=tmp_path / f"home{i}") for i in (1, 2)]
    labels = []
    for n in range(6):
        for place in range(2):
            target = names[place] if names else place
            if n < 5 or not place:
                labels.append({"id": f"r{n}:0", "label": 10.0 * n + place, "target": target})
    for i, replica in enumerate(replicas):
        with MonitorClient(replica.start("--replica", f"{i + 1}/2")) as client:
            client.put_reference(wire.model, "1", reference, champion=True)
            # Until it has read the reference it knows no names.
            httpx.post(f"{replica.url}/flush").raise_for_status()
            for n in range(i, 6, 2):
                body = world.request(1, start=n, when=f"2013-02-0{1 + n % 2}T10:00:0{n}Z")
                block = wire.block([(f"r{n}", body, np.array([[1.0, 2.0]]))])
                httpx.post(replica.url, headers=block[0], content=block[1]).raise_for_status()
            # Labels go to every replica.
            client.feedback(wire.model, labels)
    # A family that names targets of its own has no target in the spec.
    spec = load_model(model).spec
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"target": None})})
    columns = list(names or counted(2))
    none = pd.DataFrame(columns=[*row_columns(spec.data), *columns])

    def rows(spec: ModelSpec) -> pd.DataFrame:
        where = " ".join(replica.url for replica in replicas)
        return ingested(spec, wire.model, where, None, lambda: none)

    frame = rows(spec)
    # The last one lacks a label.
    assert sorted(frame[columns].to_numpy().tolist()) == [[10 * n, 10 * n + 1] for n in range(5)]
    told = served_in(frame)
    assert told is not None
    assert (told.rows, told.known) == (5, 6)
    # A judge's label counts as well.
    for replica in replicas:
        with MonitorClient(replica.url) as client:
            target = names[1] if names else 1
            late = {"id": "r5:0", "label": 51.0, "target": target, "source": "judge:rules"}
            client.feedback(wire.model, [late])
    assert len(rows(spec)) == 6


def test_what_is_damaged_there_is_named_here(kept: Any, wire: SimpleNamespace) -> None:
    with opened(kept.url, wire.model) as (table, _):
        victim = table.parts()[0]
    path = kept.home / FOLDER / victim.name
    path.write_bytes(b"PAR1")
    # It is found when it is read; the next list knows of it.
    assert httpx.get(f"{kept.url}/models/{wire.model}/served/{victim.name}").status_code == 503
    with opened(kept.url, wire.model) as (table, set_aside):
        assert set_aside == (f"{victim.name}.damaged",)
        assert victim not in table.parts()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("served/day=2013-02-01/part-none.parquet", 404),
        ("served/..%2f..%2f/state.db", 404),
        ("served/day=2013-02-01/..%2f..%2fstate.db", 404),
        ("served/day=2013-02-01", 404),
    ],
)
def test_nothing_but_its_parts_is_given_away(
    kept: Any, wire: SimpleNamespace, path: str, status: int
) -> None:
    answer = httpx.get(f"{kept.url}/models/{wire.model}/{path}")
    assert answer.status_code == status, answer.text
    assert "error" in json.loads(answer.text)


def test_a_monitor_that_keeps_none_or_is_not_there_is_told(
    lives: Callable[..., Any], wire: SimpleNamespace, kept: Any
) -> None:
    plain = lives()
    with (
        pytest.raises(StoreError, match=r"are not kept.*"),
        opened(plain.start(), wire.model),
    ):
        pass
    with pytest.raises(StoreError, match="is not watched here"), opened(kept.url, "fares"):
        pass
    url = plain.url
    plain.end()
    with pytest.raises(Unavailable, match="does not answer"), opened(url, wire.model):
        pass
