"""Every algorithm trains, saves, loads and predicts the same; the steps from file to model."""

from __future__ import annotations

import pickletools
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noria.errors import InvalidInput, SpecError
from noria.spec import ModelSpec
from noria.tasks.candidate import fit_all, make_candidate
from noria.tasks.families import family
from noria.tasks.package import load_predictor, package_digest
from noria.tasks.protocol import Evaluation
from noria.tasks.tabular.schema import columns_of

ALGORITHMS = ("linear", "hist-gradient-boosting", "lightgbm", "xgboost")
SMALL: dict[str, dict[str, Any]] = {
    "linear": {},
    "hist-gradient-boosting": {"max_iter": 25},
    "lightgbm": {"n_estimators": 25},
    "xgboost": {"n_estimators": 25},
}
MakeRows = Callable[..., pd.DataFrame]
MakeSpec = Callable[..., ModelSpec]


def ask(predictor: Any, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    manifest = predictor.manifest
    answer: dict[str, np.ndarray] = predictor.predict(
        columns_of(manifest.features, manifest.event_time, frame)
    )
    return answer


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("target", ["binary", "three classes", "value"])
def test_an_algorithm_learns_saves_loads_and_predicts_the_same(
    algorithm: str,
    target: str,
    spec_of: MakeSpec,
    regression_spec: MakeSpec,
    make_rows: MakeRows,
    evaluated: Callable[..., Evaluation],
    tmp_path: Path,
) -> None:
    build = regression_spec if target == "value" else spec_of
    spec = build(train={"algorithm": algorithm, "hyperparameters": SMALL[algorithm]})
    frame = make_rows(1200, classes=3 if target == "three classes" else 2)
    tasks = family(spec.task.family)
    split = tasks.split(spec, frame, None)
    fitted = fit_all(tasks, spec, split.train, dict(spec.train.hyperparameters))
    tasks.save(spec, fitted, tmp_path / "package", model="trips")
    loaded = load_predictor(tmp_path / "package")
    expected, got = ask(fitted.predictor, split.test), ask(loaded, split.test)
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name], values)
    one = ask(loaded, split.test.iloc[:1])
    for name, values in one.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(values, expected[name][:1], rtol=1e-12)
    evaluation = evaluated(spec, tmp_path / "package", split.test)
    value = evaluation.metrics["rmse" if target == "value" else "auc"].value
    assert value is not None
    assert value < 22 if target == "value" else value > 0.75
    assert loaded.manifest.model == "trips"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_unseen_and_missing_categories_are_the_same_thing(
    algorithm: str, spec_of: MakeSpec, rows: pd.DataFrame
) -> None:
    spec = spec_of(train={"algorithm": algorithm, "hyperparameters": SMALL[algorithm]})
    tasks = family(spec.task.family)
    predictor = fit_all(tasks, spec, rows, dict(spec.train.hyperparameters)).predictor
    some = rows.iloc[:50].copy()
    some["city"] = None
    missing = ask(predictor, some)["probability"]
    some["city"] = "Atlantis"
    unseen = ask(predictor, some)["probability"]
    np.testing.assert_array_equal(unseen, missing)
    some["city"] = "Ankara"
    assert np.abs(ask(predictor, some)["probability"] - missing).max() > 0.05


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_rows_and_seed_give_the_same_bytes(
    algorithm: str, spec_of: MakeSpec, project: Path, rows: pd.DataFrame
) -> None:
    spec = spec_of(
        train={"algorithm": algorithm, "hyperparameters": SMALL[algorithm]},
        task={"options": {"calibration": "sigmoid"}},
    )
    tasks = family(spec.task.family)
    digests = []
    for turn in range(2):
        # The order of the rows in the file does not matter.
        rows.sample(frac=1.0, random_state=turn).to_parquet(project / "rows.parquet")
        frame = tasks.ingest(spec, project, None)
        fitted = fit_all(tasks, spec, frame, dict(spec.train.hyperparameters))
        tasks.save(spec, fitted, project / f"package{turn}")
        digests.append(package_digest(project / f"package{turn}"))
    assert digests[0] == digests[1]


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "stacking"])
def test_no_file_of_a_package_is_a_pickle(
    algorithm: str, spec_of: MakeSpec, rows: pd.DataFrame, tmp_path: Path
) -> None:
    train: dict[str, Any] = {"algorithm": algorithm, "hyperparameters": SMALL.get(algorithm, {})}
    if algorithm == "stacking":
        train = {"ensemble": {"kind": "stacking", "members": ["lightgbm", "linear"]}}
    spec = spec_of(train=train, task={"options": {"calibration": "isotonic"}})
    tasks = family(spec.task.family)
    fitted = fit_all(tasks, spec, rows, dict(spec.train.hyperparameters))
    tasks.save(spec, fitted, tmp_path / "package")
    parts = []
    for path in (tmp_path / "package").rglob("*"):
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                parts.extend(archive.read(name) for name in archive.namelist())
        elif path.is_file():
            parts.append(path.read_bytes())
    assert len(parts) > 3
    for content in parts:
        assert not _is_pickle(content)
    assert load_predictor(tmp_path / "package").manifest.algorithm == algorithm


