"""What is trained where nobody says it: rounds, averages, budgets; the user's word wins."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noria.errors import SpecError
from noria.spec import ModelSpec, parse_model
from noria.tasks.candidate import fit_all, make_candidate
from noria.tasks.families import family
from noria.tasks.package import load_predictor
from noria.tasks.tabular import stopping, tryout
from noria.tasks.tabular.family import Tabular
from noria.tasks.tabular.schema import columns_of

Build = Callable[..., ModelSpec]


def spec_of(task: str = "classification", columns: int = 5, **train: Any) -> ModelSpec:
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "one"},
            "spec": {
                "task": {"family": f"tabular-{task}"},
                "data": {
                    "source": {"parquet": {"paths": ["rows.parquet"]}},
                    "target": "y",
                    "features": [{"name": f"x{j}", "type": "numeric"} for j in range(columns)],
                },
                **({"train": train} if train else {}),
            },
        }
    ).spec


def rows_of(rows: int = 800, seed: int = 0, *, noise: float = 1.0) -> pd.DataFrame:
    """Return rows whose class hangs on two columns by a line, and on two by their product."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 5))
    score = x[:, 0] - x[:, 1] + x[:, 2] * x[:, 3] + noise * rng.logistic(size=rows)
    frame = pd.DataFrame({f"x{j}": x[:, j] for j in range(5)})
    return frame.assign(y=(score > 0).astype(int))


