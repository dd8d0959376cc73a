"""A batch that is killed goes on, and nobody sees in its answers that it was."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from noria import files
from noria.errors import Conflict, IntegrityError, MonitoringError, StoreError
from serving.batch import parts as parts_module
from serving.batch.answering import Answered
from serving.batch.job import Progress
from serving.batch.parts import Part
from serving.batch.telling import MonitorLog
from serving.predicted import Source
from tests.batch.conftest import table, write

Batch = Callable[..., Progress]

_SCRIPT = """
import sys
from pathlib import Path
from serving.batch import parts
from serving.batch.job import Wanted, run
from tests.batch.conftest import loading, stamp_of
parts.ROWS = 2_000
package, source, out = map(Path, sys.argv[1:])
loaded = loading(package)
run(loaded, stamp_of(package), Wanted(source, out, threads=2), None, lambda _: None)
loaded.runner.close()
"""


def started(package: Path, source: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _SCRIPT, str(package), str(source), str(out)])


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.parquet"))}


def test_a_batch_that_is_killed_again_and_again_ends_as_one_that_was_not(
    package: Path, tmp_path: Path
) -> None:
    write(tmp_path / "in" / "x.parquet", table(120_000), row_group_size=1_000)
    assert started(package, tmp_path / "in", tmp_path / "quiet").wait(120) == 0
    random, kills, seen = np.random.default_rng(0), 0, dict[str, int]()
    while True:
        process = started(package, tmp_path / "in", tmp_path / "out")
        have, until = len(seen), time.monotonic() + 120
        # The first part of this start is there: it is under way, and dies within a few more.
        while process.poll() is None and len(list((tmp_path / "out").glob("*.parquet"))) <= have:
            assert time.monotonic() < until
            time.sleep(0.001)
        if kills == 3:
            assert process.wait(120) == 0
            break
        time.sleep(random.uniform(0, 0.05))
        process.kill()
        assert process.wait() != 0, "it ended before it was killed"
        kills += 1
        parts = (tmp_path / "out").glob("*.parquet")
        found = {path.name: path.stat().st_ino for path in parts}
        # What was answered before was not answered again.
        assert found.items() >= seen.items()
        seen = found
    assert contents(tmp_path / "out") == contents(tmp_path / "quiet")
    assert len(contents(tmp_path / "out")) == 60
    left = [
        path.name for path in (tmp_path / "out").iterdir() if not path.name.endswith(".parquet")
    ]
    assert left == [".locks"]


def test_two_processes_are_never_at_one_part(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "ROWS", 10)
    write(tmp_path / "in" / "x.parquet", table(20), row_group_size=10)
    lock = tmp_path / "out" / ".locks" / "x-00001.parquet.lock"
    at_it = pytest.raises(Conflict, match=r"x-00001\.parquet: another process is at it")
    with files.locked(lock), at_it:
        batch()
    done = batch()
    assert (done.earlier, done.parts, done.rows) == (1, 2, 20)


def test_a_file_that_is_no_answer_of_ours_is_left_alone(batch: Batch, tmp_path: Path) -> None:
    write(tmp_path / "in" / "x.parquet", table(10))
    write(tmp_path / "out" / "x-00000.parquet", table(3))
    with pytest.raises(IntegrityError, match=r"x-00000\.parquet: no answers that Noria wrote"):
        batch()
    assert pq.read_metadata(tmp_path / "out" / "x-00000.parquet").num_rows == 3


def test_a_folder_that_can_not_be_written_is_said(batch: Batch, tmp_path: Path) -> None:
    write(tmp_path / "in" / "x.parquet", table(10))
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StoreError, match="out"):
        batch()


class Heard:
    """Hears of answers; the ``fails``-th time it can't."""

    def __init__(self, out: Path, fails: int = -1) -> None:
        self.out, self.fails, self.rows = out, fails, 0

    def tell(self, part: Part, answered: Answered) -> None:
        assert not (self.out / part.name).exists(), "told after its file was there"
        if self.fails == 0:
            raise MonitoringError("away")
        self.fails -= 1
        self.rows += answered.outcome.rows


def test_a_part_whose_answers_were_not_heard_is_not_there(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "ROWS", 10)
    write(tmp_path / "in" / "x.parquet", table(30), row_group_size=10)
    with pytest.raises(MonitoringError, match="away"):
        batch(log=Heard(tmp_path / "out", fails=1))
    assert list(contents(tmp_path / "out")) == ["x-00000.parquet"]
    again = Heard(tmp_path / "out")
    assert batch(log=again).earlier == 1
    assert again.rows == 20
    with pytest.raises(Conflict, match="logged was true, and is false now"):
        batch()


def test_a_monitor_that_stays_away_is_waited_for_and_then_said(
    batch: Batch, tmp_path: Path
) -> None:
    write(tmp_path / "in" / "x.parquet", table(10))
    waits: list[float] = []
    log = MonitorLog(
        "http://127.0.0.1:1/", Source("m", "3"), "d", 1.0, timeout=1.0, pause=waits.append
    )
    with pytest.raises(MonitoringError, match="the monitor does not take the answers"):
        batch(log=log)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
    assert not contents(tmp_path / "out")
