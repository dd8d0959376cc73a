"""What ``forecasting`` says about itself; see ``noria.spec.family.Family``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from pydantic import Field

from noria.errors import Problem
from noria.measures.catalog import OwnMetric
from noria.spec.data import Data
from noria.spec.family import Algorithm, Family, Needs
from noria.spec.monitoring import Detector
from noria.spec.section import Items, Section
from noria.spec.spaces import SearchRange
from noria.tasks.forecasting import HISTORY
from noria.tasks.forecasting.rules import (
    covariates_have_a_part,
    holidays_are_of_days,
    sums_are_of_the_key,
)
from noria.tasks.rules import later_is_held_out

if TYPE_CHECKING:
    from noria.spec.model import ModelSpec

SEASONS: Final = {
    "minute": 60,
    "hour": 24,
    "day": 7,
    "week": 52,
    "month": 12,
    "quarter": 4,
    "year": 1,
}
"""Steps of a season, where the spec says none, by the unit of a step."""

DESCRIPTORS: Final = ("level", "growth", "volatility", "seasonality", "values")
"""What is watched of a history, in order; ``noria.tasks.forecasting.shape`` says what each is."""

AUTO: Final = "auto"
BOOSTING: Final = "boosting"
DLINEAR: Final = "dlinear"
NAIVE: Final = "seasonal-naive"
LOCAL: Final = (NAIVE, "theta", "ets", "arima", "combination")
"""The methods that look at one history alone, the simplest first."""

GLOBAL: Final = (BOOSTING, DLINEAR)
"""The methods that are fitted to all series, and have hyperparameters."""

CHOSEN_FROM: Final = (NAIVE, "theta", "combination", BOOSTING)
"""What ``auto`` chooses from, the simplest first. ETS costs most, and adds next to nothing on M1
and Tourism; DLinear loses to Theta on both."""

_LONGEST: Final = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(hours=25),
    "week": timedelta(days=7, hours=1),
    "month": timedelta(days=31),
    "quarter": timedelta(days=92),
    "year": timedelta(days=366),
}
_STEP: Final = re.compile(r"(?:(?P<every>[1-9][0-9]{0,3}) )?(?P<unit>[a-z]+?)s?")
_MOST_HISTORY: Final = 4096


class ForecastingOptions(Section):
    """Options of ``forecasting``."""

    horizon: int = Field(
        default=12,
        ge=1,
        le=1000,
        description="How many steps ahead each forecast reaches.",
        examples=[14],
    )
    step: str = Field(
        default="day",
        pattern=r"^([1-9][0-9]{0,3} )?(minute|hour|day|week|month|quarter|year)s?$",
        description="How far two values of a series are apart: hour, day, week, month, quarter, "
        "year, or so many of them, such as 15 minutes. Weeks start on Monday.",
        examples=["15 minutes"],
    )
    season: int | None = Field(
        default=None,
        ge=1,
        le=2048,
        description="Steps after which the pattern of a series comes again; 1: there is none. "
        "null: a day of hours or minutes, a week of days, a year of weeks, months or quarters.",
        examples=[7],
    )
    history: int | None = Field(
        default=None,
        ge=2,
        le=_MOST_HISTORY,
        description="Most values before the forecast that the model looks at, and a client sends. "
        "null: ten seasons, and no fewer than 64.",
        examples=[140],
    )
    origins: int = Field(
        default=24,
        ge=2,
        le=10_000,
        description="From how many moments of each series, the newest ones, forecasts are made to "
        "learn from and to be judged by. They lie a whole horizon apart where a series is long "
        "enough, so that no value is forecast twice.",
    )
    levels: Items[int] = Field(
        default=(80, 95),
        max_length=5,
        description="Of each forecast the intervals that hold the value so often, in percent.",
        examples=[[80]],
    )
    gaps: Literal["refuse", "interpolate", "zero"] = Field(
        default="interpolate",
        description="What a step without a value is. interpolate: not known; a line is drawn "
        "through it where a method needs a number, and no forecast is judged by it. zero: nothing "
        "was sold, say. refuse: a mistake.",
    )
    time_zone: str = Field(
        default="UTC",
        min_length=1,
        max_length=64,
        description="Where days, weeks, months, quarters and years begin, by its name in the IANA "
        "database. Hours and minutes are UTC's.",
        examples=["Asia/Seoul"],
    )
    choice: Literal["globally", "per-series"] = Field(
        default="globally",
        description="What auto chooses a method for. globally: for all series together. "
        "per-series: for each by its own forecasts, where it has enough of them.",
    )
    known_ahead: Items[str] = Field(
        default=(),
        max_length=100,
        description="Features whose values are known before the step they are of: a price, a "
        "promotion, a weather forecast. They are read up to the last step of a forecast.",
        examples=[["price", "promotion"]],
    )
    past: Items[str] = Field(
        default=(),
        max_length=100,
        description="Features whose values are known up to the newest value of the series, and no "
        "further. A feature that is neither here nor in knownAhead is a fact of the whole series.",
        examples=[["visitors"]],
    )
    holidays: Items[str] = Field(
        default=(),
        max_length=10,
        description="Public holidays that forecasts know: countries by their ISO 3166 code, or "
        "parts of one. Steps of a day or less.",
        examples=[["KR", "DE-BY"]],
    )
    hierarchy: Items[Items[str]] = Field(
        default=(),
        max_length=8,
        description="Levels of sums, from wide to narrow, each by the columns of "
        "spec.data.entityKey that its series are alike in. The sum of all is always there: [[]] is "
        "it alone. Forecasts of parts and sums are made to agree.",
        examples=[[["region"]]],
    )
    reconcile: Literal["min-trace", "bottom-up", "top-down"] = Field(
        default="min-trace",
        description="How they are made to agree. min-trace: all are changed, by how their earlier "
        "errors hang together. bottom-up: sums are what the parts add up to. top-down: each part "
        "is its share of the widest sum.",
    )


def options_of(spec: ModelSpec) -> ForecastingOptions:
    """Return a model's options."""
    return cast("ForecastingOptions", spec.task.options)


