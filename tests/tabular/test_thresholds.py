"""The threshold of two classes: chosen on held-out rows, answered by, measured by everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from monitoring.measures import of_window
from monitoring.reference import read_folder, read_reference
from noria.errors import DataError, SpecError
from noria.measures.catalog import METRICS
from noria.measures.measuring import decided, measure
from noria.spec import ModelSpec, parse_model
from noria.tasks.candidate import Made, make_candidate
from noria.tasks.families import family
from noria.tasks.package import load_predictor
from noria.tasks.tabular.deciding import chosen
from noria.tasks.tabular.describe import Threshold
from noria.tasks.tabular.schema import columns_of

COST = {"for": "cost", "falsePositive": 1, "falseNegative": 4}


def spec_of(threshold: dict[str, Any] | None, **train: Any) -> ModelSpec:
    options = {} if threshold is None else {"threshold": threshold}
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "rare"},
            "spec": {
                "task": {"family": "tabular-classification", "options": options},
                "data": {
                    "source": {"parquet": {"paths": ["rows.parquet"]}},
                    "target": "y",
                    "features": [{"name": f"x{j}", "type": "numeric"} for j in range(3)],
                    "split": {"kind": "stratified"},
                },
                "train": {"algorithm": "linear", **train},
                "gates": {"bounds": [{"metric": "f1", "min": 0.1}]},
            },
        }
    ).spec


def rare(rows: int = 4000, seed: int = 0) -> pd.DataFrame:
    """Return rows of which one in ten is positive, by a logistic model."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    chance = 1.0 / (1.0 + np.exp(3.2 - 1.5 * x[:, 0] - x[:, 1]))
    frame = pd.DataFrame({f"x{j}": x[:, j] for j in range(3)})
    return frame.assign(y=(rng.random(rows) < chance).astype(int))


def scored(rows: int = 20_000, seed: int = 1) -> tuple[Any, Any]:
    """Return classes and the very probabilities that they were drawn by."""
    rng = np.random.default_rng(seed)
    said = rng.beta(0.6, 3.0, rows)
    return (rng.random(rows) < said).astype(np.int64), said


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    spec = spec_of({"for": "f1"})
    folder = tmp_path_factory.mktemp("made")
    plots = folder / "plots"
    plots.mkdir()
    tasks = family(spec.task.family)
    return make_candidate(tasks, spec, rare(), None, folder / "run", model="rare", plots=plots)


def test_of_true_probabilities_costs_choose_elkans_threshold() -> None:
    codes, said = scored()
    found = chosen(Threshold(for_="cost", false_positive=1, false_negative=9), codes, said, 0)
    assert found == pytest.approx(1 / (1 + 9), abs=0.03)


@pytest.mark.parametrize("aim", ["f1", "balanced-accuracy"])
def test_no_other_threshold_is_better_on_the_rows_it_is_chosen_on(aim: str) -> None:
    codes, said = scored(1500)
    of = {"f1": sk.f1_score, "balanced-accuracy": sk.balanced_accuracy_score}[aim]
    found = chosen(Threshold(for_=aim), codes, said, 0)
    best = max(of(codes, said >= limit) for limit in np.unique(said))
    assert of(codes, said >= found) == pytest.approx(best)


def test_where_scores_tell_nothing_it_seldom_leaves_a_half() -> None:
    left = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        codes, said = rng.integers(0, 2, 600), 0.5 + 0.01 * rng.normal(size=600)
        left += chosen(Threshold(for_="balanced-accuracy"), codes, said, seed) != 0.5
    # One in ten by its confidence; of a hundred 18 are so improbable as one in a hundred.
    assert left <= 17


def test_a_floor_is_met_by_the_greatest_recall_and_else_it_stays_a_half() -> None:
    codes, said = scored(3000)
    limit = chosen(Threshold(for_="recall", precision_at_least=0.6), codes, said, 0)
    assert sk.precision_score(codes, said >= limit) >= 0.6
    lower = [one for one in np.unique(said) if one < limit]
    # A little under it, so that another row is called, the precision is too low from there on.
    assert all(sk.precision_score(codes, said >= one) < 0.6 for one in lower[-50:-2])
    limit = chosen(Threshold(for_="precision", recall_at_least=0.7), codes, said, 0)
    assert sk.recall_score(codes, said >= limit) == pytest.approx(0.7, abs=0.01)
    noise = np.random.default_rng(0).integers(0, 2, 3000)
    assert chosen(Threshold(for_="recall", precision_at_least=0.9), noise, said, 0) == 0.5


