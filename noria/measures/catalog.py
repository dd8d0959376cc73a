"""Which metrics exist, and in which direction they are better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

Unit: TypeAlias = Literal["share", "score", "nats", "target", "seconds"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    ``unit`` is what its numbers are: a share (0 to 1), a score without a unit,
    nats, the target's own unit, or seconds. ``low`` and ``high`` are the limits
    of its values, None where there is none.
    """

    name: str
    greater_is_better: bool
    unit: Unit
    low: float | None = None
    high: float | None = None
    about: str = ""

    @property
    def is_serving(self) -> bool:
        """Measured by the model server on every request; needs no labels."""
        return self.name in SERVING_METRICS


def _share(name: str, about: str, *, better: Literal["greater", "less"] = "greater") -> Metric:
    return Metric(name, better == "greater", "share", 0.0, 1.0, about)


OF_LABELS: Final = ("rating",)
"""What labels are measured by alone, where what is predicted is no number: a text."""

SERVING_METRICS: Final = ("error-rate", "latency-p50", "latency-p99")
"""What the model server measures on every request, for every family."""

METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            _share("auc", "area under the ROC curve"),
            _share("average-precision", "area under the precision-recall curve"),
            Metric("log-loss", False, "nats", 0.0, None, "mean negative log-likelihood"),  # noqa: FBT003
            _share("brier", "mean squared error of the probability", better="less"),
            _share(
                "calibration-gap",
                "absolute difference between the mean probability and the observed rate",
                better="less",
            ),
            _share("accuracy", "share of rows whose label is right"),
            _share("f1", "harmonic mean of precision and recall"),
            Metric("mae", False, "target", 0.0, None, "mean absolute error"),  # noqa: FBT003
            Metric("rmse", False, "target", 0.0, None, "root of the mean squared error"),  # noqa: FBT003
            Metric("r2", True, "score", None, 1.0, "share of the variance explained"),  # noqa: FBT003
            Metric("rating", True, "score", None, None, "mean of the ratings of answers"),  # noqa: FBT003
            _share("error-rate", "share of requests answered with a 5xx", better="less"),
            Metric("latency-p50", False, "seconds", 0.0, None, "median time to answer"),  # noqa: FBT003
            Metric("latency-p99", False, "seconds", 0.0, None, "99th percentile of that time"),  # noqa: FBT003
        )
    }
)
"""Every metric by name."""
