"""What a step of the local pipeline costs above the plain function that it calls.

The training pipeline runs as ``noria up`` starts it: a fresh process for the runner,
KFP's local runner in it, and a process for each step. Subtracted are the same
functions of the task family and of the registry, called one after another in a
process that has imported everything. Same model, same rows, same registry; nothing
but orchestration, imports and files between steps is left.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from noria.loop.values import RunRequest, to_json
from noria.registry import Candidate, MlflowRegistry
from noria.spec import load_model
from noria.tasks.candidate import make_candidate
from noria.tasks.families import family
from pipelines.rundir import RunDir
from tests.bench.rows import Row, row
from tests.bench.table import project

_STEPS: Final = 9
_TIMES: Final = 3
_ROWS: Final = 2000
_AS_OF: Final = datetime(2026, 2, 1, tzinfo=UTC)


def run() -> list[Row]:
    """Measure both ways, each several times; medians."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        project(base, _ROWS, 4, n_estimators=50)
        uri, artifacts = f"sqlite:///{base / 'mlflow.db'}", base / "artifacts"
        MlflowRegistry(uri, artifacts).initialise()
        # The first call imports the libraries.
        plain = [_plainly(base, uri, artifacts, n) for n in range(_TIMES + 1)][1:]
        piped = [_piped(base, uri, artifacts, n) for n in range(_TIMES)]
    plainly, whole = statistics.median(plain), statistics.median(piped)
    return [
        row("pipeline.step", (whole - plainly) / _STEPS, "s"),
        row("pipeline.run", whole, "s", plainly),
    ]


def _plainly(base: Path, uri: str, artifacts: Path, number: int) -> float:
    """Return the seconds of the nine functions in this process."""
    folder = base / f"plain-{number}"
    folder.mkdir()
    began = time.perf_counter()
    model = load_model(base / "model.yaml")
    spec, tasks = model.spec, family(model.spec.task.family)
    rows = tasks.ingest(spec, base, _AS_OF)
    tasks.validate(spec, rows)
    frame = tasks.features(spec, base, rows)
    plots = folder / "plots"
    plots.mkdir()
    made = make_candidate(tasks, spec, frame, None, folder, model=model.name, plots=plots)
    MlflowRegistry(uri, artifacts).register(
        Candidate(
            model=model.name,
            run_id=f"plain-{number}",
            package=made.package,
            reference=made.reference,
            plots=plots,
            evaluation=made.evaluation,
            rows=made.manifest.rows,
            champion=None,
            as_of=_AS_OF,
            fingerprint="",
            code_version="",
            params=made.params,
            spec=model.model_dump_json(by_alias=True),
        )
    )
    return time.perf_counter() - began


def _piped(base: Path, uri: str, artifacts: Path, number: int) -> float:
    """Return the seconds of the pipeline, from the start of its process to its end."""
    folder = base / f"piped-{number}"
    folder.mkdir()
    request = RunRequest(f"piped-{number}", "bench", _AS_OF, "a benchmark", None)
    (folder / "asked.json").write_bytes(to_json(request))
    command = [
        *(sys.executable, "-m", "pipelines.local", "--model", str(base / "model.yaml")),
        *("--request", str(folder / "asked.json"), "--run-dir", str(folder)),
        *("--tracking-uri", uri, "--artifacts", str(artifacts)),
    ]
    began = time.perf_counter()
    code = subprocess.run(command, check=False).returncode
    seconds = time.perf_counter() - began
    if code != 0:
        raise RuntimeError(f"the pipeline failed: {RunDir(folder).ended()}")
    return seconds
