"""A command of the project's own: what it is told, what it may write, and what it is refused."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noria.embedded.home import Home
from noria.embedded.receiving import receive
from noria.errors import DataError, IntegrityError, InvalidInput, NoriaError, OwnCodeError
from noria.spec import ModelSpec, SpecError, load_model, parse_model
from noria.tasks.candidate import Made, make_candidate
from noria.tasks.families import family
from noria.tasks.package import load_predictor, package_digest, read_manifest
from noria.tasks.tabular.hand_made import package_linear
from noria.tasks.tabular.schema import columns_of

ROWS = 600
READ = """
import json, os, pathlib
import numpy as np, pandas as pd
out = pathlib.Path(os.environ["NORIA_OUTPUT"])
rows = pd.read_parquet(os.environ["NORIA_DATA"])
target, classes = os.environ["NORIA_TARGET"], json.loads(os.environ["NORIA_CLASSES"])
weight = os.environ["NORIA_WEIGHT"]
features = rows.drop(columns=[target, *([weight] if weight else [])])
parameters = json.loads(pathlib.Path(os.environ["NORIA_PARAMETERS"]).read_text())
"""
BOOSTED = """
import lightgbm as lgb
kind = {"objective": "multiclass", "num_class": len(classes)} if len(classes) > 2 else \\
    {"objective": "binary" if classes else "regression"}
y = [classes.index(v) for v in rows[target].tolist()] if classes else rows[target]
settings = {**kind, "verbose": -1, "seed": int(os.environ["NORIA_SEED"]), "num_threads": 1}
booster = lgb.train(settings, lgb.Dataset(features, y), num_boost_round=10)
booster.save_model(out / "any.lgb")
"""
XGBOOST = """
import xgboost as xgb
y = [classes.index(v) for v in rows[target].tolist()]
data = xgb.DMatrix(features, y, enable_categorical=True)
settings = {"objective": "multi:softprob", "num_class": 3, "nthread": 1}
xgb.train(settings, data, num_boost_round=5).save_model(out / "model.ubj")
"""
SKLEARN = """
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
numbers = make_column_transformer(("passthrough", ["x", "flag"]))
fitted = make_pipeline(numbers, LogisticRegression()).fit(features, rows[target])
"""
MLFLOW = """
out.joinpath("MLmodel").write_text(
    "flavors:\\n  python_function: {loader_module: x}\\n"
    "  sklearn: {pickled_model: model.skops, serialization_format: skops}\\n")
