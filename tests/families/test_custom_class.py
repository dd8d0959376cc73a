"""A class of the project's own, from `fit` to a package that another process loads and asks."""

from __future__ import annotations

import io
import json
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components import BASE_IMAGE
from components.project import project_folder
from components.steps import code_version
from noria.errors import IntegrityError, InvalidInput, NoriaError, NotInstalled, OwnCodeError
from noria.spec import ModelSpec, SpecError, parse_model
from noria.tasks.candidate import Made, make_candidate
from noria.tasks.custom.own_class import import_class
from noria.tasks.families import family
from noria.tasks.package import load_predictor, package_digest, read_manifest, sha256
from noria.tasks.pickles import pickle_in
from noria.tasks.tabular.schema import columns_of
from noria.view import facts, view_of
from pipelines.submission import project_base

ROWS = 600
MORE = ("train", "gates", "monitoring")
CLASS = """
import json
import numpy as np

SEEN = []

class Model:
    def fit(self, train):
        SEEN.append(train)
        self.share = {fit}
    def predict(self, features):
        {predict}
    def save(self, folder):
        {save}
    @classmethod
    def load(cls, folder):
        {load}
"""
WELL = {
    "fit": "float(np.average(train.codes, weights=train.weights))",
    "predict": "return np.clip(self.share + features['x'].fillna(0).to_numpy() * 0.1, 0, 1)",
    "save": "(folder / 'share.json').write_text(json.dumps(self.share))",
    "load": "model = cls(); model.share = json.loads((folder / 'share.json').read_text()); "
    "return model",
}

Spec = Callable[..., ModelSpec]
Code = Callable[..., Path]


def code_of(**parts: str) -> str:
    return CLASS.format(**{**WELL, **parts})


@pytest.fixture
def spec_of() -> Spec:
    def build(**options: Any) -> ModelSpec:
        target = options.pop("target", "y")
        more = {name: options.pop(name) for name in MORE if name in options}
        resource = {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "own"},
            "spec": {
                "task": {"family": "custom", "options": options},
                "data": {
                    "source": {"parquet": {"paths": ["rows.parquet"]}},
                    "features": [
                        {"name": "x", "type": "numeric"},
                        {"name": "kind", "type": "categorical"},
                        {"name": "flag", "type": "boolean"},
                    ],
                    "timeFeatures": ["hour-of-day"],
                    "target": target,
                    "eventTime": "at",
                    "validation": {"minRows": 100},
                },
                **more,
            },
        }
        return parse_model(json.dumps(resource)).spec

    return build


@pytest.fixture
def project(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x = rng.normal(size=ROWS)
    frame = pd.DataFrame(
        {
            "x": x,
            "kind": rng.choice(["a", "b", None], ROWS, p=[0.5, 0.4, 0.1]),
            "flag": rng.random(ROWS) < 0.5,
            "at": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.arange(ROWS), "h"),
            "y": (x + rng.normal(size=ROWS) > 0).astype(int),
            "three": np.array(["low", "mid", "up"], object)[
                np.digitize(x + rng.normal(size=ROWS), [-0.5, 0.5])
            ],
            "value": 3.0 * x + 1.0 + rng.normal(size=ROWS),
        }
    )
    frame.loc[5, "x"] = np.nan
    folder = tmp_path / "project"
    folder.mkdir()
    frame.to_parquet(folder / "rows.parquet")
    (folder / "model.py").write_text(code_of())
    return folder


def made(spec: ModelSpec, project: Path, folder: Path, champion: Path | None = None) -> Made:
    tasks = family("custom")
    rows = tasks.ingest(spec, project, None)
    tasks.validate(spec, rows)
    frame = tasks.features(spec, project, rows)
    # What a pipeline hands from step to step is a file.
    path = folder.parent / f"{folder.name}.parquet"
    frame.to_parquet(path)
    return make_candidate(tasks, spec, pd.read_parquet(path), champion, folder, model="own")


def seen(project: Path) -> list[Any]:
    """What the class of the project's module was fitted with, in order."""
    own = import_class("model.py", (project / "model.py").read_text(), "Model")
    return list(sys.modules[own.kind.__module__].SEEN)


