"""A family that another distribution brings: found, offered, checked, or named as broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from noria.spec.data import Source
from noria.spec.family import SHARED_SOURCES
from noria.tasks.package import Manifest, write_package
from tests.families.installed import altered

Noria = Callable[..., subprocess.CompletedProcess[str]]
Distribution = Callable[..., Path]

# A family that is described well, in one expression; NAME and MORE are filled in.
DESCRIPTION = """
from noria.spec import Algorithm, Family, Needs, Problem, Section

class Options(Section):
    "None."

def fails(data):
    raise RuntimeError("no luck")
    yield

FAMILY = Family(
    name={name!r}, about="Nothing.", options=Options, algorithms=(Algorithm(name="guess"),),
    metrics=("accuracy",), sources=("csv",), target="class", learner="{name}_module:LEARNER",
    template="{name}_module:TEMPLATE", {more}
)
LEARNER = object()
TEMPLATE = {{}}
OTHER = 7
"""
MODEL = """
apiVersion: noria.dev/v1alpha1
kind: Model
metadata: {{name: m}}
spec:
  task: {{family: {family}}}
  data:
    source: {{csv: {{paths: [rows.csv]}}}}
    features: [{{name: a, type: numeric}}]
    target: late
"""


def described(name: str, more: str = "") -> str:
    return DESCRIPTION.format(name=name, more=more)


def test_the_toy_passes_the_suite(noria: Noria, toy: Path) -> None:
    ran = noria("family", "check", "toy-text", "--json", sites=(toy,))
    results = json.loads(ran.stdout)
    assert [one for one in results if one["outcome"] != "ok"] == []
    assert ran.returncode == 0
    assert len({one["name"] for one in results}) == len(results) > 10
    assert all(one["sentence"].endswith(".") for one in results)


def test_the_suite_finds_what_would_fail_in_the_loop(
    noria: Noria, toy: Path, tmp_path: Path
) -> None:
    changes = {
        'if settings.kind == "none":': "if given is not None:",
        "gates = judge(spec.gates, found, compared, choice=held_out.choice)": "gates = ()",
        "rows=len(places),": "rows=7,",
        "write_reference(out_dir, read_manifest(package), texts, said, found, 1000)": "...",
    }
    site = altered(toy, tmp_path, "learner.py", changes)
    altered(toy, tmp_path, "predictor.py", {'return {"prediction": ': 'return {"p": '})
    altered(
        toy,
        tmp_path,
        "learner.py",
        {
            'Output("prediction"': 'Output("p"',
            '.iloc[places]})["prediction"]': '.iloc[places]})["p"]',
        },
    )
    ran = noria("family", "check", "toy-text", "--json", sites=(site,))
    assert ran.returncode == 1, ran.stderr
    found = {one["name"]: one["detail"] for one in json.loads(ran.stdout) if one["detail"]}
    assert found == {
        "answers": "none of ['p'] is prediction or probability, which the monitor watches",
        "searches": "spec.train.search asks for 2 trials, and tune made 0",
        "gates": "only 0 of 2 gates were judged",
        "fresh": "the manifest says 7 rows, and it was fitted on 640",
        "reference": "reference wrote no reference.json, rows.npz",
    }


def test_a_missing_value_that_the_model_admits_gets_an_answer(
    noria: Noria, toy: Path, tmp_path: Path
) -> None:
    site = altered(toy, tmp_path, "learner.py", {'"text"),),': '"text", optional=True),),'})
    ran = noria("family", "check", "toy-text", "--json", sites=(site,))
    (failed,) = (one for one in json.loads(ran.stdout) if one["outcome"] == "failed")
    assert failed["name"] == "answers"
    assert "'NoneType' object has no attribute 'lower'" in failed["detail"]


def test_a_learner_that_is_not_whole_is_refused_before_anything_runs(
    noria: Noria, toy: Path, tmp_path: Path
) -> None:
    site = altered(toy, tmp_path, "learner.py", {"def reference(": "def references("})
    ran = noria("family", "check", "toy-text", sites=(site,))
    assert ran.returncode == 1
    assert "it has no reference; noria.tasks.protocol.TaskFamily says what each" in ran.stdout
    noria("init", "mood", "--family", "toy-text", sites=(site,))
    ran = noria("train", "-f", tmp_path / "mood" / "model.yaml", sites=(site,))
    assert ran.returncode == 2
    assert "toy-text can't be trained: toy_text.learner:LEARNER has no reference" in ran.stderr
    assert "`noria family check toy-text` says what else it lacks" in ran.stderr


def test_the_toy_is_listed_after_norias_own(noria: Noria, toy: Path) -> None:
    listed = json.loads(noria("families", "--json", sites=(toy,)).stdout)
    found = {one["name"]: one for one in listed["families"]}
    assert list(found) == [
        "anomaly-detection",
        "clustering",
        "custom",
        "forecasting",
        "multi-label",
        "recommendation",
        "tabular-classification",
        "tabular-regression",
        "toy-text",
    ]
    assert (found["toy-text"]["distribution"], found["toy-text"]["version"]) == ("toy-text", "0.1")
    assert found["toy-text"]["sources"] == ["lines"]
    assert listed["broken"] == []
    shown = noria("families", sites=(toy,)).stdout
    assert "toy-text 0.1" in shown
    assert shown.count("ready") == 9


def test_what_the_toy_served_is_kept_where_the_columns_of_a_request_are_named(
    noria: Noria, toy: Path, tmp_path: Path
) -> None:
    noria("init", "mood", "--family", "toy-text", sites=(toy,))
    file = tmp_path / "mood" / "model.yaml"
    served = "  data:\n    served: {}\n"
    file.write_text(file.read_text().replace("  data:\n", served))
    ran = noria("validate", "-f", file, sites=(toy,))
    assert ran.returncode == 2
    assert "spec.data.served: toy-text does not say what columns a request has" in ran.stderr
    named = served + "    features: [{name: text, type: text}]\n"
    file.write_text(file.read_text().replace(served, named))
    assert noria("validate", "-f", file, sites=(toy,)).returncode == 0


def test_a_project_of_the_toy_starts_and_validates(noria: Noria, toy: Path, tmp_path: Path) -> None:
    made = noria("init", "mood", "--family", "toy-text", sites=(toy,))
    assert made.returncode == 0, made.stderr
    file = tmp_path / "mood" / "model.yaml"
    ran = noria("validate", "-f", file, sites=(toy,))
    assert "mood (toy-text, word-votes)" in ran.stdout, ran.stderr
    model = yaml.safe_load(file.read_text())
    model["spec"]["task"]["options"] = {"lowerCase": False}
    model["spec"]["train"] = {"hyperparameters": {"smoothing": 0}}
    model["spec"]["data"]["source"] = {"csv": {"paths": ["a.csv"]}}
    file.write_text(yaml.safe_dump(model))
    ran = noria("validate", "-f", file, sites=(toy,))
    assert ran.returncode == 2
    assert "spec.data.source.csv: toy-text can't read csv; write lines" in ran.stderr
    assert "smoothing: 0 with lowerCase: false leaves most words unknown; write 1" in ran.stderr


def test_without_the_package_its_model_is_refused_with_what_is_installed(
    noria: Noria, toy: Path, tmp_path: Path
) -> None:
    noria("init", "mood", "--family", "toy-text", sites=(toy,))
    ran = noria("validate", "-f", tmp_path / "mood" / "model.yaml")
    assert ran.returncode == 2
    assert "spec.task.family: 'toy-text' is not a task family that is installed" in ran.stderr
    assert (
        "installed are anomaly-detection, clustering, custom, forecasting, multi-label, "
        "recommendation, tabular-classification, tabular-regression" in ran.stderr
    )
    assert "noria.families" in ran.stderr
    assert "spec.data.source.lines: is an unknown key" in ran.stderr


def test_the_schemas_have_the_keys_of_the_toy(noria: Noria, toy: Path) -> None:
    schema = json.loads(noria("schema", "json", sites=(toy,)).stdout)
    assert schema["$defs"]["ToyTextOptions"]["properties"]["lowerCase"]["default"] is True
    assert "lines" in schema["$defs"]["Source"]["properties"]
    assert "word-votes" in schema["$defs"]["Train"]["properties"]["algorithm"]["enum"]
    crd = yaml.safe_load(noria("schema", "crd", sites=(toy,)).stdout)
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    task = spec["properties"]["task"]["properties"]
    assert "toy-text" in task["family"]["enum"]
    assert task["options"]["properties"]["lowerCase"]["type"] == "boolean"
    assert "lines" in spec["properties"]["data"]["properties"]["source"]["properties"]


@pytest.mark.parametrize("name", ["Options", "Source", "Metadata"])
def test_two_packages_may_give_their_classes_one_name_and_that_of_norias(
    noria: Noria, distribution: Distribution, name: str
) -> None:
    def module(family: str) -> str:
        option = f"{family}_option: int = 7"
        return described(family).replace("Options", name).replace('"None."', option)

    sites = tuple(
        distribution(family, {family: f"{family}_module:FAMILY"}, module(family))
        for family in ("even", "odd")
    )
    ran = noria("schema", "json", sites=sites)
    assert ran.returncode == 0, ran.stderr
    definitions = json.loads(ran.stdout)["$defs"]
    for family in ("even", "odd"):
        stated = definitions[f"{family}_module__{name}"]["properties"][f"{family}Option"]
        assert stated["default"] == 7
    assert "labels" in definitions["Metadata"]["properties"]
    assert "csv" in definitions["Source"]["properties"]
    crd = yaml.safe_load(noria("schema", "crd", sites=sites).stdout)
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    options = spec["properties"]["task"]["properties"]["options"]["properties"]
    assert {"evenOption", "oddOption"} <= set(options)


@pytest.mark.parametrize("module", ["noria.spec.generate", "noria.chart"])
def test_norias_own_files_are_not_generated_with_anothers_family(toy: Path, module: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", module, "--check"],
        env={**os.environ, "PYTHONPATH": str(toy)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "toy-text of toy-text is installed here; use an environment without it" in ran.stderr


@pytest.mark.parametrize(
    ("entry", "module", "said"),
    [
        ("gone:FAMILY", "", "ModuleNotFoundError: No module named 'gone'"),
        ("odd_module:OTHER", described("odd"), "odd_module:OTHER is a int, not a"),
        ("odd_module:FAMILY", described("even"), "its family is called even"),
        ("odd_module:FAMILY", "1/0", "ZeroDivisionError"),
        ("odd_module:FAMILY", described("odd").replace('"accuracy"', '"luck"'), "luck is not a"),
        ("odd_module:FAMILY", described("odd", 'data={"csv": Options},'), "the key csv already"),
    ],
    ids=["no module", "no family", "another name", "an error", "an unknown metric", "a shared key"],
)
def test_a_broken_plug_in_is_named_and_the_others_work(
    noria: Noria,
    distribution: Distribution,
    toy: Path,
    tmp_path: Path,
    entry: str,
    module: str,
    said: str,
) -> None:
    sites = (distribution("odd", {"odd": entry}, module), toy)
    listed = json.loads(noria("families", "--json", sites=sites).stdout)
    assert [one["name"] for one in listed["families"]][-1] == "toy-text"
    (broken,) = listed["broken"]
    assert (broken["name"], broken["distribution"]) == ("odd", "odd")
    assert said in broken["problem"]
    assert "broken: odd of odd: " in noria("families", sites=sites).stdout
    file = tmp_path / "model.yaml"
    file.write_text(MODEL.format(family="tabular-classification"))
    assert noria("validate", "-f", file, sites=sites).returncode == 0
    file.write_text(MODEL.format(family="odd"))
    ran = noria("validate", "-f", file, sites=sites)
    assert ran.returncode == 2
    assert "spec.task.family: odd can't be used: " in ran.stderr
    assert said in ran.stderr


def test_of_two_families_of_one_name_neither_is_taken_unless_one_is_norias(
    noria: Noria, distribution: Distribution
) -> None:
    names = ("odd", "tabular-regression")
    module = "\n".join(
        described(name).replace("FAMILY =", f"F{number} =") for number, name in enumerate(names)
    )
    sites = tuple(
        distribution(dist, {n: f"{dist}_module:F{i}" for i, n in enumerate(names)}, module)
        for dist in ("one", "two")
    )
    listed = json.loads(noria("families", "--json", sites=sites).stdout)
    taken = [(one["name"], one["distribution"]) for one in listed["families"]]
    ours = (
        "anomaly-detection",
        "clustering",
        "custom",
        "forecasting",
        "multi-label",
        "recommendation",
        "tabular-classification",
        "tabular-regression",
    )
    assert taken == [(name, "noria") for name in ours]
    assert [(one["name"], one["distribution"]) for one in listed["broken"]] == [
        ("odd", "one"),
        ("odd", "two"),
        ("tabular-regression", "one"),
        ("tabular-regression", "two"),
    ]
    assert "two brings a family of the same name" in listed["broken"][0]["problem"]


def test_packages_are_loaded_by_one_distribution(
    noria: Noria, distribution: Distribution, tmp_path: Path
) -> None:
    package = tmp_path / "package"
    manifest = Manifest("m", "odd", "guess", inputs=(), outputs=(), features=())
    write_package(package, manifest, {})
    module = "def load(manifest, files):\n    raise SystemExit('loaded ' + manifest.family)\n"
    load = (
        "import sys, pathlib; from noria.tasks.package import load_predictor\n"
        "load_predictor(pathlib.Path(sys.argv[1]))"
    )

    def told(*sites: Path) -> str:
        path = os.pathsep.join(map(str, sites))
        return subprocess.run(
            [sys.executable, "-c", load, str(package)],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        ).stderr.splitlines()[-1]

    one, two = (
        distribution(name, {"odd": f"{name}_module:load"}, module, "noria.loaders")
        for name in ("one", "two")
    )
    gone = distribution("gone", {"odd": "nowhere:load"}, "", "noria.loaders")
    assert told(one) == "loaded odd"
    assert "family odd are loaded by one, two; keep one of them" in told(one, two)
    assert "family odd needs nowhere; install it" in told(gone)
    assert (
        "known families: anomaly-detection, clustering, custom, forecasting, multi-label, "
        "recommendation, tabular-classification, tabular-regression" in told()
    )


def test_a_missing_library_is_told_before_anything_runs(
    noria: Noria, distribution: Distribution, tmp_path: Path
) -> None:
    needs = 'needs=Needs(libraries=("no_such_library.part",), install="odd[all]"),'
    sites = (distribution("odd", {"odd": "odd_module:FAMILY"}, described("odd", needs)),)
    told = "needs no_such_library; install odd[all]"
    assert told in noria("families", sites=sites).stdout
    file = tmp_path / "model.yaml"
    file.write_text(MODEL.format(family="odd"))
    ran = noria("validate", "-f", file, sites=sites)
    assert ran.returncode == 0, ran.stderr
    assert "note: spec.task.family: odd needs no_such_library" in ran.stdout
    assert "next:" not in ran.stdout
    for command in ("train", "up"):
        ran = noria(command, "-f", file, sites=sites)
        assert ran.returncode == 2
        assert "odd needs no_such_library, which is not installed; install odd[all]" in ran.stderr
    results = json.loads(noria("family", "check", "odd", "--json", sites=sites).stdout)
    outcomes = {one["name"]: one["outcome"] for one in results}
    assert (outcomes["needs"], outcomes["trains"]) == ("failed", "not run")


def test_a_rule_that_fails_is_a_problem_of_its_family(
    noria: Noria, distribution: Distribution, tmp_path: Path
) -> None:
    module = described("odd", "rules=(fails,),")
    sites = (distribution("odd", {"odd": "odd_module:FAMILY"}, module),)
    file = tmp_path / "model.yaml"
    file.write_text(MODEL.format(family="odd"))
    ran = noria("validate", "-f", file, sites=sites)
    assert ran.returncode == 2
    assert "the rule fails of odd fails: RuntimeError: no luck; mend the family" in ran.stderr


def test_the_suite_names_what_is_wrong_and_goes_on(
    noria: Noria, distribution: Distribution
) -> None:
    sites = (distribution("odd", {}, "import pandas\n" + described("odd")),)
    ran = noria("family", "check", "odd_module:FAMILY", sites=sites)
    assert ran.returncode == 1
    lines = ran.stdout.splitlines()
    failed = {line.split()[1].rstrip(":") for line in lines if line.startswith("failed")}
    assert {"light", "installed", "schema", "spaces", "paths", "template"} <= failed
    assert "it imports numpy, pandas" in ran.stdout
    assert '[project.entry-points."noria.families"] with odd = "odd_module:FAMILY"' in ran.stdout
    assert "guess has no space" in ran.stdout
    assert any(line.startswith("ok      options:") for line in lines)
    assert "checks failed or could not run" in lines[-1]
    assert "Traceback" not in ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere:FAMILY", "No module named 'nowhere'"),
        ("noria.spec:Model", "is a ModelMetaclass"),
        ("tea-leaves", "is not a task family that is installed here"),
    ],
)
def test_the_suite_is_given_a_family(noria: Noria, path: str, said: str) -> None:
    ran = noria("family", "check", path)
    assert ran.returncode == 2
    assert said in ran.stderr


def test_the_shared_sources_are_those_of_the_resource() -> None:
    assert tuple(Source.model_fields) == SHARED_SOURCES


def test_a_metric_of_rankings_is_refused_where_the_monitor_measures(
    noria: Noria, toy: Path, tmp_path: Path
) -> None:
    changes = {'metrics=("mae", "r2"': 'metrics=("ndcg-at-10", "mae"'}
    site = altered(toy, tmp_path, "describe.py", changes)
    noria("init", "mood", "--family", "toy-text", sites=(site,))
    file = tmp_path / "mood" / "model.yaml"
    model = yaml.safe_load(file.read_text())
    model["spec"]["gates"] = {"bounds": [{"metric": "ndcg-at-10", "min": 0.3}]}
    file.write_text(yaml.safe_dump(model))
    ran = noria("validate", "-f", file, sites=(site,))
    assert ran.returncode == 0, ran.stderr
    model["spec"]["monitoring"] = {"performance": {"metrics": ["ndcg-at-10", "mae"]}}
    analysis = [{"metric": "ndcg-at-10", "maxDrop": 0.01}]
    model["spec"]["serving"] = {"canary": {"analysis": analysis}}
    file.write_text(yaml.safe_dump(model))
    ran = noria("validate", "-f", file, sites=(site,))
    assert ran.returncode == 2
    said = "ndcg-at-10 is measured on rankings, and the monitor knows labels of rows alone"
    assert f"spec.monitoring.performance.metrics[0]: {said}" in ran.stderr
    assert f"spec.serving.canary.analysis[0].metric: {said}" in ran.stderr
