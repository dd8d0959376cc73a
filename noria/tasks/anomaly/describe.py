"""What ``anomaly-detection`` says about itself; see ``noria.spec.family.Family``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from pydantic import Field

from noria.errors import Problem
from noria.measures.catalog import OwnMetric
from noria.spec.data import Data
from noria.spec.family import Algorithm, Family, Needs
from noria.spec.gates import Gates
from noria.spec.monitoring import Detector
from noria.spec.section import Section
from noria.spec.spaces import SearchRange
from noria.spec.units import PositiveDuration
from noria.tasks.anomaly import ANOMALY, AUTO, HISTORY, MEMBERS, RESIDUAL
from noria.tasks.rules import hyperparameters_of
from noria.tasks.tabular.describe import columns_can_be_read

if TYPE_CHECKING:
    from noria.spec.model import ModelSpec


_LEAST_HISTORY: Final = 8


class AnomalyOptions(Section):
    """Options of ``anomaly-detection``."""

    alarm_rate: float = Field(
        default=0.01,
        gt=0.0,
        le=0.5,
        description="Share of rows that may alarm where nothing is wrong, 0 to 0.5. The threshold "
        "keeps it for rows that are like those it was calibrated on; it needs 1 / alarmRate of "
        "them.",
        examples=[0.005],
    )
    backend: Literal["native", "alibi"] = Field(
        default="native",
        description="What fits the detector. alibi: Alibi Detect (BSL 1.1: most production use "
        "needs a licence of its own), with train.algorithm mahalanobis, pca, knn or lof. The "
        "server needs it in neither case.",
    )
    calibration_share: float = Field(
        default=0.3,
        ge=0.05,
        le=0.8,
        description="Share of the training rows that the threshold is calibrated on; the detector "
        "is fitted on the others.",
    )
    history: int | None = Field(
        default=None,
        ge=2,
        le=4096,
        description="Rows are values of series in time, told apart by spec.data.entityKey; each is "
        "held against so many values before it, which a client sends. null: rows are compared by "
        "their columns.",
        examples=[336],
    )
    season: int | None = Field(
        default=None,
        ge=1,
        le=2048,
        description="Values after which the pattern of a series comes again; null: there is none. "
        "With history.",
        examples=[24],
    )
    interval: PositiveDuration = Field(
        default=timedelta(hours=1),
        description="How far two values of a series are apart. With history.",
        examples=["15m"],
    )
    reasons: int = Field(
        default=3,
        ge=0,
        le=20,
        description="How many columns an alarm names as its reasons. 0: none, which answers "
        "alarms as fast as other rows.",
    )
    top: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="How many rows of a window, those with the highest scores, somebody looks at: "
        "where labels come, precision-at-top says what share of them is anomalous. null: it is "
        "not measured.",
        examples=[20],
    )


def options_of(spec: ModelSpec) -> AnomalyOptions:
    """Return a model's options."""
    return cast("AnomalyOptions", spec.task.options)


def season_of(options: AnomalyOptions) -> int:
    """Return after how many values a pattern comes again; 1: there is none."""
    return options.season or 1


def least_of(options: AnomalyOptions) -> int:
    """Return how many values before it a value of a series needs: two seasons of them."""
    return max(2 * season_of(options), _LEAST_HISTORY)


def _told_apart(truth: Any, said: Any) -> Any:
    """Return for each row 1 where its spliced twin scores more, 0 where less, else a half."""
    import numpy as np

    del truth
    return 0.5 + 0.5 * np.sign(said[:, 1] - said[:, 0])


def _net(truth: Any, said: Any) -> Any:
    """Return for each row what ``_told_apart`` does, less 1 where the row itself alarms."""
    return _told_apart(truth, said) - said[:, 2]


def _alarmed(truth: Any, alarm: Any) -> Any:
    import numpy as np

    del truth
    return np.clip(alarm, 0.0, 1.0)


def _of_the_top(top: int, truth: Any, said: Any) -> float:
    """Return the share of anomalies among the rows with the highest scores, equal ones alike."""
    import numpy as np

    if not len(said):
        return float("nan")
    count = min(top, len(said))
    limit = np.partition(said, len(said) - count)[len(said) - count]
    above, level = said > limit, said == limit
    rest = count - int(above.sum())
    return float((truth[above].sum() + rest * truth[level].mean()) / count)


