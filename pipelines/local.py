"""Runs the training pipeline on this machine, in KFP's own local runner.

``python -m pipelines.local --model M --request R --run-dir D --tracking-uri U --artifacts A``
writes ``D/status.json`` (a ``RunStatus``), ``D/progress.json`` and ``D/log.txt``.
Each step is a fresh Python process of this environment.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from components.steps import SEARCH_FOLDER
from noria.errors import InvalidInput, NoriaError, PipelineError
from noria.files import for_appending, room_problem
from noria.loop.values import RunPhase, RunRequest, RunResult, RunStatus, from_json
from noria.registry import MlflowRegistry, imports
from noria.spec import Model, load_model
from pipelines.arguments import model_argument, run_arguments
from pipelines.lean import import_kfp
from pipelines.rundir import Progress, RunDir, StepTime
from pipelines.warm import Needs, warm_steps
from pipelines.watch import Watch

_INPUTS: Final = "--executor_input"
"""The word of a step's command after which its inputs come."""


def run_local(
    model_path: Path,
    request: RunRequest,
    run_dir: Path,
    tracking_uri: str,
    artifacts: Path,
    on_step: Callable[[str], None],
    served: str = "",
) -> RunStatus:
    """Run the pipeline here and now, and return how it ended.

    A run that has ended, or whose version is registered already, is not run
    again. ``on_step`` gets each step's name as it starts, ``served`` is the folder of the rows
    that were served (empty: there is none).

    Raises:
        PipelineError: A runner works on this run already, or its folder can't be written.
    """
    folder = RunDir(run_dir.absolute())
    with folder.locked():
        return _run(folder, model_path, request, tracking_uri, artifacts, on_step, served)


def registered_result(registry: MlflowRegistry, model: str, run_id: str) -> RunResult | None:
    """Return what a run made, from the registry, or None when it has not registered a version."""
    version = registry.version_of_run(model, run_id)
    info = None if version is None else registry.version(model, version)
    if info is None:
        return None
    return RunResult(
        version=info.version,
        rows=info.rows,
        metrics=info.metrics,
        gates=info.gates,
        champion=info.champion,
    )


def _run(
    folder: RunDir,
    model_path: Path,
    request: RunRequest,
    tracking_uri: str,
    artifacts: Path,
    on_step: Callable[[str], None],
    served: str,
) -> RunStatus:
    ended = folder.ended()
    if ended is not None:
        return ended
    folder.accept(request)
    folder.write_pid()
    registry = MlflowRegistry(tracking_uri, artifacts)
    try:
        status = _follow(
            folder, model_path, request, tracking_uri, artifacts, on_step, registry, served
        )
    except NoriaError as error:
        status = _ended(request, RunPhase.FAILED, _with_room(folder, str(error)))
    except Exception as error:
        detail = f"{folder.progress().step or 'start'}: {type(error).__name__}: {error}"
        detail = _with_room(folder, detail)
        folder.write_status(_ended(request, RunPhase.FAILED, detail))
        raise PipelineError(f"the runner failed: {detail}") from error
    except KeyboardInterrupt:
        folder.write_status(_ended(request, RunPhase.CANCELLED, "interrupted"))
        raise
    folder.write_status(status)
    if status.phase is RunPhase.SUCCEEDED:
        # A failed run keeps what its steps wrote, to be looked at.
        shutil.rmtree(folder.work, ignore_errors=True)
        shutil.rmtree(folder.search, ignore_errors=True)
    return status


def _follow(
    folder: RunDir,
    model_path: Path,
    request: RunRequest,
    tracking_uri: str,
    artifacts: Path,
    on_step: Callable[[str], None],
    registry: MlflowRegistry,
    served: str,
) -> RunStatus:
    if folder.cancel_asked():
        return _ended(request, RunPhase.CANCELLED, "cancelled before it started")
    known = registered_result(registry, request.model, request.run_id)
    if known is not None:
        return RunStatus(request.run_id, RunPhase.SUCCEEDED, "", known)
    model = load_model(model_path)
    if model.name != request.model:
        raise InvalidInput(
            f"{model_path} describes {model.name!r}, the run is for {request.model!r}"
        )
    folder.write_status(RunStatus(request.run_id, RunPhase.RUNNING))
    shutil.rmtree(folder.work, ignore_errors=True)
    arguments = run_arguments(
        request,
        model=model_argument(model),
        base=model_path.absolute().parent,
        tracking_uri=tracking_uri,
        artifacts=artifacts.absolute(),
        served=served,
    )
    done: dict[str, float] = {}
    screen = sys.stdout

    def entered(step: str) -> None:
        times = tuple(StepTime(name, round(value, 3)) for name, value in done.items())
        folder.write_progress(Progress(step, times))
        # What the caller prints is for its own screen, not for the log that stdout is meanwhile.
        with contextlib.redirect_stdout(screen):
            on_step(step)

    folder.write_progress(Progress())
    with for_appending(folder.log).open("a") as log:
        watch = Watch(log, entered)
        done = watch.seconds
        error = _run_pipeline(folder, arguments, _needs(model, tracking_uri), watch)
    folder.write_progress(
        Progress("", tuple(StepTime(name, round(value, 3)) for name, value in done.items()))
    )
    result = registered_result(registry, request.model, request.run_id)
    if error is None and result is not None:
        return RunStatus(request.run_id, RunPhase.SUCCEEDED, "", result)
    if folder.cancel_asked():
        return _ended(request, RunPhase.CANCELLED, f"cancelled in step {watch.step or 'none'}")
    said = f"{watch.step or 'start'}: {watch.reason()}"
    return _ended(request, RunPhase.FAILED, _with_room(folder, said))