def test_the_class_gets_typed_features_labels_weights_and_parameters(
    spec_of: Spec, project: Path, tmp_path: Path
) -> None:
    (project / "model.py").write_text(code_of() + "\n# typed\n")
    spec = spec_of(train={"hyperparameters": {"depth": 3}, "seed": 7})
    made(spec, project, tmp_path / "made")
    first, last = seen(project)[0], seen(project)[-1]
    assert list(first.features) == ["x", "kind", "flag", "hour-of-day"]
    types = first.features.dtypes.astype(str).to_dict()
    assert types == {
        "x": "float64", "kind": "category", "flag": "float64", "hour-of-day": "float64",
    }  # fmt: skip
    assert list(first.features["kind"].cat.categories) == ["a", "b"]
    assert bool(first.features["x"].isna().iloc[5])
    assert (first.classes, first.parameters, first.seed) == ((0, 1), {"depth": 3}, 7)
    assert first.weights is None
    assert len(first.features) < ROWS == len(last.features) == len(last.target)
    np.testing.assert_array_equal(last.codes, last.target)


def test_what_was_trained_is_measured_packaged_and_the_same_elsewhere(
    spec_of: Spec, project: Path, tmp_path: Path
) -> None:
    spec = spec_of(metrics=["log-loss", "accuracy"])
    result = made(spec, project, tmp_path / "made")
    assert list(result.evaluation.metrics) == ["log-loss", "accuracy"]
    assert list(result.evaluation.baseline) == ["log-loss", "accuracy"]
    assert result.evaluation.metrics["accuracy"].value > 0.6
    manifest = read_manifest(result.package)
    assert (manifest.family, manifest.algorithm) == ("custom", "own-class")
    assert set(manifest.files) == {"code/model.py", "model/share.json"}
    assert [(item.name, item.datatype) for item in manifest.outputs] == [
        ("probability", "FP64"), ("label", "INT64"),
    ]  # fmt: skip
    (project / "model.py").unlink()  # the package has its own copy
    code = (
        "import json, sys, pathlib, numpy as np\n"
        "from noria.tasks.package import load_predictor\n"
        "columns = {'x': np.array([0.5, -9.0, np.nan]), 'flag': np.array([1.0, 0.0, np.nan]),\n"
        "    'kind': np.array(['a', 'new', None], object), 'at': np.array([10**12] * 3)}\n"
        "said = load_predictor(pathlib.Path(sys.argv[1])).predict(columns)\n"
        "print(json.dumps({k: v.tolist() for k, v in said.items()}))\n"
    )
    command = [sys.executable, "-c", code, str(result.package)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    share = json.loads((result.package / "model" / "share.json").read_text())
    said = json.loads(ran.stdout)
    assert said["probability"] == pytest.approx([share + 0.05, 0.0, share])
    assert said["label"] == [int(value >= 0.5) for value in said["probability"]]


@pytest.mark.parametrize(
    ("predict", "classes"),
    [
        ("return np.full((len(features), 3), 1 / 3, 'float32')", 3),
        ("p = np.full(len(features), 0.25); return np.column_stack([1 - p, p])", 2),
        ("import pandas as pd; return pd.Series(0.25, index=features.index)", 2),
        ("return [[0.25]] * len(features)", 2),
    ],
)
def test_probabilities_may_come_in_any_form_that_can_be_told(
    spec_of: Spec, project: Path, tmp_path: Path, predict: str, classes: int
) -> None:
    (project / "model.py").write_text(code_of(predict=predict, fit="0.5"))
    spec = spec_of(target="three" if classes == 3 else "y")
    said = made(spec, project, tmp_path / "made").held_out.model
    assert len(said.columns) == (3 if classes == 3 else 1)
    expected = 1 / 3 if classes == 3 else 0.25
    np.testing.assert_allclose(said.to_numpy(), expected, rtol=1e-6)


def test_a_number_is_predicted_as_it_is(spec_of: Spec, project: Path, tmp_path: Path) -> None:
    parts = {"predict": "return 3 * features['x'].fillna(0) + 1", "fit": "0.0"}
    (project / "model.py").write_text(code_of(**parts))
    spec = spec_of(
        predicts="number", target="value", gates={"bounds": [{"metric": "r2", "min": 0}]}
    )
    result = made(spec, project, tmp_path / "made")
    assert list(result.evaluation.metrics) == ["r2", "rmse", "mae"]
    assert result.evaluation.metrics["rmse"].value == pytest.approx(1.0, abs=0.15)
    assert [gate.verdict for gate in result.evaluation.gates if gate.name == "r2-min"] == ["pass"]
    first = seen(project)[0]
    assert (first.classes, len(first.codes), first.target.dtype) == ((), 0, np.float64)


def test_the_judge_refits_the_class_with_weights_and_compares_with_the_champion(
    spec_of: Spec, project: Path, tmp_path: Path
) -> None:
    spec = spec_of()
    rows = pd.read_parquet(project / "rows.parquet")
    rows.iloc[:300].to_parquet(project / "rows.parquet")
    champion = made(spec, project, tmp_path / "first").package
    rows.to_parquet(project / "rows.parquet")
    before = len(seen(project))
    result = made(spec, project, tmp_path / "second", champion)
    assert len(seen(project)) - before > 4
    assert any(rows.weights is not None for rows in seen(project)[before:])
    (comparison, *_) = result.evaluation.comparisons
    assert (comparison.metric, comparison.samples) == ("auc", 200)
    assert comparison.low is not None
    assert result.evaluation.choice.tried


def test_a_search_tries_parameters_on_the_class(
    spec_of: Spec, project: Path, tmp_path: Path
) -> None:
    search = {
        "kind": "grid", "metric": "log-loss", "space": {"share": {"choices": [0.01, 0.5, 0.99]}}
    }  # fmt: skip
    spec = spec_of(train={"search": search, "hyperparameters": {}})
    fit = "train.parameters.get('share', 0.9)"
    (project / "model.py").write_text(
        code_of(fit=fit, predict="return [self.share] * len(features)")
    )
    assert made(spec, project, tmp_path / "made").params == {"share": 0.5}


METRICS = """
import numpy as np

def profit(predict, features, target):
    return np.where(predict(features) >= 0.5, 10.0 * target - 3.0, 0.0)

def asked(predict, features, target):
    return predict(features.assign(x=0.5, kind="a"))

def short(predict, features, target):
    return [1.0]

def unknown(predict, features, target):
    return np.where(np.arange(len(features)) == 2, np.nan, 1.0)

def broken(predict, features, target):
    return features["nothing"]
"""


def measured_by(name: str, **limits: float) -> dict[str, Any]:
    return {"name": name, "function": f"cost.py:{name}", "greaterIsBetter": True, **limits}


def by_kind(rows: pd.DataFrame) -> float:
    """The profit of taking rows of the kind b."""
    return float(np.where(rows["kind"] == "b", 10.0 * rows["y"] - 3.0, 0.0).mean())


def test_a_metric_of_the_projects_own_judges_model_baseline_and_champion(
    spec_of: Spec, project: Path, tmp_path: Path
) -> None:
    (project / "cost.py").write_text(METRICS)
    (project / "model.py").write_text(
        code_of(predict="return (features['kind'] == 'b').astype(float)")
    )
    rows = pd.read_parquet(project / "rows.parquet")
    rows.iloc[:500].to_parquet(project / "rows.parquet")
    spec = spec_of(
        ownMetrics=[measured_by("profit", low=-3.0, high=7.0), measured_by("asked")],
        gates={
            "minRows": 50,
            "bounds": [{"metric": "profit", "min": 1.5}],
            "champion": [{"metric": "profit"}],
        },
    )
    assert spec.family.metrics[:3] == ("profit", "asked", "auc")
    first = made(spec, project, tmp_path / "first")
    assert first.evaluation.metrics["profit"].value == pytest.approx(by_kind(first.test))
    assert first.evaluation.baseline["profit"].value is not None
    assert [gate.verdict for gate in first.evaluation.gates] == ["fail"]
    assert set(read_manifest(first.package).files) == {"code/model.py", "model/share.json"}

    rows.to_parquet(project / "rows.parquet")
    (project / "model.py").write_text(
        code_of(
            fit="0.6", predict="return self.share + 0.1 * features['x'].fillna(0).clip(-0.5, 0.5)"
        )
    )
    second = made(spec, project, tmp_path / "second", first.package)
    mean = 10 * second.test["y"].mean() - 3
    profit = second.evaluation.metrics["profit"]
    assert profit.value == pytest.approx(mean)
    assert profit.low is not None
    assert second.evaluation.metrics["asked"].value == pytest.approx(0.65)
    (against,) = second.evaluation.comparisons
    assert (against.candidate, against.champion) == (
        pytest.approx(mean),
        pytest.approx(by_kind(second.test)),
    )
    assert {gate.verdict for gate in second.evaluation.gates} == {"pass"}


def test_a_search_may_go_by_a_metric_of_the_projects_own(
    spec_of: Spec, project: Path, tmp_path: Path
) -> None:
    (project / "cost.py").write_text(METRICS)
    (project / "model.py").write_text(
        code_of(
            fit="train.parameters.get('share', 0.1)", predict="return [self.share] * len(features)"
        )
    )
    space = {"share": {"choices": [0.2, 0.8]}}
    spec = spec_of(
        ownMetrics=[measured_by("profit")],
        train={"search": {"kind": "grid", "metric": "profit", "space": space}},
    )
    assert made(spec, project, tmp_path / "made").params == {"share": 0.8}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("short", "cost.py:short: returned the shape (1,) for "),
        ("unknown", "cost.py:unknown: returned nan for row 2"),
        ("broken", "cost.py:broken: it failed: KeyError: 'nothing' (line 17)"),
        ("absent", "cost.py has no function absent"),
        ("np", "cost.py has no function np"),
    ],
)
def test_what_a_metric_of_the_projects_own_does_wrong_is_said(
    spec_of: Spec, project: Path, tmp_path: Path, name: str, said: str
) -> None:
    (project / "cost.py").write_text(METRICS)
    spec = spec_of(ownMetrics=[measured_by(name)])
    with pytest.raises((OwnCodeError, InvalidInput), match=re.escape(said)):
        made(spec, project, tmp_path / "made")


