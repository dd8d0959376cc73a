"""What becomes of an alert, from either sender: a signal, a notice, or a line in the log."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from noria.loop.fakes import FakeClock
from noria.loop.sqlite_store import SqliteStore
from noria.loop.values import Notice, Signal, SignalKind

if TYPE_CHECKING:
    from conftest import Post, Senders

STARTS = datetime(2026, 1, 1, 12, 30, 0, 505000, tzinfo=UTC)
DRIFT = {
    "alertname": "NoriaDrift",
    "model": "flights",
    "version": "7",
    "detector": "features",
    "severity": "warning",
    "noria_signal": "drift",
}
SAMPLE = Path(__file__).with_name("alertmanager_v4.json")


@pytest.fixture(params=["alertmanager", "grafana"])
def sender(request: pytest.FixtureRequest, senders: type[Senders]) -> Any:
    return getattr(senders, request.param)


async def test_a_firing_alert_of_a_signal_is_a_signal_of_its_version(
    post: Post, store: SqliteStore, senders: type[Senders], sender: Any
) -> None:
    answer = await post(sender([senders.alert(DRIFT, STARTS)]))
    assert (answer.status_code, answer.json()["signals"]) == (200, 1)
    (signal,) = store.inbox("flights")
    assert isinstance(signal, Signal)
    assert (signal.kind, signal.version, signal.at) == (SignalKind.DRIFT, "7", STARTS)
    assert signal.source == sender.__name__
    assert signal.detail == "alert NoriaDrift: the inputs have drifted"


async def test_resends_are_one_signal_and_another_episode_is_another(
    post: Post, store: SqliteStore, senders: type[Senders], sender: Any
) -> None:
    for times in range(3):
        body = sender([senders.alert(DRIFT, STARTS)])
        assert (await post(body)).json()["signals"] == (times == 0)
    await post(sender([senders.alert(DRIFT, STARTS + timedelta(hours=1))]))
    await post(sender([senders.alert({**DRIFT, "detector": "prediction"}, STARTS)]))
    assert len(store.inbox("flights")) == 3
    assert (await post.metrics())[
        f'noria_webhook_alerts_total{{outcome="repeated",source="{sender.__name__}"}}'
    ] == 2


async def test_the_start_counts_however_it_is_written(
    post: Post, store: SqliteStore, senders: type[Senders]
) -> None:
    alert = senders.alert(DRIFT, STARTS)
    for written in ("2026-01-01T12:30:00.505Z", "2026-01-01T14:30:00.505000000+02:00"):
        await post(senders.alertmanager([{**alert, "startsAt": written}]))
    assert len(store.inbox("flights")) == 1


async def test_the_status_of_the_group_is_not_that_of_its_alerts(
    post: Post, store: SqliteStore, senders: type[Senders], sender: Any
) -> None:
    over = senders.alert({**DRIFT, "detector": "old"}, STARTS, ends=STARTS + timedelta(hours=1))
    body = sender([over, senders.alert(DRIFT, STARTS)])
    assert body["status"] == "firing"
    assert (await post(body)).json() == {"signals": 1, "notices": 1, "repeated": 0, "unknown": []}
    notice, signal = store.inbox("flights")
    assert isinstance(notice, Notice)
    assert isinstance(signal, Signal)


@pytest.mark.parametrize(
    ("changed", "annotations", "reason"),
    [
        ({"noria_signal": None}, {}, "it has no label noria_signal"),
        ({"noria_signal": "manual"}, {}, "noria_signal 'manual' is none of drift, performance"),
        ({"noria_signal": "Drift"}, {}, "noria_signal 'Drift' is none of"),
        (
            {"alertname": "DatasourceNoData", "rulename": "Drift of flights"},
            {},
            "rule Drift of flights could not be evaluated, and no data is not a change",
        ),
        ({"alertname": "DatasourceError"}, {}, "rule DatasourceError could not be evaluated"),
        ({}, {"grafana_state_reason": "NoData"}, "rule NoriaDrift could not be evaluated"),
        ({}, {"grafana_state_reason": "Error"}, "rule NoriaDrift could not be evaluated"),
    ],
)
async def test_what_says_nothing_about_the_model_is_a_notice(
    changed: dict[str, str | None],
    annotations: dict[str, str],
    reason: str,
    post: Post,
    store: SqliteStore,
    senders: type[Senders],
    sender: Any,
) -> None:
    labels = {name: value for name, value in {**DRIFT, **changed}.items() if value is not None}
    for _ in range(2):
        body = sender([senders.alert(labels, STARTS, annotations=annotations)])
        assert (await post(body)).status_code == 200
    (notice,) = store.inbox("flights")
    assert isinstance(notice, Notice)
    assert reason in notice.reason


async def test_a_resolved_alert_is_a_notice_whichever_comes_first(
    post: Post, store: SqliteStore, senders: type[Senders], sender: Any
) -> None:
    over = sender([senders.alert(DRIFT, STARTS, ends=STARTS + timedelta(hours=1))])
    for body in (over, sender([senders.alert(DRIFT, STARTS)]), over):
        await post(body)
    notice, signal = store.inbox("flights")
    assert isinstance(notice, Notice)
    assert "it is over" in notice.reason
    assert isinstance(signal, Signal)


async def test_what_a_sender_cut_off_is_told_once_for_each_model(
    post: Post, store: SqliteStore, senders: type[Senders], sender: Any
) -> None:
    alerts = [senders.alert({**DRIFT, "model": m}, STARTS) for m in ("flights", "parcels")]
    for _ in range(2):
        await post(sender(alerts, truncated=3))
    for model in ("flights", "parcels"):
        signal, notice = store.inbox(model)
        assert isinstance(signal, Signal)
        assert isinstance(notice, Notice)
        assert notice.name == "3 alerts that were cut off"
    counted = f'noria_webhook_truncated_alerts_total{{source="{sender.__name__}"}}'
    assert (await post.metrics())[counted] == 6


async def test_a_model_without_a_loop_is_told_and_costs_the_others_nothing(
    post: Post,
    store: SqliteStore,
    senders: type[Senders],
    sender: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    nameless = {name: value for name, value in DRIFT.items() if name != "model"}
    alerts = [
        senders.alert(labels, STARTS)
        for labels in ({**DRIFT, "model": "fligths"}, nameless, {**DRIFT, "model": "../x"}, DRIFT)
    ]
    for _ in range(2):
        answer = await post(sender(alerts))
        assert answer.status_code == 200
        assert answer.json()["unknown"] == ["'fligths'", "''", "'../x'"]
    assert len(store.inbox("flights")) == 1
    assert store.inbox("fligths") == ()
    assert len([r for r in caplog.records if "which has no loop here" in r.message]) == 3
    counted = f'noria_webhook_alerts_total{{outcome="unknown-model",source="{sender.__name__}"}}'
    assert (await post.metrics())[counted] == 6


async def test_a_clock_that_is_ahead_makes_no_signal_of_the_future(
    post: Post, store: SqliteStore, senders: type[Senders], clock: FakeClock
) -> None:
    ahead = senders.alertmanager([senders.alert(DRIFT, clock.now() + timedelta(days=3))])
    for _ in range(2):
        await post(ahead)
        (signal,) = store.inbox("flights")
        assert isinstance(signal, Signal)
        assert signal.at == datetime(2026, 1, 2, tzinfo=UTC)
        clock.advance(timedelta(hours=1))


async def test_an_alert_about_no_version_is_about_the_model(
    post: Post, store: SqliteStore, senders: type[Senders]
) -> None:
    labels = {name: value for name, value in DRIFT.items() if name != "version"}
    await post(senders.alertmanager([senders.alert(labels, STARTS)]))
    (signal,) = store.inbox("flights")
    assert isinstance(signal, Signal)
    assert signal.version is None


async def test_text_of_others_stays_one_short_line(
    post: Post, store: SqliteStore, senders: type[Senders]
) -> None:
    rude = {"summary": "a\x1b[2Jb\n\nc\u202ed" + "x" * 5000}
    await post(senders.alertmanager([senders.alert(DRIFT, STARTS, annotations=rude)]))
    (signal,) = store.inbox("flights")
    assert isinstance(signal, Signal)
    assert signal.detail.startswith("alert NoriaDrift: a [2Jb c d")
    assert len(signal.detail) < 250


async def test_what_alertmanager_0_25_sent_is_understood(post: Post, store: SqliteStore) -> None:
    """A recorded delivery: its rule had no noria_signal, and a label of the target."""
    recorded = json.loads(SAMPLE.read_text())
    store.compare_and_swap("fraud", store.load("flights").state, 0, ())  # type: ignore[union-attr]
    for what in ("firing", "resolved"):
        assert (await post(recorded[what])).json()["notices"] == 1
        recorded[what]["alerts"][0]["labels"]["noria_signal"] = "performance"
    assert (await post(recorded["firing"])).json()["signals"] == 1
    assert (await post(recorded["resolved"])).json()["repeated"] == 1
    *_, signal = store.inbox("fraud")
    assert isinstance(signal, Signal)
    assert signal.at == datetime(2026, 1, 2, tzinfo=UTC)  # the sample is of later that year
