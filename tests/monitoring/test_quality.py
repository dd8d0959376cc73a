"""What counts as bad data: compared with what training itself had."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitoring.config import QualityRules
from monitoring.quality import judge_shares, told
from noria.seen import hashes_of

Make = Callable[..., Any]
RULES = QualityRules(max_missing=0.1, max_unseen=0.05, max_out_of_range=0.01)


@pytest.mark.parametrize(
    ("training", "share", "breaks", "limit"),
    [
        (0.0, 0.1, False, 0.1),
        (0.0, 0.11, True, 0.1),
        (0.6, 0.6, False, 0.7),
        (0.6, 0.69, False, 0.7),
        (0.6, 0.72, True, 0.7),
        (0.6, 0.0, False, 0.7),
        # Whatever training lacked, a column that is gone is seen.
        (0.96, 0.97, False, 0.98),
        (0.96, 1.0, True, 0.98),
        (1.0, 1.0, False, 1.0),
    ],
)
def test_missing_is_compared_with_what_training_lacked(
    training: float,
    share: float,
    breaks: bool,
    limit: float,
) -> None:
    counts = {"missing": round(share * 1000)}
    found = judge_shares([("wind", counts)], 1000, {"wind": training}, RULES)
    # The metric that the alert compares with the one limit of all features says the same.
    assert (found.missing > RULES.max_missing) is breaks
    assert bool(found.breaches) is breaks
    if breaks:
        (breach,) = found.breaches
        assert (breach.limit, breach.training) == (pytest.approx(limit), training)
        said = told(breach)
        assert said.startswith(f"{share:.1%} of wind is missing")
        assert (f"{training:.1%} in training" in said) is bool(training)


def test_a_limit_of_nothing_is_broken_by_one() -> None:
    rules = QualityRules(0.0, 0.0, 0.0)
    assert judge_shares([("wind", {"missing": 0})], 10, {}, rules).breaches == ()
    assert len(judge_shares([("wind", {"missing": 1})], 10, {}, rules).breaches) == 1


def rewrite(folder: Path, others: int, hashes: list[int]) -> None:
    said = json.loads((folder / "reference.json").read_text())
    said["features"][0]["others"] = others
    (folder / "reference.json").write_text(json.dumps(said))
    with np.load(folder / "rows.npz") as arrays:
        columns = dict(arrays)
    np.savez(folder / "rows.npz", **columns, s0=np.array(hashes, np.int64))


@pytest.mark.parametrize(
    ("others", "known", "unseen"),
    [(2, ["UA", "WN"], 100), (2, ["UA"], 0), (0, [], 200)],
)
def test_categories_that_training_saw_and_the_model_does_not_keep_are_not_unseen(
    bench: Make, world: Any, tmp_path: Path, wire: Any, others: int, known: list[str], unseen: int
) -> None:
    b = bench()
    folder = world.reference(tmp_path / "reference")
    rewrite(folder, others, hashes_of(known))
    b.champion("1", folder)
    request = world.request(200)
    request["inputs"][0]["data"] = ["UA"] * 100 + ["never"] * 100
    scores = world.scores(200)
    if b.form == "blocks":
        b.monitor.accept(*wire.block([("r", request, scores)])).result()
    else:
        b.post("r", "request", request)
        b.post("r", "response", wire.response(scores))
    status = b.status()
    # Where not all of what training saw is known, none is said to be new.
    assert status["counts"]["unseen"] == unseen
    # The detector sees the change all the same: these are other categories than usual.
    assert status["drift"]["features"]["drift"]


def test_a_column_that_training_lacked_too_is_no_signal(
    bench: Make, world: Any, tmp_path: Path
) -> None:
    b = bench(detectors=[])
    folder = world.reference(tmp_path / "reference")
    said = json.loads((folder / "reference.json").read_text())
    said["features"][2]["missing"] = 0.6
    (folder / "reference.json").write_text(json.dumps(said))
    b.champion("1", folder)
    real = world.rows

    def rows(count: int, shift: float = 0.0) -> Any:
        columns = real(count, shift)
        columns["wind"][: round(count * share)] = np.nan
        return columns

    world.rows = rows
    share = 0.6
    b.world.request = _nulls(world)
    b.predict("as-ever", 200)
    assert b.signals() == []
    share = 0.8
    b.predict("more", 200)
    (signal,) = b.signals()
    assert "80.0% of wind is missing, 60.0% in training, above 70.0%" in signal["detail"]


def _nulls(world: Any) -> Callable[..., Any]:
    real = world.request

    def request(*arguments: Any) -> Any:
        body = real(*arguments)
        for column in body["inputs"]:
            column["data"] = [None if v != v else v for v in column["data"]]
        return body

    return request
