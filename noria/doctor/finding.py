"""What a check says: how it is, what was found, and how to mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """``warn``: something that only some models need is not there, or could not be looked at."""

    OK = "ok"
    WARN = "warn"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. ``fix`` is empty when there is nothing to mend."""

    name: str
    level: Level
    found: str
    fix: str = ""


def healthy(findings: Sequence[Finding]) -> bool:
    """Whether nothing is missing that every model needs."""
    return all(finding.level is not Level.MISSING for finding in findings)


def text(findings: Sequence[Finding]) -> str:
    """Write a report: a line each, and below it how to mend what is not well."""
    level = max((len(finding.level) for finding in findings), default=0)
    name = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        head = f"{finding.level:<{level}}  {finding.name:<{name}}"
        lines.append(f"{head}  {finding.found}")
        if finding.fix:
            lines.append(f"{' ' * len(head)}  fix: {finding.fix}")
    counts = {each: sum(finding.level is each for finding in findings) for each in Level}
    warnings = counts[Level.WARN]
    warned = f"{warnings} warning{'' if warnings == 1 else 's'}"
    total = f"{counts[Level.OK]} ok, {warned}, {counts[Level.MISSING]} missing"
    return "\n".join([*lines, "", total])
