"""What sets clusters apart, in numbers and words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from noria.tasks.clustering.profile import notes_of
from tests.clustering.conftest import fitted_of, spec_of


def frame() -> pd.DataFrame:
    """Ninety light rows that go by road, and thirty heavy ones, two thirds of which go by sea."""
    chance = np.random.default_rng(0)
    weight = np.concatenate([np.tile([1.0, 3.0], 45), np.tile([41.0, 43.0], 15)])
    way = ["road"] * 90 + ["sea"] * 20 + ["road"] * 10
    return pd.DataFrame(
        {
            "weight": weight,
            "volume": weight * 3.0 + 1.0,
            "way": np.array(way, object),
            "other": chance.normal(size=120),
        }
    )


def test_numbers_are_told_by_their_difference_and_categories_by_their_shares() -> None:
    rows = frame()
    settings = fitted_of(rows, spec_of(rows, options={"clusters": 2})).predictor.settings
    large, small = settings.profiles
    assert (large.share, small.share) == (0.75, 0.25)
    heavy = next(one for one in small.traits if one.column == "weight")
    assert (heavy.value, heavy.usual) == (42.0, 12.0)
    assert heavy.effect == pytest.approx(30.0 / rows["weight"].std(ddof=0))
    sea = next(one for one in small.traits if one.category == "sea")
    assert (sea.value, sea.usual) == (pytest.approx(2 / 3), pytest.approx(1 / 6))
    assert sea.effect == pytest.approx(4.0)
    assert not [one for one in (*large.traits, *small.traits) if one.column == "other"]
    notes = notes_of(settings)
    assert notes[0] == "2 clusters: so many were asked for."
    assert notes[2].startswith("cluster-2 (25% of the rows, stable (")
    assert "weight is high, 42 on average (12 of all rows, +1.7 standard deviations)" in notes[2]
    assert "way is sea in 67% (17% of all rows)" in notes[2]
    # What a column lacks is told where nothing else of it is.
    assert "way is sea in 0% (17% of all rows)" not in notes[1]


def test_where_there_are_no_clusters_it_is_said() -> None:
    chance = np.random.default_rng(0)
    rows = pd.DataFrame(chance.uniform(size=(200, 3)), columns=list("abc"))
    fitted = fitted_of(rows, spec_of(rows))
    (note,) = notes_of(fitted.predictor.settings)
    assert note.startswith("No clusters were found: ")
    assert note.endswith("All rows are cluster-1.")
