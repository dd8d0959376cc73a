"""Combinations that are impossible though each value is allowed by itself.

A rule is a function of the sections that it names as parameters. Rules run
whenever those sections are readable, so that one mistake does not hide another.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from noria.errors import Problem
from noria.spec.families import described
from noria.spec.family import Rule
from noria.spec.rules.data import DATA_RULES
from noria.spec.rules.loop import LOOP_RULES
from noria.spec.rules.monitoring import MONITORING_RULES
from noria.spec.rules.runtime import RUNTIME_RULES
from noria.spec.rules.served import SERVED_RULES
from noria.spec.rules.train import TRAIN_RULES

RULES: Final[tuple[Rule, ...]] = (
    *DATA_RULES,
    *SERVED_RULES,
    *TRAIN_RULES,
    *LOOP_RULES,
    *RUNTIME_RULES,
    *MONITORING_RULES,
)
"""The rules of every model; a family has more of its own."""


def broken_rules(sections: Mapping[str, Any]) -> list[Problem]:
    """Return every problem of the rules whose sections are all there.

    Args:
        sections: The readable sections of ``spec`` by attribute name; the others are absent.
    """
    found = [problem for rule in RULES for problem in _broken(rule, sections)]
    if "task" in sections:
        family = described(sections["task"])
        for rule in family.rules:
            try:
                found.extend(_broken(rule, sections))
            except Exception as error:  # noqa: BLE001 - a plug-in's code may raise anything
                name = getattr(rule, "__name__", rule)
                said = f"the rule {name} of {family.name} fails: {type(error).__name__}: {error}"
                found.append(Problem("spec.task.family", said, "mend the family's package"))
    return found


def _broken(rule: Rule, sections: Mapping[str, Any]) -> list[Problem]:
    needs = _sections_of(rule)
    if not all(name in sections for name in needs):
        return []
    return list(rule(**{name: sections[name] for name in needs}))


@cache
def _sections_of(rule: Rule) -> tuple[str, ...]:
    return tuple(inspect.signature(rule).parameters)
