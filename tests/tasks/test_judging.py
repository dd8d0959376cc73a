"""Which rows judge, by which fits they are predicted, and which recipe is served."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria.errors import DataError
from noria.spec import ChampionGate, ModelSpec, TrainOn
from noria.tasks.candidate import Here, Made, fit_all, make_candidate, places_of
from noria.tasks.families import family
from noria.tasks.held_out import HeldOut, read_held_out
from noria.tasks.judging import (
    BLOCKS,
    RECIPES,
    Recipe,
    block_starts,
    errors_of,
    is_better,
    judged_rows,
    recipes_of,
)
from noria.tasks.measure import Truth, compare
from noria.tasks.origins import judge, origins
from noria.tasks.package import read_manifest
from noria.tasks.tabular.evaluation import said_of

TASKS = family("tabular-classification")
SMALL = {"n_estimators": 30}
MakeSpec = Callable[..., ModelSpec]
MakeRows = Callable[..., pd.DataFrame]


def package(spec: ModelSpec, frame: pd.DataFrame, folder: Path, recipe: str = "") -> Path:
    """Write the package of a model of all rows of a frame."""
    tasks = family(spec.task.family)
    tasks.save(spec, fit_all(tasks, spec, frame, SMALL), folder, recipe=recipe)
    return folder


def changed(rows: pd.DataFrame, at: int) -> pd.DataFrame:
    """Return rows whose labels turn around from the row ``at`` on."""
    late = rows["late"].where(np.arange(len(rows)) < at, 1 - rows["late"])
    return rows.assign(late=late)


@given(
    rows=st.integers(1, 400),
    half_life=st.floats(0.01, 10.0),
    seed=st.integers(0, 5),
)
@settings(max_examples=100, deadline=None)
def test_weights_halve_with_age_and_have_mean_one(rows: int, half_life: float, seed: int) -> None:
    event = np.random.default_rng(seed).permutation(rows).astype(np.int64)
    weights = Recipe(half_life).weights(event, rows)
    assert weights is not None
    assert weights.mean() == pytest.approx(1.0)
    by_age = weights[np.argsort(-event)]
    assert (np.diff(by_age) <= 0.0).all()
    expected = np.exp2(-np.arange(rows) / rows / half_life)
    np.testing.assert_allclose(by_age / by_age[0], expected)
    assert Recipe().weights(event, rows) is None


@given(
    event=st.lists(st.integers(0, 500), min_size=1, max_size=900),
    blocks=st.integers(1, 4),
)
@settings(max_examples=100, deadline=None)
def test_blocks_are_of_whole_moments_and_cover_all_rows(event: list[int], blocks: int) -> None:
    starts = block_starts(np.array(event, dtype=np.int64), blocks)
    assert starts[0] == min(event)
    assert list(starts) == sorted(set(starts))
    assert len(starts) <= blocks
    assert len(event) >= 100 * blocks or len(starts) == 1


@pytest.mark.parametrize(
    ("fresh", "rows", "judged"),
    [
        (3000, 30_000, 3000),
        (40, 30_000, 40),
        (1200, 1500, 500),  # never more than a third of all rows
        (0, 1500, 0),
        (1, 2, 1),
    ],
)
def test_all_fresh_rows_judge(fresh: int, rows: int, judged: int) -> None:
    assert judged_rows(fresh, rows) == judged


@pytest.mark.parametrize(
    ("seen", "rows", "judged"),
    [
        (2000, 2900, 900),  # all that is fresh
        (1000, 1400, 400),
        (300, 1500, 500),  # never more than a third of all rows
    ],
)
def test_the_rows_that_judge_are_the_newest_that_the_champion_has_not_seen(
    seen: int, rows: int, judged: int, spec_of: MakeSpec, make_rows: MakeRows, tmp_path: Path
) -> None:
    spec, frame = spec_of(), make_rows(rows)
    champion = package(spec, frame.iloc[:seen], tmp_path / "champion")
    split = TASKS.split(spec, frame, champion)
    until = read_manifest(champion).trained_until
    assert len(split.test) == pytest.approx(judged, abs=3)  # rows of one moment stay together
    assert split.test["start"].min() > pd.Timestamp(until, unit="ms", tz="UTC")
    assert (split.train["end"] <= split.test["start"].min()).all()
    pd.testing.assert_frame_equal(frame.loc[places_of(split.test)], split.test)


def test_a_block_is_predicted_by_what_was_known_before_it(
    spec_of: MakeSpec, make_rows: MakeRows
) -> None:
    spec, frame = spec_of(data={"split": {"kind": "temporal", "gap": "12h"}}), make_rows(3000)
    test = np.arange(2000, 3000)
    found = origins(spec, frame, test, BLOCKS)
    assert len(found) == BLOCKS
    assert np.array_equal(np.sort(np.concatenate([o.block for o in found])), test)
    for origin in found:
        first, last = frame["start"].iloc[origin.block].agg(["min", "max"])
        learnt = frame.iloc[origin.train]
        assert (learnt["end"] <= first).all()
        assert (learnt["start"] < first - pd.Timedelta(hours=12)).all()
        assert (frame["start"].iloc[origin.later] > last + pd.Timedelta(hours=12)).all()
    assert found[0].later.size > found[1].later.size > found[2].later.size == 0
    assert found[0].train.size < found[1].train.size < found[2].train.size
    with pytest.raises(DataError, match="learn from before"):
        origins(spec, frame, np.arange(3000), 1)
    drawn = spec_of(data={"split": {"kind": "stratified"}})
    (only,) = origins(drawn, frame, np.arange(0, 3000, 5), BLOCKS)
    assert only.train.size == 2400


def test_recipes_are_chosen_by_the_past_and_judged_by_all_but_the_block(
    spec_of: MakeSpec, make_rows: MakeRows
) -> None:
    # The labels turn around just before the judged rows: who forgets fastest, wins.
    spec, frame = spec_of(), changed(make_rows(4000), 2600)
    test = np.arange(3000, 4000)
    recipes = (Recipe(), Recipe(0.1))
    here = Here(TASKS, spec, frame, SMALL, "trips")
    judged = judge(TASKS, spec, frame, test, recipes, BLOCKS, here)
    assert judged.recipe == recipes[1]
    assert judged.held_out.choice.blocks == BLOCKS
    (tried,) = judged.held_out.choice.tried
    assert tried.low is not None
    assert tried.low > 0.0
    assert (tried.won, tried.blocks) == (3, 3)
    # Its first block is predicted by the recipe that is served, fitted on the others.
    found = origins(spec, frame, test, BLOCKS)
    fitted = here.fit(np.concatenate([found[0].train, found[0].later]), recipes[1])
    expected = TASKS.predict(spec, fitted, here.prepared, found[0].block)
    got = judged.held_out.model[judged.held_out.rows["block"] == 0]
    np.testing.assert_array_equal(said_of(got), said_of(expected))


def test_ranks_are_compared_within_the_blocks_that_one_fit_predicted() -> None:
    # Two fits that rank as the champion does, on scales of their own.
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 400).astype(np.float64)
    champion = np.clip(truth * 0.2 + rng.random(400) * 0.6, 0.0, 1.0)
    block = np.repeat([0, 1], 200)
    ours = champion / np.where(block == 0, 1.0, 4.0)
    gate = ChampionGate(metric="auc")
    (pooled,) = compare([gate], Truth(truth, 2, 0), ours, champion)
    (found,) = compare([gate], Truth(truth, 2, 0, block), ours, champion)
    assert pooled.difference is not None
    assert pooled.difference < -0.05
    assert found.difference == pytest.approx(0.0)
    assert found.samples == 400


def test_where_nothing_changes_all_rows_weigh_the_same(
    spec_of: MakeSpec, make_rows: MakeRows, tmp_path: Path
) -> None:
    made = whole(spec_of(), make_rows(3000), 2000, tmp_path)
    choice = made.evaluation.choice
    assert choice.recipe == Recipe().name
    assert len(choice.tried) == 2


def whole(
    spec: ModelSpec,
    frame: pd.DataFrame,
    seen: int,
    folder: Path,
    params: Mapping[str, Any] = SMALL,
    recipe: str = "",
) -> Made:
    champion = package(spec, frame.iloc[:seen], folder / "champion", recipe)
    tasks = family(spec.task.family)
    return make_candidate(
        tasks, spec, frame, champion, folder / "run", model="trips", params=params
    )


def test_the_champions_recipe_is_the_one_to_fall_back_on(
    spec_of: MakeSpec, make_rows: MakeRows, tmp_path: Path
) -> None:
    newer = Recipe(0.25).name
    # Half of the labels are noise, so that no recipe is shown better than another.
    frame = make_rows(2000)
    noise = np.random.default_rng(3).integers(0, 2, 2000)
    frame["late"] = np.where(np.arange(2000) % 2 == 0, frame["late"], noise)
    made = whole(spec_of(), frame, 1400, tmp_path, recipe=newer)
    choice = made.evaluation.choice
    assert newer not in {tried.recipe for tried in choice.tried}
    assert Recipe().name in {tried.recipe for tried in choice.tried}
    assert made.manifest.recipe == choice.recipe


def test_which_recipes_are_tried_and_which_comes_first() -> None:
    auto, rounds = TrainOn(), Recipe(rounds=2.0)
    assert recipes_of(auto, champion=None, own_rounds=True) == (Recipe(),)
    assert recipes_of(auto, champion="", own_rounds=True) == tuple(RECIPES)
    first, *others = recipes_of(auto, champion=rounds.name, own_rounds=True)
    assert first == rounds
    assert others == [recipe for recipe in RECIPES if recipe != rounds]
    # Who has set the rounds since, keeps them; and so it is with a recipe that is no more.
    alike = recipes_of(auto, champion=rounds.name, own_rounds=False)
    assert alike == (Recipe(), Recipe(0.25), Recipe(0.1))
    assert recipes_of(auto, champion=Recipe(0.7).name, own_rounds=True)[0] == Recipe()
    assert len({recipe.name for recipe in RECIPES}) == len(RECIPES)
    fixed = TrainOn(kind="weighted", half_life=0.4)
    assert recipes_of(fixed, champion=rounds.name, own_rounds=True) == (Recipe(0.4),)
    every = TrainOn(kind="all")
    assert recipes_of(every, champion=rounds.name, own_rounds=True) == (Recipe(),)


def test_rounds_are_chosen_only_where_nobody_has_chosen_them(spec_of: MakeSpec) -> None:
    for algorithm in ("lightgbm", "xgboost", "hist-gradient-boosting"):
        spec = spec_of(train={"algorithm": algorithm})
        given = {"learning_rate": 0.05}
        assert TASKS.with_rounds(spec, given, 2.0) == {"learning_rate": 0.05, "n_estimators": 200}
        assert given == {"learning_rate": 0.05}
        for name in ("n_estimators", "num_iterations", "max_iter"):
            assert TASKS.with_rounds(spec, {name: 100}, 2.0) is None
    assert TASKS.with_rounds(spec_of(train={"algorithm": "linear"}), {}, 2.0) is None
    stack = {"kind": "stacking", "members": ["lightgbm", "linear"]}
    assert TASKS.with_rounds(spec_of(train={"ensemble": stack}), {}, 2.0) is None


@pytest.mark.parametrize(
    ("params", "times", "rounds"),
    [
        ({"learning_rate": 0.3}, 0.5, 50),  # it learns the noise by heart
        ({"learning_rate": 0.02, "max_depth": 1}, 2.0, 200),  # it is not done
    ],
)
def test_it_learns_for_as_long_as_it_helps(
    params: dict[str, Any],
    times: float,
    rounds: int,
    spec_of: MakeSpec,
    make_rows: MakeRows,
    tmp_path: Path,
) -> None:
    frame = make_rows(2400)
    noise = np.random.default_rng(3).random(len(frame)) < 0.2
    frame["late"] = np.where(noise, 1 - frame["late"], frame["late"])
    recipe = Recipe(rounds=times).name
    made = whole(spec_of(), frame, 1400, tmp_path / "free", params)
    assert made.evaluation.choice.recipe == recipe
    assert made.manifest.recipe == recipe
    assert made.manifest.parameters["n_estimators"] == rounds
    # What a search or a person has set is not touched, whatever the champion was made by.
    own = whole(spec_of(), frame, 1400, tmp_path / "own", {**params, **SMALL}, recipe)
    names = {item.recipe for item in own.evaluation.choice.tried}
    assert names == {Recipe(0.25).name, Recipe(0.1).name}
    assert own.manifest.parameters["n_estimators"] == SMALL["n_estimators"]


def test_what_more_rows_bring_is_measured(
    spec_of: MakeSpec, make_rows: MakeRows, tmp_path: Path
) -> None:
    frame = make_rows(2400)
    learnt = whole(spec_of(), frame, 1600, tmp_path / "1")
    worth = learnt.evaluation.choice.worth
    assert worth is not None
    assert worth > 1.0
    assert [gate.worth for gate in learnt.evaluation.gates if gate.low is not None] == [worth]
    coins = frame.assign(late=np.random.default_rng(1).integers(0, 2, len(frame)))
    guessed = whole(spec_of(), coins, 1600, tmp_path / "2").evaluation.choice.worth
    assert guessed is not None
    assert abs(guessed) < 2.5
    # A recipe that can't change is fitted no more often than its blocks need.
    fixed = spec_of(retraining={"trainOn": {"kind": "all"}})
    assert whole(fixed, frame, 1600, tmp_path / "3").evaluation.choice.worth is None


def test_where_the_oldest_rows_teach_nothing_their_worth_is_not_known(
    spec_of: MakeSpec, make_rows: MakeRows, tmp_path: Path
) -> None:
    frame = make_rows(1500)
    frame.loc[:400, "late"] = 0
    made = whole(spec_of(), frame, 1000, tmp_path)
    assert made.evaluation.choice.worth is None
    assert made.evaluation.choice.recipe


@pytest.mark.parametrize(
    ("gain", "low", "errors"),
    [
        (0.1, 0.1 - 1.6448536 * 0.05, 2.0),
        (-0.1, -0.1 - 1.6448536 * 0.05, -2.0),
        (0.0, -0.1, 0.0),
        (0.1, 0.1, math.inf),
        (-0.1, -0.1, -math.inf),
        (0.0, 0.0, 0.0),
        (None, 0.1, None),
        (0.1, None, None),
    ],
)
def test_a_gain_in_its_standard_errors(
    gain: float | None, low: float | None, errors: float | None
) -> None:
    found = errors_of(gain, low)
    assert found == (errors if errors is None else pytest.approx(errors))


def test_weights_need_more_proof_than_rounds_and_all_rows_alike_none() -> None:
    def better(recipe: Recipe, errors: float) -> bool:
        return is_better(recipe, errors * 0.01, (errors - 1.6448536) * 0.01)

    for recipe, least in [(Recipe(0.25), 2.327), (Recipe(rounds=2.0), 0.842), (Recipe(0.3), 1.645)]:
        assert better(recipe, least + 0.01)
        assert not better(recipe, least - 0.01)
    assert better(Recipe(), 0.01)
    assert not better(Recipe(), -0.01)
    assert not better(Recipe(), 0.0)
    assert not is_better(Recipe(), None, None)


def test_after_a_change_the_recipe_that_forgets_is_judged_and_served(
    spec_of: MakeSpec, make_rows: MakeRows, tmp_path: Path
) -> None:
    made = whole(spec_of(), changed(make_rows(6000), 4000), 4000, tmp_path)
    assert made.manifest.rows == 6000
    assert made.manifest.model == "trips"
    (gate,) = [gate for gate in made.evaluation.gates if gate.name == "auc-champion"]
    assert gate.verdict == "pass"
    assert gate.low is not None
    assert gate.value is not None
    assert 0.1 < gate.low < gate.value
    assert "training rows: newer rows weigh more" in gate.detail
    assert made.evaluation.choice.recipe.startswith("newer rows weigh more")
    assert len(made.held_out.rows) == len(made.test) == 2000
    assert (made.reference / "reference.json").is_file()


def test_a_first_version_tries_nothing_and_a_fixed_recipe_is_kept(
    spec_of: MakeSpec, make_rows: MakeRows, tmp_path: Path
) -> None:
    frame = make_rows(1500)
    spec = spec_of()
    first = make_candidate(TASKS, spec, frame, None, tmp_path / "1", model="trips", params=SMALL)
    assert first.evaluation.choice.blocks == 1
    assert first.evaluation.choice.tried == ()
    assert [gate.name for gate in first.evaluation.gates] == ["auc-min"]
    fixed = spec_of(retraining={"trainOn": {"kind": "weighted", "halfLife": 0.5}})
    found = make_candidate(TASKS, fixed, frame, None, tmp_path / "2", model="trips", params=SMALL)
    assert found.evaluation.choice.recipe == Recipe(0.5).name


def test_without_a_fresh_row_the_comparison_says_so(
    spec_of: MakeSpec, make_rows: MakeRows, tmp_path: Path
) -> None:
    made = whole(spec_of(), make_rows(1500), 1500, tmp_path)
    (gate,) = [gate for gate in made.evaluation.gates if gate.name == "auc-champion"]
    assert (gate.verdict, gate.samples) == ("inconclusive", 0)
    assert gate.detail == "no labelled row is newer than the champion"


def test_a_class_that_the_champion_does_not_know_is_compared(
    spec_of: MakeSpec, make_rows: MakeRows, tmp_path: Path
) -> None:
    spec, frame = spec_of(), make_rows(3000, classes=3)
    frame = frame[(frame["late"] != "late") | (np.arange(3000) >= 1500)].reset_index(drop=True)
    champion = package(spec, frame[frame["late"] != "late"].iloc[:800], tmp_path / "champion")
    made = make_candidate(
        TASKS, spec, frame, champion, tmp_path / "run", model="trips", params=SMALL
    )
    (gate,) = [gate for gate in made.evaluation.gates if gate.name == "auc-champion"]
    assert gate.verdict == "pass"


def test_held_out_predictions_travel_with_the_choice(
    spec_of: MakeSpec, make_rows: MakeRows, tmp_path: Path
) -> None:
    made = whole(spec_of(), make_rows(1500, classes=3), 1000, tmp_path)
    made.held_out.write(tmp_path / "held_out")
    found: HeldOut = read_held_out(tmp_path / "held_out")
    assert found.choice == made.held_out.choice
    pd.testing.assert_frame_equal(found.rows, made.held_out.rows)
    assert list(found.model) == ["prediction.0", "prediction.1", "prediction.2"]
    assert found.baseline is not None
    assert list(found.baseline) == list(found.model)
    (tmp_path / "other").write_bytes(b"PAR0")
    with pytest.raises(DataError, match="no held-out predictions"):
        read_held_out(tmp_path / "other")


def test_without_a_refit_what_predicted_the_last_block_is_served(
    spec_of: MakeSpec, make_rows: MakeRows, tmp_path: Path
) -> None:
    made: Any = whole(spec_of(train={"refit": False}), make_rows(1500), 1000, tmp_path)
    first = made.test["start"].iloc[made.held_out.rows["block"].to_numpy() == 0].min()
    assert 1000 < made.manifest.rows < 1500
    assert made.manifest.trained_until < made.test["start"].max().timestamp() * 1000
    assert first < made.test["start"].max()
