"""The members of an average: what they are, how they are fitted, and what they are measured by.

They travel as hyperparameters do, as a list under ``members``: a search finds them, each fit
makes them, and the package's parameters tell of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.tasks.tabular.fit import Design, fit
from noria.tasks.tabular.hyperparameters import MEMBERS
from noria.tasks.tabular.scorers.weighted import Member, WeightedScorer

Array = NDArray[np.float64]
WEIGHTED: Final = "weighted"
"""Name of the algorithm of an average."""


class Recipe(msgspec.Struct, frozen=True):
    """A member before it is fitted; ``factor`` and ``weight`` as ``Member`` has them."""

    algorithm: str
    parameters: dict[str, Any]
    weight: float = 1.0
    factor: float = 0.0


def members_of(params: Mapping[str, Any]) -> tuple[Recipe, ...]:
    """Return the members that hyperparameters name; none: they are of one algorithm."""
    return msgspec.convert(params.get(MEMBERS, ()), tuple[Recipe, ...])


def as_params(algorithm: str, members: Sequence[Recipe]) -> dict[str, Any]:
    """Return members as hyperparameters of an algorithm; if it is alone, its own."""
    first = members[0]
    if len(members) == 1 and first.algorithm == algorithm and not first.factor:
        return dict(first.parameters)
    return {MEMBERS: [msgspec.to_builtins(member) for member in members]}


def on_log(design: Design) -> Design:
    """Return the design of the target's logarithm."""
    return replace(design, target=np.log(design.target))


def fit_members(members: Sequence[Recipe], design: Design) -> WeightedScorer:
    """Fit each member on all rows."""
    logs = on_log(design) if any(member.factor for member in members) else design
    return WeightedScorer(
        design.classes,
        tuple(Member(one.algorithm, one.weight, one.factor) for one in members),
        tuple(
            fit(one.algorithm, one.parameters, logs if one.factor else design) for one in members
        ),
    )


def losses(target: Array, said: Array) -> Array:
    """Return the squared error of each row, of values (n, 1)."""
    return np.asarray((target - said[:, 0]) ** 2)


def log_losses(codes: Array, said: Array) -> Array:
    """Return the log loss of each row, of probabilities (n, 1) of the second class, or (n, k)."""
    places = codes.astype(np.int64)
    own = (
        np.where(places == 1, said[:, 0], 1.0 - said[:, 0])
        if said.shape[1] == 1
        else said[np.arange(places.size), places]
    )
    return np.asarray(-np.log(np.clip(own, 1e-15, 1.0)))
