"""What one monitor takes in for long: events per second, CPU, answers, memory.

A client keeps requests in flight on several connections, from one thread, with bodies
that were written before; only ids change. It waits while the monitor has too much that is
logged and not processed, so the rate is one that the monitor keeps up with. CPU is of the
whole process, from HTTP to tested windows, by the scheduler's own account.

``python -m tests.bench.monitoring.bench_sustained --long`` runs for ten minutes.
"""

from __future__ import annotations

import argparse
import json
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import numpy as np

from monitoring.client import MonitorClient
from noria.predictions import MEDIA_TYPE, Block, DictColumn, Output, Values, encode
from tests.bench.monitoring.bench_monitoring import _batches, _bodies, _cpu, _monitor
from tests.bench.rows import Row, resident_mib, row

AIM_ROWS: Final = 20_000
_BACKLOG: Final = 40_000
"""Rows that are logged and not processed."""
_BLOCK: Final = 200
_TAG: Final = b"@@@@@@"
_LONG_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is sent: ``events`` and ``rows`` of one post on each of ``connections``.

    The monitor makes so many ``records`` of it, and its backlog counts them.
    """

    name: str
    records: int
    events: int
    rows: float
    connections: int
    posts: tuple[bytes, ...]
    number: Callable[[int, str], bytes]


def columns() -> Traffic:
    """Predictions of one row, 200 to a block: what Noria's model server sends."""
    random = np.random.default_rng(1)
    posts = []
    for number in range(10):
        names = [f"{_TAG.decode()}-{number}-{row}" for row in range(_BLOCK)]
        inputs: dict[str, Values] = {
            "carrier": _texts(random.choice(list("ABCDE"), _BLOCK).tolist()),
            **{f"x{i}": random.normal(size=_BLOCK).round(3).tobytes() for i in range(4)},
            "id": _texts(names),
        }
        rows = np.ones(_BLOCK, np.int32).tobytes()
        outputs = {"probability": Output(random.beta(2, 5, _BLOCK).round(6).tobytes())}
        body = encode(Block("bench", "1", tuple(names), rows, inputs, outputs))
        posts.append(_post(body, {"content-type": MEDIA_TYPE}))
    # Ids in the order of time, as those that the server makes (UUID version 7).
    return Traffic("sink.sustained.columns", 1, 2 * _BLOCK, _BLOCK, 4, tuple(posts), _in_order)


def _texts(values: list[str]) -> DictColumn:
    index = {value: code for code, value in enumerate(dict.fromkeys(values))}
    codes = np.array([index[value] for value in values], np.int32)
    return DictColumn(tuple(index), codes.tobytes())


def batched() -> Traffic:
    """Events of one row in JSON, 100 to a request."""
    bodies = [_post(body, head) for head, body in _batches(_bodies(1, 1000, _TAG.decode()), 100)]
    return Traffic("sink.sustained.batched", 100, 100, 50.0, 4, tuple(bodies), _anywhere)


def single() -> Traffic:
    """Events of one row, each a request of its own: what KServe's logger sends."""
    bodies = [_post(body, head) for head, body in _bodies(1, 500, _TAG.decode())]
    return Traffic("sink.sustained.single", 1, 1, 0.5, 16, tuple(bodies), _anywhere)


def wide() -> Traffic:
    """Events of 200 rows, each a request of its own."""
    bodies = [_post(body, head) for head, body in _bodies(200, 40, _TAG.decode())]
    return Traffic("sink.sustained.rows200", 1, 1, 100.0, 4, tuple(bodies), _anywhere)


def run(seconds: float = 12.0) -> Iterator[Row]:
    """Sustained load of each kind."""
    for traffic in (columns(), batched(), single(), wide()):
        yield from sustained(traffic, seconds)


def sustained(traffic: Traffic, seconds: float) -> Iterator[Row]:
    """Load one monitor; the first tenth of the time is not measured."""
    with (
        tempfile.TemporaryDirectory() as folder,
        _monitor(Path(folder)) as (url, pid, _),
        MonitorClient(url, timeout=60) as client,
    ):
        _load(traffic, url, client, seconds / 10, 0)
        client.flush()
        began, used = time.monotonic(), _cpu(pid)
        posts, answers, memory = _load(traffic, url, client, seconds, pid)
        client.flush(timeout=600)
        wall, cpu = time.monotonic() - began, _cpu(pid) - used
    events, rows = posts * traffic.events, posts * traffic.rows
    name = traffic.name
    yield row(f"{name}.events", events / wall, "events/s")
    yield row(f"{name}.rows", rows / wall, "rows/s")
    yield row(f"{name}.cpu", cpu / events * 1e6, "us/event")
    yield row(f"{name}.cpu.row", cpu / rows * 1e6, "us/row", 1e6 / AIM_ROWS)
    yield row(f"{name}.p99", float(np.quantile(answers, 0.99)) * 1e3, "ms")
    third = max(1, len(memory) // 3)
    first, last = np.median(memory[:third]), np.median(memory[-third:])
    yield row(f"{name}.rss.growth", float(last - first), "MiB")


def _load(
    traffic: Traffic, url: str, client: MonitorClient, seconds: float, pid: int
) -> tuple[int, list[float], list[float]]:
    """Return how many posts were answered, the seconds of each answer, and memory by second."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 0)
    lines = [socket.create_connection(address) for _ in range(traffic.connections)]
    answers: list[float] = []
    memory: list[float] = []
    posts = 0
    began = checked = time.monotonic()
    stamp = f"{time.time_ns() & 0xFFFFF:05x}"
    while (now := time.monotonic()) - began < seconds:
        asked = time.perf_counter()
        for line in lines:
            # A round's worth of ids is new each time that the bodies have all been used.
            place = posts % len(traffic.posts)
            fresh = traffic.number(posts // len(traffic.posts), stamp)
            line.sendall(traffic.posts[place].replace(_TAG, fresh))
            posts += 1
        for line in lines:
            said = line.recv(4096)
            if not said.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(said.decode())
            answers.append(time.perf_counter() - asked)
        if now - checked >= 1.0:
            checked = now
            if pid:
                memory.append(resident_mib(pid))
            while _behind(client) * traffic.rows > _BACKLOG * traffic.records:
                time.sleep(0.05)
    for line in lines:
        line.close()
    return posts, answers, memory


def _behind(client: MonitorClient) -> int:
    counts = client.status("bench")["counts"]
    return int(counts["received"]) - int(counts["processed"])


def _anywhere(value: int, stamp: str) -> bytes:
    # As long as the place that it takes: lengths in the headers stay right.
    return (_digits(value) + stamp[-2:]).encode()


def _in_order(value: int, stamp: str) -> bytes:
    return (stamp[-2:] + _digits(value)[::-1]).encode()


def _digits(value: int) -> str:
    """Return a number, the digit that changes most often first."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    found = ""
    for _ in range(len(_TAG) - 2):
        value, place = divmod(value, len(digits))
        found += digits[place]
    return found


def _post(body: bytes, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST / HTTP/1.1\r\nhost: localhost\r\n{lines}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="ten minutes of blocks")
    long = parser.parse_args().long
    for figure in sustained(columns(), _LONG_SECONDS) if long else run():
        print(json.dumps(figure), flush=True)
