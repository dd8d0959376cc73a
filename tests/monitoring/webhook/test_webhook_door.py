"""Who is let in, what is refused and how, and what is durable before the answer."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from monitoring.webhook import Locks, locks_from_environment
from noria.errors import InvalidInput, StoreError
from noria.loop.fakes import FakeClock
from noria.loop.sqlite_store import SqliteStore
from noria.loop.values import Message

if TYPE_CHECKING:
    from conftest import Post, Senders

STARTS = datetime(2026, 1, 1, 12, tzinfo=UTC)
LABELS = {"alertname": "NoriaDrift", "model": "flights", "noria_signal": "drift"}
TOKEN = "correct-horse-battery"  # noqa: S105 - of a test
KEY = b"a-key-for-signatures"


@pytest.fixture
def locks(tmp_path: Path) -> Locks:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "key").write_bytes(KEY)
    return Locks(tmp_path / "token", tmp_path / "key")


@pytest.fixture
def body(senders: type[Senders]) -> bytes:
    return json.dumps(senders.alertmanager([senders.alert(LABELS, STARTS)])).encode()


@pytest.fixture
def locked(post: Post, locks: Locks, store: SqliteStore, clock: FakeClock) -> Post:
    return type(post)(store, clock, locks)


def signed(body: bytes, at: float, key: bytes = KEY) -> dict[str, str]:
    said = f"{int(at)}"
    signature = hmac.new(key, said.encode() + b":" + body, hashlib.sha256).hexdigest()
    return {"X-Grafana-Alerting-Signature": signature, "X-Grafana-Alerting-Timestamp": said}


async def test_the_token_lets_in_and_nothing_like_it_does(
    locked: Post, body: bytes, store: SqliteStore
) -> None:
    for wrong in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \xff\xfe"):
        answer = await locked(body, {"authorization": wrong})
        assert answer.status_code == 401, wrong
        assert "bearer token" in answer.json()["error"]
    assert store.inbox("flights") == ()
    assert (await locked(body, {"authorization": f"bearer  {TOKEN}"})).status_code == 200
    assert len(store.inbox("flights")) == 1
    assert (await locked.metrics())['noria_webhook_deliveries_total{code="401"}'] == 6


async def test_a_signature_lets_in_its_own_body_for_five_minutes(
    locked: Post, body: bytes, clock: FakeClock
) -> None:
    now = clock.now().timestamp()
    for good in (now, now - 299, now + 299):
        assert (await locked(body, signed(body, good))).status_code == 200
    for headers in (
        signed(body + b" ", now),
        signed(body, now, b"another key"),
        signed(body, now - 301),
        signed(body, now + 301),
        {**signed(body, now), "X-Grafana-Alerting-Timestamp": f"{int(now) - 1}"},
        {**signed(body, now), "X-Grafana-Alerting-Timestamp": "9" * 400},
        {**signed(body, now), "X-Grafana-Alerting-Timestamp": "٣"},
        {**signed(body, now), "X-Grafana-Alerting-Signature": "ä"},
        {"X-Grafana-Alerting-Signature": signed(body, now)["X-Grafana-Alerting-Signature"]},
    ):
        answer = await locked(body, headers)
        assert answer.status_code == 401
        assert "wrong or too old" in answer.json()["error"]


async def test_a_secret_that_was_changed_counts_at_once(
    locked: Post, locks: Locks, body: bytes
) -> None:
    assert locks.token_file is not None
    locks.token_file.write_text("another-long-token")
    assert (await locked(body, {"authorization": f"Bearer {TOKEN}"})).status_code == 401
    assert (await locked(body, {"authorization": "Bearer another-long-token"})).status_code == 200
    for broken in ("", "short"):
        locks.token_file.write_text(broken)
        assert (await locked(body, {"authorization": f"Bearer {broken}"})).status_code == 503
    locks.token_file.unlink()
    assert (await locked(body, {"authorization": f"Bearer {TOKEN}"})).status_code == 503


def test_it_does_not_start_open_to_others_or_with_an_unfit_secret(
    locks: Locks, tmp_path: Path
) -> None:
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        Locks().check(host)
    for host in ("0.0.0.0", "::", "10.0.0.1"):  # noqa: S104 - what is refused
        with pytest.raises(InvalidInput, match="open to everybody"):
            Locks().check(host)
        locks.check(host)
    with pytest.raises(InvalidInput, match="is no address"):
        Locks().check("webhook.example")
    (tmp_path / "short").write_text("abc\n")
    with pytest.raises(InvalidInput, match=r"NORIA_WEBHOOK_TOKEN_FILE: .* has 3 characters"):
        Locks(tmp_path / "short").check("127.0.0.1")
    with pytest.raises(InvalidInput, match=r"NORIA_WEBHOOK_HMAC_FILE: .* can't be read"):
        Locks(None, tmp_path / "none").check("127.0.0.1")


def test_the_environment_names_the_files() -> None:
    assert locks_from_environment({}) == Locks()
    named = {"NORIA_WEBHOOK_TOKEN_FILE": "/t", "NORIA_WEBHOOK_HMAC_FILE": "/h"}
    assert locks_from_environment(named) == Locks(Path("/t"), Path("/h"))


def damaged(body: bytes, **changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(body)
    content["alerts"].append({**content["alerts"][0], **changes})
    return content


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"startsAt": "yesterday"}, "alerts[1].startsAt: "),
        ({"startsAt": "2026-01-01T12:00:00"}, "alerts[1].startsAt: "),
        ({"startsAt": None}, "alerts[1].startsAt: "),
        ({"startsAt": "0001-01-01T00:00:00+14:00"}, "alerts[1]"),
        ({"startsAt": "9999-12-31T23:59:59-14:00"}, "alerts[1]"),
        ({"status": "pending"}, "alerts[1].status: "),
        ({"labels": {"model": 3}}, "alerts[1].labels"),
        ({"labels": []}, "alerts[1].labels: "),
        ({"fingerprint": 7}, "alerts[1].fingerprint: "),
    ],
)
async def test_a_malformed_alert_is_refused_by_its_field_and_nothing_is_kept(
    change: Mapping[str, Any], named: str, post: Post, body: bytes, store: SqliteStore
) -> None:
    answer = await post(damaged(body, **change))
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(named)
    assert store.inbox("flights") == ()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (b"", "body: no JSON"),
        (b"{", "body: no JSON"),
        (b"\xff", "body: no JSON"),
        (b"[]", "body: "),
        (b"{}", "body: Object missing required field `alerts`"),
        (b'{"alerts": {}}', "alerts: "),
        (b'{"alerts": []}', "version: '' without orgId"),
        (b'{"alerts": [], "version": "5"}', "version: '5' without orgId"),
        (b'{"alerts": [], "orgId": "one"}', "orgId: "),
        (b'{"alerts": ' + b"[" * 5000 + b"]" * 5000 + b"}", "alerts"),
    ],
)
async def test_a_body_that_is_none_is_refused(wrong: bytes, named: str, post: Post) -> None:
    answer = await post(wrong)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(named)


async def test_what_is_too_large_or_of_another_kind_is_refused(post: Post, body: bytes) -> None:
    assert (await post(body + b" " * 100_000)).status_code == 413

    async def chunks() -> Any:
        for _ in range(30):
            yield b" " * 5000

    kind = {"content-type": "application/json"}
    assert (await post.client.post("/alerts", content=chunks(), headers=kind)).status_code == 413
    assert (await post(body, {"content-length": "9" * 30})).status_code == 413
    assert (await post(body, {"content-type": "text/plain"})).status_code == 415
    assert (await post(body, path="/")).status_code == 404
    assert (await post.client.get("/alerts")).status_code == 405
    assert (await post(body, {"content-type": "application/json; charset=utf-8"})).is_success


async def test_a_page_of_another_site_sends_nothing_and_a_strange_name_is_refused(
    post: Post, body: bytes, store: SqliteStore
) -> None:
    for headers, status in (
        ({"host": "evil.example"}, 421),
        ({"host": "10.0.0.1"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"content-type": "text/plain", "origin": "http://webhook"}, 415),
        ({"content-type": ""}, 415),
    ):
        assert (await post(body, headers)).status_code == status
    assert store.inbox("flights") == ()
    assert (await post.metrics())['noria_webhook_deliveries_total{code="421"}'] == 2
    assert (await post.metrics())['noria_webhook_deliveries_total{code="415"}'] == 2


async def test_a_coded_delivery_is_decoded_within_the_limit(
    post: Post, body: bytes, store: SqliteStore
) -> None:
    packed = gzip.compress(body)
    assert (await post(packed, {"content-encoding": "gzip"})).status_code == 200
    assert len(store.inbox("flights")) == 1
    bomb = gzip.compress(b" " * 10_000_000)
    assert (await post(bomb, {"content-encoding": "gzip"})).status_code == 413
    refused = await post(body, {"content-encoding": "br"})
    assert (refused.status_code, refused.headers["accept-encoding"]) == (415, "gzip, deflate")


async def test_a_signature_is_of_the_body_without_its_coding(
    locked: Post, body: bytes, clock: FakeClock
) -> None:
    headers = {**signed(body, clock.now().timestamp()), "content-encoding": "gzip"}
    assert (await locked(gzip.compress(body), headers)).status_code == 200


@pytest.mark.parametrize(
    "nonsense",
    [
        b"[" * 50_000,
        b'{"alerts":' * 1000 + b"1" + b"}" * 1000,
        b'{"alerts":[],"version":"4","truncatedAlerts":1' + b"0" * 5000 + b"}",
        b'{"alerts":[],"version":"4","truncatedAlerts":1' + b"0" * 400 + b"}",
        b'{"alerts":[],"orgId":1' + b"0" * 400 + b"}",
        b'{"alerts":[],"version":"\\ud800"}',
        b'{"alerts":[],"groupKey":"\\ud800","version":"5"}',
        b"NaN",
        b"\x00" * 1000,
    ],
    ids=range(9),
)
async def test_nonsense_is_the_senders_fault(post: Post, nonsense: bytes) -> None:
    answer = await post(nonsense)
    assert answer.status_code == 400
    assert len(answer.content) < 2000


@pytest.mark.parametrize("name", ["model", "namespace", "alertname", "noria_signal", "version"])
@pytest.mark.parametrize("value", ["\ud800", "\x00", "a" * 5000, "../..", "a\r\nb", "💥"])
async def test_no_label_is_our_fault(
    post: Post, senders: type[Senders], name: str, value: str
) -> None:
    alert = senders.alert({**LABELS, name: value}, STARTS, annotations={"summary": value})
    answer = await post(senders.alertmanager([alert | {"fingerprint": value}]))
    assert answer.status_code in (200, 400), answer.text
    answer = await post(senders.alertmanager([alert | {"fingerprint": ""}]))
    assert answer.status_code in (200, 400), answer.text
    assert len(answer.content) < 2000


async def test_a_store_that_hangs_is_told_and_keeps_the_rest_answered(
    tmp_path: Path, clock: FakeClock, post: Post
) -> None:
    go = threading.Event()

    class Hangs(SqliteStore):
        def inbox(self, model: str) -> tuple[Message, ...]:
            go.wait(20)
            return super().inbox(model)

    hung = type(post)(Hangs(tmp_path / "store.db"), clock)
    try:
        answer = await hung.client.get("/healthz")
        assert answer.status_code == 503
        assert "the store does not answer within 3 s" in answer.text
        assert (await hung.client.get("/livez")).status_code == 200
    finally:
        go.set()


async def test_an_empty_group_is_well(post: Post, senders: type[Senders]) -> None:
    answer = await post(senders.alertmanager([]))
    assert answer.json() == {"signals": 0, "notices": 0, "repeated": 0, "unknown": []}


class Full(SqliteStore):
    """A disk that fills up after some messages."""

    room = 1

    def submit(self, model: str, message: Message) -> bool:
        if not self.room:
            raise StoreError("the disk is full")
        self.room -= 1
        return super().submit(model, message)

    def inbox(self, model: str) -> tuple[Message, ...]:
        if not self.room:
            raise StoreError("the disk is full")
        return super().inbox(model)


async def test_a_store_that_fails_is_a_503_and_the_resend_completes_it(
    post: Post, store: SqliteStore, clock: FakeClock, tmp_path: Path, senders: type[Senders]
) -> None:
    full = Full(tmp_path / "store.db")
    broken = type(post)(full, clock)
    alerts = [senders.alert({**LABELS, "detector": str(n)}, STARTS) for n in range(3)]
    answer = await broken(senders.alertmanager(alerts))
    assert answer.status_code == 503
    assert "the disk is full" in answer.json()["error"]
    assert (await broken.client.get("/healthz")).status_code == 503
    assert (await broken.client.get("/livez")).status_code == 200
    full.room = 100
    assert (await broken(senders.alertmanager(alerts))).json() == {
        "signals": 2, "notices": 0, "repeated": 1, "unknown": [],
    }  # fmt: skip
    assert len(store.inbox("flights")) == 3
    assert (await broken.client.get("/healthz")).status_code == 200