def test_numbers_beyond_the_limits_of_a_metric_are_refused(
    spec_of: Spec, project: Path, tmp_path: Path
) -> None:
    (project / "cost.py").write_text(METRICS)
    spec = spec_of(ownMetrics=[measured_by("profit", low=0.0, high=7.0)])
    with pytest.raises(InvalidInput, match=re.escape("gave -3 to 7, and its limits are 0.0 and")):
        made(spec, project, tmp_path / "made")


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"fit": "1 / 0"},
            "model.py:Model: fit failed: ZeroDivisionError: division by zero (line ",
        ),
        ({"fit": "__import__('sys').exit('bye')"}, "fit failed: SystemExit: bye"),
        ({"predict": "raise ValueError('no')"}, "model.py:Model: predict failed: ValueError: no"),
        ({"predict": "return features['x'].to_numpy()[:3]"}, "returned the shape (3,) for"),
        ({"predict": "return np.full(len(features), np.nan)"}, "returned nan for row 0"),
        ({"predict": "return np.full(len(features), 1.5)"}, "returned 1.5 as a probability"),
        (
            {"predict": "return np.ones(len(features), int)"},
            "whole numbers (int64), which look like",
        ),
        (
            {"predict": "return ['yes'] * len(features)"},
            "of the type <U3; return the probability of 1",
        ),
        ({"predict": "return np.full((len(features), 2), 0.7)"}, "of row 0 that sum to 1.4"),
        ({"predict": "return None"}, "returned null, of the type object"),
        ({"save": "raise OSError('full')"}, "model.py:Model: save failed: OSError: full"),
        ({"save": "pass"}, "model.py:Model: save wrote no file"),
        ({"save": "(folder / 'a').symlink_to('/etc/passwd')"}, "a: a link, or no plain file"),
        ({"load": "raise KeyError('gone')"}, "model.py:Model: load failed: KeyError: 'gone'"),
        ({"load": "return None"}, "load returned a NoneType without predict"),
        (
            {"load": "model = cls(); model.share = 0.123; return model"},
            "once the model was saved and loaded; let save write all that predict reads",
        ),
    ],
)
def test_what_the_class_does_wrong_is_said_by_its_method(
    spec_of: Spec, project: Path, tmp_path: Path, parts: dict[str, str], said: str
) -> None:
    (project / "model.py").write_text(code_of(**parts))
    with pytest.raises(OwnCodeError, match=re.escape(said)) as raised:
        made(spec_of(), project, tmp_path / "made")
    assert raised.value.fix


