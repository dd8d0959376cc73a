"""Training: labels judge and teach nothing, rates are kept, bad data gets a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import average_precision_score, roc_auc_score

from noria.errors import DataError, InvalidInput, SpecError
from noria.replay import Labels, labels_by_key, read_history
from noria.spec import ModelSpec, parse_model
from noria.tasks.anomaly.family import LEARNER
from noria.tasks.anomaly.fitting import calibrating, thinned
from noria.tasks.candidate import Made, make_candidate
from noria.tasks.package import package_digest
from tests.anomaly.conftest import Project

Change = Callable[[dict[str, Any]], None]


def spec_of(project: Project, change: Change) -> ModelSpec:
    found = yaml.safe_load((project.folder / "model.yaml").read_text())
    change(found["spec"])
    return parse_model(yaml.safe_dump(found)).spec


def labelled(spec: dict[str, Any]) -> None:
    spec["data"]["target"] = "leak"
    spec["task"]["options"]["top"] = 10


@pytest.fixture(scope="module")
def rows(project: Project) -> pd.DataFrame:
    """Rows of which three quarters were looked at: a leak has little pressure for its flow."""
    found = project.rows.copy()
    leak = (found["pressure"] < 0.75 * (2.0 + 0.002 * found["flow"] ** 2)).astype(float)
    looked = np.random.default_rng(0).random(len(found)) < 0.75
    return found.assign(leak=leak.where(looked))


def made(spec: ModelSpec, frame: pd.DataFrame, folder: Path, champion: Path | None = None) -> Made:
    return make_candidate(LEARNER, spec, frame, champion, folder, model="pumps")


def test_labels_judge_and_teach_nothing(
    project: Project, rows: pd.DataFrame, tmp_path: Path
) -> None:
    spec = spec_of(project, labelled)
    judged = made(spec, LEARNER.features(spec, project.folder, rows), tmp_path / "1")
    turned = rows.assign(leak=1.0 - rows["leak"])
    against = made(spec, LEARNER.features(spec, project.folder, turned), tmp_path / "2")
    assert package_digest(judged.package) == package_digest(against.package)
    known = judged.test["leak"].notna().to_numpy()
    truth = judged.test["leak"].to_numpy(float)[known]
    score = judged.held_out.model["prediction"].to_numpy()[known]
    found = judged.evaluation.metrics
    assert found["auc"].value == pytest.approx(roc_auc_score(truth, score))
    assert found["average-precision"].value == pytest.approx(average_precision_score(truth, score))
    assert found["auc"].samples == known.sum()
    assert found["precision-at-top"].value == truth[np.argsort(-score)[:10]].mean()
    assert found["average-precision"].value > 0.5
    assert against.evaluation.metrics["auc"].value == pytest.approx(1.0 - found["auc"].value)
    alarm = judged.held_out.model["anomaly"].to_numpy() == 1.0
    leak = judged.test["leak"].to_numpy(float)
    assert found["alarm-recall"].value == alarm[leak == 1.0].mean()
    assert found["alarm-precision"].value == leak[alarm & known].mean()
    assert found["false-alarm-rate"].value == alarm[leak != 1.0].mean()


def test_without_labels_what_needs_them_has_no_value_and_says_why(
    project: Project, tmp_path: Path
) -> None:
    found = made(project.spec, project.rows, tmp_path).evaluation.metrics
    for name in ("auc", "average-precision"):
        assert found[name].value is None
        assert "needs labelled rows, has 0" in found[name].problem
    assert found["splice-detection"].value > 0.8
    assert "alarm-recall" not in found


@pytest.mark.parametrize(
    "algorithm",
    ["auto", "isolation-forest", "knn", "lof", "ecod", "mahalanobis", "autoencoder"],
)
def test_each_detector_alarms_about_as_often_as_it_is_asked(
    project: Project, algorithm: str
) -> None:
    """400 rows of 2,000 alarm at 20 %; four deviations of the threshold's own noise and theirs."""

    def change(spec: dict[str, Any]) -> None:
        spec["task"]["options"]["alarmRate"] = 0.2
        spec["train"] = {"algorithm": algorithm}

    spec = spec_of(project, change)
    prepared = LEARNER.prepare(spec, project.rows)
    places = np.random.default_rng(0).permutation(len(project.rows))
    fitted = LEARNER.fit(spec, prepared, np.sort(places[:2000]), {}, None)
    said = LEARNER.predict(spec, fitted, prepared, np.sort(places[2000:]))
    noise = np.sqrt(0.2 * 0.8 * (1 / 600 + 1 / 2000))
    assert said["anomaly"].mean() == pytest.approx(0.2, abs=4 * noise)