SPLICED: Final = OwnMetric(
    "splice-detection",
    greater_is_better=True,
    low=0.0,
    high=1.0,
    of="inputs",
    about="share of rows that score less than the same row with half of its columns from another",
    per_sample=_told_apart,
)
NET: Final = OwnMetric(
    "net-detection",
    greater_is_better=True,
    low=-1.0,
    high=1.0,
    of="inputs",
    about="splice-detection less false-alarm-rate, on rows that are not labelled as anomalies",
    per_sample=_net,
)
FALSE_ALARMS: Final = OwnMetric(
    "false-alarm-rate",
    greater_is_better=False,
    low=0.0,
    high=1.0,
    of="inputs",
    about="share of alarms among held-out rows that are not labelled as anomalies",
    per_sample=_alarmed,
)
LABELLED: Final = ("average-precision", "auc")
"""The metrics that need labels."""

TOP: Final = "precision-at-top"


def narrowed(options: AnomalyOptions) -> Mapping[str, Any]:
    """Return the family with the precision of rows that are looked at, or by Alibi Detect."""
    own = _BY_ALIBI if options.backend == "alibi" else {"algorithms": _NATIVE}
    if options.history is not None:
        own = _OF_SERIES
    if options.top is None:
        return own
    from functools import partial

    top = OwnMetric(
        TOP,
        greater_is_better=True,
        low=0.0,
        high=1.0,
        about=f"share of anomalies among the {options.top} rows with the highest scores",
        whole=partial(_of_the_top, options.top),
    )
    return {
        **own,
        "own_metrics": (NET, SPLICED, FALSE_ALARMS, top),
        "metrics": (NET.name, SPLICED.name, FALSE_ALARMS.name, *LABELLED, TOP),
    }


def columns_are_named(task: Any, data: Data) -> Iterator[Problem]:
    """Rows are compared by their columns."""
    if not data.features and not data.time_features:
        yield Problem(
            "spec.data.features",
            f"is empty, and {task.family} reads columns",
            "list the columns, such as {name: temperature, type: numeric}",
        )


def series_have_one_value_in_time(task: Any, data: Data) -> Iterator[Problem]:
    """What is held against its past is one number with a time."""
    options, path = task.options, "spec.task.options"
    if options.history is None:
        if options.season is not None:
            yield Problem(
                f"{path}.season",
                "says nothing without history",
                f"write history: {max(14 * options.season, _LEAST_HISTORY)}, or remove it",
            )
        return
    if options.backend != "native":
        yield Problem(
            f"{path}.backend",
            f"{options.backend} fits nothing of series",
            "remove it, or remove history",
        )
    needed = max(3 * season_of(options), _LEAST_HISTORY)
    if options.history < needed:
        yield Problem(
            f"{path}.history",
            f"{options.history} values are too few for a season of {season_of(options)}",
            f"write {needed} or more",
        )
    if data.event_time is None:
        yield Problem(
            "spec.data.eventTime", "is missing, and history needs it", "name the column, such as at"
        )
    if data.time_features:
        yield Problem("spec.data.timeFeatures", "history reads none", "remove it")
    features = data.features
    if len(features) != 1 or features[0].type != "numeric" or features[0].source_ == "feast":
        yield Problem(
            "spec.data.features",
            "history is of one number that comes with the rows",
            "name the value alone, such as {name: departures, type: numeric}",
        )


def nothing_is_learnt_from_labelled_rows(task: Any, data: Data) -> Iterator[Problem]:
    """The rows that somebody labelled are no fair sample of all."""
    if data.split.kind == "group":
        yield Problem(
            "spec.data.split.kind",
            f"group is not among the splits of {task.family}",
            "write temporal or stratified",
        )


