"""Runs predictions without blocking the event loop, and batches them when that helps.

- A prediction that is known to be cheap runs where it is: handing it to a thread
  costs more than it does. The cost per size of batch is measured at start-up
  and kept up to date.
- Anything else runs on one worker thread. While it is busy, requests queue; when it
  is free, what has queued is concatenated, up to ``max_rows``, into one call.
  A lone request never waits. After a batch of several requests the worker waits up
  to ``max_delay`` for as many again: clients that were concurrent come back.
- The queue is bounded, by requests and by bytes; above it a request is refused with
  503 at once. What waits for a client that went away is dropped first.

So the predictor is never called by two threads at a time. Whatever it raises, or asks the
process to do, is the answer to the requests of its batch and to no others; how long the
batch under way has taken (``age``) tells a slow predictor from a stuck one. An answer that is
not finite is an error of its request: nobody may take it for a prediction.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import isfinite
from time import perf_counter, thread_time
from typing import Any, Final, Protocol

import numpy as np

from noria.errors import NoriaError, NotFinite, ServingError
from noria.exchange.datatypes import DATATYPES
from noria.seldom import Seldom
from noria.tasks.package import Describing, DescribingAnswers, Predictor, ReadingWhole
from serving.columns import Batch
from serving.metrics import ServerMetrics
from serving.refusal import Refusal

_log: Final = logging.getLogger("serving.runner")

Columns = Mapping[str, np.ndarray[Any, Any]]

_SECONDS_BETWEEN_LINES: Final = 60.0
_INLINE_SECONDS: Final = 200e-6
_SMOOTHING: Final = 0.2
_MOST: Final = 2.0
"""How many times dearer than the last ones a prediction may count."""
_CALIBRATION_LIMIT_SECONDS: Final = 0.02
_CALIBRATION_REPEATS: Final = 3
_CALIBRATION_MAX_ROWS: Final = 4096


class Lookup(Protocol):
    """Finds the features that a client does not send."""

    def lookup(self, columns: Mapping[str, np.ndarray[Any, Any]]) -> Columns:
        """Return one column per looked-up feature, aligned with the rows of ``columns``."""
        ...


@dataclass(frozen=True, slots=True)
class Batching:
    """``max_delay`` is in seconds; ``max_queue`` counts requests, ``max_waiting`` their bytes."""

    max_rows: int = 256
    max_delay: float = 0.002
    max_queue: int = 512
    max_waiting: int = 256 << 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a prediction saw (looked-up features included) and what it said."""

    columns: Mapping[str, np.ndarray[Any, Any]]
    results: Mapping[str, np.ndarray[Any, Any]]
    rows: int


@dataclass(slots=True)
class _Waiting:
    batch: Batch
    future: asyncio.Future[Outcome]

    @property
    def size(self) -> int:
        """Bytes of its columns."""
        return sum(map(_bytes_of, self.batch.columns.values()))


