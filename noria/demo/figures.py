"""What the demo measured: immutable values, and their JSON form for machines.

Nothing here knows how the predictions were made, and nothing decides anything:
it is what the live display, the table at the end, the HTML report and
``noria demo --json`` all show, so they can't disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from noria.errors import InvalidInput
from noria.report.figures import Aim, Drift, Gain, Retrain, Traffic

__all__ = [
    "PREDICTORS",
    "SETTINGS",
    "SHARE_AIM",
    "Aim",
    "Drift",
    "Figures",
    "Gain",
    "Mode",
    "Period",
    "Retrain",
    "Retrains",
    "Scores",
    "Traffic",
]

Mode = Literal["quick", "full"]
PREDICTORS: Final = ("loop", "frozen", "monthly", "no_change")

SETTINGS: Final = (
    "Settings: Noria's defaults, as every model has them. They were chosen on several streams, "
    "and a sample of these flights was one of them; docs/benchmarks.md has streams that were not."
)

LAST_MONTH: Final = 12
"""The whole year."""

SHARE_AIM: Final = 0.95
RETRAINS_AIM: Final = 13
"""As many as a retrain makes whenever the labelled rows have grown by a fifth since January."""

WORST_MONTH_AIM: Final = -0.002


@dataclass(frozen=True, slots=True)
class Scores:
    """One metric of the four predictors on the same rows; None where it is not defined."""

    loop: float | None
    frozen: float | None
    monthly: float | None
    no_change: float | None

    def of(self, predictor: str) -> float | None:
        """Return the value of one of ``PREDICTORS``."""
        value: float | None = getattr(self, predictor)
        return value


@dataclass(frozen=True, slots=True)
class Period:
    """A calendar month (``2013-02``) or a week (its Monday, ``2013-02-04``), by event time.

    ``rows`` is the number of labelled rows; AUC of a period with one class only is None.
    """

    name: str
    rows: int
    auc: Scores
    log_loss: Scores
    accuracy: Scores


@dataclass(frozen=True, slots=True)
class Retrains:
    """How many times each of the two that retrain did so, the first training not counted."""

    loop: int
    monthly: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that a run of the demo found out. ``seconds`` is wall time."""

    mode: Mode
    seed: int
    rows: int
    auc: Scores
    log_loss: Scores
    accuracy: Scores
    retrains: Retrains
    months: tuple[Period, ...]
    weeks: tuple[Period, ...]
    drifts: tuple[Drift, ...]
    retrain_log: tuple[Retrain, ...]
    traffic: tuple[Traffic, ...]
    seconds: float

    @property
    def aims(self) -> tuple[Aim, ...]:
        """The demo's aims beside its results, met or not; that for retrains is the whole year's."""
        retrains = Aim(
            "Retrains by the loop",
            f"at most {RETRAINS_AIM}",
            float(self.retrains.loop),
            self.retrains.loop <= RETRAINS_AIM,
        )
        share, worst = _share_of_gain(self.auc), _worst_month(self.months)
        return (share, retrains, worst) if self.last_month == LAST_MONTH else (share, worst)

    @property
    def last_month(self) -> int:
        """The last month that was replayed: 12 is December."""
        return int(self.months[-1].name[-2:]) if self.months else LAST_MONTH

    def to_json(self) -> dict[str, Any]:
        """Return plain lists, dicts, strings and numbers; times are ISO-8601 in UTC."""
        plain: dict[str, Any] = msgspec.to_builtins(
            {
                "mode": self.mode,
                "seed": self.seed,
                "rows": self.rows,
                "auc": self.auc,
                "log_loss": self.log_loss,
                "accuracy": self.accuracy,
                "retrains": self.retrains,
                "months": [_period_to_json(period, "month") for period in self.months],
                "weeks": [_period_to_json(period, "week") for period in self.weeks],
                "drifts": self.drifts,
                "retrain_log": self.retrain_log,
                "traffic": self.traffic,
                "aims": self.aims,
                "seconds": self.seconds,
            }
        )
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Figures:
        """Read what ``to_json`` wrote; aims are computed again, never trusted.

        Raises:
            InvalidInput: a key is missing or a value has the wrong shape.
        """
        try:
            return cls(
                mode=data["mode"],
                seed=data["seed"],
                rows=data["rows"],
                auc=Scores(**data["auc"]),
                log_loss=Scores(**data["log_loss"]),
                accuracy=Scores(**data["accuracy"]),
                retrains=Retrains(**data["retrains"]),
                months=tuple(_period_from_json(item, "month") for item in data["months"]),
                weeks=tuple(_period_from_json(item, "week") for item in data["weeks"]),
                drifts=tuple(_drift_from_json(item) for item in data["drifts"]),
                retrain_log=tuple(_retrain_from_json(item) for item in data["retrain_log"]),
                traffic=tuple(
                    Traffic(_time(item["at"]), dict(item["weights"])) for item in data["traffic"]
                ),
                seconds=data["seconds"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(
                f"these are not the demo's figures: {error!r}",
                fix="give a file that `noria demo --json FILE` wrote",
            ) from error


def _share_of_gain(auc: Scores) -> Aim:
    name, target = "Share of the monthly retrain's AUC gain", f"at least {100 * SHARE_AIM:.0f} %"
    if auc.loop is None or auc.frozen is None or auc.monthly is None:
        return Aim(name, target, None, None)
    gain = auc.monthly - auc.frozen
    if gain <= 0:  # Nothing was gained by retraining: a share of it says nothing.
        return Aim(name, target, None, None)
    share = (auc.loop - auc.frozen) / gain
    return Aim(name, target, share, share >= SHARE_AIM)


def _worst_month(months: Sequence[Period]) -> Aim:
    name, target = "Worst month, loop minus frozen (AUC)", f"at least {WORST_MONTH_AIM}"
    differences = [
        month.auc.loop - month.auc.frozen
        for month in months
        if month.auc.loop is not None and month.auc.frozen is not None
    ]
    if not differences:
        return Aim(name, target, None, None)
    worst = min(differences)
    return Aim(name, target, worst, worst >= WORST_MONTH_AIM)


def _period_to_json(period: Period, key: str) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(period)
    return {key: plain.pop("name"), **plain}


def _period_from_json(item: Mapping[str, Any], key: str) -> Period:
    return Period(
        name=item[key],
        rows=item["rows"],
        auc=Scores(**item["auc"]),
        log_loss=Scores(**item["log_loss"]),
        accuracy=Scores(**item["accuracy"]),
    )


def _drift_from_json(item: Mapping[str, Any]) -> Drift:
    return Drift(_time(item["at"]), item["detector"], item["signal"], tuple(item["features"]))


def _retrain_from_json(item: Mapping[str, Any]) -> Retrain:
    return Retrain(
        run_id=item["run_id"],
        at=_time(item["at"]),
        reason=item["reason"],
        version=item["version"],
        outcome=item["outcome"],
        gain=None if item["gain"] is None else Gain(**item["gain"]),
        decided=None if item["decided"] is None else _time(item["decided"]),
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