def labels_are_there_where_they_are_asked_for(data: Data, gates: Gates) -> Iterator[Problem]:
    """A gate by a metric of labels needs a column of them."""
    if data.target is not None:
        return
    named = {f"bounds[{place}]": gate.metric for place, gate in enumerate(gates.bounds)}
    named |= {f"champion[{place}]": gate.metric for place, gate in enumerate(gates.champion)}
    for key, metric in named.items():
        if metric in (*LABELLED, TOP):
            yield Problem(
                f"spec.gates.{key}.metric",
                f"{metric} is measured by labels, and spec.data.target names none",
                f"name the column that is 1 for an anomaly, or judge by {NET.name}",
            )


_KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    AUTO: tuple(name for names in MEMBERS.values() for name in names),
    "isolation-forest": ("n_estimators", "max_samples", "max_features"),
    "knn": ("n_neighbors",),
    "lof": ("n_neighbors",),
    "pca": ("n_components",),
    "ecod": (),
    "mahalanobis": (),
    RESIDUAL: ("alpha",),
    "autoencoder": ("bottleneck", "alpha", "learning_rate_init", "max_iter"),
}
_TREES: Final = SearchRange(low=50, high=400, log=True)
_NEAR: Final = SearchRange(low=3, high=50, log=True)

_NEEDS: Final = Needs(
    libraries=("pandas", "pyarrow.parquet", "sklearn.ensemble", "matplotlib.figure"),
    install="noria[training]",
)
_LICENCE: Final = (
    "Alibi Detect fits it, under the Business Source License 1.1: most production use needs a "
    "licence of its own; spec.task.options.backend: native needs none"
)
_PCA: Final = Algorithm(name="pca", space={"n_components": SearchRange(low=1, high=64, log=True)})
_NATIVE: Final = (
    Algorithm(name=AUTO, space={"n_estimators": _TREES, "n_neighbors": _NEAR}),
    Algorithm(
        name="isolation-forest",
        space={"n_estimators": _TREES, "max_samples": SearchRange(low=64, high=1024, log=True)},
    ),
    Algorithm(name="knn", space={"n_neighbors": _NEAR}),
    Algorithm(name="lof", space={"n_neighbors": _NEAR}),
    Algorithm(name="ecod"),
    Algorithm(name="mahalanobis"),
    Algorithm(name="autoencoder", space={"alpha": SearchRange(low=1e-6, high=0.01, log=True)}),
)
_BY_ALIBI: Final[Mapping[str, Any]] = {
    "algorithms": (
        Algorithm(name="mahalanobis"),
        _PCA,
        Algorithm(name="knn", space={"n_neighbors": _NEAR}),
        Algorithm(name="lof", space={"n_neighbors": _NEAR}),
    ),
    "needs": Needs(
        libraries=(*_NEEDS.libraries, "alibi_detect.od", "torch"), install="noria[training,alibi]"
    ),
    "cautions": lambda _: (_LICENCE,),
}
"""What the family is where Alibi Detect fits."""

_OF_SERIES: Final[Mapping[str, Any]] = {
    "algorithms": (Algorithm(name=RESIDUAL),),
    "inputs": {HISTORY: "series"},
    "key_has_time": True,
}
"""What the family is where rows are values of series."""

ANOMALIES: Final = Family(
    name="anomaly-detection",
    about="Which rows are unlike the others.",
    options=AnomalyOptions,
    algorithms=(*_NATIVE, _PCA, Algorithm(name=RESIDUAL)),
    metrics=(NET.name, SPLICED.name, FALSE_ALARMS.name, *LABELLED),
    own_metrics=(NET, SPLICED, FALSE_ALARMS),
    sources=("feast", "parquet", "csv"),
    detectors=(
        Detector(name="features", kind="tabular", watch="features"),
        Detector(name="prediction", kind="ks", watch="prediction"),
        Detector(name="alarms", kind="fisher", watch="features", columns=(ANOMALY,)),
    ),
    descriptors=(ANOMALY,),
    flags=(ANOMALY,),
    rules=(
        columns_are_named,
        columns_can_be_read,
        series_have_one_value_in_time,
        nothing_is_learnt_from_labelled_rows,
        labels_are_there_where_they_are_asked_for,
        hyperparameters_of(_KNOWN),
    ),
    needs=_NEEDS,
    narrow=narrowed,
    learner="noria.tasks.anomaly.family:LEARNER",
    template="noria.tasks.anomaly.template:TEMPLATE",
)
