"""A batch by command: before there is a champion, while the model is up, told to its monitor."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml

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
        {name: str(row[name]) if name == "ordered" else row[name] for name in names}
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
    _as_pods_do(project, f"sqlite:///{project.home}/mlflow.db")
    project.ok("down")
    away = project.noria(*command, "elsewhere", "--log")
    assert away.code == 1
    assert "is not up" in away.err
    assert "next" not in project.ok(*command, "elsewhere")


def _as_pods_do(project: Project, registry: str) -> None:
    """Run what each pod of the compiled pipeline would run; together they answer every part."""
    rows = pq.read_table(project.folder / "rows" / "x.parquet")
    for number in range(3):
        pq.write_table(
            rows.slice(500 * number, 500), project.folder / "rows" / f"y{number}.parquet"
        )
    options = ("--claim", "rows", "--shards", "2", "-o", "batch.yaml")
    assert "in 2 pods" in project.ok("compile-batch", "-f", "parcels/model.yaml", *options)
    spec, platform = yaml.safe_load_all((project.folder / "batch.yaml").read_text())
    (pod,) = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    (mount,) = pod["pvcMount"]
    assert (mount["constant"], mount["mountPath"]) == ("rows", "/batch")
    (executor,) = spec["deploymentSpec"]["executors"].values()
    (loop,) = spec["root"]["dag"]["tasks"].values()
    given = {
        "version": "1",
        "source": "rows",
        "out": "by-pods",
        "refused": "0",
        "tracking_uri": registry,
    }
    shards = json.loads(loop["parameterIterator"]["items"]["raw"])
    assert shards == ["1/2", "2/2"]
    for shard in shards:
        values = {**given, "shard": shard}
        container = executor["container"]
        noria, *words = (*container["command"], *container["args"])
        assert noria == "noria"
        project.ok(*(_filled(word, values) for word in words))
    found = sorted(path.name for path in (project.folder / "by-pods").glob("*.parquet"))
    assert found == ["x-00000.parquet", *(f"y{number}-00000.parquet" for number in range(3))]
    ours, theirs = (
        pq.read_table(project.folder / name / "x-00000.parquet") for name in ("answers", "by-pods")
    )
    assert ours.equals(theirs)


def _filled(word: str, values: Mapping[str, str]) -> str:
    """Put a parameter's value in its placeholder, as Kubeflow Pipelines' launcher does."""
    for name, value in values.items():
        word = word.replace("{{$.inputs.parameters['" + name + "']}}", value)
    assert "{{" not in word
    return word
