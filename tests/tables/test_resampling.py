"""SMOTE on request: which rows are made, that none of them judges, what is told and refused."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noria.errors import DataError, NotInstalled, SpecError
from noria.spec import ModelSpec, parse_model
from noria.tasks.candidate import make_candidate
from noria.tasks.families import family
from noria.tasks.package import load_predictor, read_manifest
from noria.tasks.tabular import learn
from noria.tasks.tabular.fit import Design
from noria.tasks.tabular.resampling import resampled
from noria.tasks.tabular.schema import columns_of
from noria.tasks.tabular.tryout import tryout

NAN = float("nan")


def spec_of(task: str = "classification", train: Any = None, **options: Any) -> ModelSpec:
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "one"},
            "spec": {
                "task": {"family": f"tabular-{task}", "options": options},
                "data": {
                    "source": {"parquet": {"paths": ["rows.parquet"]}},
                    "target": "y",
                    "validation": {"maxMissing": 0.5},
                    "features": [
                        {"name": "a", "type": "numeric"},
                        {"name": "b", "type": "numeric"},
                        {"name": "c", "type": "categorical"},
                    ],
                },
                "train": train or {},
            },
        }
    ).spec


def rows_of(rows: int = 600, seed: int = 0, share: float = 0.1) -> pd.DataFrame:
    """Return rows of which a share is of the rarer class, with gaps."""
    rng = np.random.default_rng(seed)
    rare = rng.random(rows) < share
    a = rng.normal(size=rows) + 1.5 * rare
    b = 100 * rng.normal(size=rows)
    b[rng.random(rows) < 0.3] = NAN
    c = np.where(rare & (rng.random(rows) < 0.6), "x", rng.choice(["x", "y", "z"], rows))
    label = np.where(rare, "yes", "no")
    return pd.DataFrame({"a": a, "b": b, "c": c.astype(object), "y": label.astype(object)})


def design_of(rows: pd.DataFrame, **changes: Any) -> Design:
    matrix = np.column_stack(
        [rows["a"], rows["b"], pd.factorize(rows["c"], sort=True)[0].astype(float)]
    )
    target = (rows["y"] == "yes").to_numpy(np.float64)
    made = Design(matrix, target, 2, (0, 0, 3), None, 0, 1, resampling=("no", "yes"))
    return replace(made, **changes)


def test_made_rows_even_the_classes_out_and_lie_between_rows_of_their_own() -> None:
    design = design_of(rows_of())
    found = resampled(design)
    before, after = (np.bincount(d.target.astype(int)).tolist() for d in (design, found))
    assert after == [before[0], before[0]]
    np.testing.assert_array_equal(found.matrix[:600], design.matrix)
    np.testing.assert_array_equal(found.target[:600], design.target)
    made = found.matrix[600:]
    own = design.matrix[design.target == 1]
    assert (found.target[600:] == 1).all()
    assert set(np.unique(made[:, 2])) <= {0.0, 1.0, 2.0}  # a category, never between two
    assert own[:, 0].min() <= made[:, 0].min()
    assert made[:, 0].max() <= own[:, 0].max()
    # Where numbers are missing is no sign of a made row.
    gaps = np.isnan(made[:, 1])
    assert 0 < gaps.mean() < 0.6
    known = made[~gaps, 1]
    assert np.nanmin(own[:, 1]) <= known.min()
    assert known.max() <= np.nanmax(own[:, 1])


def test_it_is_imbalanced_learn_s_own_where_columns_are_standardised_numbers() -> None:
    from imblearn.over_sampling import SMOTE

    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    y = np.r_[np.ones(30), np.zeros(170)]
    theirs, _ = SMOTE(random_state=4).fit_resample(x, y.astype(int))
    ours = resampled(Design(x, y, 2, (0, 0, 0), None, 4, 1, resampling=("n", "p")))
    np.testing.assert_allclose(ours.matrix, theirs, atol=1e-12)


def test_a_made_row_weighs_what_its_class_does() -> None:
    rows = rows_of()
    weight = np.where(rows["y"] == "yes", 3.0, 1.0)
    found = resampled(design_of(rows, weight=weight))
    assert found.weight is not None
    np.testing.assert_allclose(found.weight[600:], 3.0)


def test_no_made_row_judges_or_calibrates(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, rows = spec_of(resample="smote"), rows_of()
    tasks = family(spec.task.family)
    prepared: Any = tasks.prepare(spec, rows)
    real = {tuple(row) for row in np.nan_to_num(prepared.design.matrix, nan=-9e9).tolist()}

    def all_real(matrix: Any) -> bool:
        return all(tuple(row) in real for row in np.nan_to_num(matrix, nan=-9e9).tolist())

    on = tryout(spec, prepared.design, prepared.facts, lambda: 0.0)
    assert on is not None
    for (train, held), fold in zip(on.sides, on.folds, strict=True):
        counts = np.bincount(train.target.astype(int))
        assert counts[0] == counts[1]
        assert not all_real(train.matrix)
        np.testing.assert_array_equal(
            train.matrix[: fold.train.size], prepared.design.matrix[fold.train]
        )
        np.testing.assert_array_equal(held.matrix, prepared.design.matrix[fold.test])
        # No made row lies beside a held-out one: it is between rows that are fitted on.
        made = train.matrix[fold.train.size :]
        own = train.matrix[: fold.train.size][train.target[: fold.train.size] == 1]
        assert own[:, 0].min() <= made[:, 0].min() <= made[:, 0].max() <= own[:, 0].max()
    seen = []
    plain = learn._calibrate

    def calibrate(method: str, raw: Any, design: Design, held: Any) -> Any:
        seen.append((method, len(raw), design))
        return plain(method, raw, design, held)

    monkeypatch.setattr(learn, "_calibrate", calibrate)
    tasks.fit(spec, prepared, np.arange(len(rows)), {"n_estimators": 5}, None)
    ((method, count, design),) = seen
    assert method == "sigmoid"
    assert count == len(rows)
    assert all_real(design.matrix)


def test_probabilities_are_those_of_rows_as_they_were(tmp_path: Path) -> None:
    spec = spec_of(resample="smote")
    train, test = rows_of(3000), rows_of(6000, 9)
    made = make_candidate(family(spec.task.family), spec, train, None, tmp_path, model="one")
    model = load_predictor(made.package)
    said = model.predict(columns_of(model.manifest.features, None, test))["probability"]
    share = float((test["y"] == "yes").mean())
    assert said.mean() == pytest.approx(share, rel=0.15)  # 0.1, where SMOTE fitted on 0.5
    rows = model.manifest.options["resampled"]
    before = int((train["y"] == "no").sum())
    assert rows == {"no": [before, before], "yes": [3000 - before, before]}
    notes = " ".join(made.evaluation.notes)
    judged = read_manifest(tmp_path / "candidate").options["resampled"]["yes"]
    assert f"yes {judged[0]:,} to {judged[1]:,}" in notes
    assert "held-out training rows: log-loss" in notes
    assert "(without: " in notes


@pytest.mark.parametrize(
    ("task", "options", "sentence"),
    [
        ("regression", {}, "smote makes rows of rarer classes, and tabular-regression predicts"),
        ("classification", {"classWeights": "balanced"}, "both even the classes out"),
    ],
)
def test_the_spec_refuses_what_makes_no_sense(
    task: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SpecError, match=sentence):
        spec_of(task, resample="smote", **options)


def test_too_few_rows_of_a_class_are_refused(tmp_path: Path) -> None:
    rows = rows_of(share=0.0)
    rows.loc[:5, "y"] = "yes"
    with pytest.raises(
        DataError, match=r"resample: yes has \d of the \d+ rows to fit on, and smote needs 6"
    ):
        family("tabular-classification").tune(spec_of(resample="smote"), rows, tmp_path)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imblearn.over_sampling", None)
    with pytest.raises(NotInstalled, match="imbalanced-learn") as caught:
        resampled(design_of(rows_of()))
    assert "noria[resampling]" in str(caught.value)


@pytest.mark.parametrize(
    "train",
    [
        {"algorithm": "linear"},
        {"hyperparameters": {"n_estimators": 20}},
        {"ensemble": {"kind": "stacking", "members": ["lightgbm", "linear"]}},
    ],
)
def test_it_goes_with_every_way_of_training(train: dict[str, Any], tmp_path: Path) -> None:
    spec = spec_of(train=train, resample="smote")
    made = make_candidate(family(spec.task.family), spec, rows_of(), None, tmp_path, model="one")
    assert "calibration.npz" in read_manifest(made.package).files
