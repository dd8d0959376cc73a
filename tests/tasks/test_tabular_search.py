"""The search of hyperparameters: what it finds, and that it survives a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from noria.errors import InvalidInput, TrainingError
from noria.spec import ModelSpec, Search
from noria.tasks.families import family
from noria.tasks.search import search

SPACE = {"x": {"low": -2.0, "high": 3.5}, "n": {"choices": [1, 2, 3]}}


def settings_of(kind: str, **more: Any) -> Search:
    return Search.model_validate({"kind": kind, "metric": "rmse", "space": SPACE, **more})


def bowl(params: Mapping[str, Any], fold: int) -> float:
    return (params.get("x", 3.0) - 1.0) ** 2 + abs(params.get("n", 1) - 2) + 0.01 * fold


@pytest.mark.parametrize("kind", ["random", "bayesian"])
def test_a_search_finds_what_is_better_than_the_defaults(kind: str, tmp_path: Path) -> None:
    found = search(settings_of(kind, trials=25), {"other": 7}, bowl, 3, 0, tmp_path, "s")
    assert found.trials[0].params == {"other": 7}
    assert found.best is not None
    assert found.best < 0.6 < bowl({}, 0)
    assert found.params["other"] == 7
    assert len(found.trials) == 25


def test_a_grid_tries_every_choice(tmp_path: Path) -> None:
    space = {"x": {"choices": [0.0, 1.0]}, "n": {"choices": [1, 2, 3]}}
    found = search(settings_of("grid", space=space), {}, bowl, 2, 0, tmp_path, "s")
    assert len({tuple(sorted(trial.params.items())) for trial in found.trials}) == 6
    assert found.params == {"x": 1.0, "n": 2}


def test_bayesian_search_prunes_hopeless_trials(tmp_path: Path) -> None:
    folds_run: list[int] = []

    def counted(params: Mapping[str, Any], fold: int) -> float:
        folds_run.append(fold)
        return bowl(params, fold)

    found = search(settings_of("bayesian", trials=20), {}, counted, 4, 0, tmp_path, "s")
    assert len(folds_run) < 80
    assert {trial.state for trial in found.trials} == {"complete", "pruned"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["random", "bayesian"])
def test_a_killed_search_ends_where_the_undisturbed_one_does(kind: str, tmp_path: Path) -> None:
    whole = search(settings_of(kind, trials=14), {}, bowl, 2, 3, tmp_path / "whole", "s")
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import os, signal, pathlib
from test_tabular_search import bowl, settings_of
from noria.tasks.search import search
calls = []
def deadly(params, fold):
    calls.append(fold)
    if len(calls) == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    return bowl(params, fold)
search(settings_of({kind!r}, trials=14), {{}}, deadly, 2, 3, pathlib.Path(sys.argv[1]), "s")
"""
    killed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "killed")], check=False, timeout=300
    )
    assert killed.returncode == -signal.SIGKILL
    calls: list[int] = []

    def counted(params: Mapping[str, Any], fold: int) -> float:
        calls.append(fold)
        return bowl(params, fold)

    rest = search(settings_of(kind, trials=14), {}, counted, 2, 3, tmp_path / "killed", "s")
    assert len(calls) <= 20
    assert [trial.params for trial in rest.trials] == [trial.params for trial in whole.trials]
    assert rest.best == whole.best


def test_a_timeout_keeps_the_best_so_far(tmp_path: Path) -> None:
    ticks = iter(range(0, 100_000, 100))
    found = search(
        settings_of("random", trials=50, timeout="500s"),
        {},
        bowl,
        2,
        0,
        tmp_path,
        "s",
        clock=lambda: float(next(ticks)),
    )
    assert 1 <= len(found.trials) < 10


def test_a_timeout_ends_the_trial_under_way(tmp_path: Path) -> None:
    started: list[Mapping[str, Any]] = []

    def endless(params: Mapping[str, Any], fold: int) -> float:
        started.append(params)
        while len(started) > 2:  # the first trial's two folds are quick
            pass
        return bowl(params, fold)

    settings = settings_of("random", trials=5, timeout="1s")
    found = search(settings, {"other": 7}, endless, 2, 0, tmp_path, "s")
    assert len(started) == 3
    assert [trial.params for trial in found.trials] == [{"other": 7}]
    assert found.params == {"other": 7}


def test_a_search_in_which_no_trial_ends_in_time_trains_with_the_defaults(tmp_path: Path) -> None:
    def endless(params: Mapping[str, Any], fold: int) -> float:
        while True:
            pass

    settings = settings_of("random", timeout="1s")
    found = search(settings, {"other": 7}, endless, 2, 0, tmp_path, "s")
    assert (found.params, found.trials, found.best) == ({"other": 7}, (), None)


# The alarm may meet a callback of compiled code, which loses the exception; the next one does not.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("algorithm", ["lightgbm", "xgboost", "hist-gradient-boosting", "linear"])
def test_a_timeout_binds_inside_the_fit_of_every_algorithm(
    spec_of: Callable[..., ModelSpec], rows: pd.DataFrame, tmp_path: Path, algorithm: str
) -> None:
    rounds = {} if algorithm == "linear" else {"n_estimators": 1_000_000}
    spec = spec_of(
        train={
            "algorithm": algorithm,
            "hyperparameters": rounds,
            "search": {"kind": "random", "timeout": "1s", "trials": 100_000},
        }
    )
    tabular = family(spec.task.family)
    found = tabular.tune(spec, tabular.features(spec, tmp_path, rows), tmp_path)
    assert len(found.trials) < 100_000
    assert found.params.items() >= rounds.items()


def test_a_search_without_a_completed_trial_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no trial completed"):
        search(
            settings_of("random", trials=2), {}, lambda _p, _f: float("nan"), 2, 0, tmp_path, "s"
        )


def test_a_bad_value_in_the_space_is_the_users_error(tmp_path: Path) -> None:
    def refuse(params: Mapping[str, Any], fold: int) -> float:
        raise InvalidInput("depth must be positive", fix="raise it")

    with pytest.raises(InvalidInput, match=r"trial 0.*depth must be positive"):
        search(settings_of("random"), {}, refuse, 2, 0, tmp_path, "s")


def test_tuning_improves_a_model_on_real_folds(
    spec_of: Callable[..., ModelSpec], rows: pd.DataFrame, tmp_path: Path
) -> None:
    spec = spec_of(
        train={
            "hyperparameters": {"n_estimators": 10},
            "search": {
                "kind": "bayesian",
                "trials": 6,
                "metric": "log-loss",
                "space": {"learning_rate": {"low": 0.0001, "high": 0.3, "log": True}},
            },
        }
    )
    tasks = family(spec.task.family)
    found = tasks.tune(spec, rows, tmp_path)
    assert found.best is not None
    assert found.best <= (found.trials[0].value or 0.0)
    assert found.trials[0].params == {"n_estimators": 10}
    again = tasks.tune(spec, rows, tmp_path)
    assert again == found
    assert [path.name for path in tmp_path.iterdir()] == ["study.sqlite"]
