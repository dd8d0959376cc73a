"""The one value of a metric, also as it was written before it had all of its fields."""

from __future__ import annotations

import msgspec

from noria.measures.measurement import Measurement


def test_a_value_that_was_kept_under_its_metrics_name_alone_is_read() -> None:
    before = b'{"auc": {"value": 0.7, "low": 0.68, "high": 0.72, "samples": 500, "problem": ""}}'
    read = msgspec.json.decode(before, type=dict[str, Measurement])
    assert read["auc"] == Measurement("", 0.7, 0.68, 0.72, samples=500)