def test_the_label_follows_it_and_the_scores_stay(made: Made, tmp_path: Path) -> None:
    (limit,) = made.manifest.limits
    assert 0.1 < limit < 0.45
    spec = spec_of(None)
    plain = make_candidate(
        family(spec.task.family), spec, rare(), None, tmp_path / "plain", model="rare"
    )
    assert not plain.manifest.limits
    fresh = rare(500, seed=9)
    ours, theirs = (
        load_predictor(one.package).predict(columns_of(one.manifest.features, None, fresh))
        for one in (made, plain)
    )
    assert np.array_equal(ours["probability"], theirs["probability"])
    assert np.array_equal(ours["label"], (ours["probability"] >= limit).astype(int))
    assert np.array_equal(theirs["label"], (theirs["probability"] >= 0.5).astype(int))
    assert (ours["label"] != theirs["label"]).any()


def test_metrics_gates_card_and_reference_go_by_it(made: Made) -> None:
    (limit,) = made.manifest.limits
    truth, said = made.test["y"].to_numpy(), made.held_out.model["prediction"].to_numpy()
    value = sk.f1_score(truth, said >= limit)
    half = sk.f1_score(truth, said >= 0.5)
    assert made.evaluation.metrics["f1"].value == pytest.approx(value)
    assert made.evaluation.gates[0].value == pytest.approx(value)
    assert value > half
    (note,) = made.evaluation.notes
    assert f"f1 {value:.4g} against {half:.4g} at 0.5: {value - half:+.4g} (from " in note
    reference = read_reference(read_folder(made.reference))
    assert reference.thresholds == (limit,)
    assert reference.performance["f1"] == pytest.approx(value)


def test_the_monitor_measures_labels_by_it_and_scores_as_they_are() -> None:
    codes, said = scored(800)
    truth = codes.astype(float)
    found = {
        name: of_window(METRICS[name], said, truth, classes=2, thresholds=(0.2,)).value
        for name in ("f1", "accuracy", "auc")
    }
    assert found["f1"] == pytest.approx(sk.f1_score(codes, said >= 0.2))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(codes, said >= 0.2))
    assert found["auc"] == pytest.approx(sk.roc_auc_score(codes, said))


def test_a_champion_is_compared_by_its_own(made: Made, tmp_path: Path) -> None:
    spec = spec_of(COST)
    rows = rare()
    found = make_candidate(
        family(spec.task.family),
        spec.model_copy(
            update={
                "gates": spec.gates.model_copy(
                    update={
                        "champion": (spec.gates.champion[0].model_copy(update={"metric": "f1"}),)
                    }
                )
            }
        ),
        rows,
        made.package,
        tmp_path / "run",
        model="rare",
    )
    (comparison,) = found.evaluation.comparisons
    truth = found.test["y"].to_numpy()
    champion = load_predictor(made.package).predict(
        columns_of(made.manifest.features, None, found.test)
    )
    assert comparison.champion == pytest.approx(sk.f1_score(truth, champion["label"]))
    assert found.evaluation.metrics["decision-cost"].value == pytest.approx(
        _cost(truth, found.held_out.model["prediction"] >= found.manifest.limits[0])
    )


def _cost(truth: Any, called: Any) -> float:
    wrong = np.asarray(called, bool) != (truth == 1)
    return float(np.where(wrong, np.where(truth == 1, 4.0, 1.0), 0.0).mean())


def test_a_missing_score_is_called_nothing() -> None:
    called = decided(METRICS["f1"], np.array([np.nan, 0.3, 0.2]), [0.25])
    assert np.isnan(called[0])
    assert called[1:].tolist() == [1.0, 0.0]
    assert measure(METRICS["class-recall"], np.array([1.0, 1.0]), called[1:]).value == 0.5


@pytest.mark.parametrize(
    ("threshold", "said"),
    [
        ({"for": "cost", "falsePositive": 1}, "threshold.falseNegative: is missing"),
        ({"for": "recall"}, "threshold.precisionAtLeast: is missing, and recall needs it"),
        ({"for": "f1", "recallAtLeast": 0.8}, "threshold.recallAtLeast: f1 does not read it"),
        ({"for": "youden"}, "threshold.for"),
    ],
)
def test_a_threshold_without_its_numbers_is_refused(threshold: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        spec_of(threshold)


def test_of_three_classes_there_is_none(tmp_path: Path) -> None:
    spec = spec_of({"for": "f1"})
    rows = rare(600).assign(y=np.arange(600) % 3)
    with pytest.raises(DataError, match="is of two classes, and y has 3"):
        family(spec.task.family).tune(spec, rows, tmp_path)
