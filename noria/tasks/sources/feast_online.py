"""Looks features up at prediction time, from Feast's online store."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Hashable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from noria.errors import DataError
from noria.tasks.sources.feast_repository import (
    Repository,
    View,
    feast_errors,
    open_repository,
    require_offered,
)
from noria.tasks.sources.feast_values import NUMBERS, key_of, text_of

_MOST_KEYS: Final = 50_000
"""Keys of a view that a lookup remembers; then it starts again, so that it can't grow for ever."""

_NEVER: Final = int(np.iinfo(np.int64).min)
_MILLISECOND: Final = timedelta(milliseconds=1)


class LookupSpec(Protocol):
    """What a model package says about its looked-up features."""

    @property
    def repository(self) -> str:
        """Folder or package of the Feast repository."""
        ...

    @property
    def service(self) -> str:
        """Name of the feature service."""
        ...

    @property
    def features(self) -> Sequence[str]:
        """Names of the looked-up features."""
        ...


class OnlineFeatures:
    """Looks features up for batches of rows, from the online store.

    Values are remembered per key until the online store changes. An SQLite store says so by
    its ``data_version`` (some microseconds to ask), so that what is returned is what the store
    holds; with another kind of store nothing is remembered. Thread-safe.

    Args:
        base: Folder of the model's file.
        lookup: What the model package says about its looked-up features.
        event_time: Input with the rows' event times (epoch ms), or None: then nothing is
            hidden for being too old or too new.
        categorical: The looked-up features that are categories, whatever their Feast type is.

    Raises:
        DataError: The service is unknown or lacks a feature.
        Unavailable: The repository has not been applied.
    """

    def __init__(
        self,
        base: Path,
        lookup: LookupSpec,
        event_time: str | None = None,
        categorical: Collection[str] = (),
    ) -> None:
        self._lock = threading.Lock()
        self._event_time = event_time
        repository = open_repository(lookup.repository, base)
        views = repository.views(lookup.service)
        offered = [name for view in views for name in view.features]
        require_offered(lookup.features, offered, lookup.service)
        self._tables = [
            _Table(
                repository,
                view,
                [name for name in view.features if name in lookup.features],
                categorical,
            )
            for view in views
            if any(name in lookup.features for name in view.features)
        ]
        self._changes = _Changes(repository.online_database())

    def lookup(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return one array of n rows per looked-up feature, for n rows of join keys.

        Numbers are float64 with NaN for missing, categories object (str) with None. A key that
        the store does not know is missing.

        Raises:
            DataError: A join key or the event time is not among ``columns``.
            Unavailable: The online store does not answer.
        """
        at = None if self._event_time is None else _column(columns, self._event_time)
        with self._lock, feast_errors("the online store can't be read"):
            if self._changes.happened():
                for table in self._tables:
                    table.forget()
            found: dict[str, np.ndarray] = {}
            for table in self._tables:
                found |= table.take(columns, at)
        return found

    def close(self) -> None:
        """Let go of the online store."""
        with self._lock:
            self._changes.close()


class _Changes:
    """Whether an SQLite file has been changed by others since the last question."""

    def __init__(self, database: Path | None) -> None:
        self._connection: sqlite3.Connection | None = None
        self._version = -1
        if database is not None:
            with feast_errors("the online store can't be opened"):
                self._connection = sqlite3.connect(
                    f"file:{database}?mode=ro", uri=True, check_same_thread=False
                )

    def happened(self) -> bool:
        if self._connection is None:
            return True
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        changed, self._version = version != self._version, version
        return bool(changed)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Table:
    """The rows of one feature view that were asked for since the store last changed.

    Row 0 is all missing: it stands for keys that are missing themselves.
    """

    def __init__(
        self,
        repository: Repository,
        view: View,
        features: Sequence[str],
        categorical: Collection[str],
    ) -> None:
        self._store = repository.store
        self._view = view
        kinds = {name: view.fields[name] for name in features}
        self._texts = {
            name: kind for name, kind in kinds.items() if kind not in NUMBERS or name in categorical
        }
        self._numbers = [name for name in features if name not in self._texts]
        # Feast returns a value's event time but not when it was created, unless it is a field.
        self._created = view.created if view.created in view.fields else None
        asked = dict.fromkeys([*features, *([self._created] if self._created else [])])
        self._references = [f"{view.name}:{name}" for name in asked]
        self._stamp = f"{features[0]}__ts"
        self._ttl = None if view.ttl is None else view.ttl // _MILLISECOND
        self.forget()

    def forget(self) -> None:
        self._index: dict[Hashable, int] = {}
        self._number = np.full((1, len(self._numbers)), np.nan)
        self._text = np.full((1, len(self._texts)), None, dtype=object)
        self._since = np.array([_NEVER])
        self._happened = np.array([_NEVER])

    def take(
        self, columns: Mapping[str, np.ndarray], at: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        parts = [_column(columns, key).tolist() for key in self._view.keys]
        keys: list[Hashable] = parts[0] if len(parts) == 1 else list(zip(*parts, strict=True))
        try:
            places = [self._index[key] for key in keys]
        except KeyError:
            self._ask(keys)
            places = [self._index[key] for key in keys]
        row = np.array(places, dtype=np.intp)
        number, text = self._number[row], self._text[row]
        if at is not None:
            hidden = self._since[row] > at
            if self._ttl is not None:
                hidden |= self._happened[row] < at - self._ttl
            number[hidden], text[hidden] = np.nan, None
        return {name: number[:, i] for i, name in enumerate(self._numbers)} | {
            name: text[:, i] for i, name in enumerate(self._texts)
        }

    def _ask(self, keys: Sequence[Hashable]) -> None:
        if len(self._index) > _MOST_KEYS:
            self.forget()
        asked = {key: self._typed(key) for key in dict.fromkeys(keys) if key not in self._index}
        self._index.update({key: 0 for key, parts in asked.items() if None in parts})
        new = [key for key in asked if key not in self._index]
        if not new:
            return
        tuples = [asked[key] for key in new]
        found = self._store.get_online_features(
            features=self._references,
            entity_rows={
                name: [key[i] for key in tuples] for i, name in enumerate(self._view.keys)
            },
        ).to_dict(include_event_timestamps=True)
        first = len(self._since)
        number = [[np.nan if v is None else float(v) for v in found[n]] for n in self._numbers]
        text = np.full((len(new), len(self._texts)), None, dtype=object)
        for i, (name, kind) in enumerate(self._texts.items()):
            text[:, i] = [text_of(value, kind) for value in found[name]]
        happened = np.array(found[self._stamp], dtype=np.int64) * 1000
        since = happened if self._created is None else _latest(happened, found[self._created])
        self._number = np.vstack([self._number, np.array(number).T.reshape(len(new), -1)])
        self._text = np.vstack([self._text, text])
        self._happened = np.concatenate([self._happened, happened])
        self._since = np.concatenate([self._since, since])
        self._index.update({key: first + i for i, key in enumerate(new)})

    def _typed(self, key: Hashable) -> tuple[Any, ...]:
        parts = key if isinstance(key, tuple) else (key,)
        kinds = self._view.keys.values()
        return tuple(key_of(part, kind) for part, kind in zip(parts, kinds, strict=True))


def _latest(happened: np.ndarray, created: Sequence[datetime | None]) -> np.ndarray:
    stamps = [_NEVER if at is None else round(at.timestamp() * 1000) for at in created]
    latest: np.ndarray = np.maximum(happened, np.array(stamps, dtype=np.int64))
    return latest


def _column(columns: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    try:
        return np.asarray(columns[name])
    except KeyError:
        raise DataError(
            f"no column {name!r}, which the features are looked up by", fix="send it"
        ) from None
