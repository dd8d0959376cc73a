"""A metric of a family's own: gates, a search, the monitor and the canary go by it."""

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


@pytest.mark.slow
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
    analysis = [{"metric": "within-half", "min": -1, "maxDrop": 1}]
    with_spec(
        project,
        gates={"bounds": [{"metric": "within-half", "min": 0.7}]},
        monitoring={
            "performance": {
                "metrics": ["within-half", "spread"],
                "drop": {"metric": "within-half", "max": 1},
            }
        },
        serving={"canary": {"analysis": analysis}},
    )
    ran = noria("validate", "-f", project, sites=(toy,))
    assert ran.returncode == 2
    checked = "spec.serving.canary.analysis[0]"
    for problem in (
        "spec.monitoring.performance.metrics[1]: 'spread' is not a metric",
        "spec.monitoring.performance.drop.max: 1 is the whole range of within-half",
        f"{checked}.min: -1 is under 0, the least that within-half can be",
        f"{checked}.maxDrop: 1 is the whole range of within-half",
    ):
        assert problem in ran.stderr
    # Its limits are numbers: that of no time is one.
    analysis[0] = {"metric": "within-half", "min": "250ms"}
    with_spec(project, monitoring={}, serving={"canary": {"analysis": analysis}})
    ran = noria("validate", "-f", project, sites=(toy,))
    assert f"{checked}.min: '250ms' is not a number, and 'within-half' has no unit" in ran.stderr


