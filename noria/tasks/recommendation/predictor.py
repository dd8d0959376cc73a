"""Answers of a package: k items for each request, by the history that it sends or that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError, InvalidInput
from noria.tasks.arrays import pack, unpack
from noria.tasks.package import Manifest
from noria.tasks.recommendation import EXCLUDE, HISTORY, ONLY
from noria.tasks.recommendation.items import NOTHING, listed, numbers_of
from noria.tasks.recommendation.methods import Array, Codes, Method, best, restored

FILE: Final = "recommend.json"
ARRAYS: Final = "arrays.npz"
PREDICTION: Final = "prediction"
ITEMS: Final = "items"
SCORES: Final = "scores"
COLD: Final = "coldStart"
IGNORED: Final = "ignored"

WARM: Final = ""
NO_HISTORY: Final = "no history was sent and the user is not known: popular items"
NO_KNOWN_ITEM: Final = "no item of the history is known: popular items"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``recommend.json`` says: the catalogue in the order of codes, and users by place."""

    method: str
    k: int
    history: int
    seen: str
    items: list[str]
    users: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """The histories that a package keeps: of user u ``codes[starts[u]:starts[u + 1]]``."""

    codes: Codes
    starts: Codes
    places: Mapping[str, int] = field(default_factory=dict)

    def of(self, user: object) -> Codes | None:
        """Return a user's history; None of one who is not known."""
        place = self.places.get(user) if isinstance(user, str) else None
        if place is None:
            return None
        return self.codes[int(self.starts[place]) : int(self.starts[place + 1])]


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request: the codes of its history, how many of its items are not known, and why cold."""

    history: Codes
    unknown: int
    cold: str


@dataclass(frozen=True, slots=True, eq=False)
class Recommender:
    """Answers requests; see ``noria.tasks.package.Predictor`` and ``Describing``.

    Of each item ``counts`` (m,) is how much it was taken in training, the most first, and
    ``shares`` (m,) by which share of the users.
    """

    manifest: Manifest
    settings: Settings
    method: Method
    counts: Array
    shares: Array
    known: Known
    codes: Mapping[str, int]
    numbers: Array

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        settings: Settings,
        method: Method,
        counts: Array,
        shares: Array,
        known: Known,
    ) -> Recommender:
        """Return it, with the items found by their names."""
        codes = {name: code for code, name in enumerate(settings.items)}
        numbers = numbers_of(settings.items)
        return cls(manifest, settings, method, counts, shares, known, codes, numbers)

    def predict(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the k items of each of n requests: numbers, names and scores (n, k).

        Where fewer are left, the rest are -1, empty and 0. ``coldStart`` (n,) says why an answer
        is of popular items, and ``ignored`` (n,) how many items of the history are not known.

        Raises:
            InvalidInput: There are no columns.
        """
        if not columns:
            raise InvalidInput(
                f"neither {self.manifest.entity_key[0]} nor {HISTORY} is sent",
                fix=f"send {HISTORY}, empty where nothing was taken",
            )
        rows, count = _rows(columns), self.settings.k
        numbers = np.full((rows, count), NOTHING)
        names = np.full((rows, count), "", object)
        scores = np.zeros((rows, count))
        cold = np.full(rows, WARM, object)
        ignored = np.zeros(rows, np.int64)
        for row in range(rows):
            asked = self._asked(columns, row)
            rated = self._rated(asked)
            found = best(rated, self._allowed(columns, row, asked.history), count)
            numbers[row, : found.size] = self.numbers[found]
            names[row, : found.size] = [self.settings.items[code] for code in found.tolist()]
            scores[row, : found.size] = rated[found]
            cold[row], ignored[row] = asked.cold, asked.unknown
        return {PREDICTION: numbers, ITEMS: names, SCORES: scores, COLD: cold, IGNORED: ignored}

    def describe(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return what is watched of each request, (n,).

        unknown: share of the history's newest k items that are not known. cold: 1 where the answer
        is of popular items for want of a history. rarity: mean self-information of the newest k
        items that are known, bits: -log2 of the share of users who took each in training. novelty:
        the same of the items that are answered. Longer histories are not watched: they grow by
        themselves.
        """
        return self.describe_answers(columns, self.predict(columns))

    def describe_answers(
        self, columns: Mapping[str, np.ndarray], answers: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """See ``noria.tasks.package.DescribingAnswers``."""
        rows, newest = _rows(columns), self.settings.k
        bits = -np.log2(self.shares)
        found = {name: np.full(rows, np.nan) for name in ("rarity", "novelty")}
        found |= {name: np.zeros(rows) for name in ("unknown", "cold")}
        for row in range(rows):
            history = self._asked(columns, row).history
            given = listed(columns[HISTORY][row])[-newest:] if HISTORY in columns else []
            found["unknown"][row] = 1.0 - self._codes(given).size / len(given) if given else 0.0
            found["cold"][row] = float(answers[COLD][row] != WARM)
            answered = self._codes([name for name in answers[ITEMS][row] if name])
            for name, codes in (("rarity", history[-newest:]), ("novelty", answered)):
                if codes.size:
                    found[name][row] = bits[codes].mean()
        return found

    def files(self) -> dict[str, bytes]:
        """Return the files of a package."""
        arrays: dict[str, np.ndarray] = {
            "counts": self.counts,
            "shares": self.shares,
            "known": self.known.codes.astype(np.int32),
            "ends": self.known.starts,
            **{f"method-{name}": found for name, found in self.method.arrays().items()},
        }
        return {FILE: msgspec.json.encode(self.settings), ARRAYS: pack(arrays)}

    def _asked(self, columns: Mapping[str, np.ndarray], row: int) -> _Asked:
        given = listed(columns[HISTORY][row]) if HISTORY in columns else []
        if not given:
            user = self.manifest.entity_key[0]
            known = self.known.of(columns[user][row]) if user in columns else None
            if known is None or not known.size:
                return _Asked(np.zeros(0, np.int64), 0, NO_HISTORY)
            return _Asked(known, 0, WARM)
        given = given[-self.settings.history :]
        codes = self._codes(given)
        return _Asked(codes, len(given) - codes.size, WARM if codes.size else NO_KNOWN_ITEM)

    def _codes(self, names: list[str]) -> Codes:
        found = (self.codes.get(name) for name in names)
        return np.array([code for code in found if code is not None], np.int64)

    def _rated(self, asked: _Asked) -> Array:
        return self.counts if asked.cold != WARM else self.method.rate(asked.history)

    def _allowed(
        self, columns: Mapping[str, np.ndarray], row: int, history: Codes
    ) -> NDArray[np.bool_]:
        """Return which items may be answered, (m,)."""
        only = listed(columns[ONLY][row]) if ONLY in columns else []
        allowed = np.full(self.shares.size, not only)
        allowed[self._codes(only)] = True
        if EXCLUDE in columns:
            allowed[self._codes(listed(columns[EXCLUDE][row]))] = False
        if self.settings.seen == "leave-out":
            allowed[history] = False
        return allowed


def _rows(columns: Mapping[str, np.ndarray]) -> int:
    return max((len(values) for values in columns.values()), default=0)


def load(manifest: Manifest, files: Mapping[str, bytes]) -> Recommender:
    """Return the recommender of a package's files.

    Raises:
        IntegrityError: They are not a recommender's.
    """
    try:
        settings = msgspec.json.decode(files[FILE], type=Settings)
        arrays: Mapping[str, Any] = unpack(files[ARRAYS], ARRAYS)
        counts, shares = (arrays[name].astype(np.float64) for name in ("counts", "shares"))
        known, starts = (arrays[name].astype(np.int64) for name in ("known", "ends"))
    except (KeyError, msgspec.DecodeError) as error:
        raise IntegrityError(f"{FILE} or {ARRAYS}: {error}", fix="train again") from error
    fits = (
        counts.shape == shares.shape == (len(settings.items),)
        and starts.shape == (len(settings.users) + 1,)
        and int(starts[-1]) == known.size
        and (not known.size or 0 <= known.min() <= known.max() < shares.size)
    )
    if not fits:
        raise IntegrityError(f"{ARRAYS}: does not fit {FILE}", fix="train again")
    own = {
        name.removeprefix("method-"): found
        for name, found in arrays.items()
        if name.startswith("method-")
    }
    method = restored(settings.method, own, counts)
    kept = Known(known, starts, {name: place for place, name in enumerate(settings.users)})
    return Recommender.of(manifest, settings, method, counts, shares, kept)
