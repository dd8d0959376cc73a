"""Labels that take the place of others, and keys that name one row each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitoring.keys import joined, keys_of
from noria.errors import InvalidInput, Unavailable

Make = Callable[..., Any]
EARLY, LATE, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"


def accuracy(b: Any, rows: int) -> float:
    b.monitor.flush()
    _, found = b.monitor.measure("accuracy", "1", 0.0)
    assert found.samples == rows
    value: float = found.value
    return value


def test_a_correction_changes_what_is_measured_from_then_on(
    bench: Make, world: Any, tmp_path: Path
) -> None:
    b = bench()
    b.champion("1", world.reference(tmp_path / "reference"))
    scores = b.predict("r", 250)
    right = (scores > 0.5).astype(int)
    b.label([{"id": f"r:{row}", "label": int(1 - right[row])} for row in range(250)])
    assert accuracy(b, 250) == 0.0
    correction = [
        {"id": f"r:{row}", "label": int(right[row]), "time": LATE, "correct": True}
        for row in range(240)
    ]
    assert b.label(correction) == (240, 240)
    assert accuracy(b, 250) == pytest.approx(240 / 250)
    # Delivered again, after a restart, and after an earlier one: nothing changes.
    b.restart()
    assert b.label(correction) == (0, 240)
    assert b.label([{**one, "label": 0, "time": EARLY} for one in correction]) == (0, 240)
    assert accuracy(b, 250) == pytest.approx(240 / 250)
    # The latest time wins, whatever order they come in.
    assert b.label([{**correction[0], "label": int(1 - right[0]), "time": LATER}]) == (1, 1)
    assert b.label([{**correction[0], "time": LATE}]) == (0, 1)
    assert accuracy(b, 250) == pytest.approx(239 / 250)
    status = b.status()
    assert status["counts"]["corrected"] == 241
    # The closed window of 200 rows says that labels of it were corrected since.
    assert status["performance"]["1"]["metrics"]["accuracy"]["value"] == 0.0
    assert status["performance"]["1"]["corrected"] == 201
    # The open window has what is so now.
    b.predict("s", 150)
    b.label([{"id": f"s:{row}", "label": int(b.sent["s"][row] > 0.5)} for row in range(150)])
    report = b.status()["performance"]["1"]
    assert report["metrics"]["accuracy"]["value"] == pytest.approx(190 / 200)
    assert report["corrected"] == 0


def test_a_correction_may_come_before_its_prediction_and_in_one_body_with_its_label(
    bench: Make,
) -> None:
    b = bench()
    b.label([{"id": "r:0", "label": 1}, {"id": "r:1", "label": 1}])
    b.label([{"id": "r:0", "label": 0, "time": LATE, "correct": True}])
    b.predict("r", 3)
    b.label(
        [
            {"id": "r:2", "label": 1},
            {"id": "r:2", "label": 0, "time": LATE, "correct": True},
        ]
    )
    status = b.status()
    assert (status["counts"]["joined"], status["counts"]["corrected"]) == (3, 0)
    with b.monitor._reading:
        _, labels, _ = b.monitor._reader.outcomes("1", 0.0)
    assert labels.tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("wrong", ["banana", "YES", True, False, 1, 0, "1", "true", 0.5, ""])
def test_a_label_that_is_no_class_by_its_own_type_is_refused_with_the_classes(
    bench: Make, world: Any, tmp_path: Path, wrong: Any
) -> None:
    b = bench()
    b.champion("1", world.reference(tmp_path / "reference", classes=("no", "yes")))
    b.monitor.flush()
    with pytest.raises(InvalidInput, match=r"labels\[0\]\.label: .* send one of \['no', 'yes'\]"):
        b.label([{"id": "r:0", "label": wrong}])
    assert b.label([{"id": "r:0", "label": "no"}, {"id": "r:1", "label": "yes"}]) == (2, 2)


@pytest.mark.parametrize(
    ("classes", "wrong"),
    [((1, 2), True), ((1, 2), 0), ((0, 1), 2), ((0, 1), "yes"), (("a", "b", "c"), 0)],
)
def test_numbers_of_other_classes_are_refused(
    bench: Make, world: Any, tmp_path: Path, classes: Any, wrong: Any
) -> None:
    b = bench()
    b.champion("1", world.reference(tmp_path / "reference", classes=classes))
    b.monitor.flush()
    with pytest.raises(InvalidInput, match="is not a class of the model"):
        b.label([{"id": "r:0", "label": wrong}])


def test_names_are_not_taken_before_it_is_known_which_there_are(bench: Make) -> None:
    from dataclasses import replace

    b = bench()
    b.config = replace(b.config, positive="yes")
    b.restart()
    with pytest.raises(Unavailable, match="classes are not known yet"):
        b.label([{"id": "r:0", "label": "banana"}])


def test_keys_of_several_columns_name_one_row_each(bench: Make, wire: Any, world: Any) -> None:
    from dataclasses import replace

    assert keys_of([["a|b", "a"], ["c", "b|c"]]) == ((r"a\|b|c", r"a|b\|c"), False)
    assert keys_of([["a|b", "c\\", "x" * 513]]) == (("a|b", "c\\", ""), True)
    assert joined(["a\\", "b"]) != joined(["a", "\\b"])
    assert joined([None, "a"]) == "" != joined(["", "a"])
    b = bench()
    b.config = replace(b.config, entity_key=("left", "right"))
    b.restart()
    request = world.request(3)
    request["inputs"] += [
        wire.tensor("left", "BYTES", ["a|b", "a", "p"]),
        wire.tensor("right", "BYTES", ["c", "b|c", "q"]),
    ]
    if b.form == "blocks":
        b.monitor.accept(*wire.block([("r", request, np.full(3, 0.5))])).result()
    else:
        b.post("r", "request", request)
        b.post("r", "response", wire.response(np.full(3, 0.5)))
    b.label([{"key": ["a|b", "c"], "label": 1}])
    assert b.status()["counts"]["joined"] == 1
    # Texts of parts that hold neither | nor \ are as they ever were.
    b.label([{"key": r"a|b\|c", "label": 0}, {"key": "p|q", "label": 1}])
    assert b.status()["counts"]["joined"] == 3
    for ambiguous in ("a|b|c", "a", ["a"], ["a", "b", "c"]):
        with pytest.raises(InvalidInput, match=r"labels\[0\]\.key"):
            b.label([{"key": ambiguous, "label": 1}])