def _is_pickle(content: bytes) -> bool:
    if content.startswith(b"\x93NUMPY"):
        return b"'descr': '|O'" in content[:200]
    try:
        list(pickletools.genops(content))
    except Exception:  # noqa: BLE001 - whatever it raises, it is not a pickle
        return False
    return True


def test_hist_gradient_boosting_equals_scikit_learn_on_missing_values_and_categories(
    one_thread: None,
) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    from noria.tasks.tabular.links import sigmoid, softmax
    from noria.tasks.tabular.scorers import trees

    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(1500, 6))
    matrix[:, 1] = rng.integers(0, 30, 1500)
    matrix[:, 4] = rng.integers(0, 200, 1500)
    matrix[rng.random(matrix.shape) < 0.08] = np.nan
    score = np.nan_to_num(matrix[:, 0]) + (np.nan_to_num(matrix[:, 1]) % 3) - 1.0
    mask = [False, True, False, False, True, False]
    asked = matrix.copy()
    asked[::7, 1] = 55  # a category that training did not see
    asked[::11, 4] = 254
    for categorical in (mask, None):
        settings: dict[str, Any] = {
            "categorical_features": categorical,
            "max_iter": 30,
            "early_stopping": False,
        }
        value = HistGradientBoostingRegressor(**settings).fit(matrix, score)
        np.testing.assert_allclose(
            trees.of_sklearn(value, 6).raw(asked)[:, 0], value.predict(asked), atol=1e-12
        )
        for cuts in ([0.0], [-0.7, 0.7]):
            model = HistGradientBoostingClassifier(**settings).fit(matrix, np.digitize(score, cuts))
            raw = trees.of_sklearn(model, 6).raw(asked)
            own = softmax(raw) if raw.shape[1] > 1 else sigmoid(raw)
            np.testing.assert_allclose(
                own, model.predict_proba(asked)[:, -raw.shape[1] :], atol=1e-12
            )


def test_the_linear_model_equals_scikit_learns() -> None:
    from sklearn.linear_model import LogisticRegression, Ridge

    from noria.tasks.tabular.fit_linear import fit_linear

    rng = np.random.default_rng(1)
    matrix = np.column_stack([rng.normal(size=(600, 3)), rng.integers(0, 4, 600)])
    value = matrix[:, 0] - 2 * matrix[:, 1] + (matrix[:, 3] == 2) + rng.normal(size=600)
    numbers = (matrix[:, :3] - matrix[:, :3].mean(axis=0)) / matrix[:, :3].std(axis=0)
    onehot = np.hstack([numbers, np.eye(4)[matrix[:, 3].astype(int)]])
    sizes = (0, 0, 0, 4)
    ridge = Ridge(alpha=1.0).fit(onehot, value)
    own = fit_linear(matrix, value, None, 0, sizes, tol=1e-9)
    np.testing.assert_allclose(own.raw(matrix)[:, 0], ridge.predict(onehot), atol=1e-5)
    for codes in ((value > 0).astype(int), np.digitize(value, [-1, 1])):
        classes = int(codes.max()) + 1
        theirs = LogisticRegression(C=1.0, tol=1e-9, max_iter=1000).fit(onehot, codes)
        mine = fit_linear(matrix, codes.astype(float), None, classes, sizes, tol=1e-9)
        raw = mine.raw(matrix)
        np.testing.assert_allclose(
            raw[:, 0] if classes == 2 else raw - raw.mean(axis=1, keepdims=True),
            theirs.decision_function(onehot),
            atol=1e-3,
        )


