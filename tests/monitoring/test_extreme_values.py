"""Detectors and numbers at the ends of float64: they say what they see, and never fall silent."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from monitoring.detectors import DetectorConfig, build_detector
from monitoring.table import Column, Table

EXTREMES = (1e308, -1e308, 1.7976931348623157e308, 5e-324, 2.2e-308)
KINDS = ("ks", "mmd", "tabular")


def table(columns: dict[str, np.ndarray[Any, Any]]) -> Table:
    rows = len(next(iter(columns.values())))
    return Table(tuple(Column(name, "numeric") for name in columns), columns, rows)


def drawn(seed: int, rows: int = 400, shift: float = 0.0) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    return {"a": random.normal(shift, 1, rows), "b": random.normal(size=rows)}


def result(kind: str, reference: Any, window: Any, alpha: float = 0.01, **options: Any) -> Any:
    config = DetectorConfig("d", kind, alpha=alpha, options=options)
    found = build_detector(config, table(reference)).score(table(window))
    assert math.isfinite(found.statistic)
    assert math.isfinite(found.effect)
    assert found.p_value is not None
    assert 0.0 <= found.p_value <= 1.0
    return found


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("value", EXTREMES)
@pytest.mark.parametrize("kind", KINDS)
def test_one_extreme_value_hides_no_drift_and_makes_none(
    kind: str,
    value: float,
    standardize: bool,
) -> None:
    options = {"standardize": standardize} if kind == "mmd" else {}
    quiet, moved = drawn(1), drawn(1, shift=1.0)
    quiet["a"][0] = moved["a"][0] = value
    assert not result(kind, drawn(0), quiet, **options).drift
    assert result(kind, drawn(0), moved, **options).drift
    # The same in the reference.
    reference = drawn(0)
    reference["a"][7] = value
    assert not result(kind, reference, drawn(1), **options).drift
    assert result(kind, reference, drawn(1, shift=1.0), **options).drift


@pytest.mark.parametrize("value", [1e308, -1e308])
@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_becomes_extreme_is_a_drift(kind: str, value: float) -> None:
    window = drawn(1)
    window["a"][:] = value
    assert result(kind, drawn(0), window).drift


@pytest.mark.parametrize("value", [0.0, 7.0, 1e308, 5e-324])
@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_column_is_quiet_until_it_moves(kind: str, value: float) -> None:
    reference, quiet, moved = drawn(0), drawn(1), drawn(1)
    reference["a"][:] = quiet["a"][:] = value
    moved["a"][:] = 3.0
    assert not result(kind, reference, quiet).drift
    assert result(kind, reference, moved).drift


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_nothing_are_no_drift(kind: str) -> None:
    reference, window = drawn(0), drawn(1)
    reference["a"][:] = window["a"][:] = np.nan
    assert not result(kind, reference, window).drift
