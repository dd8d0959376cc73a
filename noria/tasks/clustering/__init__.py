"""The task family ``clustering``: groups of rows that are alike, without labels."""

from typing import Final

CLUSTER: Final = "cluster"
"""The output and the descriptor that name a row's cluster."""

DISTANCE: Final = "cluster-distance"
"""The descriptor that says how far a row is from its cluster."""

NOISE: Final = "noise"
"""The name of no cluster: of rows that HDBSCAN leaves out."""


def name_of(number: int) -> str:
    """Return the name of the cluster of a number, from 1; 0 is noise."""
    return f"{CLUSTER}-{number}" if number > 0 else NOISE