def test_class_weights_and_the_positive_class_are_heard(
    spec_of: MakeSpec, rows: pd.DataFrame
) -> None:
    rare = pd.concat([rows[rows["late"] == 0], rows[rows["late"] == 1].iloc[::8]])
    plain = spec_of(train={"algorithm": "linear"})
    weighted = spec_of(
        train={"algorithm": "linear"}, task={"options": {"classWeights": "balanced"}}
    )
    turned = spec_of(train={"algorithm": "linear"}, task={"options": {"positiveClass": 0}})
    tasks = family(plain.task.family)
    p, w, t = (
        ask(fit_all(tasks, spec, rare, {}).predictor, rare)["probability"]
        for spec in (plain, weighted, turned)
    )
    assert w.mean() > 1.5 * p.mean()
    np.testing.assert_allclose(t, 1.0 - p, atol=1e-3)


@pytest.mark.parametrize("method", ["isotonic", "sigmoid"])
def test_calibration_improves_probabilities_and_keeps_the_ranking(
    method: str,
    spec_of: MakeSpec,
    make_rows: MakeRows,
    evaluated: Callable[..., Evaluation],
    tmp_path: Path,
) -> None:
    frame = make_rows(3000)
    # Deep trees with few rows in a leaf are far too sure of themselves.
    train = {"hyperparameters": {"n_estimators": 150, "num_leaves": 63, "min_child_samples": 3}}
    plain = spec_of(train=train)
    tuned = spec_of(train=train, task={"options": {"calibration": method}})
    tasks = family(plain.task.family)
    split = tasks.split(plain, frame, None)
    found = []
    for name, spec in (("plain", plain), ("tuned", tuned)):
        fitted = fit_all(tasks, spec, split.train, dict(spec.train.hyperparameters))
        tasks.save(spec, fitted, tmp_path / name)
        found.append(evaluated(spec, tmp_path / name, split.test).metrics)
    before, after = found
    assert before["log-loss"].value is not None
    assert after["log-loss"].value is not None
    assert after["log-loss"].value < 0.95 * before["log-loss"].value
    assert after["auc"].value == pytest.approx(before["auc"].value, abs=1e-9)


@pytest.mark.parametrize("method", ["isotonic", "sigmoid"])
def test_calibrated_probabilities_of_three_classes_add_up(
    method: str,
    spec_of: MakeSpec,
    make_rows: MakeRows,
    evaluated: Callable[..., Evaluation],
    tmp_path: Path,
) -> None:
    spec = spec_of(train={"algorithm": "linear"}, task={"options": {"calibration": method}})
    tasks = family(spec.task.family)
    split = tasks.split(spec, make_rows(1500, classes=3), None)
    fitted = fit_all(tasks, spec, split.train, {})
    answer = ask(fitted.predictor, split.test)
    np.testing.assert_allclose(answer["probability"].sum(axis=1), 1.0, rtol=1e-12)
    assert set(answer["label"]) <= {"early", "fine", "late"}
    tasks.save(spec, fitted, tmp_path / "package")
    found = evaluated(spec, tmp_path / "package", split.test, None, tmp_path / "plots")
    assert found.metrics["auc"].value is not None
    assert found.metrics["auc"].value > 0.75
    assert found.metrics["auc"].method == "influence"
    assert set(found.plots) == {"confusion.png", "importance.png"}