skops.io.dump(fitted, out / "model.skops")
"""
PACKAGE = """
from noria.tasks.tabular.hand_made import package_linear
package_linear(out, "m", ["x"], [2.0], 0.5)
"""

Spec = Callable[..., ModelSpec]


@pytest.fixture
def spec_of() -> Spec:
    def build(
        target: str = "y",
        train: dict[str, Any] | None = None,
        kind: str = "categorical",
        **options: Any,
    ) -> ModelSpec:
        own = {"command": ["python", "train.py"], "files": ["train.py"], **options}
        resource = {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "own"},
            "spec": {
                "task": {"family": "custom", "options": own},
                "data": {
                    "source": {"parquet": {"paths": ["rows.parquet"]}},
                    "features": [
                        {"name": "x", "type": "numeric"},
                        {"name": "kind", "type": kind},
                        {"name": "flag", "type": "boolean"},
                    ],
                    "target": target,
                    "eventTime": "at",
                    "validation": {"minRows": 100},
                },
                "train": {"refit": False, **(train or {})},
            },
        }
        return parse_model(json.dumps(resource)).spec

    return build


@pytest.fixture
def project(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x = rng.normal(size=ROWS)
    noisy = x + rng.normal(size=ROWS)
    folder = tmp_path / "project"
    folder.mkdir()
    pd.DataFrame(
        {
            "x": x,
            "kind": rng.choice(["a", "b"], ROWS),
            "flag": rng.random(ROWS) < 0.5,
            "at": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.arange(ROWS), "h"),
            "y": (noisy > 0).astype(int),
            "three": np.array(["low", "mid", "up"], object)[np.digitize(noisy, [-0.5, 0.5])],
            "value": 3.0 * x + 1.0 + rng.normal(size=ROWS),
        }
    ).to_parquet(folder / "rows.parquet")
    return folder


def made(spec: ModelSpec, project: Path, script: str, champion: Path | None = None) -> Made:
    (project / "train.py").write_text(script)
    tasks = family("custom")
    rows = tasks.ingest(spec, project, None)
    frame = tasks.features(spec, project, rows)
    folder = project.parent / f"made-{len(list(project.parent.iterdir()))}"
    return make_candidate(tasks, spec, frame, champion, folder, model="own")


@pytest.mark.parametrize(
    ("script", "target", "file", "metric", "least"),
    [
        (READ + BOOSTED, "y", "model/any.lgb", "accuracy", 0.65),
        pytest.param(
            READ + BOOSTED, "three", "model/any.lgb", "accuracy", 0.45, marks=pytest.mark.slow
        ),
        pytest.param(READ + BOOSTED, "value", "model/any.lgb", "r2", 0.7, marks=pytest.mark.slow),
        pytest.param(
            READ + XGBOOST, "three", "model/model.ubj", "accuracy", 0.45, marks=pytest.mark.slow
        ),
        pytest.param(
            READ + SKLEARN + MLFLOW,
            "three",
            "model/model.skops",
            "accuracy",
            0.45,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            READ + SKLEARN + MLFLOW, "y", "model/MLmodel", "accuracy", 0.65, marks=pytest.mark.slow
        ),
        (READ + PACKAGE, "y", "model/noria.json", "accuracy", 0.65),
    ],
)
def test_what_a_command_wrote_is_measured_and_loads_without_its_code(
    spec_of: Spec, project: Path, script: str, target: str, file: str, metric: str, least: float
) -> None:
    spec = spec_of(target, predicts="number" if target == "value" else "class")
    result = made(spec, project, script)
    assert result.evaluation.metrics[metric].value > least
    manifest = read_manifest(result.package)
    assert (manifest.algorithm, file in manifest.files) == ("own-command", True)
    assert not [name for name in manifest.files if name.endswith(".py")]
    predictor = load_predictor(result.package, digest=package_digest(result.package))
    rows = pd.read_parquet(project / "rows.parquet").head(4)
    said = predictor.predict(columns_of(manifest.features, None, rows))
    assert [item.name for item in manifest.outputs] == list(said)
    assert all(len(values) == 4 for values in said.values())


def test_what_a_command_wrote_is_measured_by_a_metric_of_the_projects_own(
    spec_of: Spec, project: Path
) -> None:
    (project / "cost.py").write_text(
        "def error(predict, features, target):\n    return abs(predict(features) - target)\n"
    )
    own = {"name": "error", "function": "cost.py:error", "greaterIsBetter": False}
    spec = spec_of("value", predicts="number", ownMetrics=[own])
    found = made(spec, project, READ + BOOSTED).evaluation.metrics
    assert found["error"].value == pytest.approx(found["mae"].value)
    assert found["error"].high == pytest.approx(found["mae"].high, rel=0.05)


@pytest.mark.slow
def test_an_exported_program_of_pytorch_holds_a_pickle_and_is_taken_when_allowed(
    spec_of: Spec, project: Path
) -> None:
    script = (
        READ
        + """
import torch
class Net(torch.nn.Module):
    def forward(self, rows):
        return torch.sigmoid(2 * rows[:, 0])
rows_of = {0: torch.export.Dim("rows")}
with torch.no_grad():
    program = torch.export.export(Net(), (torch.zeros(4, 3),), dynamic_shapes=(rows_of,))
torch.export.save(program, out / "net.pt2")
"""
    )
    rows = pd.read_parquet(project / "rows.parquet").assign(kind=lambda rows: rows["x"].abs())
    rows.to_parquet(project / "rows.parquet")
    with pytest.raises(IntegrityError, match=r"net.pt2, which is an archive with .*, a pickle"):
        made(spec_of(kind="numeric"), project, script)
    result = made(spec_of(kind="numeric", allowPickle=True), project, script)
    assert result.evaluation.metrics["accuracy"].value > 0.65


TELL = (
    READ
    + """
told = {name: value for name, value in os.environ.items() if name.startswith("NORIA_")}
told |= {"argv": __import__("sys").argv[1:], "here": [p.name for p in pathlib.Path().iterdir()],
    "types": features.dtypes.astype(str).to_dict(), "parameters": parameters,
    "weights": float(rows[weight].mean()) if weight else None, "rows": len(rows)}
