"""What a run of Kubeflow Pipelines says about itself, in the loop's words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from components.failure import MAX_REASON_CHARS
from components.resource import resource_json
from noria.errors import InvalidInput
from noria.loop.values import RunPhase
from pipelines.kubeflow_workflow import STEPS, Workflow

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
_EXECUTOR: Final = "executor"
_ROOT: Final = ("root", "root-driver")


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a run: the server's id of it, its phase, and what there is to say.

    ``steps`` have begun, in order. ``stopping``: somebody terminated it, and it has not ended
    yet. ``pods`` are those of a failed run whose logs may say why, the likeliest first, and
    ``failed`` is the step that they belong to; empty where it belongs to none.
    """

    id: str
    phase: RunPhase
    detail: str
    model: str
    stopping: bool = False
    steps: tuple[str, ...] = ()
    failed: str = ""
    pods: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self.phase in _ENDS


def look(run: Any, workflow: Workflow | None = None) -> Look:
    """Read a ``V2beta1Run``, and its workflow where that was asked for.

    A state that a later server invents counts as running.
    """
    seen = workflow or Workflow()
    state = str(run.state or "RUNTIME_STATE_UNSPECIFIED")
    phase = _PHASES.get(state, RunPhase.RUNNING)
    if phase is RunPhase.FAILED and (seen.stopped or _was_stopped(run)):
        # The server ends a terminated run as FAILED, because that is how its workflow ends,
        # and does not always note that it was terminated. That its time was taken, it keeps.
        phase = RunPhase.CANCELLED
    steps = tuple(step for step in STEPS if step in {*_started(run), *seen.started})
    failed = phase is RunPhase.FAILED
    return Look(
        str(run.run_id),
        phase,
        _detail(run, seen, state, phase, steps)[:MAX_REASON_CHARS],
        _model(run),
        stopping=state == "CANCELING",
        steps=steps,
        failed=_failed_step(run, seen) if failed else "",
        pods=_failed_pods(run, seen) if failed else (),
    )


def _detail(
    run: Any, workflow: Workflow, state: str, phase: RunPhase, steps: tuple[str, ...]
) -> str:
    if phase is RunPhase.FAILED:
        said = _reason(run, workflow)
        return said or ("the server skipped the run" if state == "SKIPPED" else "")
    if phase is RunPhase.CANCELLED:
        return "it was terminated"
    if state in ("PAUSED", "CANCELING"):
        return "paused" if state == "PAUSED" else "it is being terminated"
    if workflow.waiting:
        return workflow.waiting
    if phase is not RunPhase.RUNNING:
        return ""
    running = [name for name in _named(run, "RUNNING") if name in STEPS]
    last = max(running, key=STEPS.index, default="") or workflow.running
    if not last and not steps and workflow.hidden:
        return f"its steps can't be seen: {workflow.hidden}"
    return last


def _reason(run: Any, workflow: Workflow) -> str:
    """Return why it failed, as far as the run and its workflow know; a pod's log knows better."""
    failures = [node for node in workflow.failures if node.says_why] or workflow.failures
    for node in failures:
        if node.message:
            return f"{node.step or node.name}: {node.message}"
    # Kubeflow Pipelines 2.17 never sets these; the interface has them.
    errors = (item.error for item in (run, *_tasks(run)) if item.error is not None)
    said = next((text for text in (str(e.message or "").strip() for e in errors) if text), "")
    return said or workflow.message


def _failed_step(run: Any, workflow: Workflow) -> str:
    failed = {*_named(run, "FAILED"), *(node.step for node in workflow.failures)}
    return next((step for step in STEPS if step in failed or f"{step}-driver" in failed), "")


def _failed_pods(run: Any, workflow: Workflow) -> tuple[str, ...]:
    """Return the pods to ask, without a name twice: executors', then steps', then drivers'."""
    failed = [task for task in _tasks(run) if str(task.state or "") == "FAILED"]
    failed = [task for task in failed if str(task.display_name or "") not in _ROOT]
    failed.sort(key=lambda task: not str(task.display_name or "").startswith(_EXECUTOR))
    known: list[str] = []
    for task in failed:
        # Of several tries the last.
        known += reversed([str(child.pod_name or "") for child in task.child_tasks or []])
        known.append(str(task.pod_name or ""))
    known += [node.pod for node in workflow.failures]
    return tuple(dict.fromkeys(pod for pod in known if pod))


def _started(run: Any) -> set[str]:
    return {str(task.display_name or "") for task in _tasks(run) if str(task.state or "") != ""}


def _named(run: Any, state: str) -> Iterator[str]:
    return (str(t.display_name or "") for t in _tasks(run) if str(t.state or "") == state)


def _tasks(run: Any) -> list[Any]:
    return list(run.run_details.task_details or []) if run.run_details is not None else []


def _was_stopped(run: Any) -> bool:
    return any(str(status.state or "") == "CANCELING" for status in run.state_history or [])


def _model(run: Any) -> str:
    """Return the name of the model that a run is for, from its own parameters; empty if unknown."""
    config = run.runtime_config
    parameters = (config.parameters if config is not None else None) or {}
    try:
        return str(json.loads(resource_json(parameters["model"]))["metadata"]["name"])
    except (KeyError, ValueError, TypeError, AttributeError, InvalidInput):
        return ""
