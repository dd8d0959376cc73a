"""Target statistics of many levels: right by hand, out of fold, and the same when served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from noria.spec import ModelSpec, parse_model
from noria.tasks.candidate import make_candidate
from noria.tasks.families import family
from noria.tasks.package import load_predictor
from noria.tasks.tabular import levels
from noria.tasks.tabular.schema import MAX_CATEGORIES, columns_of

_MODEL = """
apiVersion: noria.dev/v1alpha1
kind: Model
metadata: {name: shops}
spec:
  task: {family: tabular-regression}
  data:
    source: {parquet: {paths: [rows.parquet]}}
    target: sales
    features:
      - {name: shop, type: categorical}
      - {name: size, type: numeric}
"""


def shops(rows: int, count: int, seed: int) -> pd.DataFrame:
    """Return rows of shops, each with a level of its own; a row says little else."""
    rng = np.random.default_rng(seed)
    worth = np.random.default_rng(0).normal(size=count)
    shop = rng.integers(0, count, rows)
    return pd.DataFrame(
        {
            "shop": np.char.mod("s%05d", shop).astype(object),
            "size": rng.normal(size=rows),
            "sales": worth[shop] + rng.normal(scale=0.5, size=rows),
        }
    )


def test_means_are_shrunk_as_a_hand_calculation_says() -> None:
    codes = np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    goal = np.array([1.0, 2.0, 3.0, 2.0, 6.0, 8.0])[:, None]
    found = levels.of_column(0, codes, 3, goal, None)
    # Within: squares 2 and 2 over 6 - 2 rows; between: (4 (2 - 22/6)^2 + 2 (7 - 22/6)^2 - 1)
    # over 6 - (16 + 4) / 6; a level's sum and so many rows of the grand mean.
    grand = 22.0 / 6.0
    between = (4 * (2 - grand) ** 2 + 2 * (7 - grand) ** 2 - 1.0) / (6 - 20 / 6)
    strength = 1.0 / between
    expected = [(8 + strength * grand) / (4 + strength), (14 + strength * grand) / (2 + strength)]
    np.testing.assert_allclose(found.mean[:2, 0], expected)
    np.testing.assert_array_equal(found.rows, [4, 2, 0, 0])
    # A level that was never there reads the grand mean, and so does what no row lacked.
    np.testing.assert_allclose(found.mean[2:, 0], grand)
    np.testing.assert_allclose(found.read(np.array([np.nan, 1.0])), [[grand, 0], [expected[1], 2]])


def test_a_training_row_does_not_read_its_own_target() -> None:
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 500, 1000).astype(np.float64)
    noise = rng.normal(size=1000)
    _, wide = levels.fit_levels(codes[:, None], {0: 500}, noise[:, None], None, 0)
    # Of pure noise nothing can be read: the mean of all rows of a level would correlate by 0.7.
    assert abs(np.corrcoef(wide[:, 0], noise)[0, 1]) < 0.1
    with_own = levels.of_column(0, codes, 500, noise[:, None], None)
    own = with_own.read(codes)[:, 0]
    raw = pd.Series(noise).groupby(codes).transform("mean")
    assert np.corrcoef(raw, noise)[0, 1] > 0.6
    assert own.std() < raw.std()


def test_weights_count_as_rows_do() -> None:
    codes = np.array([0.0, 1.0, 1.0, 2.0])
    goal = np.array([1.0, 4.0, 6.0, 3.0])[:, None]
    weight = np.array([2.0, 1.0, 1.0, 2.0])
    weighted = levels.of_column(0, codes, 3, goal, weight)
    repeated = levels.of_column(
        0, np.array([0.0, 0.0, 1.0, 1.0, 2.0, 2.0]), 3, goal[[0, 0, 1, 2, 3, 3]], None
    )
    np.testing.assert_allclose(weighted.mean, repeated.mean)
    np.testing.assert_allclose(weighted.rows, repeated.rows)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return parse_model(_MODEL).spec


def test_levels_beyond_the_table_are_learnt_and_served(spec: ModelSpec, tmp_path: Path) -> None:
    train, test = shops(12_000, 1000, 1), shops(3000, 1000, 2)
    tasks = family(spec.task.family)
    made = make_candidate(tasks, spec, train, None, tmp_path, model="shops")
    predictor = load_predictor(made.package)
    (shop, _) = predictor.manifest.features
    assert len(shop.categories) == MAX_CATEGORIES
    said = predictor.predict(columns_of(predictor.manifest.features, None, test))["prediction"]
    rare = ~test["shop"].isin(shop.categories).to_numpy()
    assert rare.sum() > 1500
    # The worth of a shop has variance 1, the noise 0.25: what is known of 12 rows explains most.
    truth = test["sales"].to_numpy()
    explained = 1.0 - np.mean((said - truth)[rare] ** 2) / np.var(truth[rare])
    assert explained > 0.65
    # A shop that was never there is a shop like any other.
    unknown = test.iloc[:50].assign(shop="elsewhere")
    said = predictor.predict(columns_of(predictor.manifest.features, None, unknown))["prediction"]
    assert np.isfinite(said).all()
    assert abs(said.mean() - train["sales"].mean()) < 0.5


def test_how_many_levels_there_are_is_said(spec: ModelSpec) -> None:
    report = family(spec.task.family).validate(spec, shops(4000, 1000, 1))
    (said,) = [check.detail for check in report.checks if check.name == "categories.shop"]
    assert "250 most frequent" in said
    assert "learnt too, by what the target was" in said


def test_the_same_rows_give_the_same_bytes(spec: ModelSpec, tmp_path: Path) -> None:
    tasks = family(spec.task.family)
    rows = shops(3000, 400, 1)
    digests = []
    for name in ("one", "two"):
        made = make_candidate(tasks, spec, rows, None, tmp_path / name, model="shops")
        digests.append(made.manifest.files)
    assert digests[0] == digests[1]
    assert "levels.npz" in digests[0]
