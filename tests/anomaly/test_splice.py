"""Spliced rows: real values in a company that they don't keep."""

from __future__ import annotations

import numpy as np

from noria.tasks.anomaly.describe import NET, SPLICED
from noria.tasks.anomaly.splice import spliced


def test_half_of_the_columns_are_of_one_other_row() -> None:
    matrix = np.arange(200.0)[:, None] + np.zeros((1, 7))
    found = spliced(matrix, 0)
    for own, row in enumerate(found):
        others = set(row.tolist()) - {own}
        assert len(others) == 1
        assert (row != own).sum() == 3


def test_each_column_keeps_its_values_and_the_choice_is_of_the_shape_alone() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(50, 4)), rng.normal(size=(50, 4))
    taken = spliced(one, 3) != one
    assert (taken == (spliced(other, 3) != other)).all()
    assert (taken != (spliced(one, 4) != one)).any()
    assert all(np.isin(spliced(one, 3)[:, place], one[:, place]).all() for place in range(4))


def test_one_column_or_one_row_can_t_be_spliced() -> None:
    for shape in ((5, 1), (1, 5)):
        matrix = np.random.default_rng(0).normal(size=shape)
        assert (spliced(matrix, 0) == matrix).all()


def test_the_metric_is_the_share_of_rows_that_score_less_than_their_twin() -> None:
    pairs = np.array([[0.1, 0.2], [0.5, 0.4], [0.3, 0.3], [0.0, 0.9]])
    assert SPLICED.per_sample is not None
    assert SPLICED.per_sample(np.zeros(4), pairs).tolist() == [1.0, 0.0, 0.5, 1.0]
    # An alarm at the row itself costs as much as a twin that is not told apart.
    alarmed = np.column_stack([pairs, [0.0, 1.0, 0.0, 1.0]])
    assert NET.per_sample is not None
    assert NET.per_sample(np.zeros(4), alarmed).tolist() == [1.0, -1.0, 0.5, 0.0]