def test_a_candidate_is_compared_on_the_same_spliced_rows(project: Project, tmp_path: Path) -> None:
    first = made(project.spec, project.rows.iloc[:3000], tmp_path / "1")
    second = made(project.spec, project.rows, tmp_path / "2", first.package)
    (compared,) = second.evaluation.comparisons
    assert compared.metric == "net-detection"
    assert compared.samples == len(second.test) == 1000
    assert compared.method.startswith("paired")
    # Two models of one algorithm: apart by less than the noise of one.
    assert abs(compared.difference or 1.0) < 0.03
    assert [gate.verdict for gate in second.evaluation.gates] == ["pass", "pass"]


def test_a_champion_that_alarms_all_the_time_is_replaced_after_a_shift(
    project: Project, tmp_path: Path
) -> None:
    shifted = project.rows.copy()
    later = slice(3000, None)
    shifted.loc[shifted.index[later], "temperature"] += 12.0
    first = made(project.spec, shifted.iloc[:3000], tmp_path / "1")
    prepared = LEARNER.prepare(project.spec, shifted)
    newest = np.arange(3000, 4000)
    before = LEARNER.predict(project.spec, first.package, prepared, newest)
    assert before["anomaly"].mean() > 0.3
    second = made(project.spec, shifted, tmp_path / "2", first.package)
    assert second.evaluation.metrics["false-alarm-rate"].value < 0.03
    assert all(gate.verdict == "pass" for gate in second.evaluation.gates)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.assign(leak=2.0), "leak is 2.0 in row 1 of 4000"),
        (lambda rows: rows.assign(leak="yes"), "leak"),
        (lambda rows: rows.assign(flow="much"), "column flow"),
        (lambda rows: rows.assign(flow=np.nan), "flow is missing in 100.0% of the rows"),
        (lambda rows: rows.iloc[:50], "50 labelled rows, and at least 1000 are asked for"),
    ],
)
def test_bad_data_gets_a_sentence(
    project: Project,
    rows: pd.DataFrame,
    change: Callable[[pd.DataFrame], pd.DataFrame],
    message: str,
) -> None:
    with pytest.raises(DataError) as refused:
        LEARNER.validate(spec_of(project, labelled), change(rows))
    assert message in str(refused.value)