@pytest.mark.parametrize(
    ("text", "options", "kind", "said"),
    [
        ("x = (", {}, InvalidInput, "model.py: can't be imported: SyntaxError"),
        ("raise RuntimeError('no')", {}, InvalidInput, "RuntimeError: no (line 1)"),
        ("import no_such_lib", {}, NotInstalled, "imports no_such_lib, which is not installed"),
        ("class Other: pass", {}, InvalidInput, "has no class Model; its classes are Other"),
        ("class Model:\n def fit(self, t): pass", {}, InvalidInput, "has no predict, save, load"),
        (code_of().replace("@classmethod", ""), {}, InvalidInput, "load is no class method"),
        (None, {}, InvalidInput, "there is no file "),
        ("# " + "x" * 2**20, {}, InvalidInput, "more than 1,048,576"),
    ],
)
def test_a_class_that_can_not_be_used_is_refused_before_rows_are_read(
    spec_of: Spec,
    project: Path,
    text: str | None,
    options: dict[str, Any],
    kind: type[NoriaError],
    said: str,
) -> None:
    (project / "rows.parquet").unlink()
    (project / "model.py").unlink()
    if text is not None:
        (project / "model.py").write_text(text)
    with pytest.raises(kind, match=re.escape(said)):
        family("custom").ingest(spec_of(**options), project, None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "model"}, "spec.task.options.model: 'model' names no file and class"),
        ({"model": "../model.py:M"}, "../model.py does not lie below this file"),
        ({"model": "/m.py:M"}, "/m.py does not lie below this file"),
        ({"metrics": ["mae"]}, "metrics[0]: 'mae' does not measure a class"),
        ({"metrics": ["auc", "auc"]}, "metrics[1]: auc is there twice; keep one"),
        ({"predicts": "number", "positiveClass": 1}, "positiveClass: 1, and predicts is number"),
        ({"ownMetrics": [measured_by("auc")]}, "ownMetrics[0]: metric auc: Noria has a metric of"),
        ({"ownMetrics": [measured_by("two")] * 2}, "ownMetrics[1].name: two is there twice"),
        ({"ownMetrics": [measured_by("up", low=1, high=1)]}, "low 1.0 is not under high 1.0"),
        (
            {"ownMetrics": [{**measured_by("it"), "function": "it"}]},
            "ownMetrics[0].function: 'it' names no file and function",
        ),
        (
            {"ownMetrics": [{**measured_by("it"), "function": "../it.py:it"}]},
            "spec.task.options.ownMetrics: ../it.py does not lie below this file",
        ),
        (
            {
                "ownMetrics": [measured_by("it")],
                "monitoring": {"performance": {"metrics": ["it"]}},
            },
            "it is measured on inputs, and the monitor knows labels of rows alone",
        ),
        (
            {"predicts": "number", "gates": {"bounds": [{"metric": "auc", "min": 0.5}]}},
            "auc is not a metric of custom",
        ),
    ],
)
def test_options_that_can_not_be_are_problems(
    spec_of: Spec, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError, match=re.escape(said)):
        spec_of(**options)


