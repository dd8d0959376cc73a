"""Forecasts of a package: the method that was chosen, its intervals, and the newest values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import IntegrityError, InvalidInput, shorten
from noria.tasks.arrays import pack, unpack
from noria.tasks.forecasting import HISTORY, boosting, dlinear, intervals, methods
from noria.tasks.forecasting.beside import Beside
from noria.tasks.forecasting.describe import NAIVE
from noria.tasks.forecasting.gaps import filled
from noria.tasks.forecasting.hierarchy import Hierarchy
from noria.tasks.forecasting.shape import described
from noria.tasks.forecasting.steps import Steps
from noria.tasks.package import Manifest
from noria.values.vectors import aligned

Array = NDArray[np.float64]

FILE: Final = "forecast.json"
TAILS: Final = "tails.npz"
PREDICTION: Final = "prediction"
RECONCILED: Final = "reconciled"
"""Of a model with a hierarchy, whether a forecast agrees with those it was asked with."""

Shared: TypeAlias = boosting.Boosted | dlinear.Linear
"""A model of all series."""

LOADERS: Final[Mapping[str, Callable[[Mapping[str, bytes]], Shared]]] = MappingProxyType(
    {boosting.Boosted.name: boosting.load, dlinear.Linear.name: dlinear.load}
)
"""What reads one, by its method; its files are in a folder of that name."""

_COVARIANCE: Final = "covariance"
_SHARES: Final = "shares"
_CURVE: Final = np.arange(1.0, 65.0) ** 0.5
_BESIDE: Final = "beside/"
NEVER: Final = np.iinfo(np.int64).min


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``forecast.json`` says. ``widths`` has (h,) half widths in units of the scale.

    ``facts`` has the static features of each of the ``series``, and ``methods`` its method, where
    each has one of its own. ``reconcile`` is how forecasts of parts and sums are made to agree, and
    ``members`` has the parts of each series that is a sum; empty: there is no hierarchy.
    """

    method: str
    horizon: int
    season: int
    history: int
    gaps: str
    every: int
    unit: str
    zone: str
    widths: dict[str, list[float]]
    series: list[list[str]]
    methods: list[str] = msgspec.field(default_factory=list)
    beside: Beside | None = None
    facts: dict[str, list[str | float | None]] = msgspec.field(default_factory=dict)
    reconcile: str = ""
    members: list[list[int]] = msgspec.field(default_factory=list)

    @property
    def steps(self) -> Steps:
        """The calendar."""
        return Steps(self.every, self.unit, self.zone)