def _with_room(folder: RunDir, said: str) -> str:
    """Return why a run failed, and that its disk is full, when it is: nothing else may say so."""
    places = (folder.path, Path(tempfile.gettempdir()))
    full = [problem for place in places if (problem := room_problem(place)) and problem not in said]
    return "; ".join((*dict.fromkeys(full), said))


def _run_pipeline(
    folder: RunDir, arguments: dict[str, str], needs: Sequence[Needs], watch: Watch
) -> Exception | None:
    """Run all steps; return KFP's own error, which names the step but not the reason."""
    temporary = folder.path / "tmp"
    temporary.mkdir(exist_ok=True)
    # KFP deletes the workspace after every run, whosever it is: it gets one of its own.
    workspace = folder.path / "workspace"
    workspace.mkdir(exist_ok=True)
    try:
        with (
            _environment(
                TMPDIR=str(temporary),
                # The work folder is new in every attempt; what was searched is not lost with it.
                **{SEARCH_FOLDER: str(folder.search)},
                # A project's own files must not hide modules of the same name.
                PYTHONSAFEPATH="1",
                PYTHONUNBUFFERED="1",
                # Threads that spin while they wait starve everybody on a small machine.
                OMP_WAIT_POLICY="PASSIVE",
            ),
            warm_steps(*needs),
            contextlib.redirect_stdout(watch),
            warnings.catch_warnings(),
        ):
            # Here and not above: it takes a while, and the nursery starts meanwhile.
            import_kfp()
            from kfp import local
            from kfp.local import subprocess_task_handler as handler

            from pipelines.training import training_pipeline

            # It warns that an image of ours will not be used, which is why we are here.
            warnings.filterwarnings("ignore", message="You may be attemping to run a task")
            local.init(
                local.SubprocessRunner(use_venv=False),
                pipeline_root=str(folder.work),
                workspace_root=str(workspace),
                enable_caching=False,
            )
            with _inputs_as_they_are(handler):
                training_pipeline()(**arguments)
    except NoriaError:
        raise
    except Exception as error:
        if not watch.step:
            raise PipelineError(f"the pipeline can't be started: {error}") from error
        return error
    finally:
        watch.finish()
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(workspace, ignore_errors=True)
    return None


@contextlib.contextmanager
def _inputs_as_they_are(handler: Any) -> Iterator[None]:
    """Keep KFP from putting its interpreter into the inputs of steps.

    It replaces ``python3`` in every word of a step's command, and the inputs are one of them: a
    path or a resource that holds the word would be another.
    """
    replaced = handler.replace_python_executable

    def replace(full_command: list[str], new_executable: str) -> list[str]:
        words: list[str] = replaced(full_command, new_executable)
        for place, word in enumerate(full_command[:-1]):
            if word == _INPUTS:
                words[place + 1] = full_command[place + 1]
        return words

    handler.replace_python_executable = replace
    try:
        yield
    finally:
        handler.replace_python_executable = replaced


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _needs(model: Model, tracking_uri: str) -> tuple[Needs, Needs]:
    """Return what the steps will import, by the first that needs it; the rest they import.

    Registering needs none of the libraries that train, so another process imports for it.
    """
    family, train = model.spec.family, model.spec.train
    libraries = family.libraries((train.algorithm, *train.ensemble.members))
    # Plots come last: what trains shall not wait for them.
    plots = tuple(name for name in libraries if name.partition(".")[0] == "matplotlib")
    return (
        {
            "ingest": (
                "components.steps",
                f"{Model.__module__}:{Model.__name__}.model_rebuild",
                family.learner.partition(":")[0],
                *("pandas", "pyarrow.dataset", "pyarrow.parquet"),
            ),
            "validate": ("noria.tasks.candidate", "noria.tasks.reference"),
            "tune": tuple(name for name in libraries if name not in plots),
            "evaluate": plots,
        },
        {"register": imports(tracking_uri)},
    )


def _ended(request: RunRequest, phase: RunPhase, detail: str) -> RunStatus:
    return RunStatus(request.run_id, phase, detail)


def main(arguments: list[str]) -> int:
    """Run the pipeline as a process of its own; 0 when a version was registered."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.local")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--request", type=Path, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--tracking-uri", required=True)
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--served", default="", help="folder of the rows that were served")
    parser.add_argument("--lock-fd", type=int, help="descriptor that holds the run's lock already")
    given = parser.parse_args(arguments)
    os.umask(0o077)
    try:
        request = from_json(given.request.read_bytes(), RunRequest)
        folder = RunDir(given.run_dir.absolute())
        if given.lock_fd is None:
            holding: contextlib.AbstractContextManager[object] = folder.locked()
        else:
            # Whoever started us took the lock for us; our own children must not keep it alive.
            os.set_inheritable(given.lock_fd, False)  # noqa: FBT003 - the standard library's door
            holding = contextlib.nullcontext()
        with holding:
            status = _run(
                folder,
                given.model,
                request,
                given.tracking_uri,
                given.artifacts,
                _say_nothing,
                given.served,
            )
    except (NoriaError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0 if status.phase is RunPhase.SUCCEEDED else 1


def _say_nothing(step: str) -> None:
    del step


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
