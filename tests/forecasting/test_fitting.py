"""What is fitted: a chosen method, its intervals, and a model of all series where it has proof."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noria.errors import TrainingError
from noria.tasks.forecasting.family import LEARNER
from noria.tasks.forecasting.fitting import Fitted
from tests.forecasting.test_panel import rows_of, spec_of

WEEK = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0)


def weekly(seed: int, days: int = 120, noise: float = 1.0) -> dict[int, float]:
    chance = np.random.default_rng(seed)
    return {day: WEEK[day % 7] + noise * chance.normal() for day in range(days)}


def fitted(train: dict[str, Any] | None = None, **series: dict[int, float]) -> Fitted:
    spec = spec_of({"levels": [80, 95]})
    if train is not None:
        spec = spec.model_copy(update={"train": spec.train.model_copy(update=train)})
    samples = LEARNER.features(spec, Path(), rows_of(**series))
    places = np.arange(len(samples))
    return LEARNER.fit(spec, LEARNER.prepare(spec, samples), places, {}, None)


def test_one_short_series_has_a_model_too() -> None:
    model = fitted(a=weekly(0, days=30))
    assert model.forecaster.settings.method in ("seasonal-naive", "theta", "combination")
    said = model.forecaster.predict({"history": np.array([WEEK * 2])})
    assert np.isfinite(said["prediction"]).all()


def test_a_level_that_has_too_few_errors_is_not_answered() -> None:
    model = fitted(a=weekly(0, days=22))
    assert model.rows < 19
    assert set(model.forecaster.settings.widths) <= {"80"}
    assert "lower-95" not in {output.name for output in model.forecaster.manifest.outputs}


def test_the_parameters_of_boosting_are_of_no_other_method() -> None:
    spec = spec_of()
    theta = spec.model_copy(update={"train": spec.train.model_copy(update={"algorithm": "theta"})})
    samples = LEARNER.features(spec, Path(), rows_of(a=weekly(0)))
    prepared, places = LEARNER.prepare(theta, samples), np.arange(len(samples))
    with pytest.raises(TrainingError, match=r"num_leaves.; theta has none"):
        LEARNER.fit(theta, prepared, places, {"num_leaves": 7}, None)


def test_boosting_is_refused_where_nothing_is_known_before_the_newest() -> None:
    with pytest.raises(TrainingError, match="samples are too few for boosting"):
        fitted({"algorithm": "boosting"}, a=weekly(0, days=30))


def test_a_search_tries_nothing_where_boosting_could_not_be_judged(tmp_path: Path) -> None:
    spec = spec_of()
    search = spec.train.search.model_copy(update={"kind": "random", "trials": 2})
    spec = spec.model_copy(update={"train": spec.train.model_copy(update={"search": search})})
    samples = LEARNER.features(spec, Path(), rows_of(a=weekly(0, days=30)))
    assert LEARNER.tune(spec, samples, tmp_path).trials == ()


def test_intervals_hold_as_often_as_they_say() -> None:
    series = {f"s{number}": weekly(number, days=200) for number in range(30)}
    until = {name: {d: v for d, v in one.items() if d < 190} for name, one in series.items()}
    model = fitted(**until)
    later = rows_of(**series).sort_values(["depot", "day"])
    values = np.stack([one["parcels"].to_numpy() for _, one in later.groupby("depot")])
    # Three origins after what it has seen: a fit costs by the series, and 270 steps are judged.
    origins = (190, 193, 196)
    said = model.forecaster.predict(
        {"history": np.vstack([values[:, origin - 70 : origin] for origin in origins])}
    )
    truth = np.vstack([values[:, origin : origin + 3] for origin in origins])
    for level in (80, 95):
        inside = (truth >= said[f"lower-{level}"]) & (truth <= said[f"upper-{level}"])
        assert inside.mean() == pytest.approx(level / 100, abs=0.08)


def test_the_same_samples_give_the_same_package(tmp_path: Path) -> None:
    spec = spec_of()
    samples = LEARNER.features(spec, Path(), rows_of(a=weekly(0), b=weekly(1)))
    digests = []
    for name in ("one", "two"):
        prepared = LEARNER.prepare(spec, pd.DataFrame(samples))
        model = LEARNER.fit(spec, prepared, np.arange(len(samples)), {}, None)
        digests.append(LEARNER.save(spec, model, tmp_path / name).files)
    assert digests[0] == digests[1]
