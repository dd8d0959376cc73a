"""Names that the description, the learner and the server share."""

from typing import Final

AUTO: Final = "auto"
POPULARITY: Final = "popularity"
ITEM_BASED: Final = "item-based"
ALS: Final = "als"
BPR: Final = "bpr"

METHODS: Final = (POPULARITY, ITEM_BASED, ALS, BPR)
"""What a model can be fitted by, the simplest first."""

DESCRIPTORS: Final = ("unknown", "cold", "rarity", "novelty")
"""What is watched of a request, in order; ``noria.tasks.recommendation.predictor`` says what each
is."""


def targets_of(count: int) -> tuple[str, ...]:
    """Return the names of a request's labels: the items that were taken, in order."""
    return tuple(f"next-{place}" for place in range(1, count + 1))
