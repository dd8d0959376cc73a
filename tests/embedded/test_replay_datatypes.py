"""A replay sends each column in the type that the server expects, whatever type its file has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from noria.replay import infer_body, read_history
from noria.spec import parse_model


@pytest.fixture
def sent(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """The tensors of three rows whose file types keys and categories as numbers."""
    pd.DataFrame(
        {
            "zip": [10001, 10002, 10003],
            "grade": [1.0, None, 3.0],
            "weekend": [True, False, True],
            "member": pd.array([True, None, False], dtype="boolean"),
            "stops": pd.array([2, None, 0], dtype="Int64"),
            "at": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"], utc=True),
            "scan": [[1.0, 2.0], None, [3.0, 4.0]],
            "order_id": [7, 8, 9],
            "shop": [501, 502, 503],
            "late": [0, 1, 0],
        }
    ).to_parquet(tmp_path / "rows.parquet", index=False)
    types = {
        "zip": "categorical",
        "grade": "categorical",
        "weekend": "boolean",
        "member": "boolean",
        "stops": "numeric",
        "scan": "vector",
    }
    spec = parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "orders"},
            "spec": {
                "task": {"family": "tabular-classification"},
                "data": {
                    "source": {"parquet": {"paths": ["rows.parquet"]}},
                    "features": [{"name": name, "type": kind} for name, kind in types.items()],
                    "target": "late",
                    "eventTime": "at",
                    "entityKey": ["order_id"],
                    "joinKeys": ["shop"],
                },
            },
        }
    ).spec
    body = infer_body(read_history(spec, tmp_path), slice(0, 3))
    inputs = json.loads(json.dumps(body, allow_nan=False))["inputs"]
    return {tensor["name"]: tensor for tensor in inputs}


@pytest.mark.parametrize(
    ("name", "datatype", "data"),
    [
        ("zip", "BYTES", ["10001", "10002", "10003"]),
        ("grade", "BYTES", ["1", None, "3"]),
        ("weekend", "BOOL", [True, False, True]),
        ("member", "BOOL", [True, None, False]),
        ("stops", "FP64", [2.0, None, 0.0]),
        ("at", "INT64", [1767225600000, 1767312000000, 1767398400000]),
        ("order_id", "BYTES", ["7", "8", "9"]),
        ("shop", "BYTES", ["501", "502", "503"]),
    ],
)
def test_a_column_is_sent_as_its_role_says_and_not_as_its_file_types_it(
    sent: dict[str, dict[str, Any]], name: str, datatype: str, data: list[Any]
) -> None:
    assert sent[name] == {"name": name, "shape": [3], "datatype": datatype, "data": data}


def test_vectors_are_one_tensor_and_a_missing_one_is_null_as_a_whole(
    sent: dict[str, dict[str, Any]],
) -> None:
    assert (sent["scan"]["datatype"], sent["scan"]["shape"]) == ("FP64", [3, 2])
    assert sent["scan"]["data"] == [1.0, 2.0, None, None, 3.0, 4.0]
