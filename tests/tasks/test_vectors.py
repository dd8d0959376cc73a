"""Vectors as features: read from Parquet, trained on, packaged, refused where they don't fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.steps import fingerprint
from monitoring.reference import read_folder, read_reference
from monitoring.table import Table
from noria.errors import DataError, InvalidInput
from noria.spec import ModelSpec, parse_model
from noria.tasks.candidate import Made, make_candidate
from noria.tasks.families import family
from noria.tasks.package import Feature, load_predictor, read_manifest
from noria.tasks.reference import MOST_VECTOR_BYTES

ROWS, WIDTH = 400, 5
DOUBLES = pa.list_(pa.float64())
SKOPS = """
import json, os, pathlib
import numpy as np, pandas as pd, skops.io
from sklearn.linear_model import LinearRegression
rows = pd.read_parquet(os.environ["NORIA_DATA"], use_threads=False)
x = np.column_stack([np.stack(rows["point"]), rows["size"]])
model = LinearRegression().fit(x, rows[os.environ["NORIA_TARGET"]])
skops.io.dump(model, pathlib.Path(os.environ["NORIA_OUTPUT"]) / "model.skops")
"""


def rows_of(kind: pa.DataType) -> pa.Table:
    random = np.random.default_rng(0)
    points = random.normal(size=(ROWS, WIDTH))
    size = random.normal(size=ROWS)
    y = points @ np.arange(1.0, WIDTH + 1) + size + 0.1 * random.normal(size=ROWS)
    columns = {"point": pa.array(points.tolist(), kind), "size": size, "y": y}
    return pa.table(columns)


def spec_of(task: dict[str, Any], **feature: Any) -> ModelSpec:
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "points"},
            "spec": {
                "task": task,
                "data": {
                    "source": {"parquet": {"paths": ["rows.parquet"]}},
                    "features": [
                        {"name": "point", "type": "vector", **feature},
                        {"name": "size", "type": "numeric"},
                    ],
                    "target": "y",
                    "validation": {"minRows": 100},
                },
                "train": {"hyperparameters": {}},
            },
        }
    ).spec


def trained_by(spec: ModelSpec, **train: Any) -> ModelSpec:
    return spec.model_copy(update={"train": spec.train.model_copy(update=train)})


TABULAR: dict[str, Any] = {"family": "tabular-regression"}
COMMAND: dict[str, Any] = {
    "family": "custom",
    "options": {"predicts": "number", "command": ["python", "train.py"], "files": ["train.py"]},
}
Train = Callable[..., Made]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    def made(spec: ModelSpec, kind: pa.DataType = DOUBLES) -> Made:
        (tmp_path / "train.py").write_text(SKOPS)
        pq.write_table(rows_of(kind), tmp_path / "rows.parquet")
        tasks = family(spec.task.family)
        rows = tasks.ingest(spec, tmp_path, None)
        tasks.validate(spec, rows)
        frame = tasks.features(spec, tmp_path, rows)
        return make_candidate(tasks, spec, frame, None, tmp_path / "made", model="points")

    return made


@pytest.mark.parametrize("algorithm", ["lightgbm", "hist-gradient-boosting", "xgboost"])
def test_every_algorithm_reads_the_numbers_of_a_vector_side_by_side(
    train: Train, algorithm: str
) -> None:
    spec = spec_of(TABULAR)
    chosen = spec.train.model_copy(update={"algorithm": algorithm})
    made = train(spec.model_copy(update={"train": chosen}))
    assert made.evaluation.metrics["r2"].value > 0.7


@pytest.mark.parametrize("task", [TABULAR, COMMAND], ids=["linear", "command"])
def test_a_model_is_trained_on_a_vector_beside_a_number(train: Train, task: dict[str, Any]) -> None:
    # One fit shows it: a command is a process for each.
    once = {"refit": False} if task is COMMAND else {"algorithm": "linear"}
    made = train(trained_by(spec_of(task), **once))
    assert made.evaluation.metrics["r2"].value > 0.98
    manifest = read_manifest(made.package)
    assert manifest.features[0] == Feature("point", "vector", width=WIDTH)
    predictor = load_predictor(made.package)
    points = np.eye(WIDTH)
    said = predictor.predict({"point": points, "size": np.zeros(WIDTH)})["prediction"]
    assert said == pytest.approx(np.arange(1.0, WIDTH + 1), abs=0.3)
    rows = np.empty(WIDTH, dtype=object)
    rows[:] = list(points)
    assert predictor.predict({"point": rows, "size": np.zeros(WIDTH)})["prediction"] == (
        pytest.approx(said)
    )
    with pytest.raises(InvalidInput, match=r"column 'point': shape \(5, 4\)"):
        predictor.predict({"point": points[:, :4], "size": np.zeros(WIDTH)})


@pytest.mark.parametrize(
    ("kind", "datatype"),
    [
        (pa.list_(pa.float64()), "FP64"),
        (pa.list_(pa.float32()), "FP32"),
        (pa.large_list(pa.float64()), "FP64"),
        (pa.list_(pa.float32(), WIDTH), "FP32"),
    ],
)
def test_every_type_of_list_is_read_and_sent_at_its_width(
    train: Train, kind: pa.DataType, datatype: str
) -> None:
    spec = trained_by(spec_of(TABULAR, width=WIDTH), algorithm="linear")
    manifest = train(spec, kind).manifest
    (point, _) = manifest.inputs
    assert (point.kind, point.datatype, point.shape) == ("vector", datatype, (WIDTH,))


def test_a_package_of_scalars_says_nothing_of_widths(tmp_path: Path) -> None:
    from noria.tasks.tabular.hand_made import package_linear

    package_linear(tmp_path / "package", "m", ["a"], [1.0], 0.0)
    assert "width" not in (tmp_path / "package" / "noria.json").read_text()


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([[1.0, 2.0], [1.0]], "row 2: 1 numbers, and 2 in the rows before"),
        ([[1.0, None], [1.0, 2.0]], "row 1: a number in it is missing or infinite"),
        ([[1.0, float("inf")], [1.0, 2.0]], "row 1: a number in it is missing or infinite"),
        ([["a", "b"], ["c", "d"]], "a list of string is not a vector"),
        ([1.0, 2.0], "is not a list of numbers"),
    ],
)
def test_a_column_that_holds_no_vectors_is_refused(
    tmp_path: Path, column: list[Any], said: str
) -> None:
    table = pa.table({"point": column, "size": [1.0, 2.0], "y": [1.0, 2.0]})
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=said):
        family("tabular-regression").ingest(spec_of(TABULAR), tmp_path, None)


def test_files_of_two_widths_are_refused(tmp_path: Path) -> None:
    for name, width in (("rows", 2), ("rows2", 3)):
        table = pa.table({"point": [[1.0] * width], "size": [1.0], "y": [1.0]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    spec = spec_of(TABULAR)
    source = spec.data.source.model_copy(
        update={"parquet": spec.data.source.parquet.model_copy(update={"paths": ("*.parquet",)})}
    )
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"source": source})})
    with pytest.raises(DataError, match="3 numbers, and 2 in the rows before"):
        family("tabular-regression").ingest(spec, tmp_path, None)


def test_a_width_that_the_rows_do_not_have_is_refused(train: Train) -> None:
    with pytest.raises(DataError, match=r"vectors of 5 numbers, and spec\.data\.features says 4"):
        train(spec_of(TABULAR, width=4))


def test_a_vector_may_be_missing_as_a_whole(tmp_path: Path) -> None:
    table = rows_of(pa.list_(pa.float64()))
    points = table["point"].to_pylist()
    points[::20] = [None] * len(points[::20])
    table = table.set_column(0, "point", pa.array(points, pa.list_(pa.float64())))
    pq.write_table(table, tmp_path / "rows.parquet")
    tasks = family("tabular-regression")
    spec = spec_of(TABULAR)
    rows = tasks.ingest(spec, tmp_path, None)
    tasks.validate(spec, rows)
    assert rows["point"].isna().sum() == 20
    made = make_candidate(tasks, spec, rows, None, tmp_path / "made", model="points")
    reference = read_reference(read_folder(made.reference))
    assert reference.missing["point"] == pytest.approx(20 / ROWS)
    assert np.isnan(reference.features.columns["point"]).any()


def test_a_reference_keeps_so_many_vectors_that_it_stays_small(tmp_path: Path) -> None:
    width, rows = 40_000, 300
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "point": list(random.normal(size=(rows, width)).astype(np.float32)),
            "size": random.normal(size=rows),
            "y": random.normal(size=rows),
        }
    )
    from noria.tasks.package import Manifest
    from noria.tasks.reference import write_reference
    from noria.tasks.tabular.hand_made import outputs_of
    from noria.tasks.tabular.schema import columns_of

    features = (Feature("point", "vector", width=width), Feature("size", "numeric"))
    manifest = Manifest("m", "custom", "own-class", (), outputs_of(()), features)
    columns = columns_of(features, None, frame)
    write_reference(tmp_path / "out", manifest, columns, np.zeros(10), {}, 10_000)
    reference = read_reference(read_folder(tmp_path / "out"))
    assert reference.features.rows == MOST_VECTOR_BYTES // (4 * width) == 52
    assert reference.features.columns["point"].shape == (52, width)
    document = json.loads((tmp_path / "out" / "reference.json").read_text())
    assert document["features"][0] == {
        "name": "point",
        "kind": "vector",
        "width": width,
        "missing": 0.0,
    }


def test_a_reference_keeps_the_held_out_predictions_of_each_target(tmp_path: Path) -> None:
    from noria.tasks.package import Manifest
    from noria.tasks.reference import write_reference
    from noria.tasks.tabular.hand_made import outputs_of

    def kept(prediction: np.ndarray, targets: tuple[str, ...]) -> Table:
        folder = tmp_path / f"reference-{prediction.shape}"
        manifest = Manifest("m", "custom", "own-class", (), outputs_of(()), (), targets=targets)
        write_reference(folder, manifest, {}, prediction, {}, 1000)
        return read_reference(read_folder(folder)).prediction

    said = np.arange(6.0).reshape(3, 2)
    found = kept(said, ("price", "stock"))
    assert list(found.columns) == ["prediction[price]", "prediction[stock]"]
    assert np.column_stack(list(found.columns.values())).tolist() == said.tolist()
    # Of one target it is as it ever was, and of very many as many rows as a reference may have.
    assert kept(said[:, :1], ("price",)).columns["prediction"].tolist() == [0.0, 2.0, 4.0]
    wide = kept(np.ones((100, 20_000)), ()).columns["prediction"]
    assert wide.shape == (MOST_VECTOR_BYTES // (8 * 20_000), 20_000) == (52, 20_000)


def test_a_fingerprint_tells_one_number_of_one_vector_apart() -> None:
    def frame(value: float) -> pd.DataFrame:
        return pd.DataFrame({"point": [np.array([1.0, value]), None], "size": [1.0, 2.0]})

    assert fingerprint(frame(2.0)) == fingerprint(frame(2.0))
    assert fingerprint(frame(2.0)) != fingerprint(frame(2.5))
