"""Rules of ``spec.data.served``: what was served must be enough to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from noria.errors import Problem
from noria.spec.data import Data
from noria.spec.families import described
from noria.spec.family import SHARED_SOURCES
from noria.spec.rules.data import repeats
from noria.spec.serving import Serving
from noria.spec.words import choose

_PATH: Final = "spec.data.served"


def what_was_served_is_rows(task: Any, data: Data) -> Iterator[Problem]:
    """The family learns from labelled rows, and it is known what columns requests have."""
    if data.served is None:
        return
    family = described(task)
    if family.target is None:
        yield Problem(_PATH, f"{family.name} does not learn from labelled rows", "remove it")
    elif set(family.sources) & set(SHARED_SOURCES):
        return
    elif not data.request_columns():
        yield Problem(
            _PATH,
            f"{family.name} does not say what columns a request has, and nothing would be kept",
            "name them in spec.data.features, or remove it",
        )
    elif family.target == "class" and data.target is None:
        yield Problem(
            _PATH,
            "a class is kept in the column spec.data.target, and there is none",
            "name it, or remove it here",
        )


def what_is_learned_is_kept(data: Data, serving: Serving) -> Iterator[Problem]:
    """No column that training needs is redacted, and requests are logged at all."""
    served = data.served
    if served is None:
        return
    yield from repeats(f"{_PATH}.redact", served.redact)
    needed = _learned(data)
    spare = [name for name in data.entity_key if name not in needed]
    for index, name in enumerate(served.redact):
        path = f"{_PATH}.redact[{index}]"
        if name in needed:
            yield Problem(path, f"{name} is {needed[name]}", "redact columns of entityKey alone")
        elif name not in spare:
            yield Problem(path, f"{name} is not in entityKey", _choose(spare))
    log = serving.payload_log
    for index, name in enumerate(log.redact):
        if name in needed:
            yield Problem(
                f"spec.serving.payloadLog.redact[{index}]",
                f"{name} is {needed[name]}, and never reaches the rows that are kept",
                f"remove it here, or remove {_PATH}",
            )
    if not log.sample:
        yield Problem(
            "spec.serving.payloadLog.sample",
            f"no request is logged, so {_PATH} stays empty",
            f"raise it, or remove {_PATH}",
        )


def groups_were_served(data: Data) -> Iterator[Problem]:
    """The key that rows are split by comes with the requests."""
    key = data.split.group_key
    if data.served is not None and key is not None and key not in data.request_columns():
        yield Problem(
            "spec.data.split.groupKey",
            f"{key} is not in a request, and {_PATH} has what was in one",
            "add it to entityKey, or choose another kind of split",
        )


def _learned(data: Data) -> dict[str, str]:
    """Return what training needs of a request: column to what it is."""
    found = dict.fromkeys(data.join_keys, "a join key, which features are looked up by")
    if data.split.group_key is not None:
        found[data.split.group_key] = "the groupKey, which rows are split by"
    if data.event_time is not None:
        found[data.event_time] = "the eventTime, which orders the rows"
    found |= dict.fromkeys((f.name for f in data.sent_features()), "a feature to learn from")
    return found


def _choose(names: list[str]) -> str:
    return choose(tuple(names)) if names else "remove it"


SERVED_RULES: Final = (what_was_served_is_rows, what_is_learned_is_kept, groups_were_served)
