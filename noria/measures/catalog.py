"""Which metrics exist, and in which direction they are better."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from noria.errors import InvalidInput, shorten

Unit: TypeAlias = Literal["share", "score", "nats", "target", "seconds", "own"]
Samples: TypeAlias = Literal[
    "rows", "baselines", "labels", "rankings", "spans", "series", "inputs", "requests"
]

Statistic: TypeAlias = Callable[[Any, Any], Any]
"""A function of truth and prediction, arrays of n samples."""

_GREATER: Final = True
_LESS: Final = False
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

CUTOFFS: Final = (1, 3, 5, 10, 20, 50, 100)
"""The places of a ranking at which there are metrics: ``ndcg-at-10``."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    ``unit`` is what its numbers are: a share (0 to 1), a score without a unit,
    nats, the target's own unit, seconds, or one that only a family knows. ``low`` and ``high``
    are the limits of its values, None where there is none. ``of`` is what it is measured on: rows
    with a prediction and a label, such rows with the prediction of a simple model beside it
    (``baselines``, of ``Family.baseline``), labels alone (where a text is predicted), rankings (a
    query with
    its scored candidates), the spans of documents, series, what a model read (``inputs``: the model
    itself is asked to measure), or requests. ``decides``: it is measured on what a row is called,
    which a threshold of the model's own may say (``measuring.decided``), not on its score.
    """

    name: str
    greater_is_better: bool
    unit: Unit
    low: float | None = None
    high: float | None = None
    about: str = ""
    of: Samples = "rows"
    decides: bool = False

    @property
    def is_watched(self) -> bool:
        """The monitor can measure it from labels that come later: it has those of rows alone."""
        return self.of in ("rows", "baselines")

    @property
    def judges(self) -> bool:
        """It has an interval: a gate, a drop or a check of a canary can go by it."""
        return True

    @property
    def is_serving(self) -> bool:
        """Measured by the model server on every request; needs no labels."""
        return self.of == "requests"


@dataclass(frozen=True, slots=True)
class OwnMetric(Metric):
    """A metric that a task family brings (``Family.own_metrics``).

    It has one of two functions of truth and prediction, which are what the family's learner gives
    to ``measuring.measure``, and can't be written to. ``per_sample`` returns a number for each of
    n samples, (n,), each of that sample alone, and the metric is their mean; where ``low`` and
    ``high`` are given, each sample's number lies within. ``whole`` returns one number of all
    samples, which has no interval here: it is shown and searched by, and judges nothing. The
    monitor gives either the rows that have a label, of a window or of a canary's step. Of
    ``baselines`` the prediction has one axis more, of two: the model's, and the simple model's.
    ``floor`` is what a model that is worth having reaches: the monitor signals a loss of
    performance where the metric of the champion is surely beyond it.

    Raises:
        InvalidInput: The name is one of Noria's metrics or none that a spec can have, there is not
            one function, it is of no predictions, or the limits cross.
    """

    unit: Unit = "own"
    per_sample: Statistic | None = None
    whole: Statistic | None = None
    floor: float | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be a metric beside Noria's own."""
        if self.name in METRICS:
            raise InvalidInput(
                f"metric {self.name}: Noria has a metric of that name", fix="give it another name"
            )
        if _NAME.fullmatch(self.name) is None:
            raise InvalidInput(
                f"metric {shorten(self.name)}: is no name",
                fix="write at most 63 of a-z, 0-9 and -, such as pinball-loss",
            )
        if self.of in ("labels", "requests"):
            raise InvalidInput(
                f"metric {self.name}: is of {self.of}, which have no prediction",
                fix="say rows, baselines, rankings, spans, series or inputs, or leave it out: rows",
            )
        if callable(self.per_sample) == callable(self.whole):
            raise InvalidInput(
                f"metric {self.name}: needs one function", fix="give per_sample or whole"
            )
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise InvalidInput(
                f"metric {self.name}: low {self.low} is not under high {self.high}",
                fix="give the limits of its values, or none",
            )

    @property
    def judges(self) -> bool:
        """It is a mean over samples, which has an interval."""
        return self.whole is None

    def is_beyond_floor(self, low: float, high: float) -> bool:
        """Whether all of an interval is worse than ``floor``."""
        if self.floor is None:
            return False
        return high < self.floor if self.greater_is_better else low > self.floor

    @property
    def is_bounded(self) -> bool:
        """Both limits are known."""
        return self.low is not None and self.high is not None


def _share(
    name: str, about: str, *, better: Literal["greater", "less"] = "greater", of: Samples = "rows"
) -> Metric:
    return Metric(name, better == "greater", "share", 0.0, 1.0, about, of)


def _decision(name: str, about: str) -> Metric:
    return Metric(name, _GREATER, "share", 0.0, 1.0, about, decides=True)


def _latency(name: str, about: str) -> Metric:
    return Metric(name, _LESS, "seconds", 0.0, None, about, "requests")


def _of_rankings() -> Iterator[Metric]:
    yield _share("reciprocal-rank", "1 / place of the first relevant candidate", of="rankings")
    for name, about in (
        ("ndcg", "gain discounted by place, of the best possible"),
        ("recall", "share of the relevant candidates"),
        ("precision", "share of the places with a relevant candidate"),
        ("hit-rate", "share of queries with a relevant candidate"),
    ):
        for cutoff in CUTOFFS:
            said = f"{about}, among the first {cutoff}"
            yield _share(f"{name}-at-{cutoff}", said, of="rankings")


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
            Metric("log-loss", _LESS, "nats", 0.0, None, "mean negative log-likelihood"),
            _share("brier", "mean squared error of the probability", better="less"),
            _share(
                "calibration-gap",
                "absolute difference between the mean probability and the observed rate",
                better="less",
            ),
            _decision("accuracy", "share of rows whose label is right"),
            _decision("f1", "harmonic mean of precision and recall"),
            _decision("class-precision", "share of the rows called positive that are"),
            _decision("class-recall", "share of the positive rows that are called so"),
            _decision("balanced-accuracy", "mean of the share of each class that is called so"),
            _decision("micro-f1", "F1 of all labels of all rows together"),
            _decision("subset-accuracy", "share of rows all of whose labels are right"),
            Metric(
                "hamming-loss",
                _LESS,
                "share",
                0.0,
                1.0,
                "share of all labels of all rows that are wrong",
                decides=True,
            ),
            Metric(
                "quadratic-kappa",
                _GREATER,
                "score",
                -1.0,
                1.0,
                "agreement with ordered classes beyond chance, by squared steps",
                decides=True,
            ),
            Metric("mae", _LESS, "target", 0.0, None, "mean absolute error"),
            Metric("rmse", _LESS, "target", 0.0, None, "root of the mean squared error"),
            Metric("r2", _GREATER, "score", None, 1.0, "share of the variance explained"),
            Metric(
                "rating", _GREATER, "score", None, None, "mean of the ratings of answers", "labels"
            ),
            *_of_rankings(),
            _share("span-f1", "harmonic mean of span-precision and span-recall", of="spans"),
            _share("span-precision", "share of the spans found that are right", of="spans"),
            _share("span-recall", "share of the spans that are found", of="spans"),
            _share(
                "error-rate", "share of requests answered with a 5xx", better="less", of="requests"
            ),
            _latency("latency-p50", "median time to answer"),
            _latency("latency-p99", "99th percentile of that time"),
        )
    }
)
"""Every metric by name."""
