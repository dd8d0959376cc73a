"""What is chosen, learnt and kept, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noria.errors import TrainingError
from noria.tasks.choosing import standard_error
from noria.tasks.package import load_predictor, read_package
from noria.tasks.recommendation.family import LEARNER
from tests.recommendation.conftest import Taken, fitted, rows_of, shelves, spec_of


def asked(model: Any, **columns: str | None) -> list[str]:
    """Return the items of one request."""
    sent = {"history": None, **columns}
    found = model.predictor.predict({k: np.array([v], object) for k, v in sent.items()})
    return [name for name in found["items"][0] if name]


def alike(seed: int = 0) -> Taken:
    """Return readers who all read by the same popularity, and by nothing else."""
    chance = np.random.default_rng(seed)
    share = 1 / np.arange(1, 31) ** 1.2
    return [
        (f"R{reader:03}", f"b{book:02}", float(chance.uniform(0, 100)))
        for reader in range(150)
        for book in chance.choice(30, 6, replace=False, p=share / share.sum())
    ]


def test_auto_takes_popularity_where_nothing_else_is_to_be_learnt() -> None:
    models = [fitted(spec_of(), rows_of(alike(seed))) for seed in range(4)]
    methods = [model.predictor.settings.method for model in models]
    # One standard error is passed by chance in one case of six.
    assert methods.count("popularity") >= 3


def test_auto_tells_shelves_apart_where_readers_keep_to_theirs() -> None:
    model = fitted(spec_of(), rows_of(shelves()))
    assert model.predictor.settings.method in ("item-based", "als")
    assert {name[0] for name in asked(model, history="a00|a01|a02")} == {"a"}


def test_popularity_counts_and_a_weight_counts_more() -> None:
    taken = [("A", "x", 0), ("B", "x", 1), ("C", "y", 2), ("C", "z", 3), ("A", "z", 4)]
    plain = spec_of(train={"algorithm": "popularity"})
    # Of those taken twice the first by name.
    assert asked(fitted(plain, rows_of(taken))) == ["x", "z", "y"]
    weighted = spec_of({"weight": "minutes"}, {"algorithm": "popularity"})
    model = fitted(weighted, rows_of(taken, minutes=[1.0, 1.0, 9.0, 1.0, 1.5]))
    assert asked(model) == ["y", "z", "x"]
    # Self-information is of users, however long they read: two of three, and one of three.
    bits = model.predictor.describe({"history": np.array(["x", "y"], object)})["rarity"]
    assert bits == pytest.approx(-np.log2([2 / 3, 1 / 3]))


def test_weights_of_samples_let_newer_ones_count_more() -> None:
    spec = spec_of(train={"algorithm": "popularity"})
    rows = rows_of([("A", "x", 0), ("B", "x", 1), ("C", "y", 50), ("D", "z", 60)])
    samples = LEARNER.features(spec, Path(), rows)
    prepared = LEARNER.prepare(spec, samples)
    weight = np.array([0.1, 0.1, 1.8, 2.0])
    model = LEARNER.fit(spec, prepared, np.arange(4), {}, weight)
    assert asked(model) == ["z", "y", "x"]


def test_nothing_is_known_of_what_came_later() -> None:
    spec = spec_of()
    rows = rows_of([*shelves(), *(("New", f"n{n}", 99.0 + n / 9) for n in range(9))])
    samples = LEARNER.features(spec, Path(), rows)
    parts = LEARNER.split(spec, samples, None)
    start = parts.test["at"].min()
    prepared = LEARNER.prepare(spec, samples)
    places = parts.train.index.to_numpy()
    model = LEARNER.fit(spec, prepared, places, {}, None).predictor
    before = rows[rows["at"] < start]
    assert set(model.settings.items) <= set(before["book"])
    assert "New" not in model.settings.users
    assert model.manifest.parameters["knownUntil"] < start.timestamp() * 1000
    # Of users whose window is open at the split nothing of it is learnt.
    learnt = sum(len(text.split("|")) for text in parts.train["taken"])
    assert learnt + sum(len(t.split("|")) for t in parts.test["taken"]) < len(rows)


def test_the_newest_histories_are_kept_of_those_who_came_last() -> None:
    rows = rows_of([(f"R{n}", book, n + i / 9) for n in range(5) for i, book in enumerate("abcd")])
    algorithm = {"algorithm": "popularity"}
    some = fitted(spec_of({"users": 2, "history": 3}, algorithm), rows).predictor
    assert sorted(some.settings.users) == ["R3", "R4"]
    history = [some.settings.items[code] for code in some.known.of("R4")]
    assert history == ["b", "c", "d"]
    assert some.known.of("R0") is None


def test_a_package_without_users_has_no_name_of_one(tmp_path: Path) -> None:
    spec = spec_of({"users": 0})
    LEARNER.save(spec, fitted(spec, rows_of(shelves())), tmp_path / "v1")
    _, files = read_package(tmp_path / "v1")
    assert all(b"R0" not in content for content in files.values())
    found = load_predictor(tmp_path / "v1").predict({"reader": np.array(["R01"], object)})
    assert found["coldStart"][0].startswith("no history was sent")


@pytest.mark.parametrize(
    ("algorithm", "params", "said"),
    [
        ("als", {"factor": 8}, "hyperparameters.factor: is unknown, als has alpha, factors"),
        ("auto", {"alpha": 0}, "hyperparameters.alpha: 0 is not a number over 0"),
        ("als", {"regularization": -1}, "regularization: -1 is not a number of 0 or more"),
        ("als", {"alpha": True}, "alpha: true is not a number over 0"),
        ("als", {"factors": 8.5}, "factors: 8.5 is not a whole number over 0"),
        ("item-based", {"alpha": 1}, "alpha: is unknown, item-based has neighbours"),
        ("bpr", {"alpha": 1}, "alpha: is unknown, bpr has factors, iterations, learning_rate"),
        ("bpr", {"learning_rate": 0}, "learning_rate: 0 is not a number over 0"),
        ("bpr", {"learning_rate": 1e9}, "bpr: "),
        ("popularity", {"alpha": 1}, "alpha: is unknown, popularity has none"),
    ],
)
def test_hyperparameters_that_nothing_reads_are_refused(
    algorithm: str, params: dict[str, Any], said: str
) -> None:
    with pytest.raises(TrainingError, match=said):
        fitted(spec_of(train={"algorithm": algorithm}), rows_of(shelves()), params)


def test_an_error_of_a_mean_over_clusters() -> None:
    values, users = np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1])
    # Two clusters of means 1 and 3: the error of a mean of two values.
    assert standard_error(values, users) == pytest.approx(np.std([1, 3], ddof=1) / np.sqrt(2))
    assert standard_error(values, np.arange(4)) == pytest.approx(np.std(values, ddof=1) / 2)
    assert standard_error(values, np.zeros(4, int)) == float("inf")
