"""``spec.monitoring``: what is watched in the traffic, and how seldom it may cry wolf."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema

from noria.errors import shorten
from noria.labels import SOURCE_PATTERN
from noria.spec.section import FILLED, Column, Items, Label, ScalarValue, Section, refuse
from noria.spec.units import PositiveDuration

_PERCENT_PATTERN: Final = r"^[0-9]{1,4}(\.[0-9]{1,4})?%$"

DetectorKind: TypeAlias = Literal[
    "ks",
    "chi-square",
    "tabular",
    "mmd",
    "lsdd",
    "learned-kernel",
    "classifier",
    "model-uncertainty",
    "fisher",
    "online-mmd",
    "online-cvm",
]
WatchedType: TypeAlias = Literal["numeric", "categorical", "boolean", "vector"]
Backend: TypeAlias = Literal["native", "alibi"]

BACKENDS: Final[Mapping[Backend, tuple[DetectorKind, ...]]] = MappingProxyType(
    {
        "native": ("ks", "chi-square", "fisher", "mmd", "classifier", "tabular"),
        "alibi": (
            "ks",
            "chi-square",
            "tabular",
            "mmd",
            "lsdd",
            "learned-kernel",
            "classifier",
            "model-uncertainty",
            "online-mmd",
            "online-cvm",
        ),
    }
)
"""The kinds that each backend has."""


class Window(Section):
    """How many rows are looked at together."""

    rows: int = Field(
        default=1000,
        ge=100,
        le=10_000_000,
        description="Rows of one window. Fewer than 100 tell nothing; 1000 notice a shift of a "
        "tenth of a standard deviation.",
    )


class FalseAlarmBudget(Section):
    """How seldom the detectors may alarm when nothing has changed."""

    probability: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="Probability of one false alarm or more within the horizon, 0 to 1, of all "
        "detectors together.",
    )
    horizon: int = Field(
        default=24,
        ge=1,
        le=1_000_000,
        description="Windows that the probability is for. 24 is a day of hourly windows.",
    )


class Detector(Section):
    """One drift detector."""

    name: Label = Field(description="Its name in signals and metrics.", examples=["features"])
    kind: DetectorKind = Field(
        description="Its statistic. tabular is KS on numeric and chi-square on categorical "
        "columns; model-uncertainty watches how unsure a classifier is.",
    )
    backend: Backend = Field(
        default="native",
        description="native is Noria's own vectorised statistics; alibi is Alibi Detect (BSL 1.1: "
        "most production use needs a licence from Seldon).",
    )
    watch: Literal["features", "prediction"] = Field(
        default="features", description="What it watches."
    )
    columns: Items[Column] = Field(
        default=(),
        max_length=100,
        description="Features that it watches. None: all that its statistic fits.",
    )
    types: Items[WatchedType] = Field(
        default=(),
        max_length=4,
        description="Types of the features that it watches, instead of columns. None: all that "
        "its statistic fits.",
        examples=[["vector"]],
    )
    options: dict[str, ScalarValue] = Field(
        default={}, description="Options of this kind, under the detector's own names."
    )


def _drop(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    if isinstance(value, str) and re.fullmatch(_PERCENT_PATTERN, value, re.ASCII) is not None:
        return value
    raise refuse(
        f"{shorten(value)} is not a drop",
        "write a number from 0 in the metric's unit, or a share of the value at training: 5%",
    )


Drop: TypeAlias = Annotated[
    float | str,
    BeforeValidator(_drop),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": _PERCENT_PATTERN},
            ]
        }
    ),
]
"""A number in the metric's unit, or a percentage of the metric's value at training."""


class PerformanceDrop(Section):
    """The drop of performance that is a signal."""

    metric: str = Field(
        json_schema_extra=FILLED,
        default="",
        max_length=63,
        description="Metric to watch. By default the first metric of the task family.",
    )
    max: Drop = Field(
        json_schema_extra=FILLED,
        default=0.03,
        description="Greatest drop below the held-out value at training (of a loss: rise above "
        "it), in the metric's unit; or a share of that value, such as 5%.",
    )
    confidence: float = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="Confidence, 0.5 to 1, that the drop is over max before it is a signal.",
    )

    @property
    def is_relative(self) -> bool:
        """Whether ``max`` is a share of the value at training."""
        return isinstance(self.max, str)

    @property
    def most(self) -> float:
        """The number in ``max``: in the metric's unit or, of a share, 0.05 for 5%."""
        return float(self.max[:-1]) / 100 if isinstance(self.max, str) else self.max

    def __str__(self) -> str:
        return f"{self.max} of that" if self.is_relative else f"{self.most:g}"

    def limit(self, expected: float) -> float:
        """Return the greatest drop from the value at training, in the metric's unit."""
        return self.most * abs(expected) if self.is_relative else self.most


class Performance(Section):
    """Performance on labels that come later."""

    metrics: Items[Annotated[str, Field(max_length=63)]] = Field(
        json_schema_extra=FILLED,
        default=(),
        max_length=20,
        description="Metrics to measure. By default all of the task family; where a server answers "
        "texts, rating alone: the mean of the labels.",
    )
    window: Window = Field(default_factory=Window, description="Labelled rows measured together.")
    drop: PerformanceDrop | None = Field(
        json_schema_extra=FILLED,
        default=None,
        description="The drop that is a signal. By default 0.03 of the family's first metric, 10% "
        "of one without a scale of its own (mae, say), and of texts 5% of the rating in the "
        "champion's first labelled window; null: none is.",
    )
    sources: Items[Annotated[str, Field(pattern=SOURCE_PATTERN)]] = Field(
        default=(),
        max_length=16,
        description="Sources of labels that count: feedback, or the names of judges. None: all. "
        "Rows labelled by others are kept and exported, and not measured.",
        examples=[["feedback"]],
    )
    max_label_lag: PositiveDuration = Field(
        json_schema_extra=FILLED,
        default=timedelta(hours=48),
        description="Longest time that a label should take, a duration. The metrics show it beside "
        "the labels' lag; rows without one after twice this are dropped from the performance. The "
        "default is 48 hours, and of a forecast its horizon more.",
    )


class Quality(Section):
    """Shares of bad values in a window that are a signal."""

    max_missing: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Greatest share of missing values above training's own, 0 to 1.",
    )
    max_unseen: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Greatest share of categories never seen in training, 0 to 1.",
    )
    max_out_of_range: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Greatest share of numbers outside the range seen in training, 0 to 1.",
    )


class Monitoring(Section):
    """What is watched in the traffic, and how seldom it may cry wolf."""

    window: Window = Field(default_factory=Window, description="Rows tested together for drift.")
    reference_rows: int = Field(
        default=10_000,
        ge=100,
        le=10_000_000,
        description="Rows of the training data that windows are compared with. Ten times a window "
        "leaves the window as the only source of noise.",
    )
    false_alarm_budget: FalseAlarmBudget = Field(
        default_factory=FalseAlarmBudget,
        description="How seldom the detectors may alarm for nothing.",
    )
    detectors: Items[Detector] = Field(
        json_schema_extra=FILLED,
        default=(),
        max_length=32,
        description="Drift detectors. By default, for families that read columns, a tabular one on "
        "the features and a KS test on the prediction; MMD on vectors, where there are any. Of "
        "texts a tabular one on what describes them.",
    )
    performance: Performance = Field(
        default_factory=Performance, description="Performance on labels that come later."
    )
    quality: Quality = Field(
        default_factory=Quality, description="Shares of bad values that are a signal."
    )