class Runner:
    """Runs one model's predictions for one event loop."""

    def __init__(
        self,
        predictor: Predictor,
        lookup: Lookup | None,
        batching: Batching,
        metrics: ServerMetrics,
        elapsed: Callable[[], float] = perf_counter,
    ) -> None:
        self._elapsed = elapsed
        self._predictor = predictor
        self._describe = _describer(predictor)
        self._seldom = Seldom(_SECONDS_BETWEEN_LINES)
        self._lookup = lookup
        # Rows of another request would change the answer.
        self.reads_whole_requests = (
            isinstance(predictor, ReadingWhole) and predictor.reads_whole_requests
        )
        self._batching = replace(batching, max_rows=1) if self.reads_whole_requests else batching
        self._metrics = metrics
        self._nullable = frozenset(
            output.name for output in predictor.manifest.outputs if output.nullable is True
        )
        metrics.not_finite = {
            output.name: 0
            for output in predictor.manifest.outputs
            if DATATYPES[output.datatype].group == "float"
        }
        self._kept_here = frozenset(
            given.name for given in predictor.manifest.inputs if given.kind == "image"
        )
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="predict")
        self._queue: deque[_Waiting] = deque()
        self._waiting = 0
        self._busy = False
        self._since = 0.0
        self._expected = 1
        self._timer: asyncio.TimerHandle | None = None
        self._costs: dict[int, float] = {}
        self.failures = 0

    @property
    def age(self) -> float:
        """Seconds that the worker's batch has been under way; 0 when there is none."""
        return self._elapsed() - self._since if self._busy else 0.0

    def run(self, batch: Batch) -> Outcome | Awaitable[Outcome]:
        """Predict now when that is cheap, else as soon as the worker can.

        Raises:
            Refusal: The queue is full.
            Exception: What the predictor raised.
        """
        if not self._busy and self._lookup is None:
            cost = self._costs.get(batch.rows.bit_length())
            if cost is not None and cost <= _INLINE_SECONDS:
                return self._run_inline(batch)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(batch, future)
        if self._queue and not self._fits(waiting.size):
            self._drop_abandoned()
            if self._queue and not self._fits(waiting.size):
                raise Refusal(
                    503,
                    f"server: {len(self._queue)} requests are waiting already; ask again later",
                    retry_after=1,
                )
        self._queue.append(waiting)
        self._waiting += waiting.size
        if not self._busy and (self._timer is None or self._enough()):
            self._start()
        return future

    def _fits(self, size: int) -> bool:
        limits = self._batching
        return len(self._queue) < limits.max_queue and self._waiting + size <= limits.max_waiting

    def _drop_abandoned(self) -> None:
        self._queue = deque(item for item in self._queue if not item.future.done())
        self._waiting = sum(item.size for item in self._queue)

    def calibrate(self) -> None:
        """Measure the cost per batch size on made-up rows; also warms the predictor's caches.

        Blocks; call it before the first request, from any one thread.
        """
        rows = 1
        while rows <= _CALIBRATION_MAX_ROWS:
            columns = _made_up_columns(self._predictor, rows)
            best = float("inf")
            for _ in range(_CALIBRATION_REPEATS):
                began = perf_counter()
                try:
                    self._predictor.predict(columns)
                except Exception:  # noqa: BLE001 - whatever the predictor raises
                    # Made-up rows may be refused; real requests will measure instead.
                    _log.info("calibration stopped at %d rows", rows, exc_info=True)
                    return
                best = min(best, perf_counter() - began)
            self._costs[rows.bit_length()] = best
            if best > _CALIBRATION_LIMIT_SECONDS:
                return
            rows *= 2

    def answer(self, batch: Batch) -> Outcome:
        """Predict here and now, from any thread, without an event loop or a queue.

        Raises:
            NotFinite: See ``NotFinite``.
            Exception: What the predictor raised.
        """
        return self._finite(self._predict(batch))

    def close(self) -> None:
        """Stop the worker after what it is doing."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run_inline(self, batch: Batch) -> Outcome:
        began = perf_counter()
        try:
            results = self._answers(batch.columns, batch.rows)
            self._learn(batch.rows, perf_counter() - began)
            self._metrics.batch_rows.observe(batch.rows)
            return self._finite(Outcome(self._watched(batch.columns, results), results, batch.rows))
        except Exception as error:
            self._count(error)
            raise

    def _learn(self, rows: int, seconds: float) -> None:
        key = rows.bit_length()
        known = self._costs.get(key, seconds)
        # One that waited for the interpreter's lock (the payload log's thread held it) must not
        # send all that follow to the worker, where the wait for the lock never ends.
        bounded = min(seconds, _MOST * known)
        self._costs[key] = known + _SMOOTHING * (bounded - known)

    def _enough(self) -> bool:
        waiting = len(self._queue)
        return (
            waiting >= self._expected
            or sum(item.batch.rows for item in self._queue) >= self._batching.max_rows
        )

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        taken = self._take()
        if not taken:
            return
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(
            self._pool, self._predict_together, [item.batch for item in taken]
        )
        self._busy, self._since = True, self._elapsed()
        work.add_done_callback(lambda done: self._deliver(taken, done))

    def _take(self) -> list[_Waiting]:
        """Take requests with the same columns from the front of the queue, up to ``max_rows``."""
        taken: list[_Waiting] = []
        rows = 0
        while self._queue:
            item = self._queue[0]
            if item.future.done():  # its client went away
                self._waiting -= self._queue.popleft().size
                continue
            rows += item.batch.rows
            if taken and (
                rows > self._batching.max_rows
                or item.batch.columns.keys() != taken[0].batch.columns.keys()
            ):
                break
            self._waiting -= item.size
            taken.append(self._queue.popleft())
        return taken

    def _deliver(
        self, taken: Sequence[_Waiting], done: asyncio.Future[list[Outcome | Exception]]
    ) -> None:
        self._busy = False
        if done.cancelled():
            for item in taken:
                item.future.cancel()
            return
        for item, outcome in zip(taken, done.result(), strict=True):
            if isinstance(outcome, Exception):
                self._count(outcome)
            if item.future.done():
                continue
            if isinstance(outcome, Exception):
                item.future.set_exception(outcome)
            else:
                item.future.set_result(outcome)
        self._metrics.batch_rows.observe(sum(item.batch.rows for item in taken))
        self._expected = len(taken)
        if self._expected > 1 and self._batching.max_delay > 0 and not self._enough():
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._batching.max_delay, self._start)
        else:
            self._start()

    def _predict_together(self, batches: list[Batch]) -> list[Outcome | Exception]:
        """Runs on the worker. One request that fails must not fail the others."""
        try:
            if len(batches) == 1:
                return [self.answer(batches[0])]
            whole = self._predict(_joined(batches))
            return list(map(self._told, _split(whole, [batch.rows for batch in batches])))
        except Exception as error:  # noqa: BLE001 - whatever a predictor raises belongs to a request
            if len(batches) == 1:
                return [error]
        return [outcome for batch in batches for outcome in self._predict_together([batch])]

    def _predict(self, batch: Batch) -> Outcome:
        columns: Mapping[str, np.ndarray[Any, Any]] = batch.columns
        if self._lookup is not None:
            columns = {**columns, **self._lookup.lookup(columns)}
        began, cpu_began = perf_counter(), thread_time()
        results = self._answers(columns, batch.rows)
        seconds = perf_counter() - began
        # Waiting for the interpreter's lock, or for anything else, is not the cost.
        if seconds <= 2 * (thread_time() - cpu_began):
            self._learn(batch.rows, seconds)
        return Outcome(self._watched(columns, results), results, batch.rows)

    def _watched(self, columns: Columns, answers: Columns) -> Columns:
        """Return what was asked with descriptors of it and of the answers, but no image.

        Where they can't be made the answer is told all the same: the monitor counts them missing.
        """
        asked = columns
        if self._kept_here:
            columns = {name: one for name, one in asked.items() if name not in self._kept_here}
        if self._describe is None:
            return columns
        try:
            return {**columns, **self._describe(asked, answers)}
        except Exception:  # noqa: BLE001 - whatever the predictor raises: the answer is good
            if self._seldom.now():
                _log.exception("the predictor's descriptors can't be made; they go missing")
            return columns

    def _answers(self, columns: Mapping[str, np.ndarray[Any, Any]], rows: int) -> Columns:
        try:
            results = self._predictor.predict(columns)
        except Exception:
            raise
        except BaseException as error:
            # A library that calls sys.exit() would end the server, or its one worker.
            raise ServingError(f"the predictor wants to end the process: {error!r}") from error
        for name, values in results.items():
            if len(values) != rows:
                raise ServingError(f"the predictor gave {len(values)} {name} for {rows} rows")
        return results

    def _told(self, outcome: Outcome) -> Outcome | Exception:
        try:
            return self._finite(outcome)
        except NotFinite as error:
            return error

    def _finite(self, outcome: Outcome) -> Outcome:
        """Return what may be told of an answer: all of it, or an error.

        Raises:
            NotFinite: An output holds an infinity, or NaN where that is not declared.
        """
        for name, values in outcome.results.items():
            if values.dtype.kind != "f":
                continue
            # Most answers are one number, of which numpy takes ten times as long.
            if isfinite(values.item()) if values.size == 1 else np.isfinite(values).all():
                continue
            bad = np.isinf(values) if name in self._nullable else ~np.isfinite(values)
            rows = np.flatnonzero(bad.reshape(outcome.rows, -1).any(axis=1))
            if rows.size:
                value = float(values[bad][0])
                raise NotFinite(
                    f"{name}: {value:g} for row {rows[0]}",
                    output=name,
                    row=int(rows[0]),
                    rows=rows.size,
                    value=value,
                )
        return outcome

    def _count(self, error: Exception) -> None:
        if isinstance(error, NotFinite):
            counted = self._metrics.not_finite
            counted[error.output] = counted.get(error.output, 0) + error.rows
        elif not isinstance(error, NoriaError) or isinstance(error, ServingError):
            self.failures += 1


def _bytes_of(column: np.ndarray[Any, Any]) -> int:
    """Return how many bytes a column holds, those of its images included."""
    if column.dtype.kind != "O":
        return column.nbytes
    held = (one for one in column if isinstance(one, bytes | np.ndarray))
    return column.nbytes + sum(
        one.nbytes if isinstance(one, np.ndarray) else len(one) for one in held
    )


def _joined(batches: Sequence[Batch]) -> Batch:
    names = batches[0].columns
    return Batch(
        {name: np.concatenate([batch.columns[name] for batch in batches]) for name in names},
        sum(batch.rows for batch in batches),
    )


def _split(outcome: Outcome, sizes: Sequence[int]) -> list[Outcome]:
    parts: list[Outcome] = []
    start = 0
    for rows in sizes:
        part = slice(start, start + rows)
        start += rows
        parts.append(
            Outcome(
                {name: values[part] for name, values in outcome.columns.items()},
                {name: values[part] for name, values in outcome.results.items()},
                rows,
            )
        )
    return parts


def _describer(predictor: Predictor) -> Callable[[Columns, Columns], Columns] | None:
    """Return what makes descriptors of columns and answers; None: the predictor has none."""
    if isinstance(predictor, DescribingAnswers):
        return predictor.describe_answers
    if isinstance(predictor, Describing):
        describe = predictor.describe
        return lambda columns, _: describe(columns)
    return None


def _made_up_columns(predictor: Predictor, rows: int) -> Columns:
    manifest = predictor.manifest
    columns: dict[str, np.ndarray[Any, Any]] = {}
    for given in manifest.inputs:
        if given.kind in ("numeric", "vector", "series"):
            columns[given.name] = np.zeros((rows, *given.shape))
        elif given.kind == "timestamp":
            columns[given.name] = np.zeros(rows, dtype=np.int64)
        elif given.kind == "boolean":
            columns[given.name] = np.zeros(rows, dtype=np.bool_)
        elif given.kind == "image":
            pixels = np.zeros((1, 1), np.uint8)
            columns[given.name] = np.fromiter((pixels for _ in range(rows)), object, rows)
        else:
            columns[given.name] = np.full(rows, "", dtype=object)
    if manifest.lookup is not None:
        kinds = {feature.name: feature.kind for feature in manifest.features}
        for name in manifest.lookup.features:
            categorical = kinds.get(name) == "categorical"
            columns[name] = (
                np.full(rows, None, dtype=object) if categorical else np.full(rows, np.nan)
            )
    return columns
