"""Training runs that finish when a test says so."""

from __future__ import annotations

from noria.errors import PipelineError
from noria.loop.values import RunPhase, RunRequest, RunResult, RunStatus

_OVER = frozenset({RunPhase.SUCCEEDED, RunPhase.FAILED, RunPhase.CANCELLED})


class FakePipelines:
    """A ``Pipelines`` port. ``requests`` holds what was started, in order, each run once."""

    def __init__(self) -> None:
        self.requests: dict[str, RunRequest] = {}
        self._runs: dict[str, RunStatus] = {}

    def start(self, request: RunRequest) -> None:
        """Start a run; a second request of the same id must be the same."""
        known = self.requests.setdefault(request.run_id, request)
        if known != request:
            raise PipelineError(f"run {request.run_id!r} was started with another request")
        self._runs.setdefault(request.run_id, RunStatus(request.run_id, RunPhase.RUNNING))

    def status(self, run_id: str) -> RunStatus:
        """Say where a run is."""
        return self._runs.get(run_id) or RunStatus(run_id, RunPhase.UNKNOWN)

    def cancel(self, run_id: str) -> None:
        """Stop a run that is not over."""
        if run_id in self._runs and self._runs[run_id].phase not in _OVER:
            self._runs[run_id] = RunStatus(run_id, RunPhase.CANCELLED)

    def succeed(self, run_id: str, result: RunResult) -> None:
        """Driver: end a run well, unless it is over."""
        if self._runs[run_id].phase not in _OVER:
            self._runs[run_id] = RunStatus(run_id, RunPhase.SUCCEEDED, result=result)

    def fail(self, run_id: str, detail: str = "a step failed") -> None:
        """Driver: end a run badly, unless it is over."""
        if self._runs[run_id].phase not in _OVER:
            self._runs[run_id] = RunStatus(run_id, RunPhase.FAILED, detail)

    def forget(self, run_id: str) -> None:
        """Driver: lose a run, as a runner does whose disk was wiped."""
        self._runs.pop(run_id, None)

    def running(self) -> tuple[str, ...]:
        """Return the ids of the runs that are not over."""
        return tuple(r for r, status in self._runs.items() if status.phase not in _OVER)
