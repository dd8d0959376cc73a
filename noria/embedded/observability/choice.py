"""Whether a home has its own Prometheus and Alertmanager: said once, remembered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, TypeAlias

import msgspec

from monitoring.rules import FAST, RuleSettings
from noria.embedded.home import Home
from noria.files import read_json, write_json

Choice: TypeAlias = Literal["usual", "fast"]
"""``fast`` tells everything within seconds: for tests and demonstrations."""


class _Chosen(msgspec.Struct, frozen=True):
    pace: Choice | None


@dataclass(frozen=True, slots=True)
class Pace:
    """How often things are looked at, and how long Alertmanager gathers before it tells."""

    scrape: timedelta
    rules: RuleSettings
    group_wait: timedelta
    group_interval: timedelta
    repeat: timedelta


PACES: Final[dict[Choice, Pace]] = {
    "usual": Pace(
        timedelta(seconds=5),
        RuleSettings(interval=timedelta(seconds=5)),
        timedelta(seconds=1),
        timedelta(seconds=30),
        timedelta(hours=4),
    ),
    "fast": Pace(
        timedelta(seconds=1),
        FAST,
        timedelta(0),
        timedelta(seconds=1),
        timedelta(minutes=1),
    ),
}


def choose(home: Home, choice: Choice | None) -> None:
    """Remember that a home is observed at a pace; None: that it is not."""
    write_json(home.observability / "choice.json", _Chosen(choice))


def chosen(home: Home) -> Choice | None:
    """Return what was chosen last; None when the home is not observed."""
    found = read_json(home.observability / "choice.json", _Chosen)
    return None if found is None else found.pace
