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

    on: Items[SignalKind] = Field(
        json_schema_extra=FILLED,
        default=("drift", "performance"),
        max_length=6,
        description="Signals that may start a run. None: the loop never retrains by itself. YAML "
        '1.1 readers, kubectl among them, take a bare on for true: write the key as "on", in '
        "quotes.",
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
