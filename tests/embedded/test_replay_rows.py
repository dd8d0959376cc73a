"""Historical rows in time order: requests first, labels once they were known."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from noria.clocks import ReplayClock
from noria.errors import DataError, InvalidInput, Unavailable
from noria.replay import Client, History, Labels, infer_body, moment, read_history, steps
from noria.spec import TrainOn, load_model

HOUR = 3_600_000


def history(event_hours: list[float], label_hours: list[float] | None = None) -> History:
    event = (np.asarray(event_hours) * HOUR).astype(np.int64)
    known = event if label_hours is None else (np.asarray(label_hours) * HOUR).astype(np.int64)
    return History(
        {"x": np.arange(len(event))}, {"x": "INT64"}, np.arange(len(event)) % 2, event, known
    )


def test_rows_of_a_project_come_in_time_order_with_what_a_client_sends(parcels: Path) -> None:
    spec = load_model(parcels).spec
    start, end = datetime(2026, 1, 10, tzinfo=UTC), datetime(2026, 1, 20, tzinfo=UTC)
    rows = read_history(spec, parcels.parent, start, end)
    assert len(rows) == 200
    assert list(rows.columns) == ["service", "distance_km", "weight_kg", "ordered", "parcel_id"]
    assert np.all(np.diff(rows.event_ms) >= 0)
    assert moment(rows.event_ms[0]) >= start
    assert moment(rows.event_ms[-1]) < end
    assert np.all(rows.label_ms > rows.event_ms)
    assert set(rows.label) == {0, 1}


def test_a_time_without_rows_is_refused(parcels: Path) -> None:
    with pytest.raises(DataError, match="no labelled row lies between 2030"):
        read_history(
            load_model(parcels).spec, parcels.parent, datetime(2030, 1, 1, tzinfo=UTC), None
        )


def test_a_file_is_told_instead_of_the_source_in_its_own_notation(
    parcels: Path, tmp_path: Path
) -> None:
    spec = load_model(parcels).spec
    source = pc.read_csv(parcels.parent / "data" / "rows.csv")
    whole = read_history(spec, parcels.parent)
    named = tmp_path / "new [1].csv"  # no pattern, though it looks like one
    pc.write_csv(source.slice(0, 100), named)
    told = read_history(spec, parcels.parent, file=named)
    assert len(told) == 100
    for name, values in told.columns.items():
        np.testing.assert_array_equal(values, whole.columns[name][:100])
    pq.write_table(source.slice(100, 50), tmp_path / "new.parquet")
    later = read_history(spec, parcels.parent, file=tmp_path / "new.parquet")
    np.testing.assert_array_equal(later.event_ms, whole.event_ms[100:150])


def test_a_file_that_is_not_there_or_of_another_kind_is_refused(
    parcels: Path, tmp_path: Path
) -> None:
    spec = load_model(parcels).spec
    with pytest.raises(InvalidInput, match="there is no file"):
        read_history(spec, parcels.parent, file=tmp_path / "none.csv")
    (tmp_path / "rows.xlsx").write_bytes(b"")
    with pytest.raises(InvalidInput, match="is not CSV or Parquet"):
        read_history(spec, parcels.parent, file=tmp_path / "rows.xlsx")


def test_rows_are_told_however_old_though_training_forgets_them(parcels: Path) -> None:
    spec = load_model(parcels).spec
    window = {"train_on": TrainOn(kind="window", window=timedelta(days=5))}
    retraining = spec.retraining.model_copy(update=window)
    forgetful = spec.model_copy(update={"retraining": retraining})
    assert len(read_history(forgetful, parcels.parent)) == 1200


def test_later_rows_are_those_that_are_not_before_a_moment() -> None:
    rows = history([0, 1, 2, 3])
    later = rows.since(moment(2 * HOUR))
    assert later.event_ms.tolist() == [2 * HOUR, 3 * HOUR]
    assert later.columns["x"].tolist() == [2, 3]
    with pytest.raises(DataError, match="no labelled row lies after"):
        rows.since(moment(4 * HOUR))


def test_a_model_without_an_event_time_has_nothing_to_replay(parcels: Path) -> None:
    spec = load_model(parcels).spec
    timeless = spec.model_copy(update={"data": spec.data.model_copy(update={"event_time": None})})
    with pytest.raises(DataError, match=r"spec\.data\.eventTime"):
        read_history(timeless, parcels.parent)


def test_periods_follow_the_clock_and_empty_ones_are_left_out() -> None:
    cut = list(steps(history([0.0, 0.5, 1.0, 5.25, 5.75, 5.999]), HOUR))
    assert [(end / HOUR, rows.start, rows.stop) for end, rows in cut] == [
        (1, 0, 2),
        (2, 2, 3),
        (6, 3, 6),
    ]
    shifted = list(steps(history([0.0, 0.5, 1.0]), HOUR, offset_ms=HOUR // 2))
    assert [(end / HOUR, rows.start, rows.stop) for end, rows in shifted] == [
        (0.5, 0, 1),
        (1.5, 1, 3),
    ]


def test_labels_come_in_the_order_they_became_known_each_once() -> None:
    labels = Labels(history([0, 1, 2, 3], label_hours=[9, 4, 5, 4.5]))
    labels.answered(slice(0, 2), "a")
    labels.answered(slice(2, 4), "b")
    first = labels.known(5 * HOUR)
    assert [row for row, _ in first] == [1, 3, 2]
    assert [label["id"] for _, label in first] == ["a:1", "b:1", "b:0"]
    assert first[0][1] == {"id": "a:1", "label": 1, "time": "1970-01-01T04:00:00+00:00"}
    assert labels.known(5 * HOUR) == []
    assert [row for row, _ in labels.known(9 * HOUR)] == [0]


def test_of_named_targets_each_has_a_label_of_its_own() -> None:
    event = np.array([0, HOUR])
    values = np.array([[1.0, 2.0], [3.0, np.nan]])
    labels = Labels(History({}, {}, values, event, event, ("price", "stock")))
    labels.answered(slice(0, 2), "a")
    said = [
        (row, label["id"], label["target"], label["label"]) for row, label in labels.known(HOUR)
    ]
    # One that is missing is not sent: it may still come.
    assert said == [
        (0, "a:0", "price", 1.0),
        (0, "a:0", "stock", 2.0),
        (1, "a:1", "price", 3.0),
    ]


def test_no_label_comes_before_its_row_was_answered() -> None:
    labels = Labels(history([0, 1], label_hours=[2, 3]))
    labels.answered(slice(1, 2), "late")
    assert labels.known(10 * HOUR) == []
    labels.answered(slice(0, 1), "early")
    assert [row for row, _ in labels.known(10 * HOUR)] == [0, 1]


def test_a_request_has_a_tensor_a_column_and_null_for_what_is_missing() -> None:
    rows = History(
        columns={
            "n": np.array([1.5, np.nan, 3.0]),
            "i": np.array([1, 2, 3]),
            "b": np.array([True, False, True]),
            "s": np.array(["a", None, "c"], dtype=object),
        },
        datatypes={"n": "FP64", "i": "INT64", "b": "BOOL", "s": "BYTES"},
        label=np.zeros(3),
        event_ms=np.arange(3),
        label_ms=np.arange(3),
    )
    body = infer_body(rows, slice(1, 3))
    assert json.loads(json.dumps(body, allow_nan=False)) == {
        "inputs": [
            {"name": "n", "shape": [2], "datatype": "FP64", "data": [None, 3.0]},
            {"name": "i", "shape": [2], "datatype": "INT64", "data": [2, 3]},
            {"name": "b", "shape": [2], "datatype": "BOOL", "data": [False, True]},
            {"name": "s", "shape": [2], "datatype": "BYTES", "data": [None, "c"]},
        ]
    }


def test_a_client_of_nobody_says_so() -> None:
    with pytest.raises(Unavailable, match="no answer"):
        Client("http://127.0.0.1:1", "m").infer({"inputs": []}, "r")


def test_a_replays_clock_stands_still_and_never_goes_back() -> None:
    clock = ReplayClock(datetime(2026, 1, 1, 12, tzinfo=UTC))
    clock.advance(datetime(2026, 1, 1, 13, tzinfo=UTC))
    clock.advance(datetime(2026, 1, 1, 11, tzinfo=UTC))
    assert clock.now() == clock.now() == datetime(2026, 1, 1, 13, tzinfo=UTC)