def test_where_it_is_the_default_it_judges_and_is_watched(
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
    assert ran.stdout.splitlines() == [
        "within-half within-half",
        "within-half mae within-half",
        "within-half mae",
    ], ran.stderr


@pytest.mark.slow
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
    with_spec(
        project,
        monitoring={
            "performance": {
                "metrics": ["within-half"],
                "drop": {"metric": "within-half", "max": 0.1},
            }
        },
        serving={"canary": {"analysis": [{"metric": "within-half", "min": 0.5}]}},
    )
    ran = noria("validate", "-f", project, sites=(site,))
    assert f"spec.monitoring.performance.drop.metric: {said}; judge by another" in ran.stderr
    assert f"spec.serving.canary.analysis[0].metric: {said}; judge by another" in ran.stderr
    # The monitor shows it, and no drop is watched where nothing else is measured.
    assert "spec.monitoring.performance.metrics" not in ran.stderr
    shown = {"performance": {"metrics": ["within-half"]}}
    with_spec(project, monitoring=shown, serving={})
    ran = noria("validate", "-f", project, sites=(site,))
    assert "spec.monitoring" not in ran.stderr
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


@pytest.mark.slow
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
        (
            {"<= 0.5)": "<= abs(prediction - truth).mean())"},
            "alone: it may not depend on the others",
        ),
    ],
    ids=["direction", "too few", "an error", "by chance", "not finite", "of all"],
)
def test_the_suite_finds_a_metric_that_can_not_be_gone_by(
    noria: Noria, toy: Path, tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    site = altered(toy, tmp_path, "describe.py", changes)
    ran = noria("family", "check", "toy-text", "--json", sites=(site,))
    found = {one["name"]: one for one in json.loads(ran.stdout)}
    assert found["measures"]["outcome"] == "failed"
    assert said in found["measures"]["detail"]


WATCHING = Path(__file__).with_name("watching.py")
WATCHED = {
    "monitoring": {
        "window": {"rows": 200},
        "performance": {
            "metrics": ["within-half", "mae"],
            "window": {"rows": 200},
            "drop": {"metric": "within-half", "max": 0.2},
        },
    },
    "serving": {
        "canary": {
            "steps": [50],
            "minSamples": 100,
            "analysis": [
                {"metric": "error-rate", "max": 0.1},
                {"metric": "within-half", "maxDrop": 0.2},
            ],
        }
    },
}


def watched(site: Path, project: Path, *where: str) -> dict[str, Any]:
    """What a monitor, its replicas and a canary make of the rows of ``watching.py``."""
    with_spec(project, **WATCHED)
    ran = subprocess.run(
        [sys.executable, str(WATCHING), str(project.parents[1]), *where],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def series(lines: list[str], name: str, **labels: str) -> float:
    """The value of a series of the monitor's exposition."""
    text = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    (line,) = (one for one in lines if one.startswith(f"noria_monitor_{name}{{{text}}} "))
    return float(line.rpartition(" ")[2])


def test_the_monitor_measures_it_and_a_drop_and_a_worse_candidate_are_seen(
    toy: Path, project: Path
) -> None:
    found = watched(toy, project)
    # 150 texts with both targets within a half, and 50 with one of two: (150 + 25) / 200.
    of_first = {"metric": "within-half", "model": "mood", "version": "1"}
    shown = [
        series(found["exposed"], f"performance{end}", **of_first) for end in ("_low", "", "_high")
    ]
    assert shown[1] == 0.875
    assert 0.80 < shown[0] < 0.875 < shown[2] < 0.92
    assert series(found["exposed"], "performance_expected", **of_first) == 0.9
    assert found["first"]["signals"] == []
    # Of two replicas that had half of these rows each, the aggregator knows the same.
    one, fleet = (
        seen["1"]["metrics"]["within-half"]
        for seen in (found["first"]["performance"], found["together"])
    )
    assert fleet == one
    # Version 2 has half of its texts right: by its own metric the canary refuses it.
    (ended,) = found["canary"]["ended"]
    assert ended[0] == "aborted"
    assert "within-half 0.5 against the champion's 0.875: 0.375 worse" in ended[1]
    assert found["canary"]["champion"] == "1"
    # Then the champion drops from 0.9 to a half: by 0.2 at least, whatever the interval leaves.
    (signal,) = found["second"]["signals"]
    assert signal["kind"] == "performance"
    assert signal["detail"].startswith("within-half is 0.5, 0.9 at training: worse by 0.3")
    assert series(found["exposed again"], "performance_drop_low", **of_first) > 0.2
    failures = {"metric": "within-half", "model": "mood"}
    assert series(found["exposed again"], "metric_failures_total", **failures) == 0
    assert found["second"]["problems"] == {}


PAGES = """
import sys
from pathlib import Path
from monitoring.dashboards import model_dashboard
from monitoring.rules import RuleSettings, rule_groups
from noria.spec import load_model
model = load_model(Path(sys.argv[1]))
(panel,) = (p for p in model_dashboard(model)["panels"] if p["title"] == "within-half by version")
print("higher is better" in panel["description"], panel["fieldConfig"]["defaults"]["unit"])
print(next(t["expr"] for t in panel["targets"] if t["legendFormat"] == "limit"))
rules = [rule for group in rule_groups(model, RuleSettings())["groups"] for rule in group["rules"]]
print(next(rule["expr"] for rule in rules if rule["alert"] == "NoriaPerformanceDrop"))
"""


def test_dashboards_and_rules_know_its_direction(toy: Path, tmp_path: Path, project: Path) -> None:
    with_spec(project, **WATCHED)
    other = altered(toy, tmp_path, "describe.py", {'"within-half", True': '"within-half", False'})
    for site, better, sign in ((toy, "True", "-"), (other, "False", "+")):
        ran = subprocess.run(
            [sys.executable, "-c", PAGES, str(project)],
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            check=True,
        )
        panel, limit, rule = ran.stdout.splitlines()
        assert panel == f"{better} none"
        assert 'metric="within-half"' in limit
        assert limit.endswith(f" {sign} 0.2")
        assert rule.endswith(" > 0.2")


def test_less_of_it_is_better_where_the_family_says_so(
    toy: Path, tmp_path: Path, project: Path
) -> None:
    # The share that is more than a half off, under another direction: the same rows, the same end.
    changes = {
        '"within-half", True': '"within-half", False',
        "<= 0.5).mean": "> 0.5).mean",
    }
    found = watched(altered(toy, tmp_path, "describe.py", changes), project)
    assert found["first"]["performance"]["1"]["metrics"]["within-half"]["value"] == 0.125
    (ended,) = found["canary"]["ended"]
    assert "within-half 0.5 against the champion's 0.125: 0.375 worse" in ended[1]
    # 0.9 of the texts were off at training, it is told: a half is better than that.
    assert found["second"]["signals"] == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({".mean(axis=1)": ".mean(axis=7)"}, "its function raised AxisError"),
        ({"return (abs": "raise SystemExit(3)\n    return (abs"}, "its function raised SystemExit"),
        ({".mean(axis=1)": ".mean(axis=0)"}, "its function gave the shape (2,), not ("),
        ({".mean(axis=1)": ".sum(axis=1)"}, "to 2, and its limits are 0 and 1"),
        ({"return (abs": "import nothing_of\n    return (abs"}, "No module named 'nothing_of'"),
    ],
    ids=["raises", "exits", "shape", "limits", "library"],
)
def test_a_function_that_fails_is_set_aside_counted_and_named(
    toy: Path, tmp_path: Path, project: Path, changes: dict[str, str], said: str
) -> None:
    found = watched(altered(toy, tmp_path, "describe.py", changes), project)
    for status, exposed, windows in (
        (found["first"], found["exposed"], 2),
        (found["second"], found["exposed again"], 3),
    ):
        # Each window asks it once; the next is asked again, and the other metric is measured.
        labels = {"metric": "within-half", "model": "mood"}
        assert series(exposed, "metric_failures_total", **labels) == windows
        assert series(exposed, "metric_problem", **labels) == 1
        assert said in status["problems"]["metric within-half"]
        assert said in status["waiting"]["performance"]
        assert status["performance"]["1"]["metrics"]["mae"]["value"] == pytest.approx(
            0.6 if windows == 2 else 1.0
        )
        assert status["signals"] == []
        assert status["counts"]["unreadable"] == 0
    # Nothing is held up, and nobody takes what isn't known for well.
    assert found["healthy"]
    assert said in found["measured"]["error"]
    assert found["canary"]["champion"] == "1"
    assert found["canary"]["ended"] == []
    assert any("within-half can't be measured" in held for held in found["canary"]["held"])


