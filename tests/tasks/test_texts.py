"""Texts as features: scikit-learn's numbers, learnt from the rows that are fitted on alone."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion, make_pipeline

from monitoring.config import MonitorConfig
from monitoring.reference import read_folder, read_reference
from noria.errors import DataError, IntegrityError, InvalidInput
from noria.spec import parse_model
from noria.tasks.candidate import Made, fit_all, make_candidate
from noria.tasks.families import family
from noria.tasks.package import load_predictor, package_digest, read_manifest
from noria.tasks.tabular.fit_texts import fit_reader
from noria.tasks.tabular.texts import TextReader, files_of, load

GOOD = ("works well", "fast and quiet", "배송이 빨라요", "아주 좋아요", "would buy it again")
BAD = ("broke after a week", "too loud", "배송이 늦어요", "품질이 나빠요", "asked for a refund")
FILLER = ("the kettle", "my order", "this lamp", "주문한 상품", "it came in a box", "a gift")
MakeRows = Callable[..., pd.DataFrame]


def reviews(count: int = 600, seed: int = 0) -> pd.DataFrame:
    """Reviews whose words say whether they are good; one in twenty has none."""
    rng = np.random.default_rng(seed)
    good = rng.random(count) < 0.5
    notes: list[str | None] = [
        f"{rng.choice(FILLER)} {rng.choice(GOOD if one else BAD)}, {rng.choice(FILLER)}"
        for one in good
    ]
    for place in np.nonzero(rng.random(count) < 0.05)[0]:
        notes[place] = None
    return pd.DataFrame(
        {
            "at": pd.date_range("2024-01-01", periods=count, freq="h", tz="UTC"),
            "note": pd.Series(notes, dtype=object),
            "price": rng.gamma(3.0, 10.0, count),
            "good": good.astype(int),
            "stars": 3.0 + 1.5 * (2 * good - 1) + rng.normal(0.0, 0.3, count),
        }
    )


def model_of(**change: Any) -> Any:
    spec: dict[str, Any] = {
        "task": {"family": "tabular-classification"},
        "data": {
            "source": {"parquet": {"paths": ["rows.parquet"]}},
            "features": [
                {"name": "note", "type": "text", "width": 16},
                {"name": "price", "type": "numeric"},
            ],
            "target": "good",
            "eventTime": "at",
            "validation": {"minRows": 100},
        },
        "train": {"hyperparameters": {}},
    }
    for path, value in change.items():
        keys = path.split("__")
        place = spec
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = value
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "reviews"},
            "spec": spec,
        }
    )


def made_of(tmp_path: Path, frame: pd.DataFrame, **change: Any) -> Made:
    spec = model_of(**change).spec
    frame.to_parquet(tmp_path / "rows.parquet")
    tasks = family(spec.task.family)
    rows = tasks.ingest(spec, tmp_path, None)
    tasks.validate(spec, rows)
    frame = tasks.features(spec, tmp_path, rows)
    return make_candidate(tasks, spec, frame, None, tmp_path / "made", model="reviews")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    notes = reviews(400, 1)["note"].dropna().tolist()
    return [*notes, "", " ", "a", "가", "Two  SPACES\tand a tab", "x y", notes[0] * 3]


@pytest.fixture(scope="module")
def reader(texts: list[str]) -> TextReader:
    return fit_reader(texts, 8, 0)


def test_a_text_becomes_the_numbers_of_scikit_learns_own_pipeline(
    texts: list[str], reader: TextReader
) -> None:
    settings: dict[str, Any] = {"min_df": 2, "max_features": 10_000, "sublinear_tf": True}
    words = TfidfVectorizer(ngram_range=(1, 2), **settings)
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), **settings)
    pipeline = make_pipeline(
        FeatureUnion([("words", words), ("pieces", pieces)]), TruncatedSVD(8, random_state=0)
    ).fit(texts)
    unseen = [*texts, "nothing of this was seen", "배송이 또 늦어요", "Kettle\n\nbroke!"]
    found = reader.read(unseen)
    np.testing.assert_allclose(found, pipeline.transform(unseen), atol=1e-6)
    assert np.abs(found).max() > 0.5


def test_a_missing_text_is_an_empty_one(reader: TextReader) -> None:
    found = reader.read([None, "", "works well"])
    assert not found[:2].any()
    assert found[2].any()


def test_korean_in_parts_is_the_same_as_in_syllables(reader: TextReader) -> None:
    whole, parts = reader.read(["좋아요", unicodedata.normalize("NFD", "좋아요")])
    np.testing.assert_array_equal(whole, parts)
    assert whole.any()


def test_only_the_beginning_of_a_very_long_text_is_read(reader: TextReader) -> None:
    begun = "works well " * 1000
    np.testing.assert_array_equal(*reader.read([begun[:10_000], begun + BAD[0] * 1000]))


@pytest.mark.parametrize("texts", [[], ["one"], ["one", "two"], ["", ""]])
def test_texts_that_share_no_term_are_all_zero(texts: list[str]) -> None:
    reader = fit_reader(texts, 4, 0)
    assert not reader.read(["one", None]).any()


def test_a_reader_is_stored_as_json_and_arrays(reader: TextReader, texts: list[str]) -> None:
    files = files_of({"note": reader})
    assert sorted(files) == ["texts.json", "texts.npz"]
    np.testing.assert_array_equal(load(files)["note"].read(texts), reader.read(texts))
    broken = json.loads(files["texts.json"])
    broken[0]["words"].pop()
    with pytest.raises(IntegrityError, match=r"texts\.npz: does not fit"):
        load({**files, "texts.json": json.dumps(broken).encode()})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("linear", {"train__algorithm": "linear"}),
        ("lightgbm", {"train__hyperparameters": {"n_estimators": 20}}),
        (
            "hist-gradient-boosting",
            {
                "train__algorithm": "hist-gradient-boosting",
                "train__hyperparameters": {"max_iter": 20},
            },
        ),
        (
            "xgboost",
            {"train__algorithm": "xgboost", "train__hyperparameters": {"n_estimators": 20}},
        ),
        (
            "stacking",
            {
                "train__ensemble": {"kind": "stacking"},
                "train__hyperparameters": {"n_estimators": 20},
                "task__options": {"calibration": "sigmoid"},
            },
        ),
    ],
)
def test_every_algorithm_learns_from_words(
    name: str, change: dict[str, Any], tmp_path: Path
) -> None:
    made = made_of(tmp_path, reviews(), **change)
    assert made.evaluation.metrics["auc"].value > 0.93
    predictor = load_predictor(made.package)
    assert predictor.manifest.algorithm == name
    asked = {
        "note": np.array(["my order broke after a week", "아주 좋아요", None], dtype=object),
        "price": np.full(3, 20.0),
    }
    bad, good, unknown = predictor.predict(asked)["probability"]
    assert bad < 0.3 < unknown < 0.8 < good


def test_a_search_and_a_number_as_target(tmp_path: Path) -> None:
    made = made_of(
        tmp_path,
        reviews(),
        task__family="tabular-regression",
        data__target="stars",
        train__algorithm="linear",
        train__search={"kind": "random", "trials": 2},
    )
    assert made.evaluation.metrics["r2"].value > 0.8


def test_nothing_is_learnt_from_the_texts_of_rows_that_are_held_out(tmp_path: Path) -> None:
    frame = reviews()
    changed = frame.copy()
    last = changed.index[-10:]
    changed.loc[last, "note"] = "zebra zebra quagga"
    made = [made_of(_new(tmp_path / str(n)), one, train__refit=False)
            for n, one in enumerate((frame, changed))]  # fmt: skip
    tables = [json.loads((one.package / "texts.json").read_text()) for one in made]
    assert tables[0] == tables[1]
    assert "works well" in tables[0][0]["words"]
    same = slice(0, -10)
    np.testing.assert_array_equal(
        made[0].held_out.model["prediction"][same], made[1].held_out.model["prediction"][same]
    )


def test_the_same_rows_make_the_same_package(tmp_path: Path) -> None:
    made = [made_of(_new(tmp_path / str(n)), reviews(300)) for n in range(2)]
    assert package_digest(made[0].package) == package_digest(made[1].package)


def test_a_fold_reads_texts_by_its_own_rows() -> None:
    from noria.tasks.tabular.learn import design_of, fit_wide
    from noria.tasks.tabular.schema import features_of, target_of

    spec, frame = model_of().spec, reviews()
    design = design_of(spec, frame, features_of(spec.data, frame), target_of(spec, frame))
    train = np.arange(300)
    inside = fit_wide("linear", {}, design.take(train)).raw(design.matrix[300:])
    alone_frame = frame.iloc[:300].reset_index(drop=True)
    alone = fit_all(family(spec.task.family), _with_linear(spec), alone_frame, {})
    asked = {name: frame[name].iloc[300:].to_numpy() for name in ("note", "price")}
    log_odds = inside[:, 0]
    np.testing.assert_allclose(
        1.0 / (1.0 + np.exp(-log_odds)), alone.predictor.predict(asked)["probability"], rtol=1e-9
    )


def _with_linear(spec: Any) -> Any:
    return spec.model_copy(update={"train": spec.train.model_copy(update={"algorithm": "linear"})})


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_the_monitor_watches_a_text_by_its_length(tmp_path: Path) -> None:
    frame = reviews()
    made = made_of(tmp_path, frame)
    manifest = read_manifest(made.package)
    assert [(given.name, given.datatype, given.kind) for given in manifest.inputs][:2] == [
        ("note", "BYTES", "text"),
        ("price", "FP64", "numeric"),
    ]
    lengths = read_reference(read_folder(made.reference)).features.columns["note.length"]
    known = lengths[~np.isnan(lengths)]
    assert known.max() == frame["note"].dropna().str.len().max()
    assert 0.02 < np.isnan(lengths).mean() < 0.09
    config = MonitorConfig.from_model(model_of())
    assert dict(config.features) == {"note.length": "numeric", "price": "numeric"}


def test_a_text_that_gives_the_answer_away_is_refused(tmp_path: Path) -> None:
    frame = reviews()
    frame["note"] = np.where(frame["good"] == 1, "accepted", "rejected")
    with pytest.raises(DataError, match="note alone predicts the target"):
        made_of(tmp_path, frame)


def test_a_number_in_place_of_texts_is_read_as_its_digits_and_a_list_is_refused(
    tmp_path: Path,
) -> None:
    predictor = load_predictor(made_of(tmp_path, reviews()).package)
    price = np.zeros(1)
    as_text = predictor.predict({"note": np.array(["7"], dtype=object), "price": price})
    as_number = predictor.predict({"note": np.array([7], dtype=object), "price": price})
    np.testing.assert_array_equal(as_text["probability"], as_number["probability"])
    with pytest.raises(InvalidInput, match="column 'note'"):
        predictor.predict({"note": np.array([{"a": 1}], dtype=object), "price": price})
