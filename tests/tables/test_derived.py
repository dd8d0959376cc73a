"""Columns computed from others: what they are, when they are kept, and that they are served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noria.errors import IntegrityError, InvalidInput
from noria.spec import ModelSpec, parse_model
from noria.tasks.candidate import fit_all, make_candidate
from noria.tasks.families import family
from noria.tasks.package import load_predictor, read_manifest
from noria.tasks.tabular import deriving
from noria.tasks.tabular.derived import load
from noria.tasks.tabular.fit import Design
from noria.tasks.tabular.fit_derived import fit_derived
from noria.tasks.tabular.plans import Column, Plan, joined, plan_of, with_plan, without_plan
from noria.tasks.tabular.schema import columns_of

NAN = float("nan")


def design_of(matrix: Any, target: Any, sizes: tuple[int, ...], names: tuple[str, ...]) -> Design:
    return Design(
        np.array(matrix, dtype=np.float64),
        np.array(target, dtype=np.float64),
        0,
        sizes,
        None,
        0,
        1,
        names=names,
    )


def spec_of(options: dict[str, Any] | None = None, **train: Any) -> ModelSpec:
    kinds = {"price": "numeric", "area": "numeric", "floor": "numeric", "town": "categorical"}
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "one"},
            "spec": {
                "task": {"family": "tabular-regression", "options": options or {}},
                "data": {
                    "source": {"parquet": {"paths": ["rows.parquet"]}},
                    "target": "y",
                    "features": [{"name": n, "type": kind} for n, kind in kinds.items()],
                },
                "train": {"search": {"kind": "none"}, **train},
            },
        }
    ).spec


def rows_of(rows: int = 900, seed: int = 0, *, noise: bool = False) -> pd.DataFrame:
    """Return rows whose target is the price of an area; ``noise``: it hangs on nothing."""
    rng = np.random.default_rng(seed)
    price, area = rng.uniform(1, 100, rows), rng.uniform(1, 100, rows)
    y = np.log(price / area) + 0.1 * rng.normal(size=rows)
    return pd.DataFrame(
        {
            "price": price,
            "area": area,
            "floor": rng.normal(size=rows),
            "town": rng.choice(["a", "b", "c"], rows),
            "y": rng.normal(size=rows) if noise else y,
        }
    )


def test_each_operation_says_what_its_name_does() -> None:
    matrix = [[6.0, 2.0, 0], [1.0, 0.0, 0], [NAN, 4.0, 1], [3.0, 5.0, NAN]]
    names = ("x", "y", "c")
    plan = joined(
        [
            Plan(
                (
                    Column("rows of c", "count", ("c",)),
                    Column("x - mean x of c", "deviation", ("x", "c")),
                    Column("mean y of c", "mean", ("y", "c")),
                    Column("x * y", "product", ("x", "y")),
                    Column("x / y", "ratio", ("x", "y")),
                    Column("x + y", "sum", ("x", "y")),
                    Column("x - y", "difference", ("x", "y")),
                )
            )
        ]
    )
    derived, wide = fit_derived(plan, design_of(matrix, [0, 1, 2, 3], (0, 0, 2), names))
    made = dict(zip(wide.names[3:], derived.columns(np.array(matrix)).T.tolist(), strict=True))
    np.testing.assert_array_equal(made["x - y"], [4, 1, NAN, -2])
    np.testing.assert_array_equal(made["x + y"], [8, 1, NAN, 8])
    np.testing.assert_array_equal(made["x / y"], [3, NAN, NAN, 0.6])  # a division by 0 is missing
    np.testing.assert_array_equal(made["x * y"], [12, 0, NAN, 15])
    np.testing.assert_array_equal(made["rows of c"][:3], [2, 2, 1])
    assert wide.names[:3] == names
    assert wide.categories == (0, 0, 2, *(0,) * 7)
    # Two towns of two and one rows: their means are between their own and that of all rows.
    of_a, of_a_too, of_b, of_none = made["mean y of c"]
    assert of_a == of_a_too
    assert 1.0 <= of_a <= 2.0 <= of_b <= 4.0
    assert of_none == pytest.approx(2.0)  # of the rows that have a category
    mean_x = 3.5  # of the two rows of a, which are all that there are
    np.testing.assert_allclose(made["x - mean x of c"][:2], [6 - mean_x, 1 - mean_x])
    assert np.isnan(made["x - mean x of c"][2])


def test_a_model_does_without_a_column_that_others_are_computed_from() -> None:
    matrix = np.array([[6.0, 2.0], [1.0, 4.0]])
    plan = Plan((Column("x / y", "ratio", ("x", "y")),), without=("y",))
    derived, wide = fit_derived(plan, design_of(matrix, [0, 1], (0, 0), ("x", "y")))
    assert wide.names == ("x", "x / y")
    np.testing.assert_array_equal(derived.widen(matrix), [[6.0, 3.0], [1.0, 0.25]])


def test_means_of_many_rows_are_the_groups_own() -> None:
    rng = np.random.default_rng(0)
    town = rng.integers(0, 3, 3000)
    x = np.array([10.0, 20.0, 40.0])[town] + rng.normal(size=3000)
    matrix = np.column_stack([x, town.astype(float)])
    plan = Plan((Column("mean x of town", "mean", ("x", "town")),))
    derived, _ = fit_derived(plan, design_of(matrix, x, (0, 3), ("x", "town")))
    said = derived.columns(np.array([[NAN, 0.0], [0.0, 1.0], [0.0, 2.0], [0.0, 7.0]]))[:, 0]
    own = [x[town == code].mean() for code in range(3)]
    np.testing.assert_allclose(said[:3], own, rtol=1e-3)
    assert said[3] == pytest.approx(x.mean())  # a category that was never seen


def test_a_training_row_does_not_read_its_own_target() -> None:
    rng = np.random.default_rng(0)
    codes = np.arange(1000) % 200  # five rows each
    target = rng.normal(size=1000)
    matrix = codes[:, None].astype(float)
    plan = Plan((Column("mean target of c", "target", ("c",)),))
    design = design_of(matrix, target, (200,), ("c",))
    _, wide = fit_derived(plan, design)
    assert abs(np.corrcoef(wide.matrix[:, 1], target)[0, 1]) < 0.1
    # A changed target changes what others read, and not what its own row does.
    changed = target.copy()
    changed[7] = 1000.0
    _, other = fit_derived(plan, design_of(matrix, changed, (200,), ("c",)))
    assert other.matrix[7, 1] == wide.matrix[7, 1]
    assert (other.matrix[:, 1] != wide.matrix[:, 1]).any()


def test_components_are_scikit_learn_s() -> None:
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 6)) + 0.1 * rng.normal(size=(500, 6))
    names = tuple(f"x{j}" for j in range(6))
    plan = deriving.components(names, 3)
    derived, _ = fit_derived(plan, design_of(x * 7 + 3, x[:, 0], (0,) * 6, names))
    theirs = PCA(3).fit_transform(StandardScaler().fit_transform(x))
    ours = derived.columns(x * 7 + 3)
    signs = np.sign((ours * theirs).sum(axis=0))
    np.testing.assert_allclose(ours, theirs * signs, atol=1e-8)
    gap = np.full((1, 6), NAN)
    np.testing.assert_allclose(derived.columns(gap), np.zeros((1, 3)))  # the means of all


def test_a_ratio_is_found_kept_and_served_as_it_was_measured(tmp_path: Path) -> None:
    spec, train, test = spec_of({"derive": "auto"}, effort="good"), rows_of(), rows_of(3000, 9)
    tasks = family(spec.task.family)
    made = make_candidate(tasks, spec, train, None, tmp_path / "m", model="one", plots=tmp_path)
    plan = plan_of(made.params)
    assert {"price / area", "area / price"} & {one.name for one in plan.made}
    assert "price" in "".join(made.evaluation.notes)
    assert "area" in "".join(made.evaluation.notes)
    loaded = load_predictor(made.package)
    columns = columns_of(loaded.manifest.features, None, test)
    said = loaded.predict(columns)["prediction"]
    plain = fit_all(tasks, spec, train, without_plan(made.params)).predictor
    alone = plain.predict_matrix(plain.encode(columns))["prediction"]
    best = np.log(test["price"] / test["area"])  # what is not noise
    assert np.mean((said - best) ** 2) < 0.8 * np.mean((alone - best) ** 2)
    one = [
        loaded.predict({n: c[row : row + 1] for n, c in columns.items()})["prediction"][0]
        for row in range(50)
    ]
    np.testing.assert_allclose(one, said[:50], rtol=1e-9)
    # What a client sends, and what is watched, stays as it was.
    assert [one.name for one in loaded.manifest.features] == ["price", "area", "floor", "town"]
    assert {one.name for one in loaded.manifest.inputs} == {"price", "area", "floor", "town"}


def test_hardly_anything_is_kept_where_nothing_pays(tmp_path: Path) -> None:
    spec = spec_of({"derive": "auto"}, effort="good", ensemble={"members": ["lightgbm", "linear"]})
    kept = 0
    for seed in range(8):
        rows = rows_of(300, seed, noise=True)
        params = family(spec.task.family).tune(spec, rows, tmp_path / str(seed)).params
        kept += bool(plan_of(params))
    assert kept <= 2  # by chance about one in eight may be, as the rule says


def test_none_are_tried_unless_more_effort_and_the_option_ask_for_them(tmp_path: Path) -> None:
    for spec in (spec_of(), spec_of({"derive": "auto"}), spec_of({}, effort="good")):
        params = family(spec.task.family).tune(spec, rows_of(300), tmp_path / "search").params
        assert "derived" not in params


def test_components_on_request(tmp_path: Path) -> None:
    spec = spec_of({"components": 2})
    made = make_candidate(
        family(spec.task.family), spec, rows_of(300), None, tmp_path / "m", model="one"
    )
    names = [one["name"] for one in read_manifest(made.package).parameters["derived"]["made"]]
    assert names == ["component 1 of 3 numbers", "component 2 of 3 numbers"]
    with pytest.raises(InvalidInput, match=r"components: 4 components of 3 numbers"):
        family(spec.task.family).tune(spec_of({"components": 4}), rows_of(300), tmp_path)


@pytest.mark.parametrize(
    "train",
    [
        {"algorithm": "linear"},
        {"hyperparameters": {"n_estimators": 20}},
        {"ensemble": {"kind": "stacking", "members": ["lightgbm", "linear"]}},
    ],
)
def test_components_go_with_every_way_of_training(train: dict[str, Any], tmp_path: Path) -> None:
    options = {"components": 2, "levels": [80]}
    spec = spec_of(options, **train)
    made = make_candidate(
        family(spec.task.family), spec, rows_of(400), None, tmp_path / "m", model="one"
    )
    loaded = load_predictor(made.package)
    answers = loaded.predict(columns_of(loaded.manifest.features, None, rows_of(50, 3)))
    assert np.all(answers["lower-80"] < answers["upper-80"])
    assert any(path.endswith("derived.json") for path in loaded.manifest.files)


def test_a_direction_is_kept_by_columns_that_are_held_to_it() -> None:
    rows = rows_of(600)
    matrix = rows[["price", "area", "floor"]].to_numpy()
    names = ("price", "area", "floor")
    free = design_of(matrix, rows["y"], (0, 0, 0), names)
    assert "arithmetic" in deriving.kinds(free)
    held = Design(matrix, free.target, 0, (0,) * 3, None, 0, 1, monotone=(1, 0, 0), names=names)
    read = {name for plan in deriving.kinds(held).values() for c in plan.made for name in c.columns}
    assert "price" not in read
    assert "price" not in deriving.numbers_of(held)


def test_a_damaged_plan_is_refused() -> None:
    class Inner:
        def raw(self, matrix: Any) -> Any:
            return matrix

        def files(self) -> dict[str, bytes]:
            return {}

    with pytest.raises(IntegrityError, match=r"derived\.json"):
        load({"derived.json": b'{"made": 3}'}, Inner())
    with pytest.raises(IntegrityError, match=r"derived\.json"):
        load({"derived.json": b"{}"}, Inner())


def test_a_plan_travels_among_hyperparameters() -> None:
    plan = Plan((Column("a / b", "ratio", ("a", "b")),), ("c",))
    params = with_plan({"n_estimators": 3}, plan)
    assert plan_of(params) == plan
    assert without_plan(params) == {"n_estimators": 3}
    assert with_plan(params, Plan()) == {"n_estimators": 3}
