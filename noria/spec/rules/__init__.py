"""Combinations that are impossible though each value is allowed by itself.

A rule is a function of the sections that it names as parameters. Rules run
whenever those sections are readable, so that one mistake does not hide another.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from noria.errors import Problem
from noria.spec.rules.data import DATA_RULES
from noria.spec.rules.loop import LOOP_RULES
from noria.spec.rules.monitoring import MONITORING_RULES
from noria.spec.rules.train import TRAIN_RULES

Rule: TypeAlias = Callable[..., Iterator[Problem]]

RULES: Final[tuple[Rule, ...]] = (*DATA_RULES, *TRAIN_RULES, *LOOP_RULES, *MONITORING_RULES)
# Taken apart once: each rule with the names of the sections that it reads.
_RULES: Final = tuple((rule, tuple(inspect.signature(rule).parameters)) for rule in RULES)


def broken_rules(sections: Mapping[str, Any]) -> list[Problem]:
    """Return every problem of the rules whose sections are all there.

    Args:
        sections: The readable sections of ``spec`` by attribute name; the others are absent.
    """
    return [
        problem
        for rule, needs in _RULES
        if all(name in sections for name in needs)
        for problem in rule(**{name: sections[name] for name in needs})
    ]
