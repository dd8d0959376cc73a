"""Ordered classes: learnt by steps where that is better, measured by how far off answers are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from noria.errors import DataError, SpecError
from noria.spec import ModelSpec, parse_model
from noria.tasks.candidate import fit_all, make_candidate
from noria.tasks.families import family
from noria.tasks.package import load_predictor
from noria.tasks.tabular.describe import ranked_probability
from noria.tasks.tabular.hyperparameters import CUMULATIVE
from noria.tasks.tabular.schema import columns_of

ORDER = ["low", "medium", "high", "top"]


def spec_of(order: list[Any] | None = None, **train: Any) -> ModelSpec:
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "grades"},
            "spec": {
                "task": {
                    "family": "tabular-classification",
                    "options": {"order": ORDER if order is None else order},
                },
                "data": {
                    "source": {"parquet": {"paths": ["rows.parquet"]}},
                    "target": "grade",
                    "features": [{"name": f"x{j}", "type": "numeric"} for j in range(3)],
                },
                "train": {"algorithm": "linear", **train},
                "gates": {"bounds": [{"metric": "quadratic-kappa", "min": 0.3}]},
            },
        }
    ).spec


def grades(rows: int = 1500, seed: int = 0) -> pd.DataFrame:
    """Return rows whose grade is a cut of one score: proportional odds."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    score = 2.0 * x[:, 0] - x[:, 1] + rng.logistic(size=rows)
    frame = pd.DataFrame({f"x{j}": x[:, j] for j in range(3)})
    return frame.assign(grade=np.array(ORDER, object)[np.digitize(score, [-1.5, 0.5, 2.5])])


def test_a_run_answers_in_the_order_and_is_measured_by_steps(tmp_path: Path) -> None:
    spec = spec_of()
    made = make_candidate(
        family(spec.task.family), spec, grades(), None, tmp_path / "run", model="grades"
    )
    # Of proportional odds a model of each step is the true one, classes apart are not.
    assert made.manifest.algorithm == "cumulative"
    assert list(made.manifest.classes) == ORDER
    place = {name: code for code, name in enumerate(ORDER)}
    truth = made.test["grade"].map(place).to_numpy()
    said = made.held_out.model.filter(like="prediction.").to_numpy()
    guess = said.argmax(axis=1)
    metrics = made.evaluation.metrics
    kappa = sk.cohen_kappa_score(truth, guess, weights="quadratic")
    assert metrics["quadratic-kappa"].value == pytest.approx(kappa)
    assert metrics["class-distance"].value == pytest.approx(np.abs(truth - guess).mean())
    assert made.evaluation.gates[0].verdict == "pass"
    fresh = grades(200, seed=5)
    answer = load_predictor(made.package).predict(columns_of(made.manifest.features, None, fresh))
    assert np.allclose(answer["probability"].sum(axis=1), 1.0)
    assert (answer["probability"] > 1e-5).all()
    assert answer["label"].tolist() == [ORDER[one] for one in answer["probability"].argmax(axis=1)]


def test_steps_are_binary_models_of_each_class_or_more(tmp_path: Path) -> None:
    spec, rows, fresh = spec_of(), grades(), grades(300, seed=4)
    tasks = family(spec.task.family)
    model = fit_all(tasks, spec, rows, {CUMULATIVE: 1e-12}).predictor
    said = model.predict(columns_of(model.manifest.features, None, fresh))["probability"]
    plain = parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "one"},
            "spec": {
                "task": {"family": "tabular-classification"},
                "data": spec.data.model_dump(mode="json", by_alias=True, exclude_unset=True),
                "train": {"algorithm": "linear"},
            },
        }
    ).spec
    for step in range(1, len(ORDER)):
        above = rows.assign(grade=rows["grade"].isin(ORDER[step:]).astype(int))
        one = fit_all(tasks, plain, above, {}).predictor
        alone = one.predict(columns_of(one.manifest.features, None, fresh))["probability"]
        # Where no step crosses the one before, they are the same.
        agree = np.isclose(said[:, step:].sum(axis=1), alone, atol=1e-9)
        assert agree.mean() > 0.95


def test_the_ranked_probability_score_is_the_textbooks() -> None:
    said = np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    found = ranked_probability(np.array([1.0, 0.0, 0.0]), said)
    # (0.2 - 0)^2 + (0.7 - 1)^2 over two steps; right; as wrong as can be.
    assert found == pytest.approx([(0.04 + 0.09) / 2, 0.0, 1.0])


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (["low", "high"], "names 2 classes, and two have no order"),
        (["low", "high", "low"], r"order\[2\]: low is there twice"),
    ],
)
def test_an_order_that_is_none_is_refused(order: list[Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        spec_of(order)


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ([*ORDER, "best"], "no row is 'best'"),
        (ORDER[:3], "the class 'top' is not in it"),
    ],
)
def test_an_order_of_other_classes_is_refused(order: list[Any], said: str) -> None:
    spec = spec_of(order)
    with pytest.raises(DataError, match=said):
        family(spec.task.family).prepare(spec, grades(400))