with open(parameters["log"], "a") as log:
    log.write(json.dumps(told) + "\\n")
"""
    + PACKAGE
)


def test_a_command_finds_rows_parameters_and_seed_and_is_run_for_every_fit(
    spec_of: Spec, project: Path
) -> None:
    log = project / "log.jsonl"
    command = ["python", "train.py", "--target=$NORIA_TARGET", "$HOME_IS_NOT_TOLD"]
    train = {"hyperparameters": {"log": str(log), "depth": 3}, "seed": 7, "refit": True}
    champion = made(spec_of(command=command, train=train), project, TELL)
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(told) == 2
    first, last = told
    assert first["rows"] < last["rows"] == ROWS
    assert (first["argv"], first["here"]) == (
        ["--target=y", "$HOME_IS_NOT_TOLD"], ["train.py"],
    )  # fmt: skip
    assert first["types"] == {"x": "float64", "kind": "category", "flag": "float64"}
    assert (first["NORIA_TARGET"], first["NORIA_PREDICTS"]) == ("y", "class")
    assert (first["NORIA_CLASSES"], first["NORIA_SEED"]) == ("[0, 1]", "7")
    assert first["parameters"] == {"log": str(log), "depth": 3}
    assert champion.manifest.parameters == first["parameters"]
    assert not Path(first["NORIA_OUTPUT"]).exists()
    assert first["weights"] is None


@pytest.mark.slow
def test_a_pickle_that_a_command_wrote_is_refused_by_its_name_and_taken_when_allowed(
    spec_of: Spec, project: Path
) -> None:
    pickled = (
        READ
        + SKLEARN
        + """
