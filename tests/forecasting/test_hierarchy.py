"""Parts and sums that agree: reconciled as the library does, measured by level, served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noria.errors import DataError, InvalidInput
from noria.spec import load_model
from noria.tasks.forecasting.family import LEARNER
from noria.tasks.forecasting.hierarchy import ALL, Hierarchy
from noria.tasks.forecasting.judged import said_of
from noria.tasks.forecasting.panel import series_of, with_sums
from noria.tasks.forecasting.reconciling import learnt, members_of
from noria.tasks.package import load_predictor
from tests.forecasting.conftest import Project
from tests.serving.conftest import RunningServer, launch

Array = np.ndarray[Any, Any]

KEYS = [(ALL, ALL), ("a", ALL), ("b", ALL), ("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")]
SUMMING = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1], *np.eye(4)])
EVERY = np.arange(len(KEYS))


def hierarchy(method: str, errors: int = 60) -> tuple[Hierarchy, Array]:
    residuals = np.random.default_rng(0).normal(size=(len(KEYS), errors))
    shares = np.array([0.0, 0.0, 0.0, 1.0, 3.0, 2.0, 2.0])
    return learnt(method, members_of(KEYS, [[0]]), residuals, shares), residuals


def said() -> Array:
    found = np.random.default_rng(1).normal(100.0, 3.0, size=(len(KEYS), 5))
    return np.asarray(found * SUMMING.sum(axis=1)[:, None])


def test_min_trace_is_the_librarys() -> None:
    from hierarchicalforecast.methods import MinTrace

    ours, residuals = hierarchy("min-trace")
    values = SUMMING @ np.full((4, residuals.shape[1]), 100.0)
    theirs = MinTrace("mint_shrink").fit_predict(
        S=SUMMING, y_hat=said(), y_insample=values + residuals, y_hat_insample=values
    )
    found, changed = ours.reconciled(said(), EVERY)
    assert found == pytest.approx(theirs["mean"])
    assert changed.all()
    assert found == pytest.approx(SUMMING @ found[3:])


def test_bottom_up_adds_up_and_top_down_shares_out() -> None:
    base = said()
    found, _ = hierarchy("bottom-up")[0].reconciled(base, EVERY)
    assert found == pytest.approx(SUMMING @ base[3:])
    found, _ = hierarchy("top-down")[0].reconciled(base, EVERY)
    assert found[3:] == pytest.approx(np.array([1, 3, 2, 2])[:, None] / 8 * base[0])
    assert found[0] == pytest.approx(base[0])


def test_what_is_whole_agrees_and_the_rest_stays_as_it_was() -> None:
    ours, base = hierarchy("min-trace")[0], said()
    # All of a and one part of b, in another order; a series that nobody knows.
    places = np.array([4, 1, 3, 5, 0, 2, -1])
    rows = np.concatenate([base[places[:-1]], base[:1]])
    found, changed = ours.reconciled(rows, places)
    assert changed.tolist() == [True, True, True, False, False, False, False]
    assert found[1] == pytest.approx(found[0] + found[2])
    assert found[3:] == pytest.approx(rows[3:])


def test_forecasts_that_are_not_negative_stay_so() -> None:
    base = said() * 0.0
    base[0], base[3] = -50.0, 1.0
    found, _ = hierarchy("min-trace")[0].reconciled(base, EVERY)
    assert (found >= 0.0).all()
    assert found == pytest.approx(SUMMING @ found[3:])


@pytest.fixture(scope="module")
def project(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Six depots in two regions; the sums of each, and of all."""
    folder = tmp_path_factory.mktemp("regions")
    (folder / "data").mkdir()
    rows = project.rows[project.rows["depot"].isin([f"D0{n}" for n in range(6)])]
    rows = rows.assign(region=["north" if depot < "D03" else "south" for depot in rows["depot"]])
    rows.to_csv(folder / "data" / "rows.csv", index=False)
    text = (
        "apiVersion: noria.dev/v1alpha1\nkind: Model\nmetadata: {name: depots}\nspec:\n"
        "  task: {family: forecasting, options: {step: day, horizon: 7, levels: [80], "
        "hierarchy: [[region]]}}\n"
        "  data:\n    source: {csv: {paths: [data/rows.csv]}}\n"
        "    entityKey: [region, depot]\n    eventTime: day\n    target: parcels\n"
        "  train: {algorithm: seasonal-naive}\n"
    )
    (folder / "model.yaml").write_text(text)
    return Project(folder / "model.yaml")


