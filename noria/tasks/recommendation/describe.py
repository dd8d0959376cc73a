"""What ``recommendation`` says about itself; see ``noria.spec.family.Family``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from pydantic import Field

from noria.errors import Problem
from noria.measures.catalog import OwnMetric
from noria.spec.data import Data
from noria.spec.family import Algorithm, Family, Needs
from noria.spec.monitoring import Detector, Monitoring
from noria.spec.section import Section
from noria.spec.spaces import SearchRange
from noria.spec.units import PositiveDuration
from noria.tasks.recommendation import EXCLUDE, HISTORY, ONLY
from noria.tasks.recommendation.words import (
    ALS,
    AUTO,
    BPR,
    DESCRIPTORS,
    ITEM_BASED,
    POPULARITY,
)
from noria.tasks.rules import later_is_held_out

if TYPE_CHECKING:
    from noria.spec.model import ModelSpec


class RecommendationOptions(Section):
    """Options of ``recommendation``."""

    k: int = Field(
        default=10,
        ge=1,
        le=100,
        description="How many items each answer has. The metrics are at so many places.",
        examples=[20],
    )
    window: PositiveDuration = Field(
        default=timedelta(days=7),
        description="How long after a request what the user takes belongs to it, a duration. A "
        "request is judged by the first k items that the user takes in it.",
    )
    history: int = Field(
        default=1000,
        ge=1,
        le=10_000,
        description="Most items of a user that an answer goes by, the newest ones.",
    )
    seen: Literal["leave-out", "keep"] = Field(
        default="leave-out",
        description="leave-out: an item that the user has taken is not recommended again, and "
        "taking it again counts nowhere. keep: as with groceries, it may be.",
    )
    weight: str | None = Field(
        default=None,
        min_length=1,
        description="The column that says how much an interaction counts, a number over 0 such as "
        "minutes watched; null: all count the same.",
    )
    users: int = Field(
        default=100_000,
        ge=0,
        le=10_000_000,
        description="Of how many users, those who came last, the version keeps the history, to "
        "answer requests that send none. 0: of none, and no name of a user is in the package.",
    )


def options_of(spec: ModelSpec) -> RecommendationOptions:
    """Return a model's options."""
    return cast("RecommendationOptions", spec.task.options)


def cautions_of(options: RecommendationOptions) -> tuple[str, ...]:
    """Return what whoever answers for the model should know."""
    if not options.users:
        return ()
    said = (
        f"its package holds the names and histories of up to {options.users:,} users, for requests "
        "that send none; spec.task.options.users: 0 keeps none"
    )
    return (said,)


def users_items_and_times(task: Any, data: Data) -> Iterator[Problem]:
    """An interaction is of a user, an item and a time."""
    for key, value, example in (
        ("target", data.target, "the item, such as movie"),
        ("eventTime", data.event_time, "when it was, such as day"),
    ):
        if value is None:
            yield Problem(
                f"spec.data.{key}",
                f"is missing, and {task.family} needs it",
                f"name the column of {example}",
            )
    if len(data.entity_key) != 1:
        yield Problem(
            "spec.data.entityKey",
            f"has {len(data.entity_key)} columns, and {task.family} needs the user's",
            "name the one column of the user",
        )
    if data.label_time is not None:
        yield Problem(
            "spec.data.labelTime",
            f"{task.family} takes an interaction as known at its eventTime",
            "remove it",
        )


def nothing_beside_the_interactions(task: Any, data: Data) -> Iterator[Problem]:
    """The methods look at who took what and when."""
    for key, given in (
        ("features", data.features),
        ("timeFeatures", data.time_features),
        ("joinKeys", data.join_keys),
        ("served", data.served),
    ):
        if given:
            yield Problem(
                f"spec.data.{key}",
                f"{task.family} looks at users, items and times alone, so far",
                "remove it",
            )
    weight = task.options.weight
    for name in data.validation.ranges:
        if name != weight:
            yield Problem(
                f"spec.data.validation.ranges.{name}",
                f"{task.family} reads no number"
                + ("" if weight is None else f" but the weight, {weight}"),
                "remove it",
            )


