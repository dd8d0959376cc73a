"""What was told to the loop and starts nothing: written down, so that ``why`` can answer."""

from __future__ import annotations

from typing import Final

from noria.errors import shorten
from noria.loop.turn import Turn
from noria.loop.values import Notice

KIND: Final = "notice"

_MOST_NOTES: Final = 20
_MOST_IDS: Final = 20
_MOST_CHARS: Final = 300


def take(turn: Turn) -> None:
    """Write every notice of the inbox down; the engine takes them out with this decision.

    Notices that say the same are one sentence, and one decision has no more than a
    few: an alert that flaps a thousand times must not fill the ledger.
    """
    alike: dict[tuple[str, str, str], list[Notice]] = {}
    for message in turn.observation.inbox:
        if isinstance(message, Notice):
            alike.setdefault((message.source, message.name, message.reason), []).append(message)
    groups = list(alike.values())
    for told in groups[:_MOST_NOTES]:
        _write(turn, told)
    rest = groups[_MOST_NOTES:]
    if rest:
        names = sorted({told[0].name for told in rest})
        turn.change(
            KIND,
            f"{sum(map(len, rest))} more notices start nothing: {_cut(', '.join(names))}",
            ids=_ids([notice for told in rest for notice in told]),
        )


def _write(turn: Turn, told: list[Notice]) -> None:
    first = told[0]
    times = "" if len(told) == 1 else f" {len(told)} times"
    detail = f" ({_cut(first.detail)})" if first.detail else ""
    turn.change(
        KIND,
        f"{_cut(first.name)} of {_cut(first.source)} received{times}{detail}: "
        f"starts nothing, {_cut(first.reason)}",
        ids=_ids(told),
        at=first.at,
    )


def _ids(told: list[Notice]) -> list[str]:
    """Return ids for the entry's facts, and how many more there are."""
    ids = [notice.id for notice in told[:_MOST_IDS]]
    return ids if len(told) <= _MOST_IDS else [*ids, f"and {len(told) - _MOST_IDS} more"]


def _cut(text: str) -> str:
    # Not ``shorten``, whose quotes would stand in the middle of a sentence, unless it must cut.
    return text if len(text) <= _MOST_CHARS else shorten(text, _MOST_CHARS)
