"""Events on a real API server: seen where a person looks, counted and not flooded."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from noria.errors import InvalidInput
from noria.kube import KubeClient
from noria.kube.events import DISTINCT, MAX_MESSAGE_BYTES, QUIET, WINDOW, Events, EventType
from noria.kube.kinds import CONFIG_MAP, EVENT

pytestmark = pytest.mark.cluster


class Now:
    def __init__(self) -> None:
        self.at = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def client(cluster: Any) -> Iterator[KubeClient]:
    with closing(KubeClient.connect(cluster.kubeconfig)) as made:
        yield made


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def events(client: KubeClient, now: Now) -> Events:
    return Events(client, "noria-operator", instance="pod-1", now=now)


@pytest.fixture
def about(client: KubeClient, namespace: str) -> dict[str, Any]:
    return client.create(CONFIG_MAP, {"metadata": {"name": "flights"}}, namespace)


def found(client: KubeClient, namespace: str) -> list[dict[str, Any]]:
    return [
        event
        for event in client.list(EVENT, namespace)
        if event["involvedObject"].get("name") == "flights"
    ]


def test_an_event_says_what_happened_to_whom(
    client: KubeClient, namespace: str, events: Events, about: dict[str, Any]
) -> None:
    assert events.record(about, "Aborted", "v8 is worse than v7", EventType.WARNING)
    (event,) = found(client, namespace)
    assert (event["reason"], event["type"], event["count"]) == ("Aborted", "Warning", 1)
    assert event["message"] == "v8 is worse than v7"
    assert event["involvedObject"]["uid"] == about["metadata"]["uid"]
    assert event["source"]["component"] == "noria-operator"
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-01-01T00:00:00Z"


def test_kubectl_describe_shows_it(
    cluster: Any, namespace: str, events: Events, about: dict[str, Any]
) -> None:
    events.record(about, "Promoted", "v8 has all of the traffic")
    told = cluster.kubectl("-n", namespace, "describe", "configmap", "flights")
    assert "Promoted" in told
    assert "v8 has all of the traffic" in told
    assert "noria-operator" in told


def test_a_storm_of_one_event_is_counted_and_written_now_and_then(
    client: KubeClient, namespace: str, events: Events, about: dict[str, Any], now: Now
) -> None:
    written = 0
    for _ in range(1000):
        written += events.record(about, "Holding", "no data yet")
        now.at += timedelta(seconds=0.1)
    assert written == 4
    now.at += QUIET
    assert events.record(about, "Holding", "no data yet")
    (event,) = found(client, namespace)
    assert event["count"] == 1001
    assert event["lastTimestamp"] > event["firstTimestamp"]


def test_another_process_counts_on(
    client: KubeClient, namespace: str, events: Events, about: dict[str, Any], now: Now
) -> None:
    events.record(about, "Promoted", "v8")
    Events(client, "noria-operator", instance="pod-2", now=now).record(about, "Promoted", "v8")
    (event,) = found(client, namespace)
    assert event["count"] == 2


def test_many_different_messages_of_one_reason_are_combined(
    client: KubeClient, namespace: str, events: Events, about: dict[str, Any], now: Now
) -> None:
    for number in range(100):
        events.record(about, "Measured", f"auc 0.{number}")
        now.at += timedelta(seconds=1)
    events.record(about, "Promoted", "another reason")
    told = found(client, namespace)
    assert len(told) == DISTINCT + 2
    (combined,) = [event for event in told if "combined" in event["message"]]
    assert combined["count"] > 50
    now.at += WINDOW
    events.record(about, "Measured", "auc 0.500")
    assert "auc 0.500" in {event["message"] for event in found(client, namespace)}


def test_a_long_message_is_cut_at_a_character(
    client: KubeClient, namespace: str, events: Events, about: dict[str, Any]
) -> None:
    events.record(about, "Long", "가" * 1000)
    (event,) = found(client, namespace)
    assert MAX_MESSAGE_BYTES - 4 < len(event["message"].encode()) <= MAX_MESSAGE_BYTES
    assert event["message"].endswith("가…")


def test_what_can_not_be_written_is_logged_and_stops_nobody(
    cluster: Any, namespace: str, about: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    stranger = cluster.kubeconfig_for("default", namespace)
    with (
        closing(KubeClient.connect(stranger)) as nobody,
        caplog.at_level(logging.WARNING),
    ):
        assert not Events(nobody, "noria-operator").record(about, "Promoted", "v8")
    assert "event Promoted about flights is lost" in caplog.text


def test_an_event_needs_a_reason_of_one_word_and_an_object(
    events: Events, about: dict[str, Any]
) -> None:
    for reason in ("", "two words", "x" * 200):
        with pytest.raises(InvalidInput, match="is no word"):
            events.record(about, reason, "message")
    with pytest.raises(InvalidInput, match="must be about an object"):
        events.record({"kind": "Model"}, "Promoted", "message")