@dataclass(frozen=True, slots=True, eq=False)
class Tails:
    """The newest values of each series that were known in training: (s, L), and their last step.

    ``covariates`` begin a horizon earlier; those that are known ahead end two horizons after the
    values, (s, L + 3h), the others with them, (s, L + h).
    """

    values: Array
    ends: NDArray[np.int64]
    places: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    covariates: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Requests: histories (n, L).

    ``origins`` (n,) are the steps that they are asked from, ``NEVER`` where nobody says or needs
    to know; ``ahead`` (n,) is how many steps before it a history ends. ``places`` (n,) is where
    the series is among those of the package, -1: nowhere.
    """

    raw: Array
    origins: NDArray[np.int64]
    ahead: NDArray[np.int64]
    places: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Forecaster:
    """Answers requests; see ``noria.tasks.package.Predictor`` and ``Describing``."""

    manifest: Manifest
    settings: Settings
    shared: Shared | None
    tails: Tails
    hierarchy: Hierarchy | None = None

    @property
    def reads_whole_requests(self) -> bool:
        """Whether the answer to a row depends on the other rows of its request."""
        return self.hierarchy is not None

    def predict(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the forecast, the ends of its intervals and the seasonal naive, (n, h) each.

        Raises:
            InvalidInput: A history or what stands beside it is missing and can't be looked up, or
                has no value.
        """
        asked = self._asked(columns)
        histories, ahead = filled(asked.raw, self.settings.gaps), asked.ahead
        naive = self._naive(histories, ahead)
        if ahead.any():
            # The steps that nobody knows yet are forecast first, and taken for known.
            said = self.forecasts(histories, self._read(columns, asked, ahead), asked.places)
            for row in np.flatnonzero(ahead):
                steps = int(ahead[row])
                histories[row] = np.concatenate([histories[row, steps:], said[row, :steps]])
        read = self._read(columns, asked, np.zeros_like(ahead))
        said = self.forecasts(histories, read, asked.places)
        if self.hierarchy is None:
            return {**self.answer(histories, said), NAIVE: naive}
        agreed, changed = self._agreed(said, histories, asked)
        return {**self.answer(histories, agreed), NAIVE: naive, RECONCILED: changed}

    def _agreed(
        self, said: Array, histories: Array, asked: _Asked
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the forecasts of requests, which agree where all parts of a sum were asked about.

        The sums that were not asked about are forecast beside them.
        """
        hierarchy, rows = self.hierarchy, len(said)
        if hierarchy is None:
            return said, np.zeros(rows, np.bool_)
        places, moments, sums = asked.places.tolist(), asked.origins.tolist(), []
        for moment in dict.fromkeys(moments):
            of = {place: row for row, place in enumerate(places) if moments[row] == moment}
            for place in hierarchy.whole(set(of)):
                if place not in of:
                    own = histories[[of[part] for part in hierarchy.members[place].tolist()]]
                    sums.append((place, moment, _summed(own)))
        if sums:
            beside, when = None, np.array([moment for _, moment, _ in sums], np.int64)
            if self.shared is not None and self.settings.beside is not None:
                # Sums have no covariates: it is the calendar alone.
                known = self.settings
                beside = self.settings.beside.read(
                    {}, when, known.season, known.horizon, known.steps
                )
            above = self.forecasts(np.stack([history for *_, history in sums]), beside)
            said = np.concatenate([said, above])
        agreed, changed = self.reconciled(
            said,
            np.array([*places, *(place for place, *_ in sums)], np.int64),
            np.array([*moments, *(moment for _, moment, _ in sums)], np.int64),
        )
        return agreed[:rows], changed[:rows]

    def reconciled(
        self, said: Array, places: NDArray[np.int64], moments: NDArray[np.int64]
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return forecasts (n, h) that agree, origin by origin, and which were reconciled, (n,).

        ``places`` (n,) is which series of the package each is of, -1: none, ``moments`` (n,) its
        origin.
        """
        found, changed = said.copy(), np.zeros(len(said), np.bool_)
        hierarchy = self.hierarchy
        if hierarchy is not None:
            for moment in np.unique(moments):
                rows = np.flatnonzero(moments == moment)
                found[rows], changed[rows] = hierarchy.reconciled(said[rows], places[rows])
        return found, changed

    def _naive(self, histories: Array, ahead: NDArray[np.int64]) -> Array:
        """Return the seasonal naive from so many steps after histories, (n, h): what is known."""
        steps = self.settings.horizon + int(ahead.max(initial=0))
        found = methods.forecast(NAIVE, histories, self.settings.season, steps)
        places = ahead[:, None] + np.arange(self.settings.horizon)
        return np.take_along_axis(found, places, axis=1)

    def forecasts(
        self,
        histories: Array,
        beside: Array | None = None,
        places: NDArray[np.int64] | None = None,
    ) -> Array:
        """Return what the method says of histories (n, L) without gaps, (n, h).

        ``beside`` (n, h, k) is what boosting knows beside them (``Beside.read``). ``places`` (n,)
        is which series of the package each is of, -1: none of them; None: nobody knows.
        """
        settings = self.settings
        if places is None or not settings.methods:
            return self._by(settings.method, histories, beside)
        of = [settings.methods[place] if place >= 0 else settings.method for place in places]
        found = np.empty((len(histories), settings.horizon))
        for method in dict.fromkeys(of):
            rows = np.flatnonzero([one == method for one in of])
            part = None if beside is None else beside[rows]
            found[rows] = self._by(method, histories[rows], part)
        return found

    def _by(self, method: str, histories: Array, beside: Array | None) -> Array:
        settings = self.settings
        if self.shared is not None and method == self.shared.name:
            return self.shared.predict(histories, beside)
        return methods.forecast(method, histories, settings.season, settings.horizon)

    def places_of(self, keys: Iterable[tuple[str, ...]]) -> NDArray[np.int64]:
        """Return which series of the package keys name, -1: none."""
        return np.array([self.tails.places.get(key, -1) for key in keys], np.int64)

    def answer(self, histories: Array, forecasts: Array) -> dict[str, np.ndarray]:
        """Return forecasts with the intervals that they have after these histories."""
        scale = intervals.scale(histories, self.settings.season)
        found: dict[str, np.ndarray] = {PREDICTION: forecasts}
        for level, widths in self.settings.widths.items():
            low, high = intervals.band(forecasts, scale, np.array(widths))
            found |= {f"lower-{level}": low, f"upper-{level}": high}
        return found

    def describe(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the descriptors of the histories; see ``noria.tasks.forecasting.shape``.

        And of each feature what ``Beside.described`` says.
        """
        asked, settings = self._asked(columns), self.settings
        found = {**described(asked.raw, settings.season)}
        if settings.beside is None:
            return found
        return found | settings.beside.described(self._beside(columns, asked), settings.horizon)

    def _asked(self, columns: Mapping[str, np.ndarray]) -> _Asked:
        """Return histories, sent or looked up, and where they are."""
        width, given = self.settings.history, columns.get(HISTORY)
        rows = len(next(iter(columns.values())))
        raw = np.full((rows, width), np.nan) if given is None else aligned(given, width)
        ahead, places = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        origins = np.full(rows, NEVER)
        for row in range(rows):
            places[row] = self._place(columns, row)
            if self.settings.beside is not None or self.hierarchy is not None:
                asked = self._origin(columns, row)
                origins[row] = NEVER if asked is None else asked
        if self.hierarchy is not None:
            _sum_up(raw, places, origins, self.hierarchy, self.settings.gaps)
        for row in np.flatnonzero(np.isnan(raw).all(axis=1)).tolist():
            place = int(places[row])
            raw[row], origins[row] = self._looked_up(columns, row, place)
            ahead[row] = max(0, int(origins[row]) - int(self.tails.ends[place]))
        ends = np.flatnonzero(np.isnan(raw[:, -1]))
        if ends.size:
            raise InvalidInput(
                f"{HISTORY}[{ends[0]}]: its last value is missing",
                fix="end it with the newest value that is known",
            )
        return _Asked(raw, origins, ahead, places)

    def _origin(self, columns: Mapping[str, np.ndarray], row: int) -> int | None:
        """Return the step at which a row asks; None where it does not say."""
        when = columns.get(self.manifest.event_time or "")
        if when is None or not np.isfinite(float(when[row])):
            return None
        return int(self.settings.steps.numbers(np.array([int(when[row])]))[0])

    def _place(self, columns: Mapping[str, np.ndarray], row: int) -> int:
        names = self.manifest.entity_key
        key = tuple(str(columns[name][row]) for name in names if name in columns)
        return self.tails.places.get(key, -1) if len(key) == len(names) else -1

    def _looked_up(
        self, columns: Mapping[str, np.ndarray], row: int, place: int
    ) -> tuple[Array, int]:
        """Return the history of a row that sends none, and the step that is asked from."""
        key_columns = self.manifest.entity_key
        fix = f"send {HISTORY}, its newest values, or the name of a series that was trained on"
        if place < 0:
            key = tuple(str(columns[name][row]) for name in key_columns if name in columns)
            said = f"series {shorten('|'.join(key))} is not known" if key else "no series is named"
            raise InvalidInput(f"{HISTORY}[{row}]: is missing, and {said}", fix=fix)
        values, end = self.tails.values[place], int(self.tails.ends[place])
        asked = self._origin(columns, row)
        if asked is None:
            return values, end
        ahead = asked - end
        if ahead > self.settings.horizon or -ahead >= values.size:
            known = pd.Timestamp(int(self.settings.steps.starts(np.array([end]))[0]), unit="ms")
            raise InvalidInput(
                f"{self.manifest.event_time}[{row}]: is {abs(ahead)} steps "
                f"{'after' if ahead > 0 else 'before'} the newest value of this series that this "
                f"version knows, of {known:%Y-%m-%d %H:%M}",
                fix=fix,
            )
        if ahead >= 0:
            return values, asked
        cut = values[:ahead]
        if np.isnan(cut[-1]):
            raise InvalidInput(
                f"{self.manifest.event_time}[{row}]: no value is known at that step", fix=fix
            )
        return np.concatenate([np.full(-ahead, np.nan), cut]), asked

    def _beside(self, columns: Mapping[str, np.ndarray], asked: _Asked) -> dict[str, Any]:
        """Return the features of requests, sent or looked up.

        Those that change from step to step begin a horizon before the history: (n, L + 2h) of one
        that is known ahead, which ends with the forecast, (n, L + h) of another. Else (n,).
        """
        settings = self.settings
        beside = settings.beside or Beside()
        found: dict[str, Any] = {}
        for name in (*beside.ahead, *beside.past):
            ends = settings.horizon if name in beside.ahead else 0
            width = settings.history + settings.horizon + ends
            sent, rows = columns.get(name), len(asked.raw)
            values = np.full((rows, width), np.nan) if sent is None else aligned(sent, width)
            for row in np.flatnonzero(np.isnan(values).all(axis=1)):
                values[row] = self._looked_up_beside(name, asked, int(row), ends, width)
            found[name] = values
        for name in beside.static:
            texts = name in beside.categories
            given = columns.get(name, [None] * len(asked.raw))
            facts = [
                settings.facts[name][place] if _is_missing(value) and place >= 0 else value
                for value, place in zip(given, asked.places.tolist(), strict=True)
            ]
            found[name] = np.array(facts, object if texts else np.float64)
        return found

    def _looked_up_beside(self, name: str, asked: _Asked, row: int, ends: int, width: int) -> Array:
        """Return a covariate of so many steps, up to so many after the origin; NaN: not known."""
        found = np.full(width, np.nan)
        place, origin = int(asked.places[row]), int(asked.origins[row])
        if place < 0 or origin == NEVER:
            return found
        held = self.tails.covariates[name][place]
        first = int(self.tails.ends[place]) - self.settings.history - self.settings.horizon + 1
        start = origin + ends - width + 1 - first
        part = held[max(0, start) : max(0, start + width)]
        found[max(0, -start) : max(0, -start) + part.size] = part
        return found

    def _read(
        self, columns: Mapping[str, np.ndarray], asked: _Asked, back: NDArray[np.int64]
    ) -> Array | None:
        """Return what boosting knows beside histories, so many steps before the origins.

        Raises:
            InvalidInput: Something that it has to know is missing.
        """
        settings = self.settings
        if settings.beside is None or self.shared is None:
            return None
        beside = self._beside(columns, asked)
        if not back.any():
            self._refuse_missing(beside)
        unsaid = asked.origins == NEVER
        if settings.beside.calendars and unsaid.any():
            raise InvalidInput(
                f"{self.manifest.event_time}[{np.argmax(unsaid)}]: is missing, and holidays depend "
                "on it",
                fix="send when the newest value was",
            )
        origins = np.where(unsaid, 0, asked.origins)
        windows = {name: _back(values, back, settings.horizon) for name, values in beside.items()}
        return settings.beside.read(
            windows, origins - back, settings.season, settings.horizon, settings.steps
        )

    def _refuse_missing(self, beside: Mapping[str, Any]) -> None:
        horizon, read = self.settings.horizon, self.settings.beside or Beside()
        for name in read.ahead:
            for row, step in np.argwhere(np.isnan(beside[name][:, -horizon:])):
                raise InvalidInput(
                    f"{name}[{row}]: is missing at step t+{step + 1}, and it is known ahead",
                    fix=f"send its values of the {horizon} steps to come, after those of "
                    f"{HISTORY} where you have them",
                )
        for name in read.past:
            for row in np.flatnonzero(np.isnan(beside[name]).all(axis=1)):
                raise InvalidInput(
                    f"{name}[{row}]: is missing", fix=f"send its values up to the end of {HISTORY}"
                )
        for name in read.static:
            for row in np.flatnonzero([_is_missing(one) for one in beside[name]]):
                raise InvalidInput(
                    f"{name}[{row}]: is missing",
                    fix="send it, or the name of a series that was trained on",
                )

    def files(self) -> dict[str, bytes]:
        """Return the files of the package."""
        covariates = {_BESIDE + name: values for name, values in self.tails.covariates.items()}
        tails = {"values": self.tails.values, "ends": self.tails.ends, **covariates}
        if self.hierarchy is not None:
            tails |= {_COVARIANCE: self.hierarchy.covariance, _SHARES: self.hierarchy.shares}
        found = {
            FILE: msgspec.json.format(msgspec.json.encode(self.settings), indent=2),
            TAILS: pack(tails),
        }
        if self.shared is not None:
            folder = self.shared.name
            found |= {f"{folder}/{name}": text for name, text in self.shared.files().items()}
        return found


def load(manifest: Manifest, files: Mapping[str, bytes]) -> Forecaster:
    """Build the predictor from a package's checked files.

    Raises:
        IntegrityError: A file is missing or does not fit the others.
    """
    try:
        settings = msgspec.json.decode(files[FILE], type=Settings)
        arrays: Mapping[str, Any] = unpack(files[TAILS], TAILS)
        values, ends = arrays["values"], arrays["ends"]
    except (KeyError, msgspec.DecodeError) as error:
        raise IntegrityError(f"{FILE} or {TAILS}: {error}", fix="train again") from error
    covariates = {name.removeprefix(_BESIDE): of for name, of in arrays.items() if _BESIDE in name}
    if not _fits(settings, values, ends, covariates):
        raise IntegrityError(f"{TAILS}: does not fit {FILE}", fix="train again")
    places = {tuple(key): place for place, key in enumerate(settings.series)}
    shared: Shared | None = None
    for method in LOADERS.keys() & {settings.method, *settings.methods}:
        folder = f"{method}/"
        own = {
            name.removeprefix(folder): one for name, one in files.items() if name.startswith(folder)
        }
        shared = LOADERS[method](own) if own else None
    if shared is None and LOADERS.keys() & {settings.method, *settings.methods}:
        raise IntegrityError(f"{FILE}: there is no model beside it", fix="train again")
    hierarchy = None
    if settings.reconcile:
        hierarchy = _hierarchy(settings, arrays)
    tails = Tails(values, ends, places, covariates)
    found = Forecaster(manifest, settings, shared, tails, hierarchy)
    # The statistical models take seconds to import: before the first request, not in it.
    for method in {settings.method, *settings.methods} - LOADERS.keys():
        methods.forecast(method, _CURVE[None, :], settings.season, settings.horizon)
    return found


def _hierarchy(settings: Settings, arrays: Mapping[str, Any]) -> Hierarchy:
    size, members = len(settings.series), settings.members
    covariance, shares = arrays.get(_COVARIANCE), arrays.get(_SHARES)
    if (
        covariance is None
        or shares is None
        or (covariance.shape, shares.shape, len(members)) != ((size, size), (size,), size)
        or any(not 0 <= part < size for own in members for part in own)
    ):
        raise IntegrityError(f"{TAILS}: does not fit {FILE}", fix="train again")
    own = tuple(np.array(parts, np.int64) for parts in members)
    return Hierarchy(settings.reconcile, own, covariance, shares)


def _summed(histories: Array) -> Array:
    """Return the sum of histories (n, L): of those that have begun, (L,)."""
    begun = ~np.isnan(histories).all(axis=0)
    return np.where(begun, np.nansum(histories, axis=0), np.nan)


def _sum_up(
    raw: Array,
    places: NDArray[np.int64],
    origins: NDArray[np.int64],
    hierarchy: Hierarchy,
    gaps: str,
) -> None:
    """Fill in the histories of sums that none was sent of, where those of all parts were."""
    sent = ~np.isnan(raw).all(axis=1)
    for row in np.flatnonzero(~sent & (places >= 0)).tolist():
        members = hierarchy.members[places[row]]
        alike = np.flatnonzero(sent & (origins == origins[row]))
        of = dict(zip(places[alike].tolist(), alike.tolist(), strict=True))
        if members.size and all(part in of for part in members.tolist()):
            raw[row] = _summed(filled(raw[[of[part] for part in members.tolist()]], gaps))


def _fits(settings: Settings, values: Array, ends: Any, covariates: Mapping[str, Array]) -> bool:
    """Whether what is looked up has a row for each series, and is as wide as it is read."""
    series, width, horizon = len(settings.series), settings.history, settings.horizon
    beside = settings.beside or Beside()
    wanted = dict.fromkeys(beside.ahead, (series, width + 3 * horizon))
    wanted |= dict.fromkeys(beside.past, (series, width + horizon))
    return (
        values.shape == (series, width)
        and ends.shape == (series,)
        and {name: of.shape for name, of in covariates.items()} == wanted
        and len(settings.methods) in (0, series)
        and {name: len(of) for name, of in settings.facts.items()}
        == dict.fromkeys(beside.static, series)
    )


def _back(values: Any, steps: NDArray[np.int64], horizon: int) -> Any:
    """Return a window of a covariate so many steps before its end, a horizon shorter."""
    if values.ndim == 1:
        return values
    width = values.shape[1] - horizon
    places = horizon - steps[:, None] + np.arange(width)
    return np.take_along_axis(values, places, axis=1)


def _is_missing(value: Any) -> bool:
    return value is None or value != value
