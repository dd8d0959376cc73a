"""Learning real digits: better than the baseline, the same again, and judged as classes are."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from scipy.stats import ks_2samp

from noria.errors import DataError, InvalidInput
from noria.measures.measuring import value_of
from noria.tasks.candidate import make_candidate
from noria.tasks.images import DESCRIPTORS, ENTROPY, IMAGE
from noria.tasks.images.family import LEARNER
from noria.tasks.images.fitting import CHECKPOINTS
from noria.tasks.images.network import build, small, start_from
from noria.tasks.images.pixels import Shape
from noria.tasks.neural.checkpoints import FILE
from noria.tasks.package import load_predictor, package_digest, read_manifest
from noria.tasks.pickles import pickle_in
from tests.pictures.conftest import ROWS, Trained, png, spec_of


def few(trained: Trained, rows: int = 400) -> pd.DataFrame:
    return trained.frame.iloc[:rows].reset_index(drop=True)


def fitted(trained: Trained, spec: Any, rows: int = 400, weight: Any = None) -> Any:
    prepared = LEARNER.prepare(spec, few(trained, rows))
    params = spec.train.hyperparameters
    return LEARNER.fit(spec, prepared, np.arange(rows), params, weight)


def accuracy(model: Any, frame: pd.DataFrame) -> float:
    said = model.predict({IMAGE: frame[IMAGE].to_numpy(object)})["label"]
    return float((said == frame["digit"].to_numpy()).mean())


def test_it_learns_digits_better_than_the_baseline(trained: Trained) -> None:
    found = trained.made.evaluation
    ours, beside = found.metrics["accuracy"], found.baseline["accuracy"]
    assert ours.value is not None
    assert beside.value is not None
    assert ours.value > 0.93
    assert beside.value > 0.8
    loss, other = found.metrics["log-loss"], found.baseline["log-loss"]
    assert loss.value is not None
    assert other.value is not None
    assert loss.value < other.value
    newer = trained.frame.iloc[ROWS:]
    assert accuracy(load_predictor(trained.made.package), newer) > 0.9


def test_the_package_has_numbers_and_texts_alone(trained: Trained) -> None:
    manifest = read_manifest(trained.made.package)
    assert sorted(manifest.files) == ["history.json", "network.safetensors"]
    for name in manifest.files:
        assert not pickle_in((trained.made.package / name).read_bytes())
    assert [given.name for given in manifest.inputs] == ["image", "at", "key"]
    assert manifest.rows == ROWS
    history = json.loads((trained.made.package / "history.json").read_text())
    assert len(history["epochs"]) <= 6
    assert trained.made.evaluation.notes == (
        f"Epoch {_best(trained)} of {_epochs(trained)} is kept: the best on validation.",
    )


def _history(trained: Trained) -> dict[str, Any]:
    path = trained.folder / "made" / "candidate" / "history.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _best(trained: Trained) -> int:
    return int(_history(trained)["best"])


def _epochs(trained: Trained) -> int:
    return len(_history(trained)["epochs"])


def test_plots_are_those_of_classes_without_importance(trained: Trained) -> None:
    assert trained.made.evaluation.plots == ("confusion.png", "wrong.png", "epochs.png")


def test_the_same_rows_give_the_same_package(trained: Trained, tmp_path: Path) -> None:
    spec = spec_of(train={"hyperparameters": {"epochs": 1}})
    for name in "ab":
        LEARNER.save(spec, fitted(trained, spec), tmp_path / name)
    assert package_digest(tmp_path / "a") == package_digest(tmp_path / "b")


def test_a_candidate_is_compared_with_a_champion_on_newer_rows(
    trained: Trained, tmp_path: Path
) -> None:
    spec = spec_of(train={"hyperparameters": {"epochs": 2, "batch": 64, "learning_rate": 0.01}})
    champion = trained.made.package
    found = make_candidate(LEARNER, spec, trained.frame, champion, tmp_path, model="digits")
    (compared,) = found.evaluation.comparisons
    assert compared.metric == "accuracy"
    assert compared.samples == len(trained.frame) - ROWS
    assert compared.champion is not None
    newer = trained.frame.iloc[ROWS:]
    assert compared.champion == pytest.approx(accuracy(load_predictor(champion), newer))


def test_a_training_that_was_killed_carries_on_to_the_same_weights(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from noria.tasks.images import fitting

    spec = spec_of(train={"hyperparameters": {"epochs": 3, "batch": 64}})
    whole = fitted(trained, spec).files()
    monkeypatch.setenv(CHECKPOINTS, str(tmp_path))
    losses, asked = fitting.PictureLesson.losses, iter(range(100))

    class Killed(Exception): ...

    def dies(self: Any, *given: Any) -> torch.Tensor:
        if next(asked) == 8:
            raise Killed
        return losses(self, *given)

    with monkeypatch.context() as during:
        during.setattr(fitting.PictureLesson, "losses", dies)
        with pytest.raises(Killed):
            fitted(trained, spec)
    assert list(tmp_path.glob(f"*/{FILE}"))
    assert fitted(trained, spec).files() == whole
    assert not list(tmp_path.glob(f"*/{FILE}"))


def test_balanced_classes_count_alike(trained: Trained) -> None:
    frame = trained.frame
    rare = (frame["digit"] == "d8") & (np.arange(len(frame)) % 8 != 0)
    kept = frame[frame["digit"].isin(("d8", "d3", "d9")) & ~rare].iloc[:350].reset_index(drop=True)
    truth = kept["digit"].to_numpy() == "d8"
    said = {}
    for kind in ("none", "balanced"):
        options = {"classWeights": kind}
        spec = spec_of(options, train={"hyperparameters": {"epochs": 2, "batch": 32}})
        prepared = LEARNER.prepare(spec, kept)
        model = LEARNER.fit(spec, prepared, np.arange(len(kept)), {"epochs": 2, "batch": 32}, None)
        answers = model.predictor.predict({IMAGE: kept[IMAGE].to_numpy(object)})
        at = model.manifest.classes.index("d8")
        said[kind] = answers["probability"][truth, at].mean()
    assert said["balanced"] > said["none"]


def test_rows_of_no_weight_are_not_learnt_from(trained: Trained) -> None:
    spec = spec_of(train={"hyperparameters": {"epochs": 3, "batch": 32, "learning_rate": 0.01}})
    frame = few(trained)
    weight = np.where(frame["digit"] == "d1", 0.0, 1.0)
    model = fitted(trained, spec, weight=weight / weight.mean())
    ones = frame[frame["digit"] == "d1"]
    said = model.predictor.predict({IMAGE: ones[IMAGE].to_numpy(object)})["label"]
    assert (said == "d1").mean() < 0.1


@pytest.mark.slow  # torchvision
@pytest.mark.parametrize("policy", ["light", "standard"])
def test_augmented_pictures_are_learnt_from_and_repeat(trained: Trained, policy: str) -> None:
    spec = spec_of({"augment": policy}, train={"hyperparameters": {"epochs": 1, "batch": 64}})
    first, again = (fitted(trained, spec, 150).files() for _ in range(2))
    plain = spec_of(train={"hyperparameters": {"epochs": 1, "batch": 64}})
    assert first == again
    other = fitted(trained, plain, 150).files()
    assert first["network.safetensors"] != other["network.safetensors"]


def test_logistic_regression_is_an_algorithm_too(trained: Trained, tmp_path: Path) -> None:
    spec = spec_of(train={"algorithm": "logistic", "hyperparameters": {"C": 0.1}})
    LEARNER.save(spec, fitted(trained, spec), tmp_path / "p")
    model = load_predictor(tmp_path / "p")
    assert sorted(model.manifest.files) == ["linear.npz"]
    assert accuracy(model, trained.frame.iloc[400:800]) > 0.8


def test_a_missing_hyperparameter_and_few_rows_are_refused(trained: Trained) -> None:
    spec = spec_of()
    prepared = LEARNER.prepare(spec, few(trained))
    with pytest.raises(InvalidInput, match="learning_rate: is -1"):
        LEARNER.fit(spec, prepared, np.arange(400), {"learning_rate": -1.0}, None)
    with pytest.raises(DataError, match="5 of 50 rows would choose the epoch"):
        LEARNER.fit(spec, prepared, np.arange(50), {}, None)


def test_noise_and_rotation_move_what_is_watched(trained: Trained) -> None:
    """Kolmogorov and Smirnov's test, as the monitor's, on 597 newer digits of each kind."""
    from PIL import Image

    reference = np.load(trained.made.reference / "rows.npz")
    said = json.loads((trained.made.reference / "reference.json").read_text())
    assert [one["name"] for one in said["features"]] == list(DESCRIPTORS)
    model = load_predictor(trained.made.package)
    chance = np.random.default_rng(0)
    newer = trained.frame[IMAGE].iloc[ROWS:]
    pixels = [np.asarray(Image.open(io.BytesIO(one))) for one in newer]
    noisy = [np.clip(one + chance.normal(0, 40, one.shape), 0, 255) for one in pixels]
    kinds = {
        "usual": pixels,
        "noise": [one.astype(np.uint8) for one in noisy],
        "turned": [np.asarray(Image.fromarray(one).rotate(45)) for one in pixels],
    }
    found: dict[str, float] = {}
    certain: dict[str, float] = {}
    for kind, pictures in kinds.items():
        column = np.empty(len(pictures), object)
        column[:] = [png(one) for one in pictures]
        watched = model.describe({IMAGE: column})
        values = {
            name: ks_2samp(watched[name], reference[f"f{place}"]).pvalue
            for place, name in enumerate(DESCRIPTORS)
        }
        certain[kind] = values.pop(ENTROPY)
        found[kind] = min(values.values()) * len(values)
    assert found["usual"] > 0.01
    assert found["noise"] < 1e-6
    assert found["turned"] < 1e-6
    assert certain["turned"] < 1e-6 * certain["usual"]


def test_a_picture_that_cant_be_read_names_its_row(trained: Trained) -> None:
    model = load_predictor(trained.made.package)
    column = np.array([trained.frame[IMAGE].iloc[0], b"no picture"], object)
    with pytest.raises(InvalidInput, match="column 'image', row 1: is no picture"):
        model.predict({IMAGE: column})


def test_two_classes_have_one_probability(trained: Trained) -> None:
    frame = trained.frame[trained.frame["digit"].isin(("d0", "d1"))].reset_index(drop=True)
    spec = spec_of({"positiveClass": "d0"}, train={"hyperparameters": {"epochs": 4, "batch": 32}})
    prepared = LEARNER.prepare(spec, frame)
    model = LEARNER.fit(spec, prepared, np.arange(300), dict(spec.train.hyperparameters), None)
    assert model.manifest.classes == ("d1", "d0")
    said = model.predictor.predict({IMAGE: frame[IMAGE].to_numpy(object)})
    assert said["probability"].shape == (len(frame),)
    truth = (frame["digit"] == "d0").to_numpy(np.float64)
    assert value_of("auc", truth, said["probability"]) > 0.99


def test_weights_from_a_file_are_where_the_network_starts(trained: Trained, tmp_path: Path) -> None:
    torch.manual_seed(5)
    other = small(Shape(8, 1), 7)  # of other classes: its last layer does not fit
    save_file(dict(other.state_dict()), tmp_path / "start.safetensors")
    hyper = {"epochs": 1, "learning_rate": 1e-9, "weight_decay": 0.0}
    spec = spec_of({"weights": "start.safetensors"}, train={"hyperparameters": hyper})
    frame = LEARNER.features(spec, tmp_path, few(trained))
    prepared = LEARNER.prepare(spec, frame)
    model = LEARNER.fit(spec, prepared, np.arange(400), hyper, None)
    trained_module = model.predictor.scorer.module
    torch.testing.assert_close(trained_module[0].weight, other[0].weight, atol=1e-6, rtol=0)
    with pytest.raises(InvalidInput, match="0 of the network's"):
        start_from(small(Shape(8, 1), 3), {}, "start.safetensors")


def test_a_backbone_that_nobody_has_is_refused() -> None:
    with pytest.raises(InvalidInput, match="is of keras"):
        build("keras/resnet50", Shape(32, 3), 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "channels"),
    [("timm/test_resnet", "grey"), ("torchvision/mobilenet_v3_small", "rgb")],
)
def test_backbones_of_timm_and_torchvision_train_and_load(
    trained: Trained, tmp_path: Path, backbone: str, channels: str
) -> None:
    options = {"backbone": backbone, "channels": channels, "size": 32}
    spec = spec_of(options, train={"hyperparameters": {"epochs": 1, "batch": 32}})
    model = fitted(trained, spec, 200)
    LEARNER.save(spec, model, tmp_path / "p")
    asked = {IMAGE: few(trained)[IMAGE].to_numpy(object)[:8]}
    again = load_predictor(tmp_path / "p").predict(asked)["probability"]
    np.testing.assert_allclose(again, model.predictor.predict(asked)["probability"])
    frozen = spec_of(options, train={"algorithm": "logistic", "hyperparameters": {}})
    LEARNER.save(frozen, fitted(trained, frozen, 200), tmp_path / "frozen")
    assert load_predictor(tmp_path / "frozen").predict(asked)["probability"].shape == (8, 10)
    with pytest.raises(InvalidInput, match="there is no timm/no_such"):
        build("timm/no_such", Shape(32, 3), 2)
