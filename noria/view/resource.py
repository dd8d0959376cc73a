"""``ModelView`` as the status of a ``Model`` resource: the operator writes it, others read it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from noria.view.facts import traffic_text
from noria.view.model import Attendance, ModelView
from noria.view.stage import Phase, Stage, Step, stage_text
from noria.view.verdict import LastVerdict, verdict_text

UNSEEN: Final = "no operator has looked at it yet"

MAKING: Final = "NoVersionYet"
"""The reason of the condition ``Ready`` that is no trouble: the first version is being made."""

_GOOD: Final = {"Ready": "True", "Monitored": "True", "Degraded": "False"}
"""The conditions that have to be so for a model to be well."""


def status_fields(view: ModelView) -> dict[str, Any]:
    """Return the fields of the status that say what a model is doing.

    ``printed`` has the sentences of kubectl's columns. None deletes a field.
    """
    stage, last = view.stage, view.verdict
    step = stage.step
    return {
        "stage": stage.phase.value,
        "step": None
        if step is None
        else {"number": step.number, "count": step.count, "percent": step.percent},
        "paused": stage.paused,
        "champion": view.champion or "",
        "candidate": view.candidate or "",
        "weights": _list(view.weights),
        "wanted": _list(view.wanted),
        "verdict": None
        if last is None
        else {
            "version": last.version,
            "result": last.result,
            "detail": cut(last.detail),
            "percent": last.percent,
        },
        "run": view.run or "",
        "holds": [cut(hold) for hold in view.holds],
        "retrainsLeft": view.retrains_left,
        "breakerOpen": view.breaker_open,
        "url": view.url or "",
        "printed": {
            "stage": stage_text(stage),
            "traffic": traffic_text(view),
            "verdict": cut(verdict_text(last)),
        },
    }


def view_of_resource(body: Mapping[str, Any]) -> ModelView:
    """Return what the status of a ``Model`` says.

    An operator of another release may say what this one does not know; whether there is a
    candidate then decides between a rollout and serving.
    """
    status: Mapping[str, Any] = body.get("status") or {}
    told = {condition["type"]: condition for condition in status.get("conditions") or ()}
    candidate = status.get("candidate") or None
    bad = {kind: _bad(told.get(kind), good) for kind, good in _GOOD.items()}
    left = status.get("retrainsLeft")
    return ModelView(
        name=str(body["metadata"]["name"]),
        stage=_stage(status, candidate),
        attendance=Attendance.TURNING if told else Attendance.STOPPED,
        champion=status.get("champion") or None,
        candidate=candidate,
        weights=_mapping(status.get("weights")),
        wanted=_mapping(status.get("wanted")),
        verdict=_last(status.get("verdict")),
        run=status.get("run") or None,
        holds=tuple(status.get("holds") or ()) if told else (UNSEEN,),
        retrains_left=None if left is None else int(left),
        breaker_open=bool(status.get("breakerOpen")),
        problem=bad["Ready"],
        troubles=tuple(filter(None, (bad["Monitored"], bad["Degraded"]))),
        url=status.get("url") or None,
    )


def _bad(condition: Mapping[str, Any] | None, good: str) -> str | None:
    if condition is None or condition.get("status") == good or condition.get("reason") == MAKING:
        return None
    return ": ".join(filter(None, (condition.get("reason"), condition.get("message"))))


def _stage(status: Mapping[str, Any], candidate: str | None) -> Stage:
    said = status.get("stage") or Phase.NOT_STARTED.value
    phase = Phase.SERVING if candidate is None else Phase.CANARY
    with suppress(ValueError):
        phase = Phase(said)
    step = status.get("step")
    version = status.get("champion") if phase is Phase.STARTING else candidate
    return Stage(
        phase,
        version or None,
        None if step is None else Step(step["number"], step["count"], step["percent"]),
        bool(status.get("paused")),
    )


def _last(said: Mapping[str, Any] | None) -> LastVerdict | None:
    if not said:
        return None
    return LastVerdict(said["version"], said["result"], said.get("detail", ""), said.get("percent"))


def cut(text: str, limit: int = 400) -> str:
    """Keep a sentence of the status within a number of characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _list(weights: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"version": version, "percent": share} for version, share in weights.items()]


def _mapping(said: list[Mapping[str, Any]] | None) -> dict[str, int]:
    return {share["version"]: int(share["percent"]) for share in said or ()}
