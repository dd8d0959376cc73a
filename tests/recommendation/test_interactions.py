"""Long tables of interactions as samples to learn from and to be judged by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noria.errors import DataError, InvalidInput
from noria.replay import History, labels_by_key
from noria.tasks.origins import LABEL_KNOWN
from noria.tasks.recommendation.family import LEARNER
from noria.tasks.recommendation.interactions import requests_of, samples_of
from noria.tasks.recommendation.items import NOTHING, number_of
from tests.recommendation.conftest import START, Taken, rows_of, spec_of

# Within a week five books, of which three are one answer's; one of them again; then one more.
ANNA: Taken = [
    ("Anna", "a", 0), ("Anna", "b", 1), ("Anna", "c", 2), ("Anna", "d", 3), ("Anna", "a", 4),
    ("Anna", "e", 30),
]  # fmt: skip


def cut(samples: pd.DataFrame) -> list[tuple[str | None, str]]:
    return list(zip(samples["history"], samples["taken"], strict=True))


def test_what_is_taken_follows_without_a_gap_and_becomes_history() -> None:
    found = samples_of(spec_of(), rows_of(ANNA))
    assert cut(found) == [(None, "a|b|c"), ("a|b|c", "d"), ("a|b|c|d", "e")]
    # Asked a millisecond before the first, and known with the last.
    first = found.iloc[0]
    assert first["at"] == START - pd.Timedelta(milliseconds=1)
    assert first[LABEL_KNOWN] == START + pd.Timedelta(days=2)
    numbers = found[["next-1", "next-2", "next-3"]].to_numpy()
    assert numbers[1].tolist() == [number_of("d"), NOTHING, NOTHING]


def test_a_window_ends_when_its_time_has_passed() -> None:
    found = samples_of(spec_of({"window": "1d"}), rows_of(ANNA))
    assert [taken for _, taken in cut(found)] == ["a|b", "c|d", "e"]


def test_where_seen_items_are_kept_they_count_again() -> None:
    found = samples_of(spec_of({"seen": "keep"}), rows_of(ANNA))
    assert cut(found) == [(None, "a|b|c"), ("a|b|c", "d|a"), ("a|b|c|d|a", "e")]
    twice = samples_of(spec_of({"seen": "keep"}), rows_of([("A", "x", 0), ("A", "x", 1)]))
    assert twice["taken"].tolist() == ["x|x"]
    assert twice[["next-1", "next-2"]].to_numpy().tolist() == [[number_of("x"), NOTHING]]


def test_a_history_holds_the_newest() -> None:
    found = samples_of(spec_of({"history": 2}), rows_of(ANNA))
    assert found["history"].tolist() == [None, "b|c", "c|d"]


def test_samples_are_in_the_order_of_time_whoever_s_they_are() -> None:
    found = samples_of(spec_of(), rows_of([*ANNA, ("Bo", "a", 1.5), ("Bo", "z", 40)]))
    assert found["at"].is_monotonic_increasing
    assert found["reader"].tolist() == ["Anna", "Bo", "Anna", "Anna", "Bo"]


def test_a_request_s_labels_are_known_when_they_are_all_there_or_the_window_has_passed() -> None:
    found = requests_of(spec_of(), rows_of(ANNA), -np.inf, np.inf)
    assert found.targets == ("next-1", "next-2", "next-3")
    days = (pd.to_datetime(found.known, unit="ms", utc=True) - START) / pd.Timedelta(days=1)
    # Three were taken on the third day; of the others one, and a week has to pass.
    assert days.tolist() == pytest.approx([2, 10, 37], abs=1e-6)
    later = requests_of(spec_of(), rows_of(ANNA), START.timestamp() * 1000, np.inf)
    assert later.rows["history"].tolist() == ["a|b|c", "a|b|c|d"]


@pytest.mark.parametrize(
    ("options", "taken", "weights", "said"),
    [
        (
            {},
            [("Anna", "a|b", 0.5)],
            None,
            "spec.data.target: book is 'a|b' in the row of reader Anna at 2026-01-05 12:00:00;",
        ),
        (
            {},
            [("Anna", "a", 0), (None, "b", 1)],
            None,
            "reader is missing in 1 of 2 rows, the first is of b at 2026-01-06 00:00:00",
        ),
        (
            {"weight": "minutes"},
            [("Anna", "a", 0), ("Bo", "b", 1)],
            [3.0, -1.0],
            "minutes is -1 in the row of reader Bo at 2026-01-06 00:00:00; 1 of 2 are not over 0",
        ),
        ({}, ANNA[:3], None, "spec.data.target: book has 3 items, and every answer would hold 3"),
        (
            {"k": 1},
            ANNA[:0],
            None,
            "0 interactions, fewer than spec.data.validation.minRows (1)",
        ),
    ],
)
def test_bad_rows_are_refused_by_column_row_and_value(
    options: dict[str, Any], taken: Taken, weights: list[float] | None, said: str
) -> None:
    rows = rows_of(taken, **({} if weights is None else {"minutes": weights}))
    with pytest.raises(DataError) as refused:
        LEARNER.validate(spec_of(options), rows)
    assert said in str(refused.value)
    assert refused.value.fix


def test_the_weight_is_read_with_the_rows(tmp_path: Path) -> None:
    text = "reader,book,at,minutes\nAnna,7,2026-01-05,3.5\nBo,8,2026-01-06,oops\n"
    (tmp_path / "rows.csv").write_text(text)
    plain = LEARNER.ingest(spec_of(), tmp_path, None)
    assert plain["book"].tolist() == ["7", "8"]
    with pytest.raises(DataError, match=r"minutes.*row 2.*oops"):
        LEARNER.ingest(spec_of({"weight": "minutes"}), tmp_path, None)


def test_labels_of_the_source_are_refused_for_they_would_find_the_wrong_requests() -> None:
    nothing = np.zeros(0, np.int64)
    history = History({}, {}, nothing, nothing, nothing)
    with pytest.raises(InvalidInput, match="the same reader asks again and again"):
        next(labels_by_key(history, spec_of()))
