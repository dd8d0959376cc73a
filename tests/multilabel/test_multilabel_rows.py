"""What rows and specs of several labels are refused for, and what is read of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noria.errors import DataError, LeakageError, SpecError
from noria.tasks.multilabel.family import LEARNER
from tests.multilabel.conftest import LABELS, spec_of


@pytest.mark.parametrize(
    ("options", "data", "said"),
    [
        ({"labels": []}, {}, "spec.task.options.labels: names 0 columns"),
        ({"labels": ["urgent"]}, {}, "of one alone write family: tabular-classification"),
        ({"labels": ["urgent", "urgent"]}, {}, "labels[1]: urgent is there twice"),
        ({"labels": ["words", "urgent"]}, {}, "labels[0]: words is also a feature"),
        ({"labels": ["at", "urgent"]}, {"eventTime": "at"}, "labels[0]: at is also the eventTime"),
        ({"labels": ["no", "urgent"]}, {"entityKey": ["no"]}, "no is also in entityKey"),
        ({"labels": ["urgent", "x" * 130]}, {}, "is no name"),
        ({}, {"target": "urgent"}, "spec.data.target: multi-label predicts the columns of"),
        ({"threshold": {"for": "cost"}}, {}, "threshold.falsePositive: is missing"),
    ],
)
def test_labels_that_are_none_are_refused(
    options: dict[str, Any], data: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError) as refused:
        spec_of(options=options, **data)
    assert said in str(refused.value)


def test_a_search_beside_an_average_is_refused() -> None:
    train = {"search": {"kind": "random"}, "ensemble": {"kind": "weighted"}}
    with pytest.raises(SpecError, match="hyperparameters that all labels share"):
        spec_of(train={"algorithm": "lightgbm", **train})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"urgent": "maybe"}, "column urgent"),
        ({"urgent": 2}, "column urgent: row 1: '2' is not true or false"),
        ({"urgent": 1}, "labels[1]: urgent is 1 in all 2000 rows"),
        ({"urgent": None}, "urgent is missing in 2000"),
    ],
)
def test_a_column_that_is_no_label_is_refused(
    written: Path, messages: pd.DataFrame, change: dict[str, Any], said: str
) -> None:
    messages.assign(**change).to_csv(written / "rows.csv", index=False)
    spec = spec_of()
    with pytest.raises(DataError) as refused:
        LEARNER.validate(spec, LEARNER.ingest(spec, written, None))
    assert said in str(refused.value)


def test_a_feature_that_is_a_label_is_named(written: Path, messages: pd.DataFrame) -> None:
    given = messages.assign(words=messages["urgent"] + 0.5)
    given.to_csv(written / "rows.csv", index=False)
    spec = spec_of()
    with pytest.raises(LeakageError, match=r"label urgent: spec\.data\.features: words alone"):
        LEARNER.validate(spec, LEARNER.ingest(spec, written, None))


def test_words_and_numbers_are_the_same_labels(written: Path, messages: pd.DataFrame) -> None:
    spec = spec_of()
    rows = LEARNER.ingest(spec, written, None)
    said = LEARNER.validate(spec, rows)
    (urgent,) = (one.detail for one in said.checks if one.name == "label urgent")
    ones = int(messages["urgent"].sum())
    assert urgent == f"1: {ones}, 0: {len(messages) - ones}"
    words = {name: messages[name].map({0: "false", 1: "true"}) for name in LABELS}
    messages.assign(**words).to_csv(written / "rows.csv", index=False)
    pd.testing.assert_frame_equal(LEARNER.ingest(spec, written, None), rows)


def test_rows_without_all_labels_are_left_out(written: Path, messages: pd.DataFrame) -> None:
    some = messages.astype(dict.fromkeys(LABELS, float))
    some.loc[:9, "refund"] = np.nan
    some.to_csv(written / "rows.csv", index=False)
    assert len(LEARNER.ingest(spec_of(), written, None)) == len(messages) - 10


def test_both_sides_of_a_split_have_the_same_labels(written: Path) -> None:
    spec = spec_of()
    rows = LEARNER.ingest(spec, written, None)
    split = LEARNER.split(spec, rows, None)
    assert len(split.test) == pytest.approx(len(rows) / 5, rel=0.05)
    shares = [side[list(LABELS)].mean().to_numpy() for side in (split.train, split.test)]
    np.testing.assert_allclose(*shares, atol=0.01)
