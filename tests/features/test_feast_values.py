"""A looked-up value is the same category, key and number in training and in serving."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noria.errors import DataError
from noria.spec import ModelSpec, parse_model
from noria.tasks.families import family
from noria.tasks.package import Lookup
from noria.tasks.sources.feast import OnlineFeatures, OnlineSync, apply, historical

LARGE = 2**53 + 1
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = {
    "vendor": ("categorical", "Int64"),
    "grade": ("categorical", "Float32"),
    "size": ("categorical", "String"),
    "price": ("numeric", "Float64"),
    "open": ("boolean", "Bool"),
}
DEFINITIONS = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Bool, Float32, Float64, Int64, String

shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.INT64)
source = FileSource(name="shops", path="shops.parquet", timestamp_field="at")
view = FeatureView(
    name="shops", entities=[shop], ttl=timedelta(0), source=source, online=True,
    schema=[Field(name="shop", dtype=Int64), Field(name="vendor", dtype=Int64),
            Field(name="grade", dtype=Float32), Field(name="size", dtype=String),
            Field(name="price", dtype=Float64), Field(name="open", dtype=Bool)],
)
service = FeatureService(name="shops", features=[view])
"""
STORE = """
project: shops
registry: registry.db
provider: local
online_store: {type: sqlite, path: online.db}
offline_store: {type: noria.tasks.sources.feast_offline.AsOfOfflineStore}
entity_key_serialization_version: 3
"""


def spec_of(kinds: dict[str, str]) -> ModelSpec:
    features = [{"name": name, "type": kind, "from": "feast"} for name, kind in kinds.items()]
    data = {
        "source": {"feast": {"repository": "repo", "service": "shops", "rows": "rows.parquet"}},
        "features": features,
        "target": "late",
        "eventTime": "at",
        "joinKeys": ["shop"],
    }
    resource = {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "orders"},
        "spec": {"task": {"family": "tabular-classification"}, "data": data},
    }
    return parse_model(resource).spec


@pytest.fixture
def base(tmp_path: Path) -> Path:
    repository = tmp_path / "repo"
    repository.mkdir()
    (repository / "feature_store.yaml").write_text(STORE)
    (repository / "definitions.py").write_text(DEFINITIONS)
    source = pa.table(
        {
            "shop": pa.array([LARGE, LARGE + 1, None, 7]),
            "at": pa.array([BEGIN] * 4, pa.timestamp("us", "UTC")),
            "vendor": pa.array([LARGE, LARGE + 1, 3, None]),
            "grade": pa.array([0.1, 7.0, 1.0, None], pa.float32()),
            "size": pa.array([Decimal("1.50"), Decimal("2.00"), None, None], pa.decimal128(9, 2)),
            "price": pa.array([Decimal("0.10"), Decimal("2.00"), None, None], pa.decimal128(9, 2)),
            "open": pa.array([True, False, True, None]),
        }
    )
    pq.write_table(source, repository / "shops.parquet")
    rows = pa.table(
        {
            "shop": pa.array([LARGE, LARGE + 1, 7, None]),
            "at": pa.array([BEGIN + timedelta(hours=1)] * 4, pa.timestamp("us", "UTC")),
            "late": pa.array([0, 1, 0, 1]),
        }
    )
    pq.write_table(rows, tmp_path / "rows.parquet")
    return tmp_path


EXPECTED: dict[str, list[Any]] = {
    "vendor": [str(LARGE), str(LARGE + 1), None, None],
    "grade": ["0.1", "7", None, None],
    "size": ["1.5", "2", None, None],
    "price": [0.1, 2.0, np.nan, np.nan],
    "open": [1.0, 0.0, np.nan, np.nan],
}


def test_training_and_serving_look_up_the_same_values(base: Path) -> None:
    spec = spec_of({name: kind for name, (kind, _) in KINDS.items()})
    rows = family("tabular-classification").ingest(spec, base, None)
    assert set(rows["shop"].dropna()) == {"7", str(LARGE), str(LARGE + 1)}
    frame = historical(spec, base, rows)
    apply(base, "repo")
    OnlineSync(base, "repo", "shops").materialise(BEGIN + timedelta(hours=1))
    lookup = Lookup("feast", "repo", "shops", ("shop",), tuple(KINDS))
    categories = [name for name, (kind, _) in KINDS.items() if kind == "categorical"]
    online = OnlineFeatures(base, lookup, categorical=categories)
    keys = np.array([str(LARGE), str(LARGE + 1), "7", None], dtype=object)
    served = online.lookup({"shop": keys})
    by_key = frame.set_index(frame["shop"].fillna(""))
    for name, expected in EXPECTED.items():
        trained = by_key.loc[["" if key is None else key for key in keys], name]
        numeric = name in ("price", "open")
        found = (
            trained.astype("float64").tolist()
            if numeric
            else [None if value != value else value for value in trained.tolist()]
        )
        np.testing.assert_equal(found, expected, err_msg=name)
        np.testing.assert_equal(served[name].tolist(), expected, err_msg=name)
    online.close()


def test_a_looked_up_value_of_another_type_is_refused_by_the_step_that_joins_it(base: Path) -> None:
    spec = spec_of({"vendor": "numeric", "size": "boolean", "grade": "boolean"})
    rows = family("tabular-classification").ingest(spec, base, None)
    with pytest.raises(DataError) as caught:
        historical(spec, base, rows)
    assert [problem.path for problem in caught.value.problems] == [
        f"feature service shops: column {name}" for name in ("vendor", "size", "grade")
    ]
    assert str(LARGE) in caught.value.problems[0].message