def test_a_monitor_without_the_family_measures_the_rest_and_says_so(
    toy: Path, project: Path
) -> None:
    found = watched(toy, project, "elsewhere")
    said = "'toy-text' is not a task family that is installed here"
    # It is known before there is any window, and each window is counted.
    assert found["at once"]["metric within-half"] == said
    labels = {"metric": "within-half", "model": "mood"}
    assert series(found["exposed"], "metric_problem", **labels) == 1
    assert series(found["exposed again"], "metric_failures_total", **labels) == 3
    measured = found["second"]["performance"]["1"]["metrics"]
    assert said in measured["within-half"]["problem"]
    assert measured["mae"]["value"] == 1.0
    assert found["second"]["counts"]["joined"] == 600
    assert found["second"]["targets"] == ["pleasant", "lively"]
    assert found["healthy"]
    assert found["canary"]["ended"] == []
    assert any(said in held for held in found["canary"]["held"])
    # With the family there, the same file is all that a monitor needs.
    assert found["together"]["1"]["metrics"]["within-half"]["value"] == 0.875


def test_a_configuration_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "monitor.json"
    for text in ("{", '{"family": {}, "watched": {}}', None):
        file.unlink(missing_ok=True) if text is None else file.write_text(text)
        command = [sys.executable, "-m", "monitoring", "--config", str(file), "--state", "state"]
        ran = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
        )
        assert ran.returncode == 2
        assert str(file) in ran.stderr
        assert "Traceback" not in ran.stderr