def the_columns_differ(task: Any, data: Data) -> Iterator[Problem]:
    """No column is two things, and none has the name of an input."""
    taken = {
        name: where
        for where, name in (
            ("spec.data.target", data.target),
            ("spec.data.eventTime", data.event_time),
            *(("spec.data.entityKey", name) for name in data.entity_key),
        )
        if name is not None
    }
    weight = task.options.weight
    if weight in taken:
        yield Problem(
            "spec.task.options.weight",
            f"{weight} is also {taken[weight]}",
            "name the column of a number, or remove it",
        )
    for name in (HISTORY, EXCLUDE, ONLY):
        if name in taken:
            yield Problem(
                taken[name],
                f"{name} is what requests of {task.family} call the items that they send",
                "give the column another name",
            )


def items_are_no_quantity(task: Any, monitoring: Monitoring) -> Iterator[Problem]:
    """What is answered are names of items, of which no distribution is worth watching."""
    for place, detector in enumerate(monitoring.detectors):
        if detector.watch == "prediction":
            yield Problem(
                f"spec.monitoring.detectors[{place}].watch",
                f"{task.family} answers items, whose numbers are names",
                "watch features: novelty is that of what is recommended",
            )


def _ndcg(truth: Any, prediction: Any) -> Any:
    from noria.tasks.recommendation.accuracy import ndcg

    return ndcg(truth, prediction)


def _recall(truth: Any, prediction: Any) -> Any:
    from noria.tasks.recommendation.accuracy import recall

    return recall(truth, prediction)


def _hit_rate(truth: Any, prediction: Any) -> Any:
    from noria.tasks.recommendation.accuracy import hit_rate

    return hit_rate(truth, prediction)


NDCG: Final = OwnMetric(
    "ndcg",
    greater_is_better=True,
    low=0.0,
    high=1.0,
    about="gain of the k items, discounted by place, of the best possible "
    "(Järvelin and Kekäläinen, ACM TOIS 20, 2002)",
    per_sample=_ndcg,
)
RECALL: Final = OwnMetric(
    "recall",
    greater_is_better=True,
    low=0.0,
    high=1.0,
    about="share of the items taken that are among the k, of as many as could be",
    per_sample=_recall,
)
HIT_RATE: Final = OwnMetric(
    "hit-rate",
    greater_is_better=True,
    low=0.0,
    high=1.0,
    about="share of the answers of which an item was taken",
    per_sample=_hit_rate,
)

_FACTORISED: Final = {
    "factors": SearchRange(low=16, high=128, log=True),
    "regularization": SearchRange(low=0.01, high=100.0, log=True),
    "alpha": SearchRange(low=0.5, high=40.5, log=True),
}

RECOMMENDATION: Final = Family(
    name="recommendation",
    about="What each user takes next, of many items.",
    options=RecommendationOptions,
    algorithms=(
        # It chooses among the others, so that what can be searched are those of ALS.
        Algorithm(name=AUTO, library="implicit", space=_FACTORISED),
        Algorithm(name=ALS, library="implicit", space=_FACTORISED),
        Algorithm(
            name=ITEM_BASED,
            library="implicit",
            space={"neighbours": SearchRange(low=10, high=400, log=True)},
        ),
        Algorithm(
            name=BPR,
            library="implicit",
            space={
                "factors": SearchRange(low=16, high=128, log=True),
                "learning_rate": SearchRange(low=0.001, high=0.1, log=True),
                "regularization": SearchRange(low=0.001, high=0.1, log=True),
                "iterations": SearchRange(low=20, high=100, log=True),
            },
        ),
        Algorithm(name=POPULARITY),
    ),
    metrics=("ndcg", "recall", "hit-rate"),
    own_metrics=(NDCG, RECALL, HIT_RATE),
    sources=("parquet", "csv"),
    target="text",
    inputs={HISTORY: "text", EXCLUDE: "text", ONLY: "text"},
    label_lag=lambda options: options.window,
    detectors=(Detector(name="features", kind="tabular", watch="features"),),
    descriptors=DESCRIPTORS,
    rules=(
        users_items_and_times,
        nothing_beside_the_interactions,
        the_columns_differ,
        later_is_held_out,
        items_are_no_quantity,
    ),
    needs=Needs(
        libraries=("pandas", "pyarrow.parquet", "scipy.sparse", "matplotlib.figure"),
        install="noria[training,recommendation]",
    ),
    cautions=cautions_of,
    learner="noria.tasks.recommendation.family:LEARNER",
    template="noria.tasks.recommendation.template:TEMPLATE",
)
