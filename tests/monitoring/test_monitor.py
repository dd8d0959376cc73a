"""From payload events and labels to windows, results and signals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitoring.log import EventLog
from monitoring.processor import Processor
from monitoring.records import RequestRecord, ResponseRecord, encode
from monitoring.state import State
from noria.errors import InvalidInput

Make = Callable[..., Any]


@pytest.fixture
def reference(tmp_path: Path, world: Any) -> Path:
    found: Path = world.reference(tmp_path / "reference")
    return found


def test_traffic_like_the_reference_gives_windows_and_no_signal(
    bench: Make, reference: Path
) -> None:
    b = bench()
    b.champion("1", reference)
    for i in range(10):
        b.predict(f"r{i}", 100)
    status = b.status()
    assert status["counts"]["rows"] == 1000
    assert status["windows"]["features"] == {"index": 5, "rows": 0}
    # The first one has the rows of four: what later ones are compared with.
    assert status["windows"]["prediction"] == {"index": 2, "rows": 0}
    assert {name: r["drift"] for name, r in status["drift"].items()} == {
        "features": False,
        "prediction": False,
    }
    assert status["drift"]["features"]["samples"] == 200
    assert status["signals"] == []


def test_a_shift_is_a_signal_that_names_the_feature(bench: Make, reference: Path) -> None:
    b = bench()
    b.champion("1", reference)
    b.predict("quiet", 200)
    b.predict("moved", 200, shift=3.0)
    (signal,) = b.signals()
    assert signal["id"] == "flights/1/features/1"
    assert (signal["kind"], signal["source"], signal["version"]) == ("drift", "features", "1")
    assert "wind" in signal["detail"]
    assert b.status()["alarms"] == {"features": 1}


def test_a_shift_of_the_predictions_is_seen_without_a_shift_of_the_features(
    bench: Make, reference: Path
) -> None:
    b = bench()
    b.champion("1", reference)
    b.predict("learnt", 800)
    b.predict("moved", 200, score_shift=0.3)
    assert [s["id"] for s in b.signals()] == ["flights/1/prediction/1"]


def test_a_change_too_small_to_matter_is_no_drift(bench: Make, reference: Path) -> None:
    detector = {"name": "f", "kind": "tabular", "watch": "features", "options": {"minEffect": 0.9}}
    b = bench(detectors=[detector])
    b.champion("1", reference)
    b.predict("moved", 200, shift=3.0)
    report = b.status()["drift"]["f"]
    assert report["p_value"] < report["threshold"]
    assert not report["drift"]


def test_responses_may_come_before_their_requests(bench: Make, world: Any, wire: Any) -> None:
    b = bench()
    scores = world.scores(3)
    b.post("r", "response", wire.response(scores))
    assert b.status()["counts"]["rows"] == 0
    b.post("r", "request", world.request(3))
    assert b.status()["counts"]["rows"] == 3


def test_what_is_delivered_again_is_counted_once(bench: Make, world: Any, wire: Any) -> None:
    b = bench()
    request, answer = world.request(3), wire.response(world.scores(3))
    for _ in range(3):
        b.post("r", "request", request)
        b.post("r", "response", answer)
        b.monitor.flush()
    b.restart()
    b.post("r", "request", request)
    counts = b.status()["counts"]
    assert (counts["rows"], counts["requests"], counts["responses"]) == (3, 1, 1)
    assert counts["duplicates"] == 5


def test_a_pair_with_different_numbers_of_rows_is_dropped_and_counted(
    bench: Make, world: Any, wire: Any
) -> None:
    b = bench()
    b.post("r", "request", world.request(3))
    b.post("r", "response", wire.response(world.scores(2)))
    counts = b.status()["counts"]
    assert counts["rows"] == 0
    assert counts["dropped"]["mismatched"] == 1


def test_rows_of_all_versions_are_watched_and_predictions_of_the_champion_only(
    bench: Make, reference: Path
) -> None:
    b = bench()
    b.champion("1", reference)
    b.predict("a", 150, version="1")
    b.predict("b", 150, version="2", score_shift=0.5)
    status = b.status()
    assert status["windows"]["features"] == {"index": 1, "rows": 100}
    assert status["windows"]["prediction"] == {"index": 0, "rows": 150}
    assert status["counts"]["versions"] == {"1": 150, "2": 150}


def test_a_new_champion_starts_new_windows_and_old_signals_are_of_no_interest(
    bench: Make, reference: Path, world: Any, tmp_path: Path
) -> None:
    b = bench()
    b.champion("1", reference)
    b.predict("a", 250, shift=3.0)
    assert [s["id"] for s in b.signals()] == ["flights/1/features/0"]
    b.champion("2", world.reference(tmp_path / "second"), champion=False)
    assert b.status()["champion"] == "1"
    b.champion("2", tmp_path / "second")
    status = b.status()
    assert status["champion"] == "2"
    assert status["signals"] == []
    # Thrown away: those 50 rows were compared with the other reference.
    assert status["windows"]["features"] == {"index": 1, "rows": 0}
    b.predict("b", 200, shift=3.0, version="2")
    # Its number goes on, so that no id is ever used for two windows.
    assert [s["id"] for s in b.signals()] == ["flights/2/features/1"]


def test_the_same_reference_again_changes_nothing(bench: Make, reference: Path) -> None:
    b = bench()
    b.champion("1", reference)
    b.predict("a", 150)
    b.champion("1", reference)
    assert b.status()["windows"]["features"] == {"index": 0, "rows": 150}


def test_bad_values_are_a_quality_signal(
    bench: Make, reference: Path, world: Any, wire: Any
) -> None:
    b = bench(detectors=[])
    b.champion("1", reference)
    request = world.request(200)
    request["inputs"][0]["data"][:30] = ["ZZ"] * 30
    request["inputs"][1]["data"][:50] = [None] * 50
    request["inputs"][2]["data"][:20] = [99.0] * 20
    b.post("r", "request", request)
    b.post("r", "response", wire.response(world.scores(200)))
    status = b.status()
    found = {(x["feature"], x["rule"]): x["share"] for x in status["quality"]["breaches"]}
    assert found == {
        ("carrier", "unseen"): pytest.approx(0.15),
        ("distance", "missing"): pytest.approx(0.25),
        ("wind", "out-of-range"): pytest.approx(0.1),
    }
    assert [s["id"] for s in status["signals"]] == ["flights/1/quality/0"]


@pytest.mark.parametrize("by", ["id", "key"])
@pytest.mark.parametrize("order", ["labels last", "labels first"])
def test_labels_find_their_rows(bench: Make, world: Any, by: str, order: str) -> None:
    b = bench()
    truth = world.labels(world.scores(50))
    names = [{"id": f"r:{i}"} if by == "id" else {"key": str(i)} for i in range(50)]
    labels = [{**name, "label": int(y)} for name, y in zip(names, truth, strict=True)]
    if order == "labels first":
        assert b.label(labels) == (50, 50)
        b.monitor.flush()
    b.predict("r", 50)
    if order == "labels last":
        assert b.label(labels) == (50, 50)
    # Again: known, and not joined twice.
    assert b.label(labels) == (0, 50)
    assert b.status()["counts"]["joined"] == 50
    version, found = b.monitor.measure("accuracy", None, 0.0)
    assert found.samples == 0  # no champion yet
    version, found = b.monitor.measure("accuracy", "1", 0.0)
    assert version == "1"
    assert found.value == pytest.approx(((b.sent["r"] >= 0.5) == truth).mean())


def test_a_row_labelled_by_id_and_by_key_counts_once(bench: Make) -> None:
    b = bench()
    b.predict("r", 2)
    b.label([{"id": "r:0", "label": 1}])
    b.label([{"key": "0", "label": 0}, {"key": "1", "label": 0}])
    assert b.status()["counts"]["joined"] == 2
    _, found = b.monitor.measure("brier", "1", 0.0)
    expected = ((b.sent["r"] - np.array([1.0, 0.0])) ** 2).mean()
    assert found.value == pytest.approx(expected)


def test_a_label_for_a_row_that_is_not_there_waits(bench: Make) -> None:
    b = bench()
    b.predict("r", 2)
    b.label([{"id": "r:2", "label": 1}, {"id": "s:0", "label": 1}])
    assert b.status()["counts"]["joined"] == 0
    b.predict("s", 1)
    assert b.status()["counts"]["joined"] == 1


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ({"label": 1}, "labels[0]: neither id nor key is there; give either id or key: id is <r"),
        (
            {"id": "r:0", "key": "1", "label": 1},
            "labels[0]: id 'r:0' and key '1' are both there; give either id or key",
        ),
        (
            {"id": "r\x00:0", "label": 1},
            r"labels[0].id: 'r\x00' holds NUL, or half of a surrogate pair; send text that UTF-8",
        ),
        ({"key": "", "label": 1}, "labels[0].key: '' is empty or over 512 long; send the value of"),
        ({"id": "r", "label": 1}, "labels[0].id: 'r' is not <request id>:<row>"),
        ({"id": "r:0", "label": "late"}, "positiveClass"),
        ({"id": "r:0", "label": 2}, "labels[0].label: 2 is not 0, 1"),
        (
            {"id": "r:0", "label": 1, "time": "soon"},
            "labels[0].time: 'soon' is not ISO 8601; such as",
        ),
        ({"id": "r:0"}, "$.labels[0]"),
        ({"id": "r:0", "label": 1, "wait": 1}, "wait"),
    ],
)
def test_a_label_that_is_none_is_refused_with_its_field(
    bench: Make, label: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        bench().label([label])
    assert said in str(caught.value)


def test_performance_is_measured_per_version_and_a_drop_is_a_signal(
    bench: Make, reference: Path
) -> None:
    b = bench(window={"rows": 10_000})
    b.champion("1", reference)
    for identity, version, skill in (("a", "1", 1.0), ("b", "1", 0.0), ("c", "2", 0.0)):
        b.predict(identity, 200, version=version)
        b.label_request(identity, skill)
    status = b.status()
    assert status["performance"]["1"]["window"] == 1
    assert status["performance"]["2"]["window"] == 0
    auc = status["performance"]["1"]["metrics"]["auc"]
    assert auc["low"] < auc["value"] < auc["high"] < 0.67
    assert auc["samples"] == 200
    # The candidate is no better, but its drop is the canary's affair.
    assert [s["id"] for s in status["signals"]] == ["flights/1/performance/1"]


@pytest.mark.parametrize("metric", ["auc", "average-precision", "log-loss"])
def test_one_positive_is_no_drop_and_the_missing_count_is_said(
    bench: Make, reference: Path, metric: str
) -> None:
    performance = {
        "metrics": ["auc", "average-precision", "log-loss"],
        "window": {"rows": 100},
        "drop": {"metric": metric, "max": 0.0, "confidence": 0.95},
    }
    b = bench(window={"rows": 10_000}, performance=performance)
    b.champion("1", reference)
    scores = b.predict("a", 100)
    lowest = int(scores.argmin())
    b.label([{"id": f"a:{row}", "label": int(row == lowest)} for row in range(100)])
    status = b.status()
    found = status["performance"]["1"]
    assert found["metrics"]["auc"]["value"] == 0.0
    for one in found["metrics"].values():
        assert (one["low"], one["high"]) == (None, None)
        assert one["problem"] == "needs 10 labelled rows of the rarer class, has 1"
    assert found["drop"] is None
    assert status["signals"] == []
    _, asked = b.monitor.measure(metric, "1", 0.0)
    assert asked.problem == "needs 10 labelled rows of the rarer class, has 1"


def test_measure_counts_only_rows_that_arrived_since(bench: Make) -> None:
    b = bench()
    for i in range(4):
        b.predict(f"r{i}", 10)
        b.time += 100.0
    for i in range(4):
        b.label_request(f"r{i}")
    b.monitor.flush()
    start = b.time - 400.0
    counted = [b.monitor.measure("brier", "1", start + s)[1].samples for s in (0, 100, 150, 301)]
    assert counted == [40, 30, 20, 0]
    _, labelled = b.monitor.measure("labelled-rows", None, b.time)
    assert (labelled.value, labelled.samples) == (40.0, 40)
    assert b.monitor.measure("labelled-rows", None, b.time + 1)[1].samples == 0


def test_the_rate_of_the_traffic_is_that_of_the_newest_windows(
    bench: Make, reference: Path
) -> None:
    b = bench(window={"rows": 400})
    b.champion("1", reference)
    assert b.monitor.measure("rows-per-day", None, 0.0)[1].value is None
    for i in range(2):
        b.predict(f"slow{i}", 10)
        b.time += 43_200.0
    b.monitor.flush()
    # Of half a day no rate is told: a burst is not what comes by day and night.
    assert b.monitor.measure("rows-per-day", None, 0.0)[1].value is None
    b.predict("slow2", 10)
    b.time += 43_200.0
    b.monitor.flush()
    assert b.monitor.measure("rows-per-day", None, 0.0)[1].value == 30.0
    for i in range(72):
        b.predict(f"fast{i}", 100)
        b.time += 10_800.0
    b.monitor.flush()
    # Eight hundred a day for nine days; the slow day is over a week ago.
    assert b.monitor.measure("rows-per-day", None, 0.0)[1].value == pytest.approx(800, rel=0.05)


def test_with_the_event_clock_arrival_is_the_largest_event_time_seen(bench: Make) -> None:
    b = bench(clock="event")
    b.predict("a", 10, when="2013-02-01T00:00:00Z")
    b.predict("b", 10, when="2013-03-01T00:00:00Z")
    b.predict("c", 10, when="2013-02-15T00:00:00Z")  # late: arrives when March has begun
    for identity in "abc":
        b.label_request(identity, when="2013-03-05T00:00:00Z")
    status = b.status()
    assert status["watermark"] == 1362441600.0
    march = 1362096000.0
    assert b.monitor.measure("brier", "1", march)[1].samples == 20
    assert b.monitor.measure("brier", "1", march + 1)[1].samples == 0


def test_silence_is_told(bench: Make, reference: Path) -> None:
    b = bench()
    b.champion("1", reference)
    b.predict("a", 200)
    b.time += 500.0
    b.predict("b", 10)
    b.time += 1000.0
    status = b.status()
    assert status["last_window_age_seconds"] == pytest.approx(1500.0)
    assert status["label_lag_seconds"] == pytest.approx(500.0)
    b.label([{"id": "b:0", "label": 1}])
    status = b.status()
    assert status["label_lag_seconds"] == 0.0
    assert status["label_delay_seconds"] == pytest.approx(1000.0)


def test_a_detector_that_can_not_run_is_told_and_the_others_go_on(
    bench: Make, reference: Path
) -> None:
    b = bench(
        detectors=[
            {"name": "bad", "kind": "fisher", "watch": "features", "columns": ["carrier"]},
            {"name": "good", "kind": "ks", "watch": "features"},
        ]
    )
    b.champion("1", reference)
    b.predict("a", 200)
    status = b.status()
    assert "carrier" in status["problems"]["bad"]
    assert set(status["drift"]) == {"good"}


def test_a_folder_that_is_no_reference_is_refused(bench: Make, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"reference\.json"):
        bench().champion("1", tmp_path / "nowhere")


def test_the_reference_may_be_deleted_once_it_is_put(bench: Make, reference: Path) -> None:
    b = bench()
    b.champion("1", reference)
    for path in reference.iterdir():
        path.unlink()
    b.restart()
    b.predict("a", 200)
    assert b.status()["windows"]["features"]["index"] == 1


def fill(b: Any, restart_after: frozenset[int] = frozenset()) -> dict[str, Any]:
    """Send the same mixed traffic, restarting between some of its parts."""
    for i in range(48):
        version = "2" if i % 3 == 0 else "1"
        b.predict(f"r{i}", 37, version=version, shift=2.0 if i > 15 else 0.0)
        if i >= 2:
            b.label_request(f"r{i - 2}", skill=0.0 if i > 10 else 1.0)
        if i in restart_after:
            b.restart()
    status: dict[str, Any] = b.status()
    assert set(status["drift"]) == {"features", "prediction"}
    for name in ("counts", "watermark"):
        assert status[name] is not None
    return status


def test_restarts_between_any_parts_change_nothing(
    bench: Make, reference: Path, world: Any
) -> None:
    results = []
    for restarts in (frozenset(), frozenset(range(0, 48, 2)), frozenset({5, 11, 12, 40})):
        world.random = np.random.default_rng(7)
        b = bench()
        b.champion("1", reference)
        results.append(fill(b, restarts))
    assert results[0]["counts"]["windows"] > 8
    assert results[0]["signals"]
    for other in results[1:]:
        assert json.dumps(other, sort_keys=True) == json.dumps(results[0], sort_keys=True)


def test_what_is_processed_is_forgotten_and_open_windows_are_kept(
    bench: Make, reference: Path
) -> None:
    b = bench()
    b.champion("1", reference)
    for i in range(30):
        b.predict(f"r{i}", 100)
    b.predict("open", 50)
    b.monitor.flush()
    b.monitor.close()
    log, state = EventLog(b.home / "log.db", lambda: b.time), State(b.home / "state.db")
    each = 1 if b.form == "blocks" else 2
    assert len(log.read(0, 1000)) == 31 * each + 1
    Processor(b.config, log, state, b.home).prune()
    # The request of the open window, and its response after it.
    assert len(log.read(0, 1000)) == each
    log.close()
    state.close()
    b.monitor = b.open()
    b.predict("more", 150)
    assert b.status()["windows"]["features"] == {"index": 16, "rows": 0}


def test_what_is_older_than_twice_the_label_lag_is_forgotten_and_counted(
    bench: Make, wire: Any, world: Any
) -> None:
    b = bench(performance={"maxLabelLag": "1h"})
    b.predict("old", 10)
    b.label([{"id": "old:0", "label": 1}, {"id": "never:0", "label": 1}])
    b.post("half", "request", world.request(1))
    b.monitor.flush()
    b.time += 3 * 3600.0
    # Housekeeping comes with the log's growth.
    for i in range(0, 2000, 100):
        events = [wire.structured(f"n{i + k}", "request", world.request(1)) for k in range(100)]
        headers = {"content-type": "application/cloudevents-batch+json"}
        b.monitor.accept(headers, json.dumps(events).encode()).result()
    counts = b.status()["counts"]
    assert counts["dropped"]["unlabelled"] == 9
    assert counts["dropped"]["unpaired"] == 1
    assert counts["dropped"]["orphan-label"] == 1
    b.label([{"id": "old:1", "label": 1}])
    assert b.status()["counts"]["joined"] == 1


def test_a_record_that_can_not_be_read_is_left_out_and_counted(
    bench: Make, reference: Path
) -> None:
    b = bench()
    b.champion("1", reference)
    b.predict("a", 100)
    b.monitor.flush()
    b.monitor.close()
    log = EventLog(b.home / "log.db", lambda: b.time)
    broken = RequestRecord("bad", "1", 3, {"distance": b"123"}, None, None)
    log.append([(0, b"not msgpack"), (3, encode(broken))]).result()
    log.append([(3, encode(ResponseRecord("bad", "1", 3, b"12345")))]).result()
    log.close()
    b.monitor = b.open()
    b.predict("b", 100)
    status = b.status()
    assert status["counts"]["dropped"]["unreadable"] >= 1
    assert status["counts"]["rows"] >= 200
