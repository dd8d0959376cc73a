"""A rule in CEL, and the expressions that rules are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from noria.spec.metrics import FAMILY_METRICS
from noria.spec.words import choose

_EMPTY: Final = re.compile(r"\b(\w+(?:\.\??\w+)+)\.orValue\(\[\]\)")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what must hold, and what is said when it doesn't.

    ``message`` is told as it is; ``says``, a CEL expression of a text, tells the values too.
    ``field`` is what it is about, below the object: ``.window``.
    """

    holds: str
    message: str
    says: str = ""
    field: str = ""

    def written(self) -> dict[str, str]:
        """Return the entry of ``x-kubernetes-validations``."""
        entry = {"rule": _sized(self.holds), "message": self.message}
        if self.says and "string(" not in self.says:
            entry["messageExpression"] = _sized(self.says)
        if self.field:
            entry["fieldPath"] = self.field
        return entry


def _sized(expression: str) -> str:
    """Spell out ``self.?a.?b.orValue([])``, which the estimate of the cost takes for endless."""
    return _EMPTY.sub(_spelt_out, expression)


def _spelt_out(found: re.Match[str]) -> str:
    root, *steps = found.group(1).replace("?", "").split(".")
    paths = [".".join((root, *steps[: count + 1])) for count in range(len(steps))]
    optional = [
        path for path, step in zip(paths, found.group(1).split(".")[1:], strict=True) if "?" in step
    ]
    return f"({' && '.join(f'has({path})' for path in optional)} ? {paths[-1]} : [])"


def text(value: str) -> str:
    """Return a text literal of CEL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def listed(values: Iterable[str]) -> str:
    """Return a list of texts."""
    return "[" + ", ".join(text(value) for value in values) + "]"


def table(values: Mapping[str, tuple[str, ...]]) -> str:
    """Return a map of lists of texts."""
    return "{" + ", ".join(f"{text(key)}: {listed(items)}" for key, items in values.items()) + "}"


def once(items: str, fix: str = "keep one of them") -> Rule:
    """No text twice in a short list at ``self.KEY``, given by ``items``."""
    again = f"{items}.filter(a, {items}.exists_one(b, b == a) == false)"
    return Rule(
        f"!has({items}) || {again}.size() == 0",
        f"one is there twice; {fix}",
        f"{again}[0] + ' is there twice; {fix}'",
    )


def milliseconds(value: str) -> str:
    """The milliseconds of a duration that the schema's pattern has let through."""
    factors = f"({value}.endsWith('ms') ? 1 : {value}.endsWith('s') ? 1000 : "
    factors += f"{value}.endsWith('m') ? 60000 : {value}.endsWith('h') ? 3600000 : 86400000)"
    return f"(int({value}.find('^[0-9]+')) * {factors})"


def by_family(values: Mapping[str, tuple[str, ...]], also: tuple[str, ...] = ()) -> str:
    """What to choose from, for each family. A list that CEL joins has no length it could know."""
    told = [f"{FAMILY} == {text(f)} ? {text(choose((*also, *v)))}" for f, v in values.items()]
    return f"({' : '.join(told)} : '')"


FAMILY: Final = "self.task.family"
KNOWN_METRICS: Final = f"{table(FAMILY_METRICS)}[{FAMILY}]"


def fits(given: str, name: str, also: tuple[str, ...] = ()) -> Rule:
    """A metric, if it is given, is one of the family's, or of ``also``."""
    known = f"({listed(also)} + {KNOWN_METRICS})" if also else KNOWN_METRICS
    return Rule(
        f"!({given}) || {name} in {known}",
        "the metric is not one of this task family",
        f"{name} + ' is not a metric of ' + {FAMILY} + '; ' + {by_family(FAMILY_METRICS, also)}",
    )


def all_fit(path: str, also: tuple[str, ...] = (), *, item: str = "m.metric") -> Rule:
    """Every metric of a list, if that is given, is one of the family's, or of ``also``."""
    known = f"({listed(also)} + {KNOWN_METRICS})" if also else KNOWN_METRICS
    optional = "self" + "".join(f".?{step}" for step in path.split(".")) + ".orValue([])"
    misfits = f"{optional}.filter(m, !({item} in {known}))"
    # How long a text in a filtered object is, the estimate doesn't know.
    name = f"{misfits}[0]" if item == "m" else "'one'"
    return Rule(
        f"{misfits}.size() == 0",
        "one is not a metric of this task family",
        f"{name} + ' is not a metric of ' + {FAMILY} + '; ' + {by_family(FAMILY_METRICS, also)}",
    )
