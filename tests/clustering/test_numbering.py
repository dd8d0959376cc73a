"""Clusters keep their numbers from version to version."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from noria.tasks.candidate import make_candidate
from noria.tasks.clustering.family import LEARNER
from noria.tasks.clustering.judged import open_clusters
from noria.tasks.clustering.numbering import matched
from noria.tasks.clustering.predictor import Clusters, Profile, Settings
from tests.clustering.conftest import fitted_of, spec_of

START = pd.Timestamp("2026-01-01", tz="UTC")
PLACES = {"near": (0.0, 0.0), "east": (10.0, 0.0), "north": (0.0, 10.0), "far": (10.0, 10.0)}


def settings(*numbers: int, used: int = 0) -> Settings:
    return Settings(tuple(Profile(n, 0.5, None) for n in numbers), used or max(numbers))


def test_pairs_are_those_of_the_greatest_overlap_in_all() -> None:
    # Of 10 rows 0 is with 0 in 4 and with 1 in 3; 1 is with 0 in 3 alone.
    ours = np.array([0] * 7 + [1] * 3)
    theirs = np.array([0] * 4 + [1] * 3 + [0] * 3)
    found = matched(settings(1, 2), settings(7, 8, used=9), ours, theirs)
    # Jaccard: 4 of 10, 3 of 7; 3 of 7, 0 of 6. Crossed they have 6/7 in all, straight 2/5; both
    # pairs are under a half, so that both are new.
    assert [profile.number for profile in found.profiles] == [10, 11]
    assert found.used == 11
    assert found.matched == (
        "Against the version before: new cluster-10, cluster-11; gone cluster-7, cluster-8."
    )
    same = matched(settings(1, 2), settings(7, 8, used=9), ours, 1 - ours)
    assert [(one.number, one.was, one.overlap) for one in same.profiles] == [
        (8, 8, 1.0),
        (7, 7, 1.0),
    ]


def rows(shares: dict[str, int], first_day: int) -> pd.DataFrame:
    """Return rows about places, so many of each; an hour apart from a day on."""
    chance = np.random.default_rng(first_day)
    names = [name for name, count in shares.items() for _ in range(count)]
    chance.shuffle(names)
    points = np.array([PLACES[name] for name in names]) + chance.normal(size=(len(names), 2))
    at = START + pd.to_timedelta(first_day * 24 + np.arange(len(names)), unit="h")
    return pd.DataFrame(
        {"at": at.astype("datetime64[us, UTC]"), "x": points[:, 0], "y": points[:, 1]}
    )


def at_places(model: Clusters) -> dict[str, int]:
    """Return the number of the cluster at each place."""
    x, y = np.array(list(PLACES.values())).T
    return dict(zip(PLACES, model.predict({"x": x, "y": y})["prediction"].tolist(), strict=True))


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clusters, Clusters, Clusters]:
    """Three versions: three places, whose sizes turn round; then one goes, and another comes."""
    folder = tmp_path_factory.mktemp("versions")
    first = rows({"near": 300, "east": 200, "north": 100}, 0)
    turned = rows({"near": 100, "east": 200, "north": 500}, 100)
    moved = rows({"near": 300, "east": 0, "north": 300, "far": 600}, 200)
    found, before = [], None
    for number, frame in enumerate(
        (first, pd.concat([first, turned]), moved.reset_index(drop=True)), 1
    ):
        made = make_candidate(
            LEARNER,
            spec_of(frame, options={"clusters": 3}),
            frame.reset_index(drop=True),
            before,
            folder / str(number),
            model="places",
        )
        found.append(open_clusters(made.package))
        if before is not None:
            assert made.evaluation.notes[1].startswith("Against the version before: ")
        before = made.package
    return found[0], found[1], found[2]


def test_a_cluster_keeps_its_number_however_large_it_becomes(
    versions: tuple[Clusters, Clusters, Clusters],
) -> None:
    first, second, _ = versions
    numbers = {name: number for name, number in at_places(first).items() if name != "far"}
    assert numbers == {"near": 1, "east": 2, "north": 3}
    assert {name: at_places(second)[name] for name in numbers} == numbers
    shares = {one.number: one.share for one in second.settings.profiles}
    assert max(shares, key=lambda number: shares[number]) == 3


def test_a_new_cluster_has_a_number_that_none_had(
    versions: tuple[Clusters, Clusters, Clusters],
) -> None:
    *_, third = versions
    found = at_places(third)
    assert (found["near"], found["north"], found["far"]) == (1, 3, 4)
    assert third.settings.used == 4
    assert third.settings.matched.endswith("; new cluster-4; gone cluster-2.")
    categories = next(one.categories for one in third.manifest.features if one.name == "cluster")
    assert set(categories) == {"cluster-1", "cluster-3", "cluster-4", "noise"}


def test_clusters_of_other_columns_begin_anew_and_say_so(tmp_path: Path) -> None:
    frame = rows({"near": 100, "east": 100}, 0)
    spec = spec_of(frame, options={"clusters": 2})
    before = frame.rename(columns={"y": "z"})
    other = spec_of(before, options={"clusters": 2})
    LEARNER.save(other, fitted_of(before, other), tmp_path / "before")
    found = LEARNER.continued(spec, fitted_of(frame, spec), tmp_path / "before")
    assert [one.number for one in found.predictor.settings.profiles] == [1, 2]
    assert "can't be matched with those of the version before: the rows have no column z" in (
        found.predictor.settings.matched
    )