def test_a_pickle_is_refused_by_its_content_unless_the_spec_allows_it(
    spec_of: Spec, project: Path, tmp_path: Path
) -> None:
    parts = {
        "save": "import pickle; "
        "(folder / 'notes.txt').write_bytes(pickle.dumps({'s': self.share}))",
        "load": "import pickle; model = cls(); "
        "model.share = pickle.loads((folder / 'notes.txt').read_bytes())['s']; return model",
    }
    (project / "model.py").write_text(code_of(**parts))
    said = "model.py:Model saved notes.txt, which is a pickle"
    with pytest.raises(IntegrityError, match=said) as raised:
        made(spec_of(), project, tmp_path / "refused")
    assert "allowPickle: true" in raised.value.fix
    assert spec_of().family.cautions_of(spec_of().task.options) == ()
    spec = spec_of(allowPickle=True)
    assert "may hold a pickle" in spec.family.cautions_of(spec.task.options)[0]
    package = made(spec, project, tmp_path / "taken").package
    predictor = load_predictor(package, digest=package_digest(package))
    assert predictor.manifest.options["allowPickle"] is True
    # Nobody makes one of the other by editing the manifest alone.
    path = package / "noria.json"
    path.write_text(path.read_text().replace('"allowPickle": true', '"allowPickle": false'))
    with pytest.raises(IntegrityError, match=r"notes\.txt, which is a pickle"):
        load_predictor(package)


def test_status_shows_that_a_pickle_is_allowed(spec_of: Spec) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for allowed in (True, False):
        shown = dict(facts(view_of("own", spec_of(allowPickle=allowed), None, now)))
        assert ("may hold a pickle" in shown.get("caution", "")) is allowed