@pytest.fixture(scope="module")
def package(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "v1"
    prepared = LEARNER.prepare(project.spec, project.samples)
    fitted = LEARNER.fit(project.spec, prepared, np.arange(len(project.samples)), {}, None)
    LEARNER.save(project.spec, fitted, folder, model="depots")
    return folder


@pytest.fixture(scope="module")
def server(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = launch(tmp_path_factory.mktemp("server"), package)
    yield running
    assert running.stop() == 0


def ask(server: RunningServer, keys: list[tuple[str, str]], **more: Any) -> dict[str, Array]:
    tensors = [
        {"name": name, "shape": [len(keys)], "datatype": "BYTES", "data": list(column)}
        for name, column in zip(("region", "depot"), zip(*keys, strict=True), strict=True)
    ]
    for name, data in more.items():
        flat = np.asarray(data, np.float64)
        tensors.append(
            {
                "name": name,
                "shape": list(flat.shape),
                "datatype": "FP64",
                "data": [None if v != v else v for v in flat.ravel().tolist()],
            }
        )
    with server.client() as client:
        answer = client.post("/v2/models/m/infer", json={"inputs": tensors})
        assert answer.status_code == 200, answer.text
    return {
        one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in answer.json()["outputs"]
    }


NORTH = [("north", f"D0{n}") for n in range(3)]
SOUTH = [("south", f"D0{n}") for n in range(3, 6)]


def test_sums_are_series_and_are_what_their_parts_add_up_to(project: Project) -> None:
    options = project.spec.task.options
    series = with_sums(project.spec, options, series_of(project.spec, options, project.rows))
    values = {one.key: one.values for one in series}
    assert sorted(values) == sorted([(ALL, ALL), ("north", ALL), ("south", ALL), *NORTH, *SOUTH])
    assert values["north", ALL] == pytest.approx(sum(values[key] for key in NORTH))
    assert values[ALL, ALL] == pytest.approx(values["north", ALL] + values["south", ALL])


def test_a_request_for_all_parts_gets_forecasts_that_agree(server: RunningServer) -> None:
    keys = [*NORTH, ("north", ALL), *SOUTH, ("south", ALL), (ALL, ALL)]
    found = ask(server, keys)
    assert found["reconciled"].all()
    said = dict(zip(keys, found["prediction"], strict=True))
    assert said["north", ALL] == pytest.approx(sum(said[key] for key in NORTH))
    assert said[ALL, ALL] == pytest.approx(said["north", ALL] + said["south", ALL])
    # The parts alone get the same: the sums are forecast whether they are asked about or not.
    alone = ask(server, [*NORTH, *SOUTH])
    assert alone["prediction"] == pytest.approx(np.array([said[k] for k in (*NORTH, *SOUTH)]))


def test_a_part_of_a_group_is_answered_as_it_is_and_says_so(server: RunningServer) -> None:
    found = ask(server, [*NORTH, SOUTH[0], (ALL, ALL)])
    assert found["reconciled"].tolist() == [True] * 3 + [False] * 2
    alone = ask(server, [SOUTH[0]])
    assert not alone["reconciled"].any()
    assert alone["prediction"][0] == pytest.approx(found["prediction"][3])


def test_the_history_of_a_sum_is_that_of_the_parts_that_were_sent(server: RunningServer) -> None:
    histories = np.random.default_rng(0).uniform(50.0, 100.0, size=(4, 70))
    histories[3] = np.nan  # of the sum none is sent
    found = ask(server, [*NORTH, ("north", ALL)], history=histories)
    assert found["reconciled"].all()
    assert found["seasonal-naive"][3] == pytest.approx(found["seasonal-naive"][:3].sum(axis=0))
    # Seasonal naives add up already: nothing is changed.
    assert found["prediction"] == pytest.approx(found["seasonal-naive"])
    # A gap of one part is what it is in the part: halfway between its neighbours.
    histories[0, -3] = np.nan
    found = ask(server, [*NORTH, ("north", ALL)], history=histories)
    halfway = (histories[0, -4] + histories[0, -2]) / 2
    assert found["prediction"][3, 4] == pytest.approx(halfway + histories[1:3, -3].sum())


def test_sums_know_the_holidays_that_their_parts_know(project: Project, tmp_path: Path) -> None:
    text = (project.folder / "model.yaml").read_text()
    text = text.replace("hierarchy:", "holidays: [KR], hierarchy:")
    (tmp_path / "model.yaml").write_text(text.replace("seasonal-naive", "boosting"))
    spec = load_model(tmp_path / "model.yaml").spec
    prepared = LEARNER.prepare(spec, project.samples)
    fitted = LEARNER.fit(spec, prepared, np.arange(len(project.samples)), {}, None)
    LEARNER.save(spec, fitted, tmp_path / "v1", model="depots")
    columns = {
        "region": np.array([region for region, _ in NORTH], object),
        "depot": np.array([depot for _, depot in NORTH], object),
    }
    found = load_predictor(tmp_path / "v1").predict(columns)
    assert found["reconciled"].all()
    # With the sum among the rows it is forecast from the same history.
    columns = {name: np.append(column, ["north", ALL][place : place + 1]) for place, (name, column)
               in enumerate(columns.items())}  # fmt: skip
    beside = load_predictor(tmp_path / "v1").predict(columns)
    assert beside["prediction"][:3] == pytest.approx(found["prediction"])


def test_requests_of_parts_are_not_answered_together(package: Path) -> None:
    assert getattr(load_predictor(package), "reads_whole_requests", False) is True


def test_levels_are_measured_before_and_after(project: Project, package: Path) -> None:
    from noria.tasks.forecasting.judged import of_levels

    prepared = LEARNER.prepare(project.spec, project.samples)
    places = np.arange(len(project.samples))
    frame = LEARNER.predict(project.spec, package, prepared, places)
    found, notes = of_levels(project.spec, prepared, frame)
    assert list(found) == ["mase-all", "mase-region", "mase-region-depot"]
    errors = prepared.errors(said_of(frame, 7), places).mean(axis=1)
    summed = (project.samples[["region", "depot"]] == ALL).sum(axis=1).to_numpy()
    assert found["mase-region"].value == pytest.approx(errors[summed == 1].mean())
    assert "the level region has a MASE of" in notes[1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[[region]]", "[[country]]", "country is no column of spec.data.entityKey"),
        ("[[region]]", "[[region, depot]]", "is each series alone, and no sum"),
        ("[[region]]", "[[region], [region]]", "spec.task.options.hierarchy[1]: is there twice"),
        ("hierarchy: [[region]]", "reconcile: bottom-up", "there are no sums to reconcile"),
        ("hierarchy: [[region]]", "hierarchy: [[region]], choice: per-series", "not reconciled"),
        ("    target: parcels", "    target: parcels\n    features: [{name: x, type: numeric}]",
         "sums have no features"),
        ("entityKey: [region, depot]", "entityKey: []", "one series has no parts"),
    ],
)  # fmt: skip
def test_a_hierarchy_that_can_not_be_is_refused(
    project: Project, tmp_path: Path, old: str, new: str, said: str
) -> None:
    text = (project.folder / "model.yaml").read_text()
    assert text.count(old) == 1
    (tmp_path / "model.yaml").write_text(text.replace(old, new))
    with pytest.raises(InvalidInput) as refused:
        load_model(tmp_path / "model.yaml")
    assert said in str(refused.value)


def test_a_key_that_means_all_is_refused(project: Project) -> None:
    options = project.spec.task.options
    rows = project.rows.assign(depot=ALL, region="north").drop_duplicates(["depot", "day"])
    with pytest.raises(DataError, match=r"has the value \*, which stands for the sum of all"):
        with_sums(project.spec, options, series_of(project.spec, options, rows))
