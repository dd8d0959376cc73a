"""Groups that somebody named: clusters are held against them, and nothing is found by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from noria.errors import DataError
from noria.measures.measuring import value_of
from noria.spec import ModelSpec
from noria.tasks.candidate import make_candidate
from noria.tasks.clustering.describe import RAND
from noria.tasks.clustering.family import LEARNER
from noria.tasks.clustering.labels import measured
from noria.tasks.package import package_digest
from tests.clustering.conftest import spec_of

NAMES = ["a", "b"]


def named(count: int = 600) -> pd.DataFrame:
    """Return rows of two groups that overlap, by day; every fifth has no name."""
    chance = np.random.default_rng(0)
    group = np.arange(count) % 2
    points = chance.normal(size=(count, 2)) + 2.5 * group[:, None]
    days = pd.date_range("2026-01-01", periods=count, freq="h", tz="UTC")
    frame = pd.DataFrame(points, columns=NAMES).assign(at=days.astype("datetime64[us, UTC]"))
    return frame.assign(kind=np.where(np.arange(count) % 5 == 0, np.nan, 7.0 + group))


def with_labels(frame: pd.DataFrame) -> ModelSpec:
    spec = spec_of(frame.drop(columns="kind"), options={"clusters": 2})
    data: Any = spec.data
    return spec.model_copy(update={"data": data.model_copy(update={"target": "kind"})})


@pytest.mark.parametrize(
    ("labels", "clusters", "known"),
    [
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0),
        ([0, 0, 1, 1], [0, 0, 1, 2], 4 / 7),  # of scikit-learn's guide
        ([0, 0, 1, 1], [0, 1, 0, 1], -0.5),
        ([3, 3, 3], [1, 1, 1], 1.0),
    ],
)
def test_the_adjusted_rand_index_is_what_is_written(
    labels: list[float], clusters: list[float], known: float
) -> None:
    assert value_of(RAND, np.array(labels, float), np.array(clusters, float)) == pytest.approx(
        known
    )


def test_it_is_scikit_learns_on_any_rows() -> None:
    chance = np.random.default_rng(1)
    for groups in (2, 3, 8):
        labels, clusters = chance.integers(0, groups, (2, 200)).astype(float)
        expected = adjusted_rand_score(labels, clusters)
        assert value_of(RAND, labels, clusters) == pytest.approx(expected, abs=1e-12)


def test_held_out_rows_are_judged_by_names_and_learnt_without(tmp_path: Path) -> None:
    frame = named()
    spec = with_labels(frame)
    checks = {one.name: one.detail for one in LEARNER.validate(spec, frame).checks}
    assert checks["target"] == "480 of 600 rows are labelled, of 2 groups"
    made = make_candidate(LEARNER, spec, frame, None, tmp_path / "one", model="m")
    held = frame.iloc[made.test.index]
    known = held["kind"].notna().to_numpy()
    number = made.held_out.model["prediction"].to_numpy()[known]
    for name, of in (
        ("adjusted-rand-index", adjusted_rand_score),
        ("adjusted-mutual-information", adjusted_mutual_info_score),
    ):
        found = made.evaluation.metrics[name]
        assert found.value == pytest.approx(of(held["kind"][known], number))
        assert found.samples == known.sum()
        assert found.low is not None
        assert found.high is not None
        assert found.low < found.value < found.high
    # Other names, the same clusters.
    other = frame.assign(kind=frame["kind"].sample(frac=1.0, random_state=0).to_numpy())
    again = make_candidate(LEARNER, spec, other, None, tmp_path / "two", model="m")
    assert package_digest(again.package) == package_digest(made.package)


def test_clusters_of_different_fits_are_not_compared_with_each_other() -> None:
    labels = np.repeat([0.0, 1.0, 0.0, 1.0], 20)
    number = np.repeat([1, 2, 2, 1], 20)  # the second fit has the numbers the other way round
    whole = measured((RAND,), labels, number, np.zeros(80, np.int64), 0)
    apart = measured((RAND,), labels, number, np.repeat([0, 1], 40), 0)
    assert whole[RAND.name].value == pytest.approx(adjusted_rand_score(labels, number))
    assert apart[RAND.name].value == 1.0


def test_a_few_names_say_nothing_and_a_wrong_one_is_refused() -> None:
    labels = np.where(np.arange(40) < 9, 1.0, np.nan)
    assert measured((RAND,), labels, np.ones(40, np.int64), np.zeros(40, np.int64), 0) == {}
    frame = named()
    frame.loc[2, "kind"] = 1.5
    with pytest.raises(DataError, match=r"kind is 1\.5 in row 3 of 600"):
        LEARNER.validate(with_labels(frame), frame)
