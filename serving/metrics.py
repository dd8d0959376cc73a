"""The server's own numbers, in the Prometheus text format.

Plain integers that only the event loop's thread changes: a request costs well
under a microsecond here, which a locked client library does not. Every series
carries the model and the version, so that two versions behind one route can be
compared. Text format: prometheus.io/docs/instrumenting/exposition_formats, 0.0.4.
"""

from __future__ import annotations

import os
import resource
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

_LOST: Final = (
    "closed", "failed", "full", "redaction", "redirected", "refused", "too-large", "unwritable",
)  # fmt: skip

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

LATENCY_BUCKETS: Final = (
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds in seconds: tabular predictions take milliseconds."""

BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
"""Upper bounds in rows per call of the predictor."""

_FAULT: Final = 500


class Door(Protocol):
    """What a server of connections counts."""

    @property
    def connections(self) -> Collection[object]:
        """Those that are open."""
        ...

    @property
    def held(self) -> int:
        """Bytes of bodies, waiting requests and unread answers."""
        ...

    @property
    def refused(self) -> Mapping[int, int]:
        """Requests refused before they were read, by status."""
        ...

    @property
    def cut(self) -> Mapping[str, int]:
        """Connections that were ended, by reason."""
        ...


class Histogram:
    """Counts per bucket; ``counts[-1]`` is above the last bound."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """Yield the samples, cumulative as Prometheus wants them."""
        seen = 0
        for bound, count in zip(self._bounds, self.counts, strict=False):
            seen += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {seen}'
        seen += self.counts[-1]
        yield f'{name}_bucket{{{labels},le="+Inf"}} {seen}'
        yield f"{name}_sum{{{labels}}} {self.total:.9g}"
        yield f"{name}_count{{{labels}}} {seen}"


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """What a thread does: seconds since its last step, and how many steps failed."""

    name: str
    age: float
    failures: int


def nothing_lost() -> dict[str, int]:
    """Return zero lost payload events for each reason why one may be: Prometheus needs the zero."""
    return dict.fromkeys(_LOST, 0)


@dataclass(slots=True)
class ServerMetrics:
    """Everything one model version counts. Times are seconds.

    What the payload log and the workers count in their own threads is asked for at scrape
    time: events lost by their reason, events sent, events and bytes that wait; the age of
    each worker's step in seconds, and how many of its steps failed.
    """

    model: str
    version: str
    requests: dict[tuple[str, int], int] = field(default_factory=dict)
    latency: dict[str, Histogram] = field(default_factory=dict)
    batch_rows: Histogram = field(default_factory=lambda: Histogram(BATCH_BUCKETS))
    rows: int = 0
    not_finite: dict[str, int] = field(default_factory=dict)
    inflight: int = 0
    ready: bool = False
    payload_lost: Callable[[], Mapping[str, int]] = nothing_lost
    payload_sent: Callable[[], int] = int
    payload_held: Callable[[], tuple[int, int]] = lambda: (0, 0)
    workers: Callable[[], Sequence[WorkerHealth]] = tuple
    door: Door | None = None

    def answered(self, protocol: str, code: int, seconds: float) -> None:
        """Count one inference request. ``code`` is an HTTP status, also for gRPC."""
        self.refused(protocol, code)
        histogram = self.latency.get(protocol)
        if histogram is None:
            histogram = self.latency[protocol] = Histogram(LATENCY_BUCKETS)
        histogram.observe(seconds)

    def refused(self, protocol: str, code: int) -> None:
        """Count one that never came to the predictor, and so has no latency."""
        key = (protocol, code)
        self.requests[key] = self.requests.get(key, 0) + 1

    def render(self) -> bytes:
        """Return all of it as text."""
        labels = f'model="{_escape(self.model)}",version="{_escape(self.version)}"'
        out: list[str] = []

        def put(name: str, kind: str, help_text: str, lines: Iterator[str]) -> None:
            out.extend((f"# HELP {name} {help_text}", f"# TYPE {name} {kind}", *lines))

        put(
            "noria_requests_total", "counter", "Inference requests answered.",
            (
                f'noria_requests_total{{{labels},protocol="{protocol}",code="{code}"}} {count}'
                for (protocol, code), count in sorted(self.requests.items())
            ),
        )  # fmt: skip
        errors = dict.fromkeys((protocol for protocol, _ in self.requests), 0)
        for (protocol, code), count in self.requests.items():
            errors[protocol] += count if code >= _FAULT else 0
        put(
            "noria_request_errors_total", "counter",
            "Inference requests that failed by the server's fault (5xx).",
            (
                f'noria_request_errors_total{{{labels},protocol="{protocol}"}} {count}'
                for protocol, count in sorted(errors.items())
            ),
        )  # fmt: skip
        put(
            "noria_request_seconds", "histogram", "Time from a whole request to its answer.",
            (
                line
                for protocol, histogram in sorted(self.latency.items())
                for line in histogram.lines(
                    "noria_request_seconds", f'{labels},protocol="{protocol}"'
                )
            ),
        )  # fmt: skip
        put(
            "noria_batch_rows", "histogram", "Rows per call of the predictor.",
            self.batch_rows.lines("noria_batch_rows", labels),
        )  # fmt: skip
        put(
            "noria_rows_not_finite_total", "counter",
            "Rows that the model answered with NaN or infinity, by output: their requests failed.",
            (
                f'noria_rows_not_finite_total{{{labels},output="{_escape(output)}"}} {count}'
                for output, count in self.not_finite.items()
            ),
        )  # fmt: skip
        put(
            "noria_payload_events_dropped_total", "counter",
            "Payload events that were lost, by the reason.",
            (
                f'noria_payload_events_dropped_total{{{labels},reason="{reason}"}} {count}'
                for reason, count in self.payload_lost().items()
            ),
        )  # fmt: skip
        workers = self.workers()
        put(
            "noria_worker_age_seconds", "gauge",
            "Seconds since the last step of a thread that works for the server.",
            (
                f'noria_worker_age_seconds{{{labels},worker="{worker.name}"}} {worker.age:.3f}'
                for worker in workers
            ),
        )  # fmt: skip
        put(
            "noria_worker_failures_total", "counter",
            "Steps of such a thread that failed by something nobody foresaw.",
            (
                f'noria_worker_failures_total{{{labels},worker="{worker.name}"}} {worker.failures}'
                for worker in workers
            ),
        )  # fmt: skip
        waiting, waiting_bytes = self.payload_held()
        for name, kind, help_text, value in (
            ("noria_rows_total", "counter", "Rows predicted.", self.rows),
            ("noria_inflight", "gauge", "Inference requests under way.", self.inflight),
            ("noria_ready", "gauge", "1 when the model takes requests.", int(self.ready)),
            (
                "noria_payload_events_sent_total", "counter",
                "Payload events that the sink acknowledged.", self.payload_sent(),
            ),
            ("noria_payload_events_waiting", "gauge", "Payload events that wait.", waiting),
            ("noria_payload_bytes_waiting", "gauge", "About their size.", waiting_bytes),
        ):  # fmt: skip
            put(name, kind, help_text, iter((f"{name}{{{labels}}} {value}",)))
        if self.door is not None:
            self._put_door(put, labels, self.door)
        put("process_cpu_seconds_total", "counter", "CPU time.", iter((_cpu_line(),)))
        put("process_resident_memory_bytes", "gauge", "Resident memory.", iter((_memory_line(),)))
        return ("\n".join(out) + "\n").encode()

    def _put_door(
        self, put: Callable[[str, str, str, Iterator[str]], None], labels: str, door: Door
    ) -> None:
        for name, kind, help_text, samples in (
            ("noria_http_connections", "gauge", "Open connections.", {"": len(door.connections)}),
            (
                "noria_http_held_bytes", "gauge",
                "Bytes of bodies, waiting requests and unread answers.", {"": door.held},
            ),
            (
                "noria_http_refused_total", "counter",
                "Requests that were refused before they were read, by status.",
                {f',code="{code}"': count for code, count in sorted(door.refused.items())},
            ),
            (
                "noria_http_cut_total", "counter",
                "Connections that were ended, by reason.",
                {f',reason="{reason}"': count for reason, count in sorted(door.cut.items())},
            ),
        ):  # fmt: skip
            put(
                name, kind, help_text,
                (f"{name}{{{labels}{more}}} {count}" for more, count in samples.items()),
            )  # fmt: skip


def _cpu_line() -> str:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return f"process_cpu_seconds_total {usage.ru_utime + usage.ru_stime:.6f}"


def _memory_line() -> str:
    statm = Path("/proc/self/statm")
    pages = int(statm.read_text().split()[1]) if statm.exists() else 0
    return f"process_resident_memory_bytes {pages * os.sysconf('SC_PAGE_SIZE')}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