def test_stacking_is_as_good_as_its_members(
    spec_of: MakeSpec, make_rows: MakeRows, tmp_path: Path
) -> None:
    spec = spec_of(
        train={
            "hyperparameters": {"n_estimators": 30},
            "ensemble": {"kind": "stacking", "members": ["linear", "lightgbm"]},
        }
    )
    tasks = family(spec.task.family)
    params = dict(spec.train.hyperparameters)
    made = make_candidate(
        tasks, spec, make_rows(2000), None, tmp_path / "run", model="trips", params=params
    )
    evaluation = made.evaluation
    assert set(evaluation.baseline) == set(evaluation.metrics)
    assert evaluation.metrics["auc"].value is not None
    assert evaluation.baseline["auc"].value is not None
    assert evaluation.metrics["auc"].value > evaluation.baseline["auc"].value - 0.02


def test_a_misspelt_hyperparameter_is_refused_with_the_right_name(
    spec_of: MakeSpec, rows: pd.DataFrame
) -> None:
    with pytest.raises(SpecError) as refused:
        spec_of(train={"hyperparameters": {"learning_rat": 0.1, "seed": 3}})
    assert "did you mean learning_rate?" in str(refused.value)
    assert "use spec.train.seed" in str(refused.value)
    spec = spec_of()
    with pytest.raises(InvalidInput, match="learning_rat"):
        fit_all(family(spec.task.family), spec, rows, {"learning_rat": 0.1})


def test_a_value_that_the_library_refuses_is_the_users_error(
    spec_of: MakeSpec, rows: pd.DataFrame
) -> None:
    spec = spec_of(train={"algorithm": "hist-gradient-boosting"})
    with pytest.raises(InvalidInput, match="learning_rate") as caught:
        fit_all(family(spec.task.family), spec, rows, {"learning_rate": -1.0})
    assert caught.value.__cause__ is not None


def test_a_lightgbm_predictor_is_shared_by_threads_and_imports_no_lightgbm(
    spec_of: MakeSpec, rows: pd.DataFrame, tmp_path: Path
) -> None:
    spec = spec_of(train={"hyperparameters": {"n_estimators": 10}})
    tasks = family(spec.task.family)
    tasks.save(spec, fit_all(tasks, spec, rows, {"n_estimators": 10}), tmp_path / "package")
    predictor = load_predictor(tmp_path / "package")
    columns = columns_of(predictor.manifest.features, "start", rows)
    expected = predictor.predict(columns)["probability"]
    wrong: list[int] = []

    def work(first: int) -> None:
        for place in range(first, 400, 4):
            one = {name: column[place : place + 1] for name, column in columns.items()}
            if predictor.predict(one)["probability"][0] != expected[place]:
                wrong.append(place)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    code = (
        "import sys, pathlib\n"
        "from noria.tasks.package import load_predictor\n"
        "load_predictor(pathlib.Path(sys.argv[1]))\n"
        "heavy = {'pandas', 'scipy', 'sklearn', 'lightgbm'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "package")], check=True, timeout=300)


def test_preparing_steps_load_no_learning_library(project: Path) -> None:
    code = """
import sys, pathlib
from noria.spec import load_model
from noria.tasks.candidate import fit_all, make_candidate
from noria.tasks.families import family
base = pathlib.Path(sys.argv[1])
spec = load_model(base / "model.yaml").spec
tasks = family(spec.task.family)
rows = tasks.ingest(spec, base, None)
tasks.validate(spec, rows)
tasks.split(spec, tasks.features(spec, base, rows), None)
rounds = spec.train.model_copy(update={"hyperparameters": {"n_estimators": 50}})
single = spec.train.ensemble.model_copy(update={"kind": "none"})
alone = rounds.model_copy(update={"ensemble": single})
tasks.tune(spec.model_copy(update={"train": alone}), rows, base / "study")
heavy = {"sklearn", "scipy", "matplotlib", "optuna", "lightgbm", "xgboost"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code, str(project)], check=True, timeout=300)
