"""What a run of Kubeflow Pipelines says about itself, in the loop's words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from noria.loop.values import RunPhase

STEPS: Final = (
    "ingest",
    "validate",
    "features",
    "split",
    "tune",
    "train",
    "evaluate",
    "reference",
    "register",
)
"""The display names of the pipeline's tasks, in order (see ``training``)."""

_PHASES: Final[Mapping[str, RunPhase]] = MappingProxyType(
    {
        "RUNTIME_STATE_UNSPECIFIED": RunPhase.PENDING,
        "PENDING": RunPhase.PENDING,
        "RUNNING": RunPhase.RUNNING,
        "PAUSED": RunPhase.RUNNING,
        "CANCELING": RunPhase.RUNNING,
        "CANCELED": RunPhase.CANCELLED,
        "SUCCEEDED": RunPhase.SUCCEEDED,
        "SKIPPED": RunPhase.FAILED,
        "FAILED": RunPhase.FAILED,
    }
)
_ENDS: Final = frozenset({RunPhase.SUCCEEDED, RunPhase.FAILED, RunPhase.CANCELLED})
_MAX_DETAIL_CHARS: Final = 4000


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a run: the server's id of it, its phase, and what there is to say.

    ``stopping``: somebody terminated it, and it has not ended yet.
    """

    id: str
    phase: RunPhase
    detail: str
    model: str
    stopping: bool = False

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self.phase in _ENDS


def look(run: Any) -> Look:
    """Read a ``V2beta1Run``. A state that a later server invents counts as running."""
    state = str(run.state or "RUNTIME_STATE_UNSPECIFIED")
    phase = _PHASES.get(state, RunPhase.RUNNING)
    if phase is RunPhase.FAILED and _was_stopped(run):
        # The server ends a terminated run as FAILED, because that is how its workflow ends.
        phase = RunPhase.CANCELLED
    detail = _detail(run, state, phase)
    return Look(str(run.run_id), phase, detail, _model(run), state == "CANCELING")


def _detail(run: Any, state: str, phase: RunPhase) -> str:
    if phase is RunPhase.FAILED:
        return _failure(run, state)[:_MAX_DETAIL_CHARS]
    if phase is RunPhase.CANCELLED:
        return "it was terminated"
    if state in ("PAUSED", "CANCELING"):
        return "paused" if state == "PAUSED" else "it is being terminated"
    return _current(run) if phase is RunPhase.RUNNING else ""


def _failure(run: Any, state: str) -> str:
    """Say which step failed and why, or what the run itself says."""
    failed = [task for task in _tasks(run) if str(task.state or "") == "FAILED"]
    # A step appears with its driver and its executor; the step's own name leads.
    failed.sort(key=lambda task: (_order(task), -len(_error(task))))
    for task in failed:
        if _order(task) < len(STEPS):
            return f"{task.display_name}: {_error(task) or _any_error(failed) or 'it failed'}"
    said = _error(run) or _any_error(failed)
    if state == "SKIPPED":
        return said or "the server skipped the run"
    return said or "it failed, and the server does not say why; see the logs of its pods"


def _current(run: Any) -> str:
    running = [
        task
        for task in _tasks(run)
        if str(task.state or "") == "RUNNING" and _order(task) < len(STEPS)
    ]
    return str(max(running, key=_order).display_name) if running else ""


def _order(task: Any) -> int:
    name = str(task.display_name or "")
    return STEPS.index(name) if name in STEPS else len(STEPS)


def _tasks(run: Any) -> list[Any]:
    return list(run.run_details.task_details or []) if run.run_details is not None else []


def _error(item: Any) -> str:
    return "" if item.error is None else str(item.error.message or "").strip()


def _any_error(tasks: list[Any]) -> str:
    return next((text for text in map(_error, tasks) if text), "")


def _was_stopped(run: Any) -> bool:
    return any(str(status.state or "") == "CANCELING" for status in run.state_history or [])


def _model(run: Any) -> str:
    """Return the name of the model that a run is for, from its own parameters; empty if unknown."""
    config = run.runtime_config
    parameters = (config.parameters if config is not None else None) or {}
    try:
        return str(json.loads(parameters["model"])["metadata"]["name"])
    except (KeyError, ValueError, TypeError):
        return ""