def test_too_few_rows_for_the_rate_are_counted(project: Project, tmp_path: Path) -> None:
    def rare(spec: dict[str, Any]) -> None:
        spec["task"]["options"]["alarmRate"] = 0.0005

    with pytest.raises(DataError, match=r"0.0005 needs 1999 calibration rows, and there are 9\d\d"):
        made(spec_of(project, rare), project.rows, tmp_path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda spec: spec["gates"]["champion"].append({"metric": "auc"}),
            "spec.gates.champion[1].metric: auc is measured by labels, and spec.data.target names",
        ),
        (
            lambda spec: spec.update(train={"algorithm": "pca"}),
            "spec.train.algorithm: pca can't do anomaly-detection; choose one of auto",
        ),
        (
            lambda spec: (
                spec["task"]["options"].update(backend="alibi"),
                spec.update(train={"algorithm": "ecod"}),
            ),
            "spec.train.algorithm: ecod can't do anomaly-detection; choose one of mahalanobis, pca",
        ),
        (
            lambda spec: spec.update(train={"algorithm": "knn", "hyperparameters": {"trees": 3}}),
            "spec.train.hyperparameters.trees: is unknown to knn of anomaly-detection",
        ),
        (
            lambda spec: spec.update(train={"hyperparameters": {"n_neighbours": 3}}),
            "spec.train.hyperparameters.n_neighbours: is unknown to auto of anomaly-detection",
        ),
        (
            lambda spec: spec["data"].update(features=[]),
            "spec.data.features: is empty, and anomaly-detection reads columns",
        ),
        (
            lambda spec: spec["data"].update(served={}),
            "spec.data.served: anomaly-detection does not learn from labelled rows; remove it",
        ),
        (
            lambda spec: spec["monitoring"].update(performance={"metrics": ["splice-detection"]}),
            "splice-detection is measured on inputs, and the monitor knows labels of rows",
        ),
        (
            lambda spec: spec["task"]["options"].update(alarmRate=0.0),
            "spec.task.options.alarmRate",
        ),
    ],
)
def test_a_spec_that_can_t_be_met_is_refused_with_its_fix(
    project: Project, change: Change, problem: str
) -> None:
    with pytest.raises(SpecError) as refused:
        spec_of(project, change)
    assert problem in str(refused.value)


def test_a_hyperparameter_of_the_library_is_refused_by_its_value(project: Project) -> None:
    spec = spec_of(project, lambda spec: spec.update(train={"algorithm": "isolation-forest"}))
    prepared = LEARNER.prepare(spec, project.rows)
    with pytest.raises(InvalidInput, match="isolation-forest refuses"):
        LEARNER.fit(spec, prepared, np.arange(2000), {"max_samples": -5}, None)


def test_calibration_rows_are_pieces_of_all_times() -> None:
    event = np.random.default_rng(0).permutation(6000)
    held = calibrating(event.astype(np.int64), 6000, 0.3, 0)
    assert held.sum() == pytest.approx(1800, abs=20)
    in_order = held[np.argsort(event)]
    assert np.abs(np.diff(in_order.astype(int))).sum() == 40
    for third in np.split(in_order, 3):
        assert third.mean() == pytest.approx(0.3, abs=0.05)
    assert calibrating(None, 1000, 0.3, 0).sum() == 300


def test_rows_that_weigh_more_are_kept_more_often() -> None:
    weight = np.r_[np.full(5000, 0.2), np.full(5000, 1.8)]
    kept = thinned(weight, 0)
    assert kept[5000:].all()
    assert kept[:5000].mean() == pytest.approx(1 / 9, abs=0.02)
    assert thinned(np.r_[np.full(99, 1e-9), 1.0], 0).sum() == 100


def test_rows_that_nobody_has_looked_at_are_learnt_from_and_have_no_label_to_send(
    project: Project, rows: pd.DataFrame, tmp_path: Path
) -> None:
    looked = rows["leak"].notna()
    told = (rows["at"] + pd.Timedelta(days=2)).where(looked)
    (tmp_path / "data").mkdir()
    rows.assign(told=told).to_csv(tmp_path / "data" / "rows.csv", index=False)

    def timed(spec: dict[str, Any]) -> None:
        spec["data"].update(target="leak", labelTime="told")
        del spec["data"]["module"]

    spec = spec_of(project, timed)
    found = LEARNER.ingest(spec, tmp_path, None)
    assert len(found) == len(rows)
    assert found["leak"].isna().sum() == (~looked).sum()
    assert (found["told"] == found["at"]).tolist() == (~looked).tolist()
    at = rows["at"].iloc[2000].to_pydatetime()
    then = LEARNER.ingest(spec, tmp_path, at)
    assert then["leak"].isna().sum() == (~looked).iloc[:2001].sum()
    history = read_history(spec, tmp_path)
    sent = list(labels_by_key(history, spec))
    assert len(sent) == looked.sum()
    handed = Labels(history)
    handed.answered(slice(0, len(rows)), "r")
    assert len(handed.known(history.label_ms.max())) == looked.sum()
