"""A model answers its own rows: what training read, a replay sends and the server takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noria.replay import Labels, infer_body, read_history
from noria.spec import ModelSpec, parse_model
from noria.tasks.candidate import fit_all
from noria.tasks.families import family
from noria.tasks.package import load_predictor
from noria.values import place_of
from serving.columns import InputBinder
from serving.oip.rest import decode

ROWS = 400
LARGE = 2**53
TASKS = family("tabular-classification")


def spec_of(target: str) -> ModelSpec:
    kinds = {
        "member": "boolean", "shop": "categorical", "grade": "categorical", "size": "categorical",
        "price": "numeric", "stops": "numeric",
    }  # fmt: skip
    data = {
        "source": {"parquet": {"paths": ["rows.parquet"]}},
        "features": [{"name": name, "type": kind} for name, kind in kinds.items()],
        "timeFeatures": ["hour-of-day"],
        "target": target,
        "eventTime": "at",
        "entityKey": ["order"],
        "validation": {"minRows": 100},
    }
    resource = {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "orders"},
        "spec": {
            "task": {"family": "tabular-classification"},
            "data": data,
            "train": {"algorithm": "linear"},
        },
    }
    return parse_model(resource).spec


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("orders")
    rng = np.random.default_rng(0)
    member = rng.random(ROWS) < 0.5
    shop = rng.integers(LARGE, LARGE + 4, ROWS)
    late = (member * 1.0 + (shop % 2) + rng.normal(0, 1.0, ROWS)) > 1.0
    kind = np.array(["early", "fine", "late"])[late.astype(int) + (rng.random(ROWS) < 0.3)]

    def gaps(values: Any) -> list[Any]:
        return [
            None if gap else value
            for gap, value in zip(rng.random(ROWS) < 0.1, values, strict=True)
        ]

    begin = datetime(2026, 1, 1, tzinfo=UTC)
    table = {
        "at": pa.array([begin + timedelta(hours=n) for n in range(ROWS)]),
        "order": pa.array([LARGE + n for n in range(ROWS)]),
        "member": pa.array(gaps(member.tolist())),
        "shop": pa.array(gaps(shop.tolist()), pa.int64()),
        "grade": pa.array(gaps((rng.integers(0, 4, ROWS) / 10).tolist()), pa.float32()),
        "size": pa.array(
            gaps([Decimal(int(n)) / 4 for n in rng.integers(0, 5, ROWS)]), pa.decimal128(9, 2)
        ),
        "price": pa.array(
            gaps([Decimal(int(n)) / 10 for n in rng.integers(0, 99, ROWS)]), pa.decimal128(9, 2)
        ),
        "stops": pa.array(gaps(rng.integers(0, 4, ROWS).tolist()), pa.int8()),
        "yes_no": pa.array(["yes" if value else "no" for value in late]),
        "sentinel": pa.array(["NA" if value else "None" for value in late]),
        "true_false": pa.array(late.tolist()),
        "zero_one": pa.array([float(value) for value in late]),
        "three": pa.array(kind.tolist()),
    }
    pq.write_table(pa.table(table), folder / "rows.parquet")
    return folder


@pytest.fixture(scope="module")
def through_parquet() -> Callable[[pd.DataFrame, Path], pd.DataFrame]:
    """Hand a frame to the next step, as a pipeline does."""

    def hand_on(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
        frame.to_parquet(path, index=False)
        return pd.read_parquet(path)

    return hand_on


@pytest.mark.parametrize("target", ["yes_no", "sentinel", "true_false", "zero_one", "three"])
def test_a_replayed_row_is_predicted_as_in_training_and_its_label_is_one_of_the_classes(
    target: str,
    base: Path,
    tmp_path: Path,
    through_parquet: Callable[[pd.DataFrame, Path], pd.DataFrame],
) -> None:
    spec = spec_of(target)
    rows = through_parquet(TASKS.ingest(spec, base, None), tmp_path / "rows.parquet")
    assert TASKS.validate(spec, rows).rows == ROWS
    frame = through_parquet(TASKS.features(spec, base, rows), tmp_path / "frame.parquet")
    fitted = fit_all(TASKS, spec, frame, {})
    manifest = TASKS.save(spec, fitted, tmp_path / "package", model="orders")
    shops = next(feature for feature in manifest.features if feature.name == "shop")
    assert shops.categories == tuple(str(LARGE + n) for n in range(4))
    predictor = load_predictor(tmp_path / "package")
    from noria.tasks.tabular.schema import columns_of

    trained = predictor.predict(columns_of(manifest.features, "at", frame))

    history = read_history(spec, base)
    labels = Labels(history)
    labels.answered(slice(0, ROWS), "r")
    body = json.dumps(infer_body(history, slice(0, ROWS)), allow_nan=False).encode()
    batch = InputBinder(manifest).bind(decode(body, None).tensors)
    served = predictor.predict(batch.columns)
    np.testing.assert_array_equal(served["probability"], trained["probability"])
    assert served["label"].tolist() == trained["label"].tolist()
    assert batch.columns["order"].tolist() == [str(LARGE + n) for n in range(ROWS)]

    known = labels.known(int(history.label_ms.max()))
    assert len(known) == ROWS
    sent = json.loads(json.dumps([label for _, label in known]))
    places = [place_of(label["label"], manifest.classes) for label in sent]
    assert None not in places
    counts = np.bincount(np.array(places, dtype=np.int64))
    assert counts.sum() == ROWS
    assert len(counts) == len(manifest.classes) == (3 if target == "three" else 2)
