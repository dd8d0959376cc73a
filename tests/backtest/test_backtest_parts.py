"""Rivals, times, scores and ports of a backtest, each by itself."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from noria.backtest import rivals
from noria.backtest.figures import Period
from noria.backtest.history import History, read_history
from noria.backtest.jobs import Done, Job, Made
from noria.backtest.measure import share_of
from noria.backtest.pool import Pool
from noria.backtest.ports import Answered, FittedRuns
from noria.backtest.progress import Progress
from noria.backtest.run import Result
from noria.backtest.scores import in_order
from noria.errors import DataError, TrainingError
from noria.loop.conformance import PipelinesConformance
from noria.loop.fakes import FakeClock, FakeRegistry
from noria.loop.state import State
from noria.loop.values import GateResult, RunRequest, RunResult, VersionInfo
from noria.spec import Model
from noria.tasks.package import Manifest, write_package
from noria.tasks.protocol import Evaluation

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = 86_400_000


def history_of(event: list[int], label: list[int], start: int) -> History:
    import pandas as pd

    times = np.array(event, np.int64), np.array(label, np.int64)
    return History(
        pd.DataFrame({"x": event}), *times, np.arange(len(event), dtype=np.uint64), start
    )


def test_the_grow_rule_fits_at_the_label_that_makes_a_fifth_more() -> None:
    history = history_of(list(range(0, 1000, 10)), list(range(5, 1005, 10)), 50)
    times = rivals.grow(history)
    assert times[0] == 595  # 50 labels are known at 500; the 60th comes at 595
    for before, after in zip([500, *times], times, strict=False):
        rows = history.known(before).sum()
        assert history.known(after).sum() >= 1.2 * rows
        assert history.known(after - 1).sum() < 1.2 * rows


def test_the_monthly_rule_fits_at_each_first_of_a_month() -> None:
    event = list(range(0, 200 * DAY, DAY // 4))
    history = history_of(event, event, 100)
    starts = [np.datetime64(at, "ms") for at in rivals.monthly(history)]
    assert starts == [np.datetime64(f"1970-0{month}-01") for month in range(2, 8)]


def test_a_short_stream_is_cut_into_ten() -> None:
    found = rivals.periods(np.arange(0, 40 * DAY, 1000))
    assert found.kind == "part"
    assert len(found.starts) == 10


def test_segments_hold_every_row_once_each_after_its_fit() -> None:
    history = history_of(list(range(100)), list(range(100)), 20)
    found = rivals.segments(history, [30, 60])
    assert np.concatenate(found).tolist() == list(range(80))
    assert [part[0] for part in found] == [0, 10, 40]


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_no_change_knows_only_labels_that_were_known_before_the_event(classes: int) -> None:
    random = np.random.default_rng(5)
    event = np.sort(random.integers(0, 500, 80))
    label = event + random.integers(1, 60, 80)
    truth = random.integers(0, classes or 9, 80).astype(float)
    history = history_of(event.tolist(), label.tolist(), 30)

    def last(at: int) -> float:
        known = np.flatnonzero(label < at)
        return 0.0 if not len(known) else truth[known[np.argsort(label[known], kind="stable")[-1]]]

    found = rivals.no_change(history, classes, truth)
    for place, row in enumerate(range(30, 80)):
        now = last(event[row])
        if not classes:
            assert found[place] == now
            continue
        known = [r for r in range(80) if label[r] < event[row] and last(event[r]) == now]
        shares = [
            (sum(truth[r] == c for r in known) + 1) / (len(known) + classes) for c in range(classes)
        ]
        assert np.allclose(found[place], shares[1] if classes == 2 else shares)


def test_predictions_of_other_classes_are_put_in_one_order() -> None:
    two = in_order(np.array([0.9, 0.2]), ("no", "yes"), ("no", "yes", "maybe"))
    assert np.allclose(two, [[0.1, 0.9, 0.0], [0.8, 0.2, 0.0]])
    turned = in_order(np.array([0.9, 0.2]), ("yes", "no"), ("no", "yes"))
    assert np.allclose(turned, [0.1, 0.8])


def test_a_share_of_nothing_is_none_and_says_why() -> None:
    random = np.random.default_rng(1)
    truth = random.integers(0, 2, 500).astype(float)
    said = {name: random.random(500) for name in ("loop", "frozen")}
    said["monthly"] = said["frozen"] + 1e-6 * random.random(500)
    share, why = share_of("auc", truth, said, {"loop": 0.5, "frozen": 0.5, "monthly": 0.5})
    assert share is None
    assert "won nothing" in why
    share, why = share_of("auc", truth, said, {"loop": 0.5, "frozen": 0.5, "monthly": 0.5 + 1e-9})
    assert share is None
    assert "standard error" in why


def test_rows_are_counted_since_a_time_and_for_a_day() -> None:
    answered = Answered(np.arange(0, 100 * DAY, DAY // 10))
    answered.versions[:500] = 1
    answered.versions[450:500] = 2
    answered.errors[490:500] = True
    since = datetime.fromtimestamp(47 * 86_400, UTC)
    assert answered.since("2", since) == (30, 10)
    assert answered.since("1", since) == (0, 0)
    assert answered.per_day() == pytest.approx(10, rel=0.05)


def test_a_history_without_times_or_with_too_few_rows_is_refused(
    tmp_path: Path, stream_of: Callable[..., tuple[Model, Path]]
) -> None:
    model, file = stream_of(tmp_path, rows=350)
    with pytest.raises(DataError, match="too few"):
        read_history(model.spec, file.parent)
    timeless = model.spec.data.model_copy(update={"event_time": None})
    with pytest.raises(DataError, match="eventTime"):
        read_history(model.spec.model_copy(update={"data": timeless}), file.parent)


def test_a_start_that_is_named_is_where_the_stream_begins(stream: tuple[Model, Path]) -> None:
    model, file = stream
    start = datetime(2024, 4, 1, tzinfo=UTC)
    history = read_history(model.spec, file.parent, start)
    assert history.event_ms[history.start - 1] < start.timestamp() * 1000
    assert history.event_ms[history.start] >= start.timestamp() * 1000


def test_rows_of_another_file_are_walked_through_in_place_of_the_sources(
    stream: tuple[Model, Path], tmp_path: Path, stream_of: Callable[..., tuple[Model, Path]]
) -> None:
    model, file = stream
    stream_of(tmp_path, rows=700)
    history = read_history(model.spec, file.parent, None, tmp_path / "rows.parquet")
    assert len(history) == 700


@pytest.mark.slow
def test_a_fit_that_dies_is_told_and_the_next_is_done(tmp_path: Path) -> None:
    broken = Job("fit", "no json", str(tmp_path / "rows"), 0, str(tmp_path / "a"))
    with Pool(1) as pool:
        with pytest.raises(TrainingError, match="ended with"):
            pool.submit(broken, urgent=True).result(60)
        other = msgspec.structs.replace(broken, folder=str(tmp_path / "b"))
        with pytest.raises(TrainingError, match="ended with"):
            pool.submit(other, urgent=False).result(60)


def test_progress_without_a_terminal_is_a_line_for_each_tenth_with_the_time_left() -> None:
    shown = Console(record=True, width=120, force_terminal=False, quiet=False)
    clock = iter(range(0, 999, 2)).__next__
    with shown.capture() as captured, Progress(shown, 100, clock=clock) as progress:
        for rows in range(0, 101, 5):
            progress.turned(NOW, rows, State("m", champion="1"))
    lines = captured.get().splitlines()
    assert len(lines) == 11
    assert "left" not in lines[0]
    assert "50 of 100 rows, about" in lines[5]
    assert "about 0 s left" in lines[-1]


def test_the_worst_period_is_the_one_furthest_behind_and_small_ones_do_not_count(
    result: Result,
) -> None:

    def month(name: str, rows: int, loop: float) -> Period:
        values = dict.fromkeys(("loop", "frozen", "monthly", "grow", "no_change"), 0.7)
        return Period(name, NOW, rows, values | {"loop": loop})

    figures = replace(
        result.figures, months=(month("a", 500, 0.71), month("b", 500, 0.69), month("c", 9, 0.1))
    )
    assert figures.worst_of("loop") == (pytest.approx(-0.01), "b")
    lower = replace(figures, metric="log-loss", greater_is_better=False)
    assert lower.worst_of("loop") == (pytest.approx(-0.01), "a")


class FittedRunsDriver:
    """Runs that end when the driver says so, in folders as a worker leaves them."""

    patience = 0.0

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._futures: list[Future[Made]] = []
        self._names: list[str] = []
        self.port = FittedRuns(self._ask, FakeRegistry(), FakeClock(NOW))

    def _ask(self, request: RunRequest, champion: VersionInfo | None) -> Future[Made]:
        del champion
        self._names.append(request.run_id)
        self._futures.append(Future())
        return self._futures[-1]

    def request(self, run_id: str) -> RunRequest:
        return RunRequest(run_id, "flights", NOW, "a test", None)

    def started(self) -> int:
        return len(self._futures)

    def succeed(self, run_id: str) -> RunResult:
        place = self._names.index(run_id)
        made = Made(self._folder / run_id, Done(1000, 1.0))
        manifest = Manifest("flights", "f", "a", (), (), (), rows=1000)
        write_package(made.package, manifest, {"model": b"1"})
        (made.folder / "evaluation.json").write_bytes(msgspec.json.encode(Evaluation(5, {}, {})))
        self._futures[place].set_result(made)
        gates: tuple[GateResult, ...] = ()
        return RunResult("1", 1000, {}, gates, None)

    def fail(self, run_id: str) -> None:
        place = self._names.index(run_id)
        self._futures[place].set_result(Made(self._folder, Done(problem="a step failed")))

    def reopen(self) -> FittedRuns:
        return self.port


class TestFittedRuns(PipelinesConformance):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> FittedRunsDriver:
        return FittedRunsDriver(tmp_path)
