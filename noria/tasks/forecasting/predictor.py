"""Forecasts of a package: the method that was chosen, its intervals, and the newest values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import IntegrityError, InvalidInput, shorten
from noria.tasks.arrays import pack, unpack
from noria.tasks.forecasting import HISTORY, boosting, intervals, methods
from noria.tasks.forecasting.gaps import filled
from noria.tasks.forecasting.shape import described
from noria.tasks.forecasting.steps import Steps
from noria.tasks.package import Manifest
from noria.values.vectors import aligned

Array = NDArray[np.float64]

FILE: Final = "forecast.json"
TAILS: Final = "tails.npz"
PREDICTION: Final = "prediction"
BOOSTED: Final = "boosting/"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``forecast.json`` says. ``widths`` has (h,) half widths in units of the scale."""

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

    @property
    def steps(self) -> Steps:
        """The calendar."""
        return Steps(self.every, self.unit, self.zone)


@dataclass(frozen=True, slots=True, eq=False)
class Tails:
    """The newest values of each series that were known in training: (s, L), and their last step."""

    values: Array
    ends: NDArray[np.int64]
    places: Mapping[tuple[str, ...], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Forecaster:
    """Answers requests; see ``noria.tasks.package.Predictor`` and ``Describing``."""

    manifest: Manifest
    settings: Settings
    boosted: boosting.Boosted | None
    tails: Tails

    def predict(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the forecast and the ends of its intervals, (n, h) each.

        Raises:
            InvalidInput: A history is missing and can't be looked up, or has no value.
        """
        histories, ahead = self._histories(columns)
        if ahead.any():
            # The steps that nobody knows yet are forecast first, and taken for known.
            said = self.forecasts(histories)
            for row in np.flatnonzero(ahead):
                steps = int(ahead[row])
                histories[row] = np.concatenate([histories[row, steps:], said[row, :steps]])
        return self.answer(histories, self.forecasts(histories))

    def forecasts(self, histories: Array) -> Array:
        """Return what the method says of histories (n, L) without gaps, (n, h)."""
        settings = self.settings
        if self.boosted is not None:
            return self.boosted.predict(histories)
        return methods.forecast(settings.method, histories, settings.season, settings.horizon)

    def answer(self, histories: Array, forecasts: Array) -> dict[str, np.ndarray]:
        """Return forecasts with the intervals that they have after these histories."""
        scale = intervals.scale(histories, self.settings.season)
        found: dict[str, np.ndarray] = {PREDICTION: forecasts}
        for level, widths in self.settings.widths.items():
            low, high = intervals.band(forecasts, scale, np.array(widths))
            found |= {f"lower-{level}": low, f"upper-{level}": high}
        return found

    def describe(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the descriptors of the histories; see ``noria.tasks.forecasting.shape``."""
        raw, _ = self._histories(columns, fill=False)
        return {**described(raw, self.settings.season)}

    def _histories(
        self, columns: Mapping[str, np.ndarray], *, fill: bool = True
    ) -> tuple[Array, NDArray[np.int64]]:
        """Return histories (n, L), and how many steps each ends before the origin."""
        settings, width = self.settings, self.settings.history
        given = columns.get(HISTORY)
        rows = len(next(iter(columns.values())))
        raw = np.full((rows, width), np.nan) if given is None else aligned(given, width)
        ahead = np.zeros(rows, np.int64)
        for row in np.flatnonzero(np.isnan(raw).all(axis=1)):
            raw[row], ahead[row] = self._looked_up(columns, int(row))
        ends = np.flatnonzero(np.isnan(raw[:, -1]))
        if ends.size:
            raise InvalidInput(
                f"{HISTORY}[{ends[0]}]: its last value is missing",
                fix="end it with the newest value that is known",
            )
        return (filled(raw, settings.gaps) if fill else raw), ahead

    def _looked_up(self, columns: Mapping[str, np.ndarray], row: int) -> tuple[Array, int]:
        """Return the history of a row that sends none, and how many steps it lacks."""
        key_columns = self.manifest.entity_key
        fix = f"send {HISTORY}, its newest values, or the name of a series that was trained on"
        key = tuple(str(columns[name][row]) for name in key_columns if name in columns)
        place = self.tails.places.get(key) if len(key) == len(key_columns) else None
        if place is None:
            said = f"series {shorten('|'.join(key))} is not known" if key else "no series is named"
            raise InvalidInput(f"{HISTORY}[{row}]: is missing, and {said}", fix=fix)
        values, end = self.tails.values[place], int(self.tails.ends[place])
        when = columns.get(self.manifest.event_time or "")
        if when is None or not np.isfinite(float(when[row])):
            return values, 0
        asked = int(self.settings.steps.numbers(np.array([int(when[row])]))[0])
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
            return values, ahead
        cut = values[:ahead]
        if np.isnan(cut[-1]):
            raise InvalidInput(
                f"{self.manifest.event_time}[{row}]: no value is known at that step", fix=fix
            )
        return np.concatenate([np.full(-ahead, np.nan), cut]), 0

    def files(self) -> dict[str, bytes]:
        """Return the files of the package."""
        tails = {"values": self.tails.values, "ends": self.tails.ends}
        found = {
            FILE: msgspec.json.format(msgspec.json.encode(self.settings), indent=2),
            TAILS: pack(tails),
        }
        if self.boosted is not None:
            found |= {BOOSTED + name: text for name, text in self.boosted.files().items()}
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
    if values.shape != (len(settings.series), settings.history) or ends.shape != values.shape[:1]:
        raise IntegrityError(f"{TAILS}: does not fit {FILE}", fix="train again")
    places = {tuple(key): place for place, key in enumerate(settings.series)}
    model = {name.removeprefix(BOOSTED): text for name, text in files.items() if BOOSTED in name}
    boosted = boosting.load(model) if model else None
    found = Forecaster(manifest, settings, boosted, Tails(values, ends, places))
    # The statistical models take seconds to import: before the first request, not in it.
    found.forecasts(np.arange(1.0, settings.history + 1.0)[None, :] ** 0.5)
    return found