def prices(rows: int = 1500, seed: int = 0) -> pd.DataFrame:
    """Return rows whose target is positive and multiplies: its logarithm is a line."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 5))
    value = np.exp(x[:, 0] + 0.5 * x[:, 1] + 0.3 * rng.normal(size=rows))
    return pd.DataFrame({f"x{j}": x[:, j] for j in range(5)}).assign(y=value)


def tuned(spec: ModelSpec, rows: pd.DataFrame, folder: Path, tasks: Tabular | None = None) -> Any:
    own = tasks or family(spec.task.family)
    return own.tune(spec, rows, folder / "search").params


def log_loss(spec: ModelSpec, params: Any, train: pd.DataFrame, test: pd.DataFrame) -> float:
    tasks = family(spec.task.family)
    model = fit_all(tasks, spec, train, params).predictor
    columns = columns_of(model.manifest.features, None, test)
    p = model.predict_matrix(model.encode(columns))["probability"]
    return float(-np.mean(np.log(np.where(test["y"] == 1, p, 1 - p))))


def test_noise_stops_early_and_signal_late(tmp_path: Path) -> None:
    spec = spec_of(algorithm="lightgbm", ensemble={"kind": "none"})
    noise = rows_of().assign(y=np.random.default_rng(1).integers(0, 2, 800))
    assert tuned(spec, noise, tmp_path)["n_estimators"] < 30
    clear = rows_of(noise=0.1)
    assert tuned(spec, clear, tmp_path)["n_estimators"] > 100


@pytest.mark.parametrize("algorithm", ["lightgbm", "hist-gradient-boosting", "xgboost"])
def test_found_rounds_beat_the_library_s_default_of_noisy_rows(
    algorithm: str, tmp_path: Path
) -> None:
    spec = spec_of(algorithm=algorithm, ensemble={"kind": "none"})
    train, test = rows_of(), rows_of(4000, 9)
    params = tuned(spec, train, tmp_path)
    assert log_loss(spec, params, train, test) < log_loss(spec, {}, train, test)


def test_what_the_user_sets_wins(tmp_path: Path) -> None:
    given = {"n_estimators": 40, "learning_rate": 0.2}
    spec = spec_of(hyperparameters=given)
    assert spec.train.ensemble.kind == "none"
    assert tuned(spec, rows_of(), tmp_path) == given
    rate = {"eta": 0.2, "colsample_bytree": 1.0}
    found = tuned(spec_of(hyperparameters=rate), rows_of(), tmp_path)
    assert found.pop("n_estimators") > 0
    assert {name: found[name] for name in rate} == rate
    assert not {"learning_rate", "feature_fraction"} & found.keys()


def test_the_average_is_better_than_its_first_member_and_is_served_as_it_was_measured(
    tmp_path: Path,
) -> None:
    spec = spec_of()
    assert spec.train.ensemble.kind == "weighted"
    train, test = rows_of(), rows_of(4000, 9)
    params = tuned(spec, train, tmp_path)
    weights = [member["weight"] for member in params["members"]]
    assert len(weights) in (2, 3)
    assert sum(weights) == pytest.approx(1.0)
    alone = spec_of(ensemble={"kind": "none"})
    single = tuned(alone, train, tmp_path)
    assert log_loss(spec, params, train, test) < log_loss(alone, single, train, test)
    made = make_candidate(family(spec.task.family), spec, train, None, tmp_path / "m", model="one")
    loaded = load_predictor(made.package)
    assert loaded.manifest.algorithm == "weighted"
    columns = columns_of(loaded.manifest.features, None, test.iloc[:100])
    many = loaded.predict(columns)["probability"]
    one = [
        loaded.predict({n: c[row : row + 1] for n, c in columns.items()})["probability"][0]
        for row in range(100)
    ]
    np.testing.assert_allclose(one, many, rtol=1e-9)


def test_the_logarithm_of_a_skewed_target_is_taken_where_it_helps(tmp_path: Path) -> None:
    spec = spec_of("regression")
    train, test = prices(), prices(4000, 9)
    params = tuned(spec, train, tmp_path)
    assert max(member["factor"] for member in params["members"]) > 0.0
    tasks = family(spec.task.family)
    model = fit_all(tasks, spec, train, params).predictor
    said = model.predict_matrix(model.encode(columns_of(model.manifest.features, None, test)))
    # What is not noise: the best prediction of a log-normal value is its mean.
    best = np.exp(test["x0"] + 0.5 * test["x1"] + 0.3**2 / 2).to_numpy()
    off = np.sqrt(np.mean((said["prediction"] - best) ** 2)) / best.std()
    assert off < 0.25
    assert said["prediction"].mean() == pytest.approx(test["y"].mean(), rel=0.05)
    symmetric = train.assign(y=np.log(train["y"]))
    members = tuned(spec, symmetric, tmp_path).get("members", ())
    assert all(member["factor"] == 0.0 for member in members)


def test_variants_of_many_cells_are_averaged_where_few_rounds_do(tmp_path: Path) -> None:
    def wide(rows: int, seed: int) -> pd.DataFrame:
        noise = np.random.default_rng(seed + 1).normal(size=(rows, 55))
        return rows_of(rows, seed).assign(**{f"x{5 + j}": noise[:, j] for j in range(55)})

    train, test = wide(3600, 0), wide(4000, 9)  # 216,000 cells
    spec, alone = spec_of(columns=60), spec_of(columns=60, ensemble={"kind": "none"})
    params, single = tuned(spec, train, tmp_path), tuned(alone, train, tmp_path)
    assert {one["algorithm"] for one in params["members"]} == {"lightgbm"}
    assert log_loss(spec, params, train, test) < log_loss(alone, single, train, test)


def test_a_member_that_saves_nothing_is_left_out(tmp_path: Path) -> None:
    # A line is all there is: trees beside it say the same, only worse.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 5))
    rows = pd.DataFrame({f"x{j}": x[:, j] for j in range(5)}).assign(y=x @ [3, 2, 1, 0, -1])
    (only,) = tuned(spec_of("regression"), rows, tmp_path)["members"]
    assert (only["algorithm"], only["weight"]) == ("linear", 1.0)


def test_good_effort_searches_and_averages_every_algorithm(tmp_path: Path) -> None:
    spec = spec_of(effort="good", search={"trials": 4})
    assert spec.train.search.kind == "bayesian"
    assert set(spec.train.ensemble.members) == {"lightgbm", "linear", "hist-gradient-boosting"}
    found = family(spec.task.family).tune(spec, rows_of(400), tmp_path / "search")
    assert len(found.trials) == 4
    assert 1 <= len(found.params["members"]) <= 5


def test_a_budget_that_is_over_leaves_a_model(tmp_path: Path) -> None:
    class Slow(Tabular):
        clock = staticmethod(itertools.count(0.0, 30.0).__next__)

    spec = spec_of(effort="good", budget="1m")
    params = tuned(spec, rows_of(300), tmp_path, Slow())
    # Only the first one was tried: every look at the clock is half a minute later.
    assert "members" not in params
    assert params["n_estimators"] > 0


def test_a_budget_leaves_trials_to_the_time() -> None:
    assert spec_of(effort="good").train.search.trials == 20
    assert spec_of(effort="good", budget="2m").train.search.trials == 1000
    with pytest.raises(SpecError, match=r"spec\.train\.budget"):
        spec_of(budget="0s")


def test_many_cells_have_the_rounds_that_are_affordable() -> None:
    from noria.tasks.tabular.fit import Design

    def design(rows: int, columns: int) -> Design:
        matrix = np.broadcast_to(np.zeros(1), (rows, columns))
        return Design(matrix, np.zeros(rows), 2, (0,) * columns, None, 0, 1)

    assert stopping.most_rounds(design(1000, 10)) == stopping.MOST_ROUNDS
    assert stopping.most_rounds(design(1_000_000, 20)) == 100
    assert not tryout.is_few(design(1_000_000, 20))


def test_temporal_rounds_come_from_the_last_fold() -> None:
    from noria.tasks.tabular.folds import Fold

    def fold(rows: int) -> Fold:
        return Fold(np.arange(rows), np.arange(rows, rows + 10))

    held = [fold(100), fold(400)]
    # The square root of how many more rows there are: 900 / 400 and, of both, 900 / 100.
    assert stopping.rounds_for([10, 40], held, 900, temporal=True) == 60
    assert stopping.rounds_for([10, 40], held, 900, temporal=False) == 45
