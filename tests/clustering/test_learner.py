"""The family step by step: what it refuses, measures, compares and tells the monitor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import silhouette_samples
from sklearn.preprocessing import StandardScaler

from noria.errors import DataError, IntegrityError, SpecError
from noria.spec import parse_model
from noria.tasks.candidate import make_candidate
from noria.tasks.clustering.family import LEARNER
from noria.tasks.clustering.judged import open_clusters
from noria.tasks.families import template
from noria.tasks.package import load_predictor
from noria.tasks.tabular.hand_made import package_linear
from tests.clustering.conftest import Project, fitted_of, spec_of

NAMES = ["a", "b"]


def groups(count: int = 300, apart: float = 8.0, seed: int = 0) -> pd.DataFrame:
    """Return rows of two groups, by day."""
    chance = np.random.default_rng(seed)
    points = chance.normal(size=(count, 2)) + apart * (np.arange(count) % 2)[:, None]
    days = pd.date_range("2026-01-01", periods=count, freq="h", tz="UTC")
    return pd.DataFrame(points, columns=NAMES).assign(at=days.astype("datetime64[us, UTC]"))


def resource(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(template("clustering")["model.yaml"].replace("$", ""))
    for path, value in changes.items():
        section, key = path.split("__")
        found["spec"].setdefault(section, {})[key] = value
    return found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"data__labelTime": "seen"},
            "spec.data.labelTime: seen is a label's, and spec.data.target names none; name the",
        ),
        (
            {"train__search": {"kind": "random", "metric": "adjusted-rand-index"}},
            "adjusted-rand-index is of labels, and clustering learns without them",
        ),
        (
            {"data__features": [{"name": "cluster", "type": "numeric"}]},
            "spec.data.features[0].name: cluster is what is watched of a row's cluster; rename",
        ),
        (
            {"data__features": []},
            "spec.data.features: is empty, and clustering reads columns",
        ),
        (
            {"train__hyperparameters": {"n_clusters": 3}},
            "spec.train.hyperparameters.n_clusters: is unknown to kmeans of clustering; did you",
        ),
        (
            {"task__options": {"clusters": 3}, "train__hyperparameters": {"clusters": 4}},
            "spec.task.options.clusters: is 3, and spec.train says clusters too; keep one",
        ),
        (
            {"task__options": {"clusters": 3}, "train__algorithm": "hdbscan"},
            "spec.task.options.clusters: is 3, and hdbscan finds how many there are itself",
        ),
        (
            {"monitoring__performance": {"metrics": ["silhouette"]}},
            "silhouette is measured on inputs, and the monitor knows labels of rows alone",
        ),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_model(resource(**changes))
    assert said in str(refused.value)


def test_bad_rows_are_refused_by_column_row_value_and_fix(tmp_path: Path) -> None:
    model = parse_model(resource(data__module=None))
    (tmp_path / "data").mkdir()
    rows = "customer,day,orders,basket,returns,channel\nC1,2026-01-01,1,2,3,app\n"
    (tmp_path / "data" / "rows.csv").write_text(rows + "C2,2026-01-02,many,2,3,app\n")
    with pytest.raises(DataError) as refused:
        LEARNER.ingest(model.spec, tmp_path, None)
    said = str(refused.value)
    assert "orders" in said
    assert "row 2" in said or "row 3" in said
    assert "many" in said


def test_rows_that_are_all_alike_are_refused() -> None:
    frame = pd.DataFrame({"a": np.ones(50), "b": np.full(50, np.nan)})
    with pytest.raises(DataError, match="a, b: each is the same in all 50 rows"):
        fitted_of(frame, spec_of(frame))


def test_the_number_is_chosen_once_a_run_and_tried_ones_are_told(tmp_path: Path) -> None:
    frame = groups()
    found = LEARNER.tune(spec_of(frame, options={"atMost": 4}), frame, tmp_path)
    assert found.params == {"clusters": 2}
    assert [trial.params["clusters"] for trial in found.trials] == [2, 3, 4]
    assert found.best == found.trials[0].value
    fixed = spec_of(frame, options={"clusters": 3})
    assert LEARNER.tune(fixed, frame, tmp_path).params == {}
    assert len(fitted_of(frame, fixed).predictor.settings.profiles) == 3


def test_silhouettes_of_held_out_rows_are_those_of_scikit_learn(tmp_path: Path) -> None:
    frame = groups(600, apart=3.0)
    spec = spec_of(frame, options={"clusters": 2})
    made = make_candidate(LEARNER, spec, frame, None, tmp_path, model="m", plots=tmp_path / "plots")
    held = frame.iloc[made.test.index]
    older = frame.iloc[: held.index.min()]
    points = StandardScaler().fit(older[NAMES]).transform(held[NAMES])
    number = made.held_out.model["prediction"].to_numpy()
    found = made.evaluation.metrics["silhouette"]
    assert found.value == pytest.approx(silhouette_samples(points, number).mean(), abs=1e-6)
    assert found.low is not None
    assert found.low < found.value
    assert made.evaluation.metrics["stability"].value == pytest.approx(
        made.held_out.model["stability"].mean()
    )
    drawn = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert drawn == ["clusters.png", "profiles.png", "stability.png"]


def test_a_candidate_that_sees_the_new_group_beats_a_champion_that_does_not(
    tmp_path: Path,
) -> None:
    old = groups(400)
    new = groups(400, seed=1)
    new["at"] += pd.Timedelta("400h")
    new.loc[new.index % 3 == 0, NAMES] = np.random.default_rng(3).normal(
        (-9.0, 14.0), 1.0, (134, 2)
    )
    first = make_candidate(LEARNER, spec_of(old), old, None, tmp_path / "1", model="m")
    both = pd.concat([old, new], ignore_index=True)
    second = make_candidate(LEARNER, spec_of(both), both, first.package, tmp_path / "2", model="m")
    (compared,) = second.evaluation.comparisons
    assert compared.metric == "silhouette"
    assert compared.samples == len(second.test)
    assert compared.candidate is not None
    assert compared.champion is not None
    assert compared.candidate > compared.champion + 0.1
    assert [gate.verdict for gate in second.evaluation.gates] == ["pass"]
    assert "new cluster-3" in open_clusters(second.package).settings.matched


def test_rows_without_a_time_are_drawn_to_judge_and_compared_all_the_same(tmp_path: Path) -> None:
    frame = groups(600).drop(columns="at")
    spec = spec_of(frame, options={"clusters": 2})
    first = make_candidate(LEARNER, spec, frame, None, tmp_path / "1", model="m")
    assert first.manifest.trained_until is None
    assert 80 < len(first.test) < 160
    second = make_candidate(LEARNER, spec, frame, first.package, tmp_path / "2", model="m")
    (compared,) = second.evaluation.comparisons
    assert compared.samples == len(second.test)
    assert compared.difference == pytest.approx(0.0, abs=0.01)


def test_a_champion_of_another_family_can_not_be_asked_and_it_is_said(tmp_path: Path) -> None:
    frame = groups()
    package_linear(tmp_path / "other", "m", NAMES, [1.0, 1.0], 0.0)
    made = make_candidate(
        LEARNER, spec_of(frame), frame, tmp_path / "other", tmp_path / "1", model="m"
    )
    (gate,) = made.evaluation.gates
    assert gate.verdict == "error"
    assert "the champion can't be asked: it is of the family tabular-classification" in gate.detail


def test_the_reference_has_shares_and_distances_of_new_rows(
    project: Project, tmp_path: Path
) -> None:
    made = make_candidate(
        LEARNER, project.spec, project.frame, None, tmp_path, model="shop", params={}
    )
    said = json.loads((made.reference / "reference.json").read_text())
    names = [feature["name"] for feature in said["features"]]
    assert names[-2:] == ["cluster", "cluster-distance"]
    cluster = said["features"][-2]
    with np.load(made.reference / "rows.npz") as arrays:
        codes = arrays[f"f{len(names) - 2}"]
        distance = arrays[f"f{len(names) - 1}"]
    model = load_predictor(made.package)
    columns = {name: project.frame[name].to_numpy() for name in names[:-2]}
    told = model.predict(columns)
    assert np.array(cluster["categories"])[codes].tolist() == told["cluster"].tolist()
    np.testing.assert_allclose(distance, told["distance"])


@pytest.mark.parametrize("algorithm", ["kmeans", "gaussian-mixture", "hdbscan"])
def test_a_package_of_any_algorithm_answers_what_was_fitted(algorithm: str, tmp_path: Path) -> None:
    frame = groups(200)
    spec = spec_of(frame, algorithm)
    fitted = fitted_of(frame, spec, **({} if algorithm == "hdbscan" else {"clusters": 2}))
    LEARNER.save(spec, fitted, tmp_path / "p")
    columns = {name: frame[name].to_numpy() for name in NAMES}
    answers = load_predictor(tmp_path / "p").predict(columns)
    outputs = [output.name for output in fitted.manifest.outputs]
    assert list(answers) == outputs
    assert ("membership" in outputs) == (algorithm == "gaussian-mixture")
    kept = answers["prediction"] > 0
    assert kept.mean() > 0.85
    assert pd.crosstab(answers["prediction"][kept], np.arange(200)[kept] % 2).shape == (2, 2)
    right = answers["prediction"][kept] == answers["prediction"][0]
    assert (right == (np.arange(200)[kept] % 2 == 0)).mean() > 0.99


def test_a_package_whose_arrays_are_of_another_is_refused(tmp_path: Path) -> None:
    frame = groups(60)
    model = fitted_of(frame, spec_of(frame, options={"clusters": 2})).predictor
    files = model.files()
    other = fitted_of(frame, spec_of(frame, options={"clusters": 3})).predictor.files()
    from noria.tasks.clustering.predictor import load

    with pytest.raises(IntegrityError, match=r"clusters\.npz: does not fit clusters\.json"):
        load(model.manifest, {**files, "clusters.npz": other["clusters.npz"]})
    with pytest.raises(IntegrityError, match="train again"):
        load(model.manifest, {"clusters.json": files["clusters.json"]})
