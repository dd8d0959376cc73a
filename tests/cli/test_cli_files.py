"""init, validate, schema and compile."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from noria.spec import load_model

if TYPE_CHECKING:
    from conftest import Loop, Noria


@pytest.mark.parametrize("family", ["tabular-classification", "tabular-regression"])
def test_a_scaffold_is_valid_as_it_is(noria: Noria, tmp_path: Path, family: str) -> None:
    ran = noria("init", "parcels", "--family", family)
    assert ran.exit_code == 0
    assert {path.name for path in (tmp_path / "parcels").iterdir()} == {
        "model.yaml", "data.py", "README.md",
    }  # fmt: skip
    assert "next: noria validate -f parcels/model.yaml" in ran.stdout
    model = load_model(tmp_path / "parcels" / "model.yaml")
    assert (model.name, model.spec.task.family) == ("parcels", family)
    assert noria("validate", "-f", "parcels/model.yaml").exit_code == 0
    assert "$" not in (tmp_path / "parcels" / "README.md").read_text()


def test_the_scaffolds_rows_have_every_column_that_the_model_names(project: Path) -> None:
    subprocess.run([sys.executable, "-I", str(project.with_name("data.py"))], check=True)
    with (project.parent / "data" / "rows.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    data = load_model(project).spec.data
    wanted = {*data.request_columns(), data.target, data.label_time}
    assert wanted <= set(rows[0])
    assert len(rows) >= data.validation.min_rows
    assert 0.1 < sum(int(row["late"]) for row in rows) / len(rows) < 0.6
    assert all(row["delivered"] > row["ordered"] for row in rows)


def test_init_leaves_a_folder_that_holds_anything_alone(noria: Noria, project: Path) -> None:
    before = project.read_text()
    project.write_text(before + "# mine\n")
    ran = noria("init", "parcels")
    assert ran.exit_code == 2
    assert "already there" in ran.stderr
    assert project.read_text().endswith("# mine\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Bad_Name"], "metadata.name: 'Bad_Name' is not a DNS label"),
        (
            ["x", "--family", "rag"],
            (
                "installed are anomaly-detection, clustering, custom, forecasting, "
                "image-classification, multi-label, recommendation, tabular-classification, "
                "tabular-regression"
            ),
        ),
        (["x", "--family", "../../secret"], "is not a task family that is installed"),
    ],
)
def test_init_refuses_and_writes_nothing(
    noria: Noria, tmp_path: Path, arguments: list[str], said: str
) -> None:
    ran = noria("init", *arguments)
    assert ran.exit_code == 2
    assert said in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_validate_sums_the_model_up_and_says_what_is_next(noria: Noria, project: Path) -> None:
    ran = noria("validate", "-f", str(project))
    assert "parcels (tabular-classification, lightgbm)" in ran.stdout
    assert "10 % -> 50 % -> 100 %" in ran.stdout
    assert "next: noria train -f" in ran.stdout


def test_validate_lists_every_problem_with_its_path(noria: Noria, project: Path) -> None:
    text = project.read_text().replace("steps: [10, 50]", "steps: [50, 20]")
    project.write_text(text.replace("algorithm:", "algorithim:"))
    ran = noria("validate", "-f", str(project))
    assert ran.exit_code == 2
    assert ran.stdout == ""
    assert "error: 2 problems" in ran.stderr
    assert "spec.serving.canary.steps" in ran.stderr
    assert "spec.train.algorithim" in ran.stderr


def test_the_json_schema_and_the_crd_are_what_their_names_say(noria: Noria) -> None:
    assert json.loads(noria("schema", "json").stdout)["$schema"].startswith("https://json-schema")
    assert yaml.safe_load(noria("schema", "crd").stdout)["kind"] == "CustomResourceDefinition"
    assert noria("schema").exit_code == 2


def test_compile_writes_a_pipeline_that_carries_the_model(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "pipeline.yaml"
    # A process of its own: the compiler brings libraries whose warnings are not ours.
    command = [sys.executable, "-m", "noria.cli", "compile", "-f", str(project), "-o", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    compiled = next(yaml.safe_load_all(out.read_text()))
    assert compiled["root"]["dag"]["tasks"]
    assert "parcels" in out.read_text()


@pytest.mark.parametrize("command", ["validate", "train", "up", "compile"])
def test_what_the_family_can_not_do_is_refused_before_anything_runs(
    noria: Noria, project: Path, loop: Loop, command: str
) -> None:
    before = project.read_text()
    text = before.replace("  train:\n", "  train:\n    hyperparameters: {n_estimaters: 9}\n")
    assert text != before
    project.write_text(text)
    ran = noria(command, "-f", str(project))
    assert ran.exit_code == 2
    assert "spec.train.hyperparameters.n_estimaters" in ran.stderr
    assert ran.stdout == ""
    assert loop.brought_up == []


def test_validate_notes_what_has_no_effect_on_one_machine(noria: Noria, project: Path) -> None:
    assert "note:" not in noria("validate", "-f", str(project)).stdout
    model = yaml.safe_load(project.read_text())
    model["spec"].setdefault("serving", {}).update(replicas=3, shadow={"percent": 10})
    project.write_text(yaml.safe_dump(model))
    ran = noria("validate", "-f", str(project))
    assert "note: spec.serving.shadow.percent: 10 has no effect on one machine" in ran.stdout
    assert "note: spec.serving.replicas: 3 has no effect on one machine" in ran.stdout


def own_server(project: Path, **runtime: Any) -> None:
    model = yaml.safe_load(project.read_text())
    metrics = {"requests": ["r_total"], "errors": ["e_total"]}
    analysis = [{"metric": "error-rate", "max": 0.01}]
    model["spec"]["serving"] = {
        "runtime": {"name": "k", "format": "f", "metrics": metrics, **runtime},
        "canary": {"analysis": analysis},
        "batching": {"maxRows": 1},
    }
    project.write_text(yaml.safe_dump(model))


def test_validate_notes_what_becomes_of_a_server_of_ones_own(noria: Noria, project: Path) -> None:
    own_server(project)
    notes = noria("validate", "-f", str(project)).stdout
    assert "note: spec.serving.runtime: k has no effect on one machine: Noria's server" in notes
    assert "note: spec.serving.batching has no effect on a server of your own" in notes
    assert "note: no alert NoriaLatency: spec.serving.runtime.metrics does not name" in notes
    assert "NoriaErrorRate" not in notes
    own_server(project, protocol="openai")
    notes = noria("validate", "-f", str(project)).stdout
    assert "one machine has only Noria's server, which speaks v2 and v1" in notes
    assert "sees nothing of the traffic" not in notes
    model = yaml.safe_load(project.read_text())
    model["spec"]["serving"]["payloadLog"] = {"sample": 0}
    model["spec"]["monitoring"] = {"detectors": []}
    project.write_text(yaml.safe_dump(model))
    notes = noria("validate", "-f", str(project)).stdout
    assert "note: the monitor sees nothing of the traffic" in notes


def test_validating_imports_no_machine_learning(project: Path) -> None:
    code = (
        "import sys; from noria.cli.app import application; "
        f"application()(['validate', '-f', {str(project)!r}], standalone_mode=False); "
        "print(sorted({'numpy', 'pandas', 'sklearn', 'optuna', 'mlflow'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"
