"""A metric of a family's own as a gate, as what a search improves, and where it is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.families.installed import altered

Noria = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def project(noria: Noria, toy: Path, tmp_path: Path) -> Path:
    """The model.yaml of a new project of the toy, with its texts."""
    assert noria("init", "mood", "--family", "toy-text", sites=(toy,)).returncode == 0
    subprocess.run([sys.executable, str(tmp_path / "mood" / "data.py")], check=True)
    return tmp_path / "mood" / "model.yaml"


def with_spec(file: Path, **sections: Any) -> Path:
    model = yaml.safe_load(file.read_text())
    model["spec"].update(sections)
    file.write_text(yaml.safe_dump(model))
    return file


def test_it_gates_and_a_search_improves_it(noria: Noria, toy: Path, project: Path) -> None:
    search = {"kind": "random", "trials": 3, "metric": "within-half"}
    bounds = [{"metric": "within-half", "min": 0.7, "max": 0.75}]
    with_spec(project, train={"search": search}, gates={"bounds": bounds})
    ran = noria("train", "-f", project, sites=(toy,))
    lines = [line.split() for line in ran.stdout.splitlines()]
    (value,) = (float(line[1]) for line in lines if line[:1] == ["within-half"])
    assert 0.85 < value < 0.95
    verdicts = {line[0]: line[1] for line in lines if line and line[0].startswith("within-half-")}
    assert verdicts == {"within-half-min": "pass", "within-half-max": "fail"}


def test_validate_knows_it_and_says_where_it_can_not_be(
    noria: Noria, toy: Path, project: Path
) -> None:
    with_spec(project, gates={"bounds": [{"metric": "within-a-half", "min": 0.7}]})
    ran = noria("validate", "-f", project, sites=(toy,))
    assert ran.returncode == 2
    assert "'within-a-half' is not a metric; did you mean within-half?" in ran.stderr
    wrong = {
        "bounds": [{"metric": "within-half", "min": 1.2}, {"metric": "spread", "min": 0}],
        "champion": [{"metric": "within-half", "maxDrop": 1.0}],
    }
    with_spec(project, gates=wrong)
    ran = noria("validate", "-f", project, sites=(toy,))
    assert "bounds[0].min: 1.2 is over 1, the most that within-half can be" in ran.stderr
    assert "bounds[1].metric: 'spread' is not a metric; choose one of mae, r2, within-half" in (
        ran.stderr
    )
    assert "champion[0].maxDrop: 1 is the whole range of within-half" in ran.stderr
    said = "within-half is a metric of toy-text's own, and the monitor measures Noria's alone"
    with_spec(
        project,
        gates={"bounds": [{"metric": "within-half", "min": 0.7}]},
        monitoring={"performance": {"metrics": ["within-half"], "drop": {"metric": "within-half"}}},
        serving={"canary": {"analysis": [{"metric": "within-half", "maxDrop": 0.1}]}},
    )
    ran = noria("validate", "-f", project, sites=(toy,))
    assert ran.returncode == 2
    for path in (
        "spec.monitoring.performance.metrics[0]",
        "spec.monitoring.performance.drop.metric",
        "spec.serving.canary.analysis[0].metric",
    ):
        assert f"{path}: {said}; remove it here; spec.gates and" in ran.stderr


def test_where_it_is_the_default_it_judges_and_norias_is_watched(
    toy: Path, tmp_path: Path, project: Path
) -> None:
    site = altered(
        toy, tmp_path, "describe.py", {'("mae", "r2", "within-half")': '("within-half", "mae")'}
    )
    with_spec(project, gates={"bounds": [{"metric": "mae", "max": 0.5}]})
    code = """
import sys
from pathlib import Path
from noria.spec import load_model
spec = load_model(Path(sys.argv[1])).spec
print(*(gate.metric for gate in spec.gates.champion), spec.train.search.metric)
print(*spec.monitoring.performance.metrics, spec.monitoring.performance.drop.metric)
print(*(metric.name for metric in spec.watched_metrics))
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, str(project)],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.splitlines() == ["within-half within-half", "mae mae", "mae"], ran.stderr


def test_a_function_of_all_texts_is_shown_and_judges_nothing(
    noria: Noria, toy: Path, tmp_path: Path, project: Path
) -> None:
    site = altered(
        toy, tmp_path, "describe.py", {"per_sample=near)": "whole=lambda t, p: near(t, p).mean())"}
    )
    ran = noria("validate", "-f", project, sites=(site,))
    assert ran.returncode == 2
    said = "within-half has no interval to judge by: it is no mean over samples"
    assert f"spec.gates.bounds[1].metric: {said}; judge by another" in ran.stderr
    assert f"spec.gates.champion[1].metric: {said}" in ran.stderr
    search = {"kind": "random", "trials": 2, "metric": "within-half"}
    gates = {"bounds": [{"metric": "mae", "max": 0.5}], "champion": [{"metric": "mae"}]}
    with_spec(project, gates=gates, train={"search": search})
    ran = noria("train", "-f", project, sites=(site,))
    assert ran.returncode == 0, ran.stderr
    assert ["within-half", "0.9000"] in [line.split() for line in ran.stdout.splitlines()]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({'OwnMetric("within-half"': 'OwnMetric("mae"'}, "Noria has a metric of that name"),
        (
            {"own_metrics=(NEAR,)": "own_metrics=(NEAR, NEAR)"},
            "own_metrics brings within-half twice",
        ),
        ({"own_metrics=(NEAR,)": "own_metrics=(near,)"}, "own_metrics has a function, not a noria"),
        ({"own_metrics=(NEAR,),": ""}, "within-half is not a metric of noria.measures, and own"),
        ({'"r2", "within-half"': '"r2"'}, "brings within-half, and metrics does not name it"),
        (
            {'("mae", "r2", "within-half")': '("within-half",)', "per_sample=near": "whole=near"},
            "within-half is its default metric and has no interval to judge by",
        ),
    ],
    ids=["noria's", "twice", "no metric", "unknown", "unnamed", "whole first"],
)
def test_a_description_that_can_not_hold_is_named(
    noria: Noria, toy: Path, tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    listed = json.loads(
        noria("families", "--json", sites=(altered(toy, tmp_path, "describe.py", changes),)).stdout
    )
    (broken,) = listed["broken"]
    assert said in broken["problem"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {'"within-half", True': '"within-half", False'},
            "which is better, of the same in another",
        ),
        ({".mean(axis=1)": ".mean(axis=0)"}, "gave the shape (2,), not (160,)"),
        ({".mean(axis=1)": ".mean(axis=7)"}, "its function raised"),
        (
            {"return (abs": "import random\n    return random.random() * (abs"},
            "and once more",
        ),
        ({"(abs(prediction - truth) <= 0.5)": "float('nan') * truth"}, "is not a finite number"),
    ],
    ids=["direction", "too few", "an error", "by chance", "not finite"],
)
def test_the_suite_finds_a_metric_that_can_not_be_gone_by(
    noria: Noria, toy: Path, tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    site = altered(toy, tmp_path, "describe.py", changes)
    ran = noria("family", "check", "toy-text", "--json", sites=(site,))
    found = {one["name"]: one for one in json.loads(ran.stdout)}
    assert found["measures"]["outcome"] == "failed"
    assert said in found["measures"]["detail"]