import pickle
(out / "model.pkl").write_bytes(pickle.dumps(fitted))
(out / "MLmodel").write_text("flavors: {sklearn: {pickled_model: model.pkl}}")
"""
    )
    with pytest.raises(IntegrityError, match=r"python train.py saved model.pkl, which is a pickle"):
        made(spec_of(), project, pickled)
    result = made(spec_of(allowPickle=True), project, pickled)
    assert result.evaluation.metrics["accuracy"].value > 0.65
    assert load_predictor(result.package).manifest.options["allowPickle"] is True


@pytest.mark.parametrize(
    ("script", "kind", "said"),
    [
        (
            "print('no rows today'); raise SystemExit(4)",
            OwnCodeError,
            "ended with code 4; its last",
        ),
        ("import os, signal; os.kill(os.getpid(), 9)", OwnCodeError, "was ended by signal 9"),
        ("pass", OwnCodeError, "wrote nothing into the folder NORIA_OUTPUT"),
        (READ + "(out / 'model.bin').write_text('x')", InvalidInput, "it wrote no model"),
        (READ + "(out / 'a.lgb').write_text('x')", OwnCodeError, "a.lgb: lightgbm can't load it"),
        (READ + "[(out / n).write_text('') for n in ('a.lgb', 'b.ubj')]", InvalidInput, "2 models"),
        (
            READ + "(out / 'MLmodel').write_text('flavors: {spark: {}}')",
            InvalidInput,
            "its flavors are spark, none of which is read; save it with mlflow.lightgbm",
        ),
        (
            READ + "(out / 'MLmodel').write_text('flavors: {lightgbm: {data: gone.lgb}}')",
            InvalidInput,
            "MLmodel: names gone.lgb, which is not there",
        ),
        (
            READ + "import lightgbm as lgb\nlgb.train({'verbose': -1}, lgb.Dataset("
            "features[['x']], rows[target]), 2).save_model(out / 'm.lgb')\n"
            "t = (out / 'm.lgb').read_text(); (out / 'm.lgb').write_text(t.replace("
            "'feature_names=x', 'feature_names=z'))",
            OwnCodeError,
            "m.lgb (lightgbm): predict failed",
        ),
    ],
)
def test_what_a_command_does_wrong_is_said(
    spec_of: Spec, project: Path, script: str, kind: type[NoriaError], said: str
) -> None:
    with pytest.raises(kind, match=re.escape(said)) as raised:
        made(spec_of(), project, script)
    assert raised.value.fix


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "model.py:M"}, "spec.task.options.model: there is a command too; keep one"),
        ({"files": ["../train.py"]}, "options.files: ../train.py does not lie below this file"),
        ({"trained": "t"}, "spec.task.options.command: there is trained too; keep one of them"),
        ({"trained": "../t", "command": [], "files": []}, "options.trained: ../t does not lie"),
        ({"command": [" "]}, "spec.task.options.command[0]: names no program"),
        ({"command": []}, "spec.task.options.files: is of a command, and there is none"),
    ],
)
def test_options_of_a_command_that_can_not_be_are_problems(
    spec_of: Spec, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError, match=re.escape(said)):
        spec_of(**options)


def elsewhere(project: Path) -> ModelSpec:
    """Return the spec of a model that was trained elsewhere, and put one into its folder."""
    package_linear(project / "trained", "m", ["x"], [2.0], 0.5)
    return parse_model(
        json.dumps(
            {
                "apiVersion": "noria.dev/v1alpha1",
                "kind": "Model",
                "metadata": {"name": "own"},
                "spec": {
                    "task": {"family": "custom", "options": {"trained": "trained"}},
                    "data": {
                        "source": {"parquet": {"paths": ["rows.parquet"]}},
                        "features": [{"name": "x", "type": "numeric"}],
                        "target": "y",
                        "eventTime": "at",
                        "validation": {"minRows": 100},
                    },
                },
            }
        )
    ).spec


def test_a_model_that_was_trained_elsewhere_is_judged_packaged_and_never_fitted(
    project: Path,
) -> None:
    spec = elsewhere(project)
    result = made(spec, project, "raise SystemExit('it is not run')")
    assert result.evaluation.metrics["accuracy"].value > 0.65
    manifest = read_manifest(result.package)
    assert manifest.algorithm == "trained-elsewhere"
    rows = pd.read_parquet(project / "rows.parquet")
    said = load_predictor(result.package).predict({"x": rows["x"].to_numpy()})["probability"]
    np.testing.assert_allclose(said, 1 / (1 + np.exp(-(2 * rows["x"] + 0.5))))


def test_a_model_that_changes_during_a_run_is_refused(project: Path) -> None:
    spec, tasks = elsewhere(project), family("custom")
    frame = tasks.features(spec, project, tasks.ingest(spec, project, None))
    (project / "trained" / "more.txt").write_text("x")
    with pytest.raises(DataError, match="has changed since the run began"):
        make_candidate(tasks, spec, frame, None, project / "made", model="own")
    for path in (project / "trained").iterdir():
        path.unlink()
    with pytest.raises(InvalidInput, match=r"there is no model in .*trained; put one there"):
        tasks.ingest(spec, project, None)


def test_a_model_is_received_whole_and_in_place_of_the_last(project: Path, tmp_path: Path) -> None:
    spec = elsewhere(project).model_dump(mode="json", by_alias=True)
    resource = {"apiVersion": "noria.dev/v1alpha1", "kind": "Model", "metadata": {"name": "own"}}
    (project / "model.yaml").write_text(json.dumps({**resource, "spec": spec}))
    home = Home(tmp_path / "home").create()
    home.remember(load_model(project / "model.yaml"), project / "model.yaml")
    new = tmp_path / "new"
    new.mkdir()
    with pytest.raises(InvalidInput, match="new is no folder with a model in it"):
        receive(home, "own", str(new))
    (new / "a.lgb").write_text("tree")
    assert receive(home, "own", str(new)) == project / "trained"
    assert [path.name for path in (project / "trained").iterdir()] == ["a.lgb"]
    (new / "a.lgb").write_text("another tree")
    receive(home, "own", (new).as_uri())
    assert (project / "trained" / "a.lgb").read_text() == "another tree"
    assert not [path for path in project.iterdir() if path.name.startswith(".trained")]
    spec["task"]["options"] = {}
    del spec["train"]["algorithm"]
    (project / "model.yaml").write_text(json.dumps({**resource, "spec": spec}))
    with pytest.raises(InvalidInput, match="own: custom takes no model that was trained elsewhere"):
        receive(home, "own", str(new))


def test_a_program_that_is_not_there_is_bad_input(spec_of: Spec, project: Path) -> None:
    with pytest.raises(InvalidInput, match="no-such-program can't be started"):
        made(spec_of(command=["no-such-program"]), project, "")


def test_python_is_the_one_that_runs_noria(spec_of: Spec, project: Path) -> None:
    script = f"import sys\nassert sys.executable == {sys.executable!r}\n" + READ + PACKAGE
    assert made(spec_of(), project, script).package.is_dir()