def unit_of(options: ForecastingOptions) -> tuple[int, str]:
    """Return how many of which unit a step is."""
    found = _STEP.fullmatch(options.step)
    if found is None:  # pydantic's pattern is the same
        raise ValueError(options.step)
    return int(found["every"] or 1), found["unit"]


def season_of(options: ForecastingOptions) -> int:
    """Return the steps of a season; 1: there is none."""
    if options.season is not None:
        return options.season
    every, unit = unit_of(options)
    if unit == "minute":
        return max(1, 24 * 60 // every)
    return max(1, SEASONS[unit] // every)


def label_lag_of(options: ForecastingOptions) -> timedelta:
    """Return how long the last step of a forecast takes to come, at most."""
    every, unit = unit_of(options)
    return options.horizon * every * _LONGEST[unit]


def history_of(options: ForecastingOptions) -> int:
    """Return the most values that a forecast looks at."""
    if options.history is not None:
        return options.history
    return min(max(10 * season_of(options), 64), _MOST_HISTORY)


def series_and_their_times(task: Any, data: Data) -> Iterator[Problem]:
    """A forecast is of values that have a time."""
    for key, value, example in (
        ("target", data.target, "sales"),
        ("eventTime", data.event_time, "day"),
    ):
        if value is None:
            yield Problem(
                f"spec.data.{key}",
                f"is missing, and {task.family} needs it",
                f"name the column, such as {example}",
            )
    if data.label_time is not None:
        yield Problem(
            "spec.data.labelTime",
            f"{task.family} takes a value as known at its eventTime",
            "remove it, and leave out values that are not final yet",
        )


def nothing_else_is_read(task: Any, data: Data) -> Iterator[Problem]:
    """What is read are the values and the features."""
    for key, given in (
        ("timeFeatures", data.time_features),
        ("joinKeys", data.join_keys),
        ("served", data.served),
    ):
        if given:
            yield Problem(f"spec.data.{key}", f"{task.family} does not read it", "remove it")
    read = (data.target, *(feature.name for feature in data.features))
    for name in data.validation.ranges:
        if name not in read:
            yield Problem(
                f"spec.data.validation.ranges.{name}",
                f"{task.family} does not read {name}",
                "give a range of the target or a feature, or remove it",
            )


def a_choice_has_methods(task: Any, train: Any) -> Iterator[Problem]:
    """Only auto chooses."""
    if task.options.choice != "globally" and train.algorithm != AUTO:
        yield Problem(
            "spec.task.options.choice",
            f"{train.algorithm} is one method",
            f"write algorithm: {AUTO}, or remove it",
        )


def the_season_fits_the_history(task: Any) -> Iterator[Problem]:
    """A history holds two seasons, so that one can be held against the other."""
    options, path = task.options, "spec.task.options"
    season, history = season_of(options), history_of(options)
    if history < 2 * season:
        yield Problem(
            f"{path}.history",
            f"{history} values hold less than two seasons of {season}",
            f"write {2 * season} or more, or season: 1",
        )
    for place, level in enumerate(options.levels):
        if not 1 <= level <= 99:
            yield Problem(
                f"{path}.levels[{place}]", f"{level} is not a percentage from 1 to 99", "write 80"
            )
        elif level in options.levels[:place]:
            yield Problem(f"{path}.levels[{place}]", f"{level} is there twice", "keep one of them")


def the_time_zone_is_known(task: Any) -> Iterator[Problem]:
    """Days begin where the time zone says."""
    from zoneinfo import ZoneInfo

    name = task.options.time_zone
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        yield Problem(
            "spec.task.options.timeZone",
            f"{name} is not a time zone that is known here",
            "write a name of the IANA database, such as Asia/Seoul",
        )


def _mae(truth: Any, prediction: Any) -> Any:
    from noria.tasks.forecasting.accuracy import mae

    return mae(truth, prediction)


def _rmse(truth: Any, prediction: Any) -> Any:
    from noria.tasks.forecasting.accuracy import rmse

    return rmse(truth, prediction)


def _smape(truth: Any, prediction: Any) -> Any:
    from noria.tasks.forecasting.accuracy import smape

    return smape(truth, prediction)


MASE: Final = OwnMetric(
    "mase",
    greater_is_better=False,
    low=0.0,
    of="series",
    about="mean absolute error in units of the history's own seasonal differences "
    "(Hyndman and Koehler, International Journal of Forecasting 22, 2006)",
    per_sample=_mae,
)
RMSSE: Final = OwnMetric(
    "rmsse",
    greater_is_better=False,
    low=0.0,
    of="series",
    about="root of the mean squared error of a forecast in units of the root of the history's mean "
    "squared seasonal difference",
    per_sample=_rmse,
)
SMAPE: Final = OwnMetric(
    "smape",
    greater_is_better=False,
    low=0.0,
    high=200.0,
    about="absolute error as a share of the mean size of value and forecast, in percent",
    per_sample=_smape,
)


def _skill(truth: Any, prediction: Any) -> Any:
    from noria.tasks.forecasting.accuracy import skill

    return skill(truth, prediction[..., 0], prediction[..., 1])


SKILL: Final = OwnMetric(
    "skill",
    greater_is_better=True,
    low=-1.0,
    high=1.0,
    of="baselines",
    floor=0.0,
    about="by how much the mean absolute error of a forecast is below the seasonal naive's, as a "
    "share of the greater one",
    per_sample=_skill,
)


def _inputs_of(options: ForecastingOptions) -> dict[str, Any]:
    """Return that features which change from step to step are sent as series too."""
    named = (HISTORY, *options.known_ahead, *options.past)
    return {"inputs": dict.fromkeys(named, "series")}


_BOOSTED: Final = {
    "learning_rate": SearchRange(low=0.02, high=0.3, log=True),
    "num_leaves": SearchRange(low=7, high=127, log=True),
    "min_child_samples": SearchRange(low=5, high=100, log=True),
}
_LINEAR: Final = {
    "learning_rate": SearchRange(low=0.0003, high=0.03, log=True),
    "weight_decay": SearchRange(low=0.001, high=1.0, log=True),
}

FORECASTING: Final = Family(
    name="forecasting",
    about="The next values of many series.",
    options=ForecastingOptions,
    algorithms=(
        # It chooses among the others, so that what can be searched are boosting's.
        Algorithm(name=AUTO, library="lightgbm", space=_BOOSTED),
        *(Algorithm(name=name) for name in LOCAL),
        Algorithm(name=BOOSTING, library="lightgbm", space=_BOOSTED),
        Algorithm(name=DLINEAR, library="torch", install="torch", space=_LINEAR),
    ),
    metrics=("mase", "rmsse", "smape", "skill", "mae", "rmse"),
    own_metrics=(MASE, RMSSE, SMAPE, SKILL),
    baseline=NAIVE,
    sources=("parquet", "csv"),
    target="number",
    inputs={HISTORY: "series"},
    narrow=_inputs_of,
    key_has_time=True,
    label_lag=label_lag_of,
    detectors=(
        Detector(name="features", kind="tabular", watch="features"),
        Detector(name="prediction", kind="ks", watch="prediction"),
    ),
    descriptors=DESCRIPTORS,
    rules=(
        series_and_their_times,
        nothing_else_is_read,
        a_choice_has_methods,
        covariates_have_a_part,
        holidays_are_of_days,
        sums_are_of_the_key,
        later_is_held_out,
        the_season_fits_the_history,
        the_time_zone_is_known,
    ),
    needs=Needs(
        libraries=("pandas", "pyarrow.parquet", "statsforecast", "matplotlib.figure"),
        install="noria[training,forecasting]",
    ),
    learner="noria.tasks.forecasting.family:LEARNER",
    template="noria.tasks.forecasting.template:TEMPLATE",
)
