"""``spec.retraining``: which signals may start a run, on how much evidence, and on which rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, TypeAlias

from pydantic import Field

from noria.spec.section import FILLED, Items, Section
from noria.spec.units import Duration, PositiveDuration

SignalKind: TypeAlias = Literal["drift", "performance", "quality", "new-data", "schedule", "manual"]


class NewData(Section):
    """When new labelled rows are reason enough. Every other try is measured by this floor."""

    growth: float = Field(
        default=0.2,
        gt=0,
        le=1000,
        description="Labelled rows since the last try, as a share of the rows that there were "
        "then. 0.2: a fifth more. A model that learns from more rows gets better by their ratio, "
        "so time says nothing here.",
    )


class MinGrowth(Section):
    """Labelled rows since the last try that a signal needs, as a share of the rows until then.

    A drift never needs less than ``newData.growth``, a loss of performance needs what
    ``change`` says; this is what they need besides.
    """

    drift: float = Field(
        default=0.0, ge=0, le=100, description="For drift, a share: 0.5 waits for half as many."
    )
    performance: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="For a measured loss of performance, a share.",
    )
    quality: float = Field(
        default=0.0, ge=0, le=100, description="For a breach of the quality rules, a share."
    )


class Change(Section):
    """Tries after a measured loss of performance, by the labelled rows since the loss began."""

    rows: int = Field(
        default=1000,
        ge=1,
        le=1_000_000_000,
        description="Labelled rows since then that the first try needs: enough to learn the new "
        "from, and to judge by.",
    )
    factor: float = Field(
        default=2.0,
        gt=1,
        le=100,
        description="The next try needs this many times the rows of the last, whatever became "
        "of it.",
    )


class Pace(Section):
    """The compute that tries may use, measured by what the floor alone would have used."""

    ahead: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="Tries that may be made before the rows for them have come. 0: never more "
        "tries than newData.growth alone would have made.",
    )


class RunBudget(Section):
    """How many runs a longer time may see, whatever the evidence."""

    runs: int = Field(default=100, ge=0, le=100_000, description="Greatest number of runs.")
    per: PositiveDuration = Field(
        json_schema_extra=FILLED,
        default=timedelta(days=365),
        description="The time that they are counted over, a duration. The default is no shorter "
        "than cooldown's.",
    )
    compute: PositiveDuration | None = Field(
        default=None,
        description="Longest time that runs may take together in that time, from start to end, a "
        "duration. None: as long as they take.",
    )


class TrainOn(Section):
    """The rows that a run learns from, and how much each counts."""

    kind: Literal["auto", "all", "window", "weighted"] = Field(
        default="auto",
        description="all rows known at the time count the same; weighted: the newer a row, the "
        "more it counts; window: only rows of the latest window are read. auto: as the champion, "
        "unless all alike, weighted, or half or twice the rounds of boosting was shown better on "
        "the rows that judge the candidate; the rounds only where nothing else chooses them.",
    )
    window: PositiveDuration | None = Field(
        default=None, description="Length of that window in event time, a duration (window only)."
    )
    half_life: float = Field(
        default=0.25,
        gt=0,
        le=100,
        description="A row that is older than this share of the training rows counts half of the "
        "newest (weighted only).",
    )


class Retraining(Section):
    """Which signals may start a run, on how much evidence, and on which rows."""

    signals: Items[SignalKind] = Field(
        json_schema_extra=FILLED,
        default=("drift", "performance", "new-data"),
        max_length=6,
        description="Signals that may start a run. None: the loop never retrains by itself. By "
        "default drift, performance and new-data, where they can arise.",
    )
    min_growth: MinGrowth = Field(
        default_factory=MinGrowth,
        description="What a signal of a kind needs besides. Until then it waits.",
    )
    new_data: NewData = Field(
        default_factory=NewData,
        description="When new labelled rows are reason enough: the floor that other tries are "
        "measured by.",
    )
    thinning: float = Field(
        default=2.0,
        ge=1,
        le=10,
        description="After each try that won nothing, the next of its kind needs this many times "
        "the rows, up to six times in a row; a clear gain ends it. 1: never.",
    )
    change: Change = Field(
        default_factory=Change, description="Tries after a measured loss of performance."
    )
    pace: Pace = Field(
        default_factory=Pace,
        description="How far the tries may be ahead of what newData.growth alone would make.",
    )
    schedule: PositiveDuration | None = Field(
        default=None,
        description="Time between scheduled runs, a duration. Needed by the signal schedule.",
    )
    cooldown: Duration = Field(
        json_schema_extra=FILLED,
        default=timedelta(0),
        description="Least time between the starts of two runs, a duration. 0s: rows alone space "
        "them. The default is 0s, and of a forecast its horizon: before, nothing is known that the "
        "last run did not know.",
    )
    runs_per_day: int = Field(
        default=24, ge=0, le=1000, description="Greatest number of runs in any 24 hours."
    )
    budget: RunBudget = Field(
        default_factory=RunBudget, description="How many runs a longer time may see."
    )
    train_on: TrainOn = Field(
        default_factory=TrainOn, description="The rows that a run learns from."
    )
    give_up_after: int = Field(
        default=3,
        ge=1,
        le=1000,
        description="Candidates in a row that were shown worse, or failed in canary, before the "
        "loop-breaker opens and a person is told. It closes when enough new rows have come.",
    )
