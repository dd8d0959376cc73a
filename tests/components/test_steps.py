"""What each component does, called as KFP's shim calls it: files in, files out."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pandas as pd
import pytest

from components import failure, steps
from components.resource import read_model
from noria.errors import DataError, InvalidInput
from noria.tasks.package import package_digest, read_manifest
from noria.tasks.protocol import Evaluation, TuneResult

Project = Any  # the class is the conftest's


def test_ingest_keeps_out_rows_whose_label_was_not_known(project: Project) -> None:
    whole = steps.ingest(
        model=project.model(), base=str(project.base), as_of="", rows=project.artifact("all")
    )
    early = steps.ingest(
        model=project.model(),
        base=str(project.base),
        as_of="2013-01-10T00:00:00+00:00",
        rows=project.artifact("early"),
    )

    frame = pd.read_parquet(project.artifact("early"))
    assert 0 < len(frame) < len(pd.read_parquet(project.artifact("all"))) == 1000
    assert frame["landed"].max() <= pd.Timestamp("2013-01-10", tz="UTC")
    assert len(whole) == 64
    assert whole != early


def test_the_fingerprint_is_of_columns_types_and_values() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", None]})

    same = steps.fingerprint(frame.copy())
    assert steps.fingerprint(frame) == same
    assert steps.fingerprint(frame.rename(columns={"a": "c"})) != same
    assert steps.fingerprint(frame.astype({"a": "int64"})) != same
    assert steps.fingerprint(frame.assign(b=["x", "y"])) != same


def test_validate_writes_what_it_checked_and_refuses_too_few_rows(project: Project) -> None:
    rows, report = project.artifact("rows"), project.artifact("report")
    steps.ingest(model=project.model(), base=str(project.base), as_of="", rows=rows)

    steps.validate(model=project.model(), rows=rows, report=report)
    assert json.loads(report.read_text())["rows"] == 1000

    pd.read_parquet(rows).head(50).to_parquet(rows)
    with pytest.raises(DataError, match="minRows"):
        steps.validate(model=project.model(), rows=rows, report=report)


def test_features_and_split_keep_time_in_order(ready_to_train: Project) -> None:
    train = pd.read_parquet(ready_to_train.artifact("train"))
    test = pd.read_parquet(ready_to_train.artifact("test"))

    assert "hour-of-day" in train.columns
    assert train["landed"].max() <= test["scheduled"].min()


def test_tune_without_a_search_passes_the_hyperparameters_on(ready_to_train: Project) -> None:
    params = ready_to_train.artifact("given")
    steps.tune(
        model=ready_to_train.model(algorithm="lightgbm", hyperparameters={"n_estimators": 7}),
        train=ready_to_train.artifact("no-such-rows"),
        params=params,
        workdir=ready_to_train.artifact("unused"),
    )

    found = msgspec.json.decode(params.read_bytes(), type=TuneResult)
    assert found.params == {"n_estimators": 7}
    assert isinstance(found.params["n_estimators"], int)


def test_train_keeps_the_measured_model_apart_from_the_one_to_be_served(trained: Project) -> None:
    candidate = read_manifest(trained.artifact("candidate"))
    package = read_manifest(trained.artifact("package"))

    assert candidate.model == package.model == "flights"
    assert candidate.rows == len(pd.read_parquet(trained.artifact("train")))
    assert package.rows == 1000


def test_without_refit_the_measured_model_is_the_one_to_be_served(ready_to_train: Project) -> None:
    artifact = ready_to_train.artifact
    steps.train(
        model=ready_to_train.model(refit=False),
        champion="",
        registry=("sqlite:///none.db", artifact("artifacts")),
        frame=artifact("frame"),
        test=artifact("test"),
        params=artifact("params"),
        candidate=artifact("candidate"),
        package=artifact("package"),
        held_out=artifact("held_out"),
    )

    assert package_digest(artifact("candidate")) == package_digest(artifact("package"))


def test_evaluate_measures_and_judges_and_reference_is_built(trained: Project) -> None:
    artifact = trained.artifact
    found = steps.evaluate(
        model=trained.model(),
        candidate=artifact("candidate"),
        test=artifact("test"),
        held_out=artifact("held_out"),
        champion="",
        registry=("sqlite:///none.db", artifact("artifacts")),
        evaluation=artifact("evaluation"),
        plots=artifact("plots"),
    )
    steps.reference(
        model=trained.model(),
        package=artifact("package"),
        frame=artifact("frame"),
        test=artifact("test"),
        held_out=artifact("held_out"),
        reference=artifact("reference"),
    )

    assert found["auc"] > 0.6
    kept = msgspec.json.decode(artifact("evaluation").read_bytes(), type=Evaluation)
    assert kept.metrics["auc"].value == found["auc"]
    assert kept.gates[0].verdict == "pass"
    assert kept.baseline
    assert all((artifact("plots") / name).is_file() for name in kept.plots)
    assert (artifact("reference") / "reference.json").is_file()


def test_a_resource_may_come_as_a_file(project: Project) -> None:
    path = project.base / "model.json"
    path.write_text(project.model())

    assert read_model(f"@{path}") == read_model(project.model())
    with pytest.raises(InvalidInput, match="not JSON"):
        read_model("model.yaml")


def test_the_code_version_names_the_projects_module(project: Project) -> None:
    resource = read_model(project.model())
    assert steps.code_version(resource, project.base).startswith("noria ")

    (project.base / "data.py").write_text("rows = 1\n")
    data = resource.spec.data.model_copy(update={"module": "data.py"})
    changed = resource.model_copy(update={"spec": resource.spec.model_copy(update={"data": data})})
    first = steps.code_version(changed, project.base)
    (project.base / "data.py").write_text("rows = 2\n")

    assert "data.py sha256:" in first
    assert steps.code_version(changed, project.base) != first


def test_a_step_that_fails_leaves_one_line_that_a_machine_finds(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = project.artifact("few")
    pd.DataFrame({"a": [1]}).to_parquet(rows)

    with pytest.raises(DataError) as raised:
        steps.validate(model=project.model(), rows=rows, report=project.artifact("report"))

    log = capsys.readouterr().err.splitlines()
    assert failure.said([*log, "Error: exit status 1"]) == str(raised.value)


def test_an_error_of_others_is_told_with_its_class(capsys: pytest.CaptureFixture[str]) -> None:
    @failure.says_why
    def step() -> None:
        raise KeyError("distance\nof " + "x" * 10_000)

    with pytest.raises(KeyError):
        step()

    said = failure.said(capsys.readouterr().err.splitlines())
    assert said.startswith("KeyError: 'distance")
    assert failure.said([failure.MARK + json.dumps("\x1b[2Jgone\nno")]) == " [2Jgone\nno"
    assert len(said) == failure.MAX_REASON_CHARS
