"""From files to frames: what is read, what is refused, what is held out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria.errors import DataError, LeakageError
from noria.spec import ModelSpec
from noria.tasks.encoding import time_feature
from noria.tasks.families import family
from noria.tasks.tabular.folds import RowFacts, folds, hold_out

MakeSpec = Callable[..., ModelSpec]
TASKS = family("tabular-classification")


def test_rows_are_read_as_they_were_known(spec_of: MakeSpec, project: Path) -> None:
    spec = spec_of()
    everything = TASKS.ingest(spec, project, None)
    assert len(everything) == 1500
    assert everything["start"].is_monotonic_increasing
    as_of = datetime(2024, 1, 20, 12, tzinfo=UTC)
    known = TASKS.ingest(spec, project, as_of)
    assert 0 < len(known) < 1500
    # A trip that had begun, but whose end was not there yet, is not among them.
    assert known["end"].max() <= pd.Timestamp(as_of)
    begun = everything[everything["start"] <= pd.Timestamp(as_of)]
    assert len(begun) > len(known)
    with pytest.raises(DataError, match="time zone"):
        TASKS.ingest(spec, project, datetime(2024, 1, 20))  # noqa: DTZ001 - the point


def test_a_training_window_leaves_old_rows_out(spec_of: MakeSpec, project: Path) -> None:
    spec = spec_of(retraining={"trainOn": {"kind": "window", "window": "10d"}})
    rows = TASKS.ingest(spec, project, datetime(2024, 2, 1, tzinfo=UTC))
    assert rows["start"].min() > pd.Timestamp("2024-01-22", tz="UTC")
    assert len(rows) > 100


def test_csv_keeps_texts_and_reads_times_and_missing_values(
    spec_of: MakeSpec, tmp_path: Path, rows: pd.DataFrame
) -> None:
    rows = rows.assign(city=rows["city"].map({"Ankara": "007", "Busan": "7"}))
    rows.iloc[:700].to_csv(tmp_path / "b.csv", index=False)
    rows.iloc[700:].to_csv(tmp_path / "a.csv", index=False)
    spec = spec_of(data={"source": {"csv": {"paths": ["*.csv"]}}})
    read = TASKS.ingest(spec, tmp_path, None)
    assert set(read["city"].dropna()) == {"007", "7"}
    pd.testing.assert_series_equal(read["start"], rows["start"])
    np.testing.assert_allclose(read["distance"], rows["distance"])


def test_rows_without_a_label_are_left_out(
    spec_of: MakeSpec, project: Path, rows: pd.DataFrame
) -> None:
    rows["late"] = rows["late"].astype("float64")
    rows.loc[:9, "late"] = np.nan
    rows.loc[10:19, "end"] = pd.NaT
    rows.to_parquet(project / "rows.parquet")
    read = TASKS.ingest(spec_of(), project, None)
    assert len(read) == 1480


def test_a_data_module_makes_missing_files_once(
    spec_of: MakeSpec, tmp_path: Path, rows: pd.DataFrame
) -> None:
    rows.to_parquet(tmp_path / "elsewhere.bin")
    (tmp_path / "make.py").write_text(
        "def prepare(base):\n"
        "    (base / 'rows.parquet').write_bytes((base / 'elsewhere.bin').read_bytes())\n"
        "    with (base / 'calls').open('a') as log:\n"
        "        log.write('x')\n"
    )
    spec = spec_of(data={"module": "make.py"})
    for _ in range(2):
        assert len(TASKS.ingest(spec, tmp_path, None)) == 1500
    assert (tmp_path / "calls").read_text() == "x"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def prepare(base):\n    raise RuntimeError('no network')\n", "no network"),
        ("import nothing_like_this\n", "can't be imported"),
        ("x = 1\n", "no function prepare"),
        ("def prepare(base):\n    pass\n", "after its prepare"),
    ],
)
def test_a_broken_data_module_is_a_data_error_with_its_cause(
    spec_of: MakeSpec, tmp_path: Path, code: str, said: str
) -> None:
    (tmp_path / "make.py").write_text(code)
    with pytest.raises(DataError, match=said) as caught:
        TASKS.ingest(spec_of(data={"module": "make.py"}), tmp_path, None)
    if "raise" in code or "import" in code:
        assert caught.value.__cause__ is not None


def test_missing_files_and_columns_are_named(
    spec_of: MakeSpec, project: Path, rows: pd.DataFrame
) -> None:
    spec = spec_of(data={"source": {"parquet": {"paths": ["none/*.parquet"]}}})
    with pytest.raises(DataError, match=r"none/\*\.parquet"):
        TASKS.ingest(spec, project, None)
    rows.drop(columns="rain").to_parquet(project / "rows.parquet")
    with pytest.raises(DataError, match="no column rain"):
        TASKS.ingest(spec_of(), project, None)
    (project / "rows.parquet").write_text("not parquet")
    with pytest.raises(DataError, match="can't be read as Parquet"):
        TASKS.ingest(spec_of(), project, None)


def test_a_label_from_before_its_event_is_leakage(
    spec_of: MakeSpec, project: Path, rows: pd.DataFrame
) -> None:
    rows.loc[5, "end"] = rows.loc[5, "start"] - pd.Timedelta(minutes=1)
    rows.to_parquet(project / "rows.parquet")
    with pytest.raises(LeakageError, match="1 of 1500 labels were known before their event"):
        TASKS.ingest(spec_of(), project, None)


def test_every_broken_rule_is_listed(spec_of: MakeSpec, rows: pd.DataFrame) -> None:
    rows.loc[:600, "distance"] = np.nan
    spec = spec_of(
        data={"validation": {"minRows": 5000, "ranges": {"distance": {"min": 0, "max": 500}}}}
    )
    with pytest.raises(DataError) as caught:
        TASKS.validate(spec, rows)
    assert [problem.path.split(".")[-1] for problem in caught.value.problems] == [
        "minRows",
        "maxMissing",
        "distance",
    ]
    assert TASKS.validate(spec_of(), rows.dropna()).checks


def test_texts_where_numbers_are_needed_are_refused(spec_of: MakeSpec, rows: pd.DataFrame) -> None:
    with pytest.raises(DataError, match=r"column distance: .*far"):
        TASKS.validate(spec_of(), rows.assign(distance="far"))
    some = rows["rain"].astype(object).where(rows["rain"].index % 10 > 0, None)
    TASKS.validate(spec_of(), rows.assign(rain=some))


def _answer(rows: pd.DataFrame, how: str) -> Any:
    late = rows["late"]
    if how == "copy":
        return late * 2.0 - 1.0
    if how == "threshold":
        return np.where(late == 1, 15.5, -60.0) + np.random.default_rng(0).gamma(2, 5, len(rows))
    return np.where(late == 1, np.nan, 1.0)


@pytest.mark.parametrize("how", ["copy", "threshold", "missing only when late"])
def test_a_feature_that_gives_the_answer_away_is_leakage(
    how: str, spec_of: MakeSpec, rows: pd.DataFrame
) -> None:
    spec = spec_of(data={"validation": {"maxMissing": 1.0}})
    with pytest.raises(LeakageError, match="distance alone predicts the target"):
        TASKS.validate(spec, rows.assign(distance=_answer(rows, how)))


def test_a_category_and_a_copied_number_that_give_the_answer_away_are_leakage(
    spec_of: MakeSpec, regression_spec: MakeSpec, rows: pd.DataFrame
) -> None:
    with pytest.raises(LeakageError, match="city alone"):
        TASKS.validate(spec_of(), rows.assign(city=rows["late"].map({0: "a", 1: "b"})))
    with pytest.raises(LeakageError, match="distance alone"):
        TASKS.validate(regression_spec(), rows.assign(distance=np.exp(rows["minutes"] / 50)))
    # A name for each row tells nothing about other rows.
    TASKS.validate(spec_of(), rows.assign(city=rows["trip"]))


def test_the_same_entity_on_both_sides_is_leakage(spec_of: MakeSpec, rows: pd.DataFrame) -> None:
    rows.loc[1499, "trip"] = "t3"
    drawn = spec_of(data={"split": {"kind": "stratified"}})
    with pytest.raises(LeakageError, match="held-out values of trip"):
        TASKS.split(drawn, rows.assign(trip=[f"t{i // 2}" for i in range(len(rows))]), None)
    # Whoever comes back later is no leak: the rows to come have them too.
    assert "t3" in set(TASKS.split(spec_of(), rows, None).test["trip"])


def test_a_temporal_split_knows_no_label_from_its_future(
    spec_of: MakeSpec, rows: pd.DataFrame
) -> None:
    split = TASKS.split(spec_of(data={"split": {"kind": "temporal", "gap": "1d"}}), rows, None)
    first = split.test["start"].min()
    assert (split.train["end"] <= first).all()
    assert (split.train["start"] < first - pd.Timedelta(days=1)).all()
    assert split.purged > 0
    assert len(split.train) + len(split.test) + split.purged == len(rows)


def test_a_group_is_on_one_side(spec_of: MakeSpec, rows: pd.DataFrame) -> None:
    rows["car"] = [f"c{i % 40}" for i in range(len(rows))]
    spec = spec_of(data={"split": {"kind": "group", "groupKey": "car", "testFraction": 0.25}})
    split = TASKS.split(spec, rows, None)
    assert not set(split.train["car"]) & set(split.test["car"])
    assert 0.2 < len(split.test) / len(rows) < 0.3


def test_a_stratified_split_keeps_the_shares(spec_of: MakeSpec, rows: pd.DataFrame) -> None:
    split = TASKS.split(spec_of(data={"split": {"kind": "stratified"}}), rows, None)
    assert split.test["late"].mean() == pytest.approx(split.train["late"].mean(), abs=0.005)


@given(
    events=st.lists(st.integers(0, 60), min_size=30, max_size=120),
    lags=st.lists(st.integers(0, 20), min_size=120, max_size=120),
    count=st.integers(2, 4),
    gap=st.integers(0, 5),
)
@settings(max_examples=150, deadline=None)
def test_temporal_folds_never_train_on_the_future(
    events: list[int], lags: list[int], count: int, gap: int
) -> None:
    event = np.array(events, dtype=np.int64)
    known = event + np.array(lags[: len(events)], dtype=np.int64)
    facts = RowFacts(np.zeros_like(event), event, known)
    seen: set[int] = set()
    try:
        for fold in folds("temporal", facts, count, gap, 0):
            start = event[fold.test].min()
            assert event[fold.train].max() < start - gap + (gap == 0)
            assert (event[fold.train] < start).all()
            assert known[fold.train].max() <= start
            assert not set(fold.train.tolist()) & set(fold.test.tolist())
            assert not seen & set(fold.test.tolist())
            seen |= set(fold.test.tolist())
    except DataError:
        return  # too few different moments for so many folds


@given(st.integers(0, 2**31 - 1), st.sampled_from(["stratified", "group"]))
@settings(max_examples=30, deadline=None)
def test_shuffled_folds_cover_every_row_once(seed: int, kind: Any) -> None:
    rng = np.random.default_rng(seed)
    facts = RowFacts(rng.integers(0, 3, 200), groups=rng.integers(0, 30, 200))
    held = np.concatenate([fold.test for fold in folds(kind, facts, 4, 0, seed)])
    assert sorted(held.tolist()) == list(range(200))
    # Groups are whole, and the largest of thirty may have some fifteen rows.
    assert hold_out(kind, facts, 0.25, 0, seed).test.size == pytest.approx(50, abs=16)


def test_time_features_equal_pandas() -> None:
    when = pd.Series(pd.date_range("1969-12-25", periods=4000, freq="17h13min", tz="UTC"))
    ms = when.to_numpy(dtype="datetime64[ms]").astype(np.int64)
    expected = {
        "minute-of-day": when.dt.hour * 60 + when.dt.minute,
        "hour-of-day": when.dt.hour,
        "day-of-week": when.dt.day_of_week,
        "day-of-year": when.dt.day_of_year,
        "month": when.dt.month,
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(time_feature(name, ms), values)


def test_features_add_the_time_features(spec_of: MakeSpec, project: Path) -> None:
    spec = spec_of(data={"timeFeatures": ["day-of-week", "minute-of-day"]})
    frame = TASKS.features(spec, project, TASKS.ingest(spec, project, None))
    assert frame["day-of-week"].tolist() == frame["start"].dt.day_of_week.tolist()
    assert TASKS.request_columns(spec) == ["city", "distance", "rain", "start", "trip"]


def test_honest_gaps_are_refused_with_the_share_that_admits_them(
    spec_of: MakeSpec, rows: pd.DataFrame
) -> None:
    rows["distance"] = rows["distance"].where(rows.index % 20 < 9)
    rows["city"] = rows["city"].where(rows.index % 20 < 13)
    with pytest.raises(DataError) as caught:
        TASKS.validate(spec_of(), rows)
    fixes = {problem.fix.rpartition("set ")[2] for problem in caught.value.problems}
    assert len(caught.value.problems) == 2
    (fix,) = fixes
    share = float(fix.removeprefix("maxMissing: "))
    assert 0.55 < share < 0.6
    assert TASKS.validate(spec_of(data={"validation": {"maxMissing": share}}), rows).checks


def test_the_report_says_which_categories_are_not_learnt(
    spec_of: MakeSpec, rows: pd.DataFrame
) -> None:
    many = rows.assign(city=[f"c{place % 1000}" for place in range(len(rows))])
    report = TASKS.validate(spec_of(), many)
    (said,) = (check.detail for check in report.checks if check.name == "categories.city")
    assert "1000 different values: the 250 most frequent are learnt" in said
    assert "66.7% of the rows" in said
    twice = rows.assign(city=["7.0" if place % 2 else "7" for place in range(len(rows))])
    (said,) = (
        check.detail
        for check in TASKS.validate(spec_of(), twice).checks
        if check.name == "categories.city"
    )
    assert "'7' and '7.0' are two categories" in said
    assert not any(
        check.name.startswith("categories") for check in TASKS.validate(spec_of(), rows).checks
    )
