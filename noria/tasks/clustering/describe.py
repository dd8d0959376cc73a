"""What ``clustering`` says about itself; see ``noria.spec.family.Family``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from pydantic import Field

from noria.errors import Problem
from noria.measures.catalog import OwnMetric
from noria.spec.data import Data
from noria.spec.family import Algorithm, Family, Needs
from noria.spec.monitoring import Detector
from noria.spec.section import Section
from noria.spec.spaces import SearchRange
from noria.spec.train import Train
from noria.tasks.clustering import CLUSTER, DISTANCE
from noria.tasks.rules import columns_are_named, hyperparameters_of
from noria.tasks.tabular.describe import columns_can_be_read

if TYPE_CHECKING:
    from noria.spec.model import ModelSpec

CLUSTERS: Final = "clusters"
"""The hyperparameter that says how many clusters there are."""

_DENSE: Final = "hdbscan"


class ClusteringOptions(Section):
    """Options of ``clustering``."""

    clusters: int | None = Field(
        default=None,
        ge=2,
        le=100,
        description="How many clusters there are. null: chosen by silhouette and stability, and "
        "none where the rows have no structure. HDBSCAN finds the number itself.",
        examples=[4],
    )
    at_most: int = Field(
        default=10,
        ge=2,
        le=100,
        description="The greatest number of clusters that is tried where clusters is null.",
    )
    reduce: Literal["none", "pca"] = Field(
        default="none",
        description="pca: rows are compared by their principal components, as few as explain "
        "enough of the variance. For many columns, or vectors of many numbers.",
    )
    explained: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="Share of the variance that the principal components explain together, 0 to "
        "1, where reduce is pca.",
    )


def options_of(spec: ModelSpec) -> ClusteringOptions:
    """Return a model's options."""
    return cast("ClusteringOptions", spec.task.options)


def labels_judge_alone(task: Any, data: Data, train: Train) -> Iterator[Problem]:
    """Clusters are found without labels; those that a column names judge them."""
    if data.label_time is not None and data.target is None:
        yield Problem(
            "spec.data.labelTime",
            f"{data.label_time} is a label's, and spec.data.target names none",
            "name the column of the groups' numbers, or remove it",
        )
    if train.search.kind != "none" and train.search.metric == RAND.name:
        yield Problem(
            "spec.train.search.metric",
            f"{RAND.name} is of labels, and {task.family} learns without them",
            f"write {SILHOUETTE.name}",
        )
    for place, feature in enumerate(data.features):
        if feature.name in (CLUSTER, DISTANCE):
            yield Problem(
                f"spec.data.features[{place}].name",
                f"{feature.name} is what is watched of a row's cluster",
                "rename the column",
            )
    if data.served is not None:
        yield Problem(
            "spec.data.served",
            f"keeps rows with their labels, and {task.family} learns from none",
            "remove it",
        )


def a_number_is_given_once(task: Any, train: Train) -> Iterator[Problem]:
    """How many clusters there are is said in one place, and HDBSCAN finds it itself."""
    path = "spec.task.options.clusters"
    clusters = task.options.clusters
    if clusters is None:
        return
    if train.algorithm == _DENSE:
        yield Problem(
            path,
            f"is {clusters}, and hdbscan finds how many there are itself",
            "remove it, or write train.algorithm: kmeans",
        )
    elif CLUSTERS in train.hyperparameters or CLUSTERS in train.search.space:
        yield Problem(path, f"is {clusters}, and spec.train says clusters too", "keep one of them")


def of_rows(_: Any, numbers: Any) -> Any:
    """Return a number for each row that is known already, (n,)."""
    return numbers


SILHOUETTE: Final = OwnMetric(
    "silhouette",
    greater_is_better=True,
    low=-1.0,
    high=1.0,
    of="inputs",
    about="how much nearer rows are to their own cluster than to the next (Rousseeuw, Journal of "
    "Computational and Applied Mathematics 20, 1987)",
    per_sample=of_rows,
)
STABILITY: Final = OwnMetric(
    "stability",
    greater_is_better=True,
    low=0.0,
    high=1.0,
    of="inputs",
    about="how alike a row's cluster comes again in bootstrap samples, by Jaccard similarity "
    "(Hennig, Computational Statistics and Data Analysis 52, 2007)",
    per_sample=of_rows,
)


def _adjusted_rand(truth: Any, number: Any) -> float:
    """Return the adjusted Rand index of labels and clusters, (n,) each; 1 of no other split."""
    import numpy as np

    known = np.column_stack([truth, number])
    first, other, cells = (
        np.unique(one, axis=0, return_counts=True)[1] for one in (truth, number, known)
    )

    def pairs(counts: Any) -> float:
        return float((counts * (counts - 1.0)).sum() / 2.0)

    rows, columns, both = pairs(first), pairs(other), pairs(cells)
    chance = rows * columns / max(pairs(np.array([len(known)])), 1.0)
    most = (rows + columns) / 2.0
    return 1.0 if most == chance else (both - chance) / (most - chance)


RAND: Final = OwnMetric(
    "adjusted-rand-index",
    greater_is_better=True,
    low=-1.0,
    high=1.0,
    about="how well clusters agree with labels, pair by pair: 1 the same, 0 as chance (Hubert and "
    "Arabie, Journal of Classification 2, 1985)",
    whole=_adjusted_rand,
)

_NUMBER: Final = {CLUSTERS: SearchRange(low=2, high=10)}
KNOWN: Final = {
    "kmeans": (CLUSTERS, "n_init", "max_iter", "tol"),
    "gaussian-mixture": (CLUSTERS, "covariance_type", "reg_covar", "n_init", "max_iter", "tol"),
    _DENSE: ("min_cluster_size", "min_samples", "cluster_selection_method", "alpha"),
}
"""The hyperparameters of each algorithm."""

CLUSTERING: Final = Family(
    name="clustering",
    about="Groups of rows that are alike.",
    options=ClusteringOptions,
    algorithms=(
        Algorithm(name="kmeans", space=_NUMBER),
        Algorithm(
            name="gaussian-mixture",
            space={**_NUMBER, "covariance_type": SearchRange(choices=("full", "diag"))},
        ),
        Algorithm(
            name=_DENSE,
            space={
                "min_cluster_size": SearchRange(low=5, high=200, log=True),
                "min_samples": SearchRange(low=1, high=50, log=True),
            },
        ),
    ),
    metrics=(SILHOUETTE.name, STABILITY.name, RAND.name),
    own_metrics=(SILHOUETTE, STABILITY, RAND),
    sources=("feast", "parquet", "csv"),
    detectors=(
        Detector(name="clusters", kind="chi-square", watch="features", columns=(CLUSTER,)),
        Detector(name="distance", kind="ks", watch="features", columns=(DISTANCE,)),
    ),
    descriptors=(DISTANCE,),
    categories=(CLUSTER,),
    rules=(
        columns_are_named,
        labels_judge_alone,
        columns_can_be_read,
        a_number_is_given_once,
        hyperparameters_of(KNOWN),
    ),
    needs=Needs(
        libraries=("pandas", "pyarrow.parquet", "sklearn.cluster", "matplotlib.figure"),
        install="noria[training]",
    ),
    learner="noria.tasks.clustering.family:LEARNER",
    template="noria.tasks.clustering.template:TEMPLATE",
)