def test_the_class_travels_to_a_cluster_and_its_digest_is_in_the_card(
    spec_of: Spec, project: Path
) -> None:
    resource = {"apiVersion": "noria.dev/v1alpha1", "kind": "Model", "metadata": {"name": "own"}}
    spec = spec_of().model_dump(mode="json", by_alias=True)
    spec["data"]["module"] = "data.py"
    (project / "data.py").write_text("def prepare(base): pass\n")
    model = parse_model(json.dumps({**resource, "spec": spec}))
    folder = project_folder(project_base(model, project, BASE_IMAGE))
    assert sorted(path.name for path in folder.iterdir()) == ["data.py", "model.py"]
    said = code_version(model, folder)
    digest = sha256((project / "model.py").read_bytes())[:16]
    assert f"model.py sha256:{digest}" in said


def saved_by(library: str) -> bytes:
    buffer = io.BytesIO()
    if library.startswith("joblib"):
        import joblib

        joblib.dump({"a": np.arange(3)}, buffer, compress=("zlib" if "zlib" in library else 0))
    elif library == "torch":
        import torch

        torch.save({"a": torch.zeros(2)}, buffer)
    elif library == "objects.npy":
        np.save(buffer, np.array([{}], object), allow_pickle=True)
    elif library == "objects.npz":
        np.savez(buffer, a=np.array([{}], object))
    elif library == "protocol 0":
        buffer.write(pickle.dumps(Path("a"), protocol=0))
    elif library == "gzip":
        import gzip

        buffer.write(gzip.compress(pickle.dumps([1, 2])))
    elif library == "zip in zip":
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w") as archive:
            archive.writestr("weights.bin", pickle.dumps([1, 2]))
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("inner.zip", inner.getvalue())
    return buffer.getvalue()


@pytest.mark.parametrize(
    "library",
    [
        "joblib", "joblib zlib", "torch", "objects.npy", "objects.npz", "protocol 0", "gzip",
        "zip in zip",
    ],
)  # fmt: skip
def test_pickles_are_told_however_they_were_saved(library: str) -> None:
    assert "pickle" in pickle_in(saved_by(library))


def plain(library: str) -> bytes:
    buffer = io.BytesIO()
    if library == "npz":
        np.savez(buffer, a=np.arange(5), b=np.array(["x"]))
    elif library == "npy":
        np.save(buffer, np.arange(5.0))
    elif library == "safetensors of 640 bytes":
        from safetensors.numpy import save

        tensors = {f"layer.{i}": np.zeros(2, np.float32) for i in range(10)}
        for size in range(400):
            made = save(tensors, metadata={"a": "x" * size})
            if made[:2] == b"\x80\x02":
                return made
        raise AssertionError
    elif library == "skops":
        import skops.io
        from sklearn.linear_model import LogisticRegression

        fitted = LogisticRegression().fit(np.arange(8.0).reshape(-1, 1), [0, 1] * 4)
        return skops.io.dumps(fitted)
    elif library == "json":
        return b'{"a": [1.5]}'
    elif library == "words":
        return b"I am no pickle. Nor is this.\n(and so on)."
    return buffer.getvalue()


@pytest.mark.parametrize(
    "library", ["npz", "npy", "safetensors of 640 bytes", "skops", "json", "words", "empty"]
)
def test_plain_formats_are_no_pickles(library: str) -> None:
    assert pickle_in(plain(library)) == ""


def test_versions_with_other_code_live_side_by_side(
    spec_of: Spec, project: Path, tmp_path: Path
) -> None:
    spec = spec_of()
    one = made(spec, project, tmp_path / "one").package
    (project / "model.py").write_text(code_of(predict="return np.full(len(features), 0.125)"))
    two = made(spec, project, tmp_path / "two").package
    first, second, again = load_predictor(one), load_predictor(two), load_predictor(one)
    rows = pd.read_parquet(project / "rows.parquet").head(3)
    columns = columns_of(first.manifest.features, "at", rows)
    assert second.predict(columns)["probability"].tolist() == [0.125] * 3
    said = first.predict(columns)["probability"]
    np.testing.assert_array_equal(said, again.predict(columns)["probability"])
    assert said.tolist() != [0.125] * 3
    (two / "code" / "model.py").write_text(code_of())
    with pytest.raises(IntegrityError, match=r"code/model.py: its sha256 is"):
        load_predictor(two)


def test_the_suite_of_families_passes() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "noria.cli", "family", "check", "custom", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert [one for one in json.loads(ran.stdout) if one["outcome"] != "ok"] == []
    assert ran.returncode == 0
