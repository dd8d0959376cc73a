"""``spec.retraining``: which signals may start a run, how often, and on which rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, TypeAlias

from pydantic import Field

from noria.spec.section import FILLED, Items, Section
from noria.spec.units import Duration, PositiveDuration

SignalKind: TypeAlias = Literal["drift", "performance", "quality", "new-data", "schedule", "manual"]


class NewData(Section):
    """When new labelled rows are reason enough."""

    growth: float = Field(
        gt=0,
        le=1000,
        description="Labelled rows since the champion's training, as a share of its training rows. "
        "0.5: half as many again.",
        examples=[0.5],
    )


class MinGrowth(Section):
    """Labelled rows since the champion's training, as a share of the rows it was trained on.

    Retraining on nearly the same rows gives nearly the same model and costs a run of
    the budget. The more a signal says by itself, the less it needs.
    """

    drift: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="For drift, a share: 0.5 waits for half as many rows again. Inputs that drift "
        "with the seasons alarm all year; this keeps them from using up the budget.",
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


class RunBudget(Section):
    """How many runs a longer time may see."""

    runs: int = Field(default=6, ge=0, le=100_000, description="Greatest number of runs.")
    per: PositiveDuration = Field(
        default=timedelta(days=365), description="The time that they are counted over, a duration."
    )


class TrainOn(Section):
    """The rows that a run learns from."""

    kind: Literal["all", "window"] = Field(
        default="all",
        description="all rows known at the time, or only those of the latest window.",
    )
    window: PositiveDuration | None = Field(
        default=None, description="Length of that window in event time, a duration (window only)."
    )


class Retraining(Section):
    """Which signals may start a run, how often, and on which rows."""

    signals: Items[SignalKind] = Field(
        json_schema_extra=FILLED,
        default=("drift", "performance"),
        max_length=6,
        description="Signals that may start a run. None: the loop never retrains by itself.",
    )
    min_growth: MinGrowth = Field(
        default_factory=MinGrowth,
        description="How much there must be to learn before a signal of a kind starts a run. "
        "Until then the signal waits.",
    )
    new_data: NewData | None = Field(
        default=None, description="What counts as new data. Needed by the signal new-data."
    )
    schedule: PositiveDuration | None = Field(
        default=None,
        description="Time between scheduled runs, a duration. Needed by the signal schedule.",
    )
    cooldown: Duration = Field(
        default=timedelta(days=7),
        description="Least time between the starts of two runs, a duration, so that one drift "
        "with many alarms is one run.",
    )
    runs_per_day: int = Field(
        default=1, ge=0, le=1000, description="Greatest number of runs in any 24 hours."
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
        description="Candidates in a row that did not win before the loop-breaker opens and waits "
        "for a person.",
    )
