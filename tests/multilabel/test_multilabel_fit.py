"""A model of several labels is the models of each, in one package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from noria.errors import DataError, IntegrityError
from noria.spec import parse_model
from noria.tasks.multilabel.family import LABELS as EACH
from noria.tasks.multilabel.family import LEARNER
from noria.tasks.multilabel.judged import asked
from noria.tasks.package import load_predictor, read_manifest, write_package
from noria.tasks.tabular.evaluation import said_of
from noria.tasks.tabular.family import TABULAR
from tests.multilabel.conftest import LABELS, spec_of


def _fitted(written: Path, folder: Path, **given: Any) -> tuple[Any, Any, Any]:
    spec = spec_of(**given)
    rows = LEARNER.ingest(spec, written, None)
    params = LEARNER.tune(spec, rows, folder / "work").params
    prepared = LEARNER.prepare(spec, rows)
    fitted = LEARNER.fit(spec, prepared, np.arange(len(rows)), params, None)
    LEARNER.save(spec, fitted, folder / "package", model="tickets")
    return spec, rows, folder / "package"


@pytest.mark.parametrize("threshold", ["none", "f1"])
def test_each_label_is_what_a_model_of_it_alone_says(
    written: Path, tmp_path: Path, threshold: str
) -> None:
    options = {"threshold": {"for": threshold}}
    spec, rows, package = _fitted(written, tmp_path, options=options)
    said = said_of(asked(package, rows))
    limits = read_manifest(package).limits
    assert len(limits) == (0 if threshold == "none" else len(LABELS))
    for place, label in enumerate(LABELS):
        alone = parse_model(
            {
                "apiVersion": "noria.dev/v1alpha1",
                "kind": "Model",
                "metadata": {"name": "tickets"},
                "spec": {
                    "task": {"family": "tabular-classification", "options": options},
                    "train": {"algorithm": "linear"},
                    "data": spec.data.model_dump(mode="json", by_alias=True) | {"target": label},
                },
            }
        ).spec
        frame = rows.assign(**{label: rows[label].astype(int)})
        params = TABULAR.tune(alone, frame, tmp_path / label).params
        prepared = TABULAR.prepare(alone, frame)
        one = TABULAR.fit(alone, prepared, np.arange(len(rows)), params, None)
        found = TABULAR.predict(alone, one, prepared, np.arange(len(rows)))
        np.testing.assert_allclose(said[:, place], found["prediction"], atol=1e-12)
        assert one.manifest.limits == limits[place : place + 1]


def test_answers_are_probabilities_and_calls_by_the_thresholds(
    written: Path, tmp_path: Path
) -> None:
    train = {"algorithm": "lightgbm", "hyperparameters": {"n_estimators": 30}}
    options = {"threshold": {"for": "f1"}}
    _, rows, package = _fitted(written, tmp_path, options=options, train=train)
    model = load_predictor(package)
    names = ("channel", "product", "words", "days_owned")
    found = model.predict({name: rows[name].to_numpy() for name in names})
    manifest = model.manifest
    assert manifest.target_names == LABELS
    assert found["prediction"].shape == found["label"].shape == (len(rows), len(LABELS))
    called = found["prediction"] >= np.array(manifest.limits)
    np.testing.assert_array_equal(found["label"], called.astype(np.int64))
    # Whoever bought it less than thirty days ago asks for a refund three times in four.
    young = rows["days_owned"].to_numpy() < 30
    assert found["prediction"][young, 0].mean() == pytest.approx(0.75, abs=0.05)


def test_texts_are_read_by_each_label(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = {"refund": "money back", "urgent": "right now", "broken": "does not work"}
    truth = rng.uniform(size=(300, 3)) < 0.4
    lines = ["text,refund,urgent,broken"]
    for row in truth.tolist():
        said = " ".join(words[name] for name, so in zip(LABELS, row, strict=True) if so)
        lines.append(",".join([f"hello {said}", *(str(int(so)) for so in row)]))
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    features = [{"name": "text", "type": "text"}]
    _, rows, package = _fitted(tmp_path, tmp_path, features=features)
    said = load_predictor(package).predict({"text": rows["text"].to_numpy(object)})
    assert (said["label"] == rows[list(LABELS)].to_numpy()).mean() > 0.98


def test_a_part_without_a_label_names_it(written: Path, tmp_path: Path) -> None:
    spec = spec_of()
    rows = LEARNER.ingest(spec, written, None)
    prepared = LEARNER.prepare(spec, rows)
    without = np.flatnonzero(rows["broken"].to_numpy() == 0)
    with pytest.raises(DataError, match=r"label broken: .*all of one class"):
        LEARNER.fit(spec, prepared, without, {}, None)


def test_a_search_is_of_what_all_labels_share(written: Path, tmp_path: Path) -> None:
    search = {"kind": "random", "trials": 2, "metric": "micro-f1"}
    spec = spec_of(train={"search": search, "crossValidation": {"folds": 2}})
    found = LEARNER.tune(spec, LEARNER.ingest(spec, written, None), tmp_path / "search")
    assert len(found.trials) == 2
    best = max(found.trials, key=lambda one: one.value or 0.0)
    assert found.best == best.value
    assert found.params[EACH] == [best.params] * len(LABELS)


def test_a_package_of_another_number_of_labels_is_refused(written: Path, tmp_path: Path) -> None:
    _, _, package = _fitted(written, tmp_path)
    manifest = read_manifest(package)
    files = {name: (package / name).read_bytes() for name in manifest.files}
    fewer = msgspec.structs.replace(
        manifest, targets=LABELS[:2], outputs=manifest.outputs, files={}
    )
    write_package(tmp_path / "fewer", fewer, files)
    with pytest.raises(IntegrityError, match="is of 3 labels, and the manifest names 2"):
        load_predictor(tmp_path / "fewer")
    limited = msgspec.structs.replace(manifest, thresholds=(0.5,), files={})
    with pytest.raises(IntegrityError, match="nor one of each target"):
        write_package(tmp_path / "limited", limited, files)


def test_a_champion_of_other_labels_is_not_compared(written: Path, tmp_path: Path) -> None:
    spec, rows, package = _fitted(written, tmp_path)
    from noria.tasks.held_out import HeldOut
    from noria.tasks.protocol import Choice

    prepared = LEARNER.prepare(spec, rows)
    said = LEARNER.predict(spec, package, prepared, np.arange(len(rows)))
    held_out = HeldOut(said.assign(block=0), Choice())
    manifest = read_manifest(package)
    files = {name: (package / name).read_bytes() for name in manifest.files}
    other = msgspec.structs.replace(manifest, targets=("refund", "rude", "broken"), files={})
    write_package(tmp_path / "other", other, files)
    found = LEARNER.evaluate(spec, package, rows, held_out, tmp_path / "other", None)
    assert found.metrics["micro-f1"].value is not None
    (gate,) = (one for one in found.gates if one.verdict == "error")
    assert "it predicts refund, rude, broken" in gate.detail
    same = LEARNER.evaluate(spec, package, rows, replace(held_out), package, None)
    (compared,) = same.comparisons
    assert compared.difference == 0.0
