"""Batches and rates of a plan, against what a hand calculation gives."""

from __future__ import annotations

import numpy as np
import pytest

from noria.errors import InvalidInput
from noria.tasks.neural.plan import Plan


def test_every_row_is_in_one_batch_of_an_epoch_and_sizes_are_alike() -> None:
    batches = Plan(batch=16).batches(0, 90)
    assert sorted(np.concatenate(batches).tolist()) == list(range(90))
    assert {batch.size for batch in batches} == {15}
    assert {batch.size for batch in Plan(batch=16).batches(0, 100)} == {16, 17}


def test_epochs_differ_and_seeds_repeat() -> None:
    plan = Plan(batch=16, seed=1)
    first, second = (np.concatenate(plan.batches(epoch, 90)) for epoch in (0, 1))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, np.concatenate(plan.batches(0, 90)))
    assert not np.array_equal(first, np.concatenate(Plan(batch=16, seed=2).batches(0, 90)))


def test_processes_and_parts_share_a_batch() -> None:
    plan = Plan(batch=16, accumulate=2)
    (batch, *_) = plan.batches(0, 64)
    parts = [part for rank in (0, 1) for part in plan.parts(batch, rank, 2)]
    assert [part.size for part in parts] == [4, 4, 4, 4]
    np.testing.assert_array_equal(np.concatenate(parts), batch)


def test_a_batch_with_fewer_rows_than_processes_is_refused() -> None:
    with pytest.raises(InvalidInput, match="3 rows for 4 processes"):
        Plan().parts(np.arange(3), 0, 4)


def test_the_rate_rises_to_its_greatest_and_falls_as_a_cosine() -> None:
    # 10 epochs of 10 steps: 20 rise, and half of the others later the cosine is a half.
    plan = Plan(epochs=10, batch=10, learning_rate=1.0, warmup=0.2)
    assert [plan.rate(step, 100) for step in (0, 9, 19)] == pytest.approx([0.05, 0.5, 1.0])
    assert plan.rate(60, 100) == pytest.approx(0.5)
    assert plan.rate(99, 100) == pytest.approx(0.5 * (1 + np.cos(np.pi * 79 / 80)))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch": -1}, "batch"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"warmup": 1.0}, "warmup"),
    ],
)
def test_what_no_training_can_be_is_refused(given: dict[str, float], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Plan(**given)
