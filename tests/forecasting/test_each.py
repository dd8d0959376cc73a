"""A method for each series, as `choice: per-series` has it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from noria.errors import InvalidInput
from noria.tasks.forecasting.family import LEARNER
from noria.tasks.forecasting.fitting import Fitted
from noria.tasks.package import load_predictor
from tests.forecasting.test_fitting import WEEK, weekly
from tests.forecasting.test_panel import rows_of, spec_of


def walk(seed: int, days: int = 120) -> dict[int, float]:
    steps = np.random.default_rng(seed).normal(size=days)
    return dict(enumerate(100.0 + np.cumsum(steps)))


def test_a_package_asks_each_series_own_method(tmp_path: Path) -> None:
    spec = spec_of({"choice": "per-series", "levels": [80], "origins": 10})
    series = {f"w{n}": weekly(n, 50) for n in range(3)} | {f"r{n}": walk(n, 50) for n in (7, 8)}
    frame = LEARNER.features(spec, Path(), rows_of(**series))
    prepared, places = LEARNER.prepare(spec, frame), np.arange(len(frame))
    fitted = LEARNER.fit(spec, prepared, places, {}, None)
    settings = fitted.forecaster.settings
    assert len(settings.methods) == len(settings.series) == 5
    # Whatever was chosen: two are told to repeat the last season, and the others to go on.
    told = {"w0": "seasonal-naive", "r7": "seasonal-naive"}
    methods = [told.get(key, "theta") for (key,) in settings.series]
    changed = msgspec.structs.replace(settings, method="theta", methods=methods)
    fitted = Fitted(replace(fitted.forecaster, settings=changed))
    LEARNER.save(spec, fitted, tmp_path / "package", model="depots")
    model = load_predictor(tmp_path / "package")
    said = LEARNER.predict(spec, fitted, prepared, places[-8:])
    again = LEARNER.predict(spec, tmp_path / "package", prepared, places[-8:])
    assert said.equals(again)
    history = [(*WEEK, *WEEK, 90.0)]
    answers = {
        name: model.predict({"depot": np.array([name], object), "history": np.array(history)})
        for name in ("w0", "w1", "somebody else")
    }
    repeated = list(WEEK[1:4])
    assert answers["w0"]["prediction"][0].tolist() == repeated
    assert answers["w1"]["prediction"][0].tolist() != repeated
    other = answers["somebody else"]["prediction"].tolist()
    assert other == answers["w1"]["prediction"].tolist()
    assert other == model.predict({"history": np.array(history)})["prediction"].tolist()
    both = {"depot": np.array(["w1", "w0"], object), "history": np.array(history * 2)}
    together = model.predict(both)["prediction"].tolist()
    assert together == [*other, repeated]


def test_one_method_is_no_choice() -> None:
    with pytest.raises(InvalidInput, match=r"options.choice: theta is one method"):
        spec_of({"choice": "per-series"}, {"algorithm": "theta"})
