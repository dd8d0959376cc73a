"""Dashboards and alerting files against the schemas that Grafana itself publishes.

Dashboards: the types of the npm package @grafana/schema, by the TypeScript compiler, which
refuses unknown keys and values outside an enumeration. Alerting files: the API's Go types. Both
are fetched when the test runs; nothing of them is kept here.
"""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from monitoring.dashboards import fleet_dashboard, grafana_files, model_dashboard
from noria.spec import Model, load_model

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).parents[3]
PACKAGES: Final = ("@grafana/schema@13.2.3", "typescript@5.9.3")
IMPORTS: Final = """
import type { Dashboard } from "@grafana/schema";
import type { Options as A, FieldConfig as AC } from
  "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";
import type { Options as B } from
  "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type { Options as C } from
  "@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen";
import type { Options as D, FieldConfig as DC } from
  "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";
// What JSON can hold of a type: the values of its enumerations instead of their names.
type J<T> = T extends string ? `${T}` : T extends (infer U)[] ? J<U>[]
  : T extends object ? { [K in keyof T]: J<T[K]> } : T;
"""
TYPES: Final = {"timeseries": "A", "stat": "B", "bargauge": "C", "state-timeline": "D"}
PROMETHEUS_ONLY: Final = {"expr", "legendFormat", "editorMode", "instant", "range", "interval"}
"""Keys of a query that are the datasource's own: the schema leaves them to it."""
MARKS_ONLY: Final = {"titleFormat", "textFormat"}
"""Keys of an annotation that are the Prometheus datasource's own."""


@pytest.fixture(scope="module")
def models() -> list[Model]:
    return [load_model(file) for file in sorted(ROOT.glob("examples/*/model.yaml"))]


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Grafana's types and a TypeScript compiler."""
    folder = tmp_path_factory.mktemp("types")
    if shutil.which("npm") is None:
        pytest.fail("npm is not installed; run: sudo apt-get install -y npm")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    install = ["npm", "install", "--no-audit", "--no-fund", "--silent", *PACKAGES]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def compiled(folder: Path, dashboards: list[dict[str, Any]]) -> str:
    """Return what the compiler has to say about dashboards; empty when it has nothing."""
    (folder / "check.ts").write_text(IMPORTS + "\n".join(statements(dashboards)))
    options = ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022"]
    modules = ["--module", "nodenext", "--moduleResolution", "nodenext"]
    command = ["npx", "--no-install", "tsc", *options, *modules, "check.ts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "\n".join(line for line in done.stdout.splitlines() if "error" in line)


def statements(dashboards: list[dict[str, Any]]) -> Iterator[str]:
    for number, dashboard in enumerate(dashboards):
        bare = copy.deepcopy(dashboard)
        for holder in [*bare["annotations"]["list"], *bare["panels"]]:
            for query in [holder.get("target"), *holder.get("targets", [])]:
                for key in PROMETHEUS_ONLY & set(query or {}):
                    del query[key]
        for mark in bare["annotations"]["list"]:
            for key in MARKS_ONLY & set(mark):
                del mark[key]
        yield f"export const d{number}: J<Dashboard> = {json.dumps(bare)};"
        for panel in dashboard["panels"]:
            kind = TYPES.get(panel["type"])
            if kind is None:
                assert panel["type"] == "row"
                continue
            yield f"{{ const o: J<{kind}> = {json.dumps(panel['options'])}; void o; }}"
            if kind in ("A", "D"):
                custom = json.dumps(panel["fieldConfig"]["defaults"]["custom"])
                yield f"{{ const c: J<{kind}C> = {custom}; void c; }}"


def test_dashboards_are_as_grafana_has_them(compiler: Path, models: list[Model]) -> None:
    pages = [fleet_dashboard(), *(model_dashboard(model) for model in models)]
    assert compiled(compiler, pages) == ""


def test_the_compiler_would_find_a_mistake(compiler: Path) -> None:
    wrong = fleet_dashboard()
    panel = next(panel for panel in wrong["panels"] if panel["type"] == "timeseries")
    panel["options"]["tooltip"]["mode"] = "several"
    panel["gridpos"] = {}
    wrong["templating"]["list"][0]["includAll"] = True
    said = compiled(compiler, [wrong])
    for mistake in ("several", "gridpos", "includAll"):
        assert mistake in said


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that reads alerting files as Grafana's API has them."""
    if shutil.which("go") is None:
        pytest.fail("go is not installed; run: sudo apt-get install -y golang-go")
    program = tmp_path_factory.mktemp("go") / "provisioning-schema"
    done = subprocess.run(
        ["go", "build", "-mod=readonly", "-o", str(program), "."],
        cwd=Path(__file__).parent / "provisioning_schema",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return program


def checked(program: Path, folder: Path, documents: list[Any]) -> subprocess.CompletedProcess[str]:
    files = []
    for number, document in enumerate(documents):
        files.append(folder / f"{number}.json")
        files[-1].write_text(json.dumps(document))
    return subprocess.run([program, *files], capture_output=True, text=True, check=False)


def alerting(models: list[Model]) -> list[Any]:
    return [
        yaml.safe_load(text)
        for path, text in grafana_files(models).items()
        if path.startswith("provisioning/alerting/")
    ]


def test_alerting_files_are_as_grafana_has_them(
    checker: Path, models: list[Model], tmp_path: Path
) -> None:
    done = checked(checker, tmp_path, alerting(models))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3 files are as Grafana has them\n"


@pytest.mark.parametrize(
    ("key", "value"), [("noDataState", "Never"), ("annotation", {}), ("isPaused", "no")]
)
def test_the_checker_would_find_a_mistake(
    checker: Path, models: list[Model], tmp_path: Path, key: str, value: Any
) -> None:
    rules = alerting(models)[0]
    rules["groups"][0]["rules"][0][key] = value
    assert checked(checker, tmp_path, [rules]).returncode == 1
