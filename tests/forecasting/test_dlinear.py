"""A linear map of all series, trained by torch and served by numpy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noria.errors import IntegrityError, InvalidInput, NotInstalled, TrainingError
from noria.spec import families
from noria.tasks.families import require
from noria.tasks.forecasting import dlinear
from noria.tasks.forecasting.describe import CHOSEN_FROM, DLINEAR
from noria.tasks.forecasting.dlinear import FILE, MAPS, Linear, load, window_of
from noria.tasks.forecasting.methods import forecast
from noria.tasks.package import load_predictor
from tests.forecasting.histories import SEASON, Array, padded, seasonal
from tests.forecasting.test_fitting import fitted, weekly
from tests.forecasting.test_panel import rows_of, spec_of

HORIZON = 6


def _samples(seeds: range, noise: float = 1.0) -> tuple[Array, Array, Any]:
    """Return windows of 60 steps from four origins of each series, what came, and the origins."""
    whole = np.stack([seasonal(60 + 4 * HORIZON, seed, noise) * (1.0 + seed) for seed in seeds])
    starts = range(0, 4 * HORIZON, HORIZON)
    windows = np.concatenate([whole[:, at : at + 60] for at in starts])
    futures = np.concatenate([whole[:, at + 60 : at + 60 + HORIZON] for at in starts])
    return windows, futures, np.repeat(np.arange(4) * HORIZON, len(whole))


def _fitted(windows: Array, futures: Array, origins: Any, **given: object) -> Linear:
    arguments: dict[str, Any] = {"season": SEASON, "seed": 1, "weight": None, "params": {}}
    return dlinear.fit(windows, futures, origins=origins, **{**arguments, **given})


def test_a_trend_and_a_season_are_forecast_as_they_go_on() -> None:
    # 2 x[t-12] - x[t-24] is exact, and such a map is among those that can be learnt.
    model = _fitted(*_samples(range(80), noise=0.0), params={"epochs": 60, "weight_decay": 0.0})
    windows, futures, _ = _samples(range(500, 510), noise=0.0)
    own = np.abs(model.predict(windows) - futures) / futures
    naive = np.abs(forecast("seasonal-naive", windows, SEASON, HORIZON) - futures) / futures
    assert naive.min() > 0.03
    assert own.max() < 0.003


def test_the_server_says_what_torch_does() -> None:
    import torch

    model = _fitted(*_samples(range(20)))
    windows, _, _ = _samples(range(100, 110))
    recent = torch.from_numpy(windows[:, -model.shape.window :])
    level, spread = recent.mean(1, keepdim=True), recent.std(1, keepdim=True, correction=0)
    scaled = (recent - level) / spread
    # A centred average over a season of 12: 13 steps, the outer two by half; the ends go on.
    kernel = torch.tensor([0.5, *[1.0] * 11, 0.5], dtype=torch.float64) / 12
    ends = torch.nn.functional.pad(scaled[:, None], (6, 6), mode="replicate")
    trend = torch.nn.functional.conv1d(ends, kernel[None, None])[:, 0]
    layers = []
    for weight in (model.trend, model.rest):
        layers.append(torch.nn.Linear(*weight.shape, bias=False, dtype=torch.float64))
        layers[-1].load_state_dict({"weight": torch.from_numpy(weight.T.copy())})
    said = layers[0](trend) + layers[1](scaled - trend) + torch.from_numpy(model.bias)
    assert np.allclose(model.predict(windows), (level + spread * said).detach().numpy(), rtol=1e-9)


def test_a_seed_gives_the_same_bytes_and_a_package_says_the_same() -> None:
    samples = _samples(range(30))
    model = _fitted(*samples)
    assert _fitted(*samples).files() == model.files()
    assert _fitted(*samples, seed=2).files() != model.files()
    assert np.array_equal(load(model.files()).predict(samples[0]), model.predict(samples[0]))


def test_a_unit_changes_nothing_and_a_weight_of_nothing_teaches_nothing() -> None:
    windows, futures, origins = _samples(range(30))
    weight = np.tile([1.0, 1e-12], len(windows) // 2)
    wrong = np.where(weight[:, None] < 1.0, -50.0 * futures, futures)
    model = _fitted(windows, wrong, origins, weight=weight, params={"window": 60})
    assert (np.abs(model.predict(windows) - futures) / futures).max() < 0.2
    assert np.allclose(model.predict(windows * 1024.0), model.predict(windows) * 1024.0)


def test_too_short_and_flat_histories_are_answered_by_the_naive() -> None:
    model = _fitted(*_samples(range(30)))
    assert model.shape.window == 3 * SEASON
    short = seasonal(model.shape.window - 1, 0)
    odd = padded(seasonal(60, 0), short, np.full(60, 7.0), np.array([3.0]), np.zeros(60))
    naive = forecast("seasonal-naive", odd, SEASON, HORIZON)
    said = model.predict(odd)
    assert np.array_equal(said[1:], naive[1:])
    assert not np.array_equal(said[0], naive[0])
    assert np.isfinite(model.predict(odd * 1e300)).all()
    touching = np.abs(odd[:1] - odd[:1].max())
    assert model.predict(touching).min() >= 0.0


def test_short_series_are_read_in_a_smaller_window() -> None:
    windows = padded(*(seasonal(60, 0) for _ in range(10)), *(seasonal(20, 0) for _ in range(10)))
    assert window_of(windows[:10], SEASON, HORIZON) == 36
    assert window_of(windows, SEASON, HORIZON) == 20


def test_what_does_not_fit_is_refused() -> None:
    windows, futures, origins = _samples(range(10))
    with pytest.raises(InvalidInput, match=r"are not \(m, L\) and \(m, h\)"):
        _fitted(windows[1:], futures, origins)
    with pytest.raises(TrainingError, match="no window has 61 values that differ"):
        _fitted(windows, futures, origins, params={"window": 61})
    with pytest.raises(TrainingError, match=r"spec.train.hyperparameters: .*learning_rat"):
        _fitted(windows, futures, origins, params={"learning_rat": 0.1})
    with pytest.raises(TrainingError, match=r"Expected `int` >= 2.*window"):
        _fitted(windows, futures, origins, params={"window": 1})
    model = _fitted(windows, futures, origins)
    with pytest.raises(InvalidInput, match=r"windows \(40, 59\) are not \(m, 60\)"):
        model.predict(windows[:, 1:])
    with pytest.raises(IntegrityError, match=FILE):
        load({})
    other = _fitted(windows, futures, origins, params={"window": 24})
    with pytest.raises(IntegrityError, match=f"{MAPS}: does not fit"):
        load({**model.files(), MAPS: other.files()[MAPS]})


def test_a_package_of_the_family_is_served_without_torch(tmp_path: Path) -> None:
    from noria.tasks.forecasting.family import LEARNER

    series = {f"s{number}": weekly(number, days=200) for number in range(20)}
    model = fitted({"algorithm": DLINEAR}, **series)
    assert model.forecaster.settings.method == DLINEAR
    assert set(model.forecaster.settings.widths) == {"80", "95"}
    spec = spec_of({"levels": [80, 95]}, {"algorithm": DLINEAR})
    LEARNER.save(spec, model, tmp_path / "v1")
    asked = {"history": np.array([[*weekly(9, 70).values()]])}
    said, again = model.forecaster.predict(asked), load_predictor(tmp_path / "v1").predict(asked)
    assert all(np.array_equal(said[name], again[name]) for name in said)
    code = (
        "import sys, pathlib, numpy as np\n"
        "sys.modules['torch'] = None\n"
        "from noria.tasks.package import load_predictor\n"
        "model = load_predictor(pathlib.Path(sys.argv[1]))\n"
        "model.predict({'history': np.arange(70.0)[None]})\n"
        "sys.exit(', '.join({'statsforecast', 'lightgbm'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "v1")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_search_tries_it_and_its_forecasts_of_parts_and_sums_agree(tmp_path: Path) -> None:
    from noria.tasks.forecasting.family import LEARNER

    search = {"kind": "random", "trials": 2}
    spec = spec_of({"levels": [80], "hierarchy": [[]]}, {"algorithm": DLINEAR, "search": search})
    series = {f"s{number}": weekly(number, days=200) for number in range(20)}
    rows = rows_of(**series)
    frame = LEARNER.features(spec, tmp_path, rows)
    found = LEARNER.tune(spec, frame, tmp_path)
    # The first trial is the defaults.
    tried = [set(one.params) for one in found.trials]
    assert tried == [set(), {"learning_rate", "weight_decay"}]
    prepared = LEARNER.prepare(spec, frame)
    model = LEARNER.fit(spec, prepared, np.arange(len(frame)), found.params, None)
    assert model.forecaster.settings.method == DLINEAR
    said = model.forecaster.predict({"depot": np.array([*series, "*"], object)})
    assert said["reconciled"].all()
    assert said["prediction"][-1] == pytest.approx(said["prediction"][:-1].sum(axis=0))


def test_without_torch_it_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = _samples(range(5))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(NotInstalled, match="dlinear is trained by torch"):
        _fitted(*samples)
    monkeypatch.setattr("noria.spec.family.find_spec", lambda name: None if name == "torch" else 1)
    require(spec_of(train={"algorithm": "theta"}))
    with pytest.raises(NotInstalled, match="needs torch, which is not installed") as refused:
        require(spec_of(train={"algorithm": DLINEAR}))
    assert refused.value.fix == "install noria[training,forecasting] torch"


def test_auto_does_not_choose_it() -> None:
    assert DLINEAR not in CHOSEN_FROM
    found = families.installed().find("forecasting")
    assert found is not None
    assert DLINEAR in found.algorithm_names
