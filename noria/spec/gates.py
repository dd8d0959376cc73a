"""``spec.gates``: what a candidate must show before it may take traffic."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema

from noria.errors import shorten
from noria.spec.section import FILLED, Items, Section, refuse

AUTO: Final = "auto"
PERCENT_PATTERN: Final = r"^[0-9]{1,3}(\.[0-9]{1,4})?%$"


def _margin(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and (
        value == AUTO or re.fullmatch(PERCENT_PATTERN, value, re.ASCII) is not None
    ):
        return value
    raise refuse(
        f"{shorten(value)} is not a drop",
        "write a number in the metric's unit, a share of the champion's value such as 2%, or auto",
    )


Margin: TypeAlias = Annotated[
    float | str,
    BeforeValidator(_margin),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number"},
                {"type": "string", "pattern": rf"^auto$|{PERCENT_PATTERN}"},
            ]
        }
    ),
]
"""A number in the metric's unit, a percentage of the champion's value, or ``auto``."""


class Bound(Section):
    """An absolute limit of a metric on held-out rows."""

    metric: str = Field(max_length=63, description="Metric of the task family.", examples=["auc"])
    min: float | None = Field(default=None, description="Least value, in the metric's unit.")
    max: float | None = Field(default=None, description="Greatest value, in the metric's unit.")


class ChampionGate(Section):
    """A comparison with the champion on the same held-out rows."""

    metric: str = Field(max_length=63, description="Metric of the task family.", examples=["auc"])
    max_drop: Margin = Field(
        default=AUTO,
        description="How much worse than the champion it may be, with confidence: a number in the "
        "metric's unit, or a share of the champion's value, such as 2%. 0: shown to be better. A "
        "negative number asks for that much gain. auto: 0.01 for metrics of a fixed unit, 2% for "
        "the others; where the rows can't resolve that, 2.5 standard errors of the difference, but "
        "no more than 0.08 or 16%.",
    )
    min_gain: float = Field(
        default=0.0,
        description="The estimate of the gain must be over this, in the metric's unit. With "
        "maxDrop auto it may be a standard error less, which may well be chance.",
    )
    confidence: float = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="Confidence of the paired comparison, 0.5 to 1: the lower bound of the gain "
        "must be at least -maxDrop.",
    )


class Gates(Section):
    """What a candidate must show before it may take traffic."""

    min_rows: int = Field(
        default=100,
        ge=1,
        description="Held-out rows that a gate needs. Fewer is inconclusive, which never passes. "
        "Whatever this says, most metrics of classes need 10 rows of the rarest class, and metrics "
        "of values 100 rows.",
    )
    bounds: Items[Bound] = Field(
        default=(), max_length=50, description="Absolute limits. All must hold."
    )
    champion: Items[ChampionGate] = Field(
        json_schema_extra=FILLED,
        default=(),
        max_length=50,
        description="Comparisons with the champion. All must hold. By default the family's first "
        "metric must not drop.",
    )
