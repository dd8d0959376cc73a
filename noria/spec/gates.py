"""``spec.gates``: what a candidate must show before it may take traffic."""

from __future__ import annotations

from pydantic import Field

from noria.spec.section import FILLED, Items, Section


class Bound(Section):
    """An absolute limit of a metric on held-out rows."""

    metric: str = Field(max_length=63, description="Metric of the task family.", examples=["auc"])
    min: float | None = Field(default=None, description="Least value, in the metric's unit.")
    max: float | None = Field(default=None, description="Greatest value, in the metric's unit.")


class ChampionGate(Section):
    """A comparison with the champion on the same held-out rows."""

    metric: str = Field(max_length=63, description="Metric of the task family.", examples=["auc"])
    max_drop: float = Field(
        default=0.0,
        description="How much worse than the champion it may be, in the metric's unit. 0: not at "
        "all. A negative number asks for that much gain.",
    )
    confidence: float = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="Confidence of the paired bootstrap, 0.5 to 1: the lower bound of the gain "
        "must be at least -maxDrop.",
    )


class Gates(Section):
    """What a candidate must show before it may take traffic."""

    min_rows: int = Field(
        default=500,
        ge=1,
        description="Held-out rows that a gate needs. Fewer is inconclusive, which never passes.",
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
