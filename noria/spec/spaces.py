"""Where hyperparameters are searched, written or by default."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from pydantic import Field

from noria.spec.section import Items, ScalarValue, Section

_STEPS: Final = 3


class SearchRange(Section):
    """Where a hyperparameter is searched: ``low`` to ``high``, or ``choices``."""

    low: float | None = Field(default=None, description="Least value. Whole: searched in integers.")
    high: float | None = Field(default=None, description="Greatest value, included.")
    log: bool = Field(
        default=False,
        description="Search on a logarithmic scale. For values that span powers of ten.",
    )
    choices: Items[ScalarValue] | None = Field(
        default=None, description="The values to choose from, instead of low and high."
    )


def default_space(
    space: Mapping[str, SearchRange],
    aliases: Mapping[str, frozenset[str]],
    fixed: Collection[str],
    kind: str,
) -> dict[str, SearchRange]:
    """Return where an algorithm is searched by default.

    What ``fixed`` sets, by its name in ``space`` or by one of its ``aliases``, is not searched.
    A grid gets the ends and the middle of each range.
    """
    free = {
        name: values
        for name, values in space.items()
        if not ({name} | aliases.get(name, frozenset())) & set(fixed)
    }
    if kind != "grid":
        return free
    return {
        name: values if values.choices is not None else SearchRange(choices=_steps(values))
        for name, values in free.items()
    }


def _steps(values: SearchRange) -> tuple[float, ...]:
    low, high = values.low or 0.0, values.high or 0.0
    middle = (low * high) ** 0.5 if values.log else (low + high) / (_STEPS - 1)
    if low.is_integer() and high.is_integer():
        return (int(low), round(middle), int(high))
    return (low, float(f"{middle:.2g}"), high)
