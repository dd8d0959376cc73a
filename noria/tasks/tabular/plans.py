"""Which columns are computed from others: a declaration that travels among hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

Operation: TypeAlias = Literal[
    "difference", "sum", "ratio", "product", "count", "target", "mean", "deviation", "component"
]
KEY: Final = "derived"
"""Under which a plan is found among hyperparameters."""

RESAMPLED: Final = "resampled"
"""Under which what made rows bring is found among them."""

UNTRIED: Final = "untried"
"""Under which is found what a budget left no time to try."""

OPERATIONS: Final[tuple[Operation, ...]] = (
    "difference", "sum", "ratio", "product", "count", "target", "mean", "deviation", "component",
)  # fmt: skip
"""In the order of their columns."""

ARITHMETIC: Final = OPERATIONS[:4]
LOOKED_UP: Final = OPERATIONS[4:8]


class Column(msgspec.Struct, frozen=True):
    """A computed column.

    ``columns`` are the names that it reads: two numbers; a category; a number and a category; or
    the numbers of which it is a principal component.
    """

    name: str
    operation: Operation
    columns: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True):
    """Columns to compute, in the order of ``OPERATIONS``, and those that the model does without."""

    made: tuple[Column, ...] = ()
    without: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Say whether it changes anything."""
        return bool(self.made or self.without)

    def of(self, *operations: Operation) -> tuple[Column, ...]:
        """Return the columns of some operations."""
        return tuple(one for one in self.made if one.operation in operations)


def joined(plans: Sequence[Plan]) -> Plan:
    """Return a plan of all that plans have, each once."""
    made = dict.fromkeys(column for plan in plans for column in plan.made)
    without = dict.fromkeys(name for plan in plans for name in plan.without)
    order = {operation: place for place, operation in enumerate(OPERATIONS)}
    return Plan(tuple(sorted(made, key=lambda one: order[one.operation])), tuple(without))


def plan_of(params: Mapping[str, Any]) -> Plan:
    """Return the plan that is among hyperparameters; an empty one where there is none."""
    return msgspec.convert(params.get(KEY, {}), Plan)


def with_plan(params: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """Return hyperparameters with a plan among them, where it changes anything."""
    own = without_plan(params)
    return {**own, KEY: msgspec.to_builtins(plan)} if plan else own


def without_plan(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters alone, without what was found beside them."""
    own = (KEY, RESAMPLED, UNTRIED)
    return {name: value for name, value in params.items() if name not in own}


def with_untried(params: Mapping[str, Any], choice: str) -> dict[str, Any]:
    """Return hyperparameters that say what a budget left no time to try."""
    return {**params, UNTRIED: [*params.get(UNTRIED, ()), choice]}


def untried_of(params: Mapping[str, Any]) -> tuple[str, ...]:
    """Say what a budget left no time to try, a sentence each."""
    return tuple(f"spec.train.budget left no time: {one}." for one in params.get(UNTRIED, ()))


def sentence_of(plan: Plan) -> str:
    """Say which columns are computed, and which the model does without."""
    said = []
    if plan.made:
        said.append(f"columns computed from others: {', '.join(one.name for one in plan.made)}")
    if plan.without:
        said.append(f"columns that the model does without: {', '.join(plan.without)}")
    return "; ".join(said)
