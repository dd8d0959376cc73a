"""Steps forked from a process that has imported what they need: as separate as any process."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.warm import warm_steps

# The nursery imports KFP's executor, whose dependencies warn about each other.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

STEP = """
import os, sys
from kfp import dsl

def work(text: str) -> str:
    import sys
    print("preloaded:", "wave" in sys.modules, file=sys.stderr)
    print("made:", "xml.sax.expatreader" in sys.modules, file=sys.stderr)
    print("imported:", *sorted({"wave", "chunk", "sndhdr"} & {*sys.modules}), file=sys.stderr)
    if text == "fail":
        raise ValueError("no rows")
    if text == "die":
        os.kill(os.getpid(), 9)
    while text == "busy" and sum(os.times()[:2]) < 1.0:
        pass
    sys.modules["marked"] = sys
    return f"{text} {os.environ['MARK']} {os.getcwd()} {'marked2' in sys.modules}"

last = work
"""


def run_step(
    folder: Path, text: str, step: str = "work"
) -> tuple[subprocess.CompletedProcess[str], str]:
    (folder / "step.py").write_text(STEP)
    output = folder / f"{text}.json"
    executor_input = {
        "inputs": {"parameterValues": {"text": text}},
        "outputs": {
            "parameters": {"Output": {"outputFile": str(folder / "Output")}},
            "outputFile": str(output),
        },
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "kfp.dsl.executor_main",
            "--component_module_path",
            str(folder / "step.py"),
            "--function_to_execute",
            step,
            "--executor_input",
            json.dumps(executor_input),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env={**os.environ, "MARK": "mine", "_KFP_RUNTIME": "true"},
    )
    said = json.loads(output.read_text())["parameterValues"]["Output"] if output.exists() else ""
    return done, said


def test_a_step_has_its_own_output_environment_folder_and_exit_code(tmp_path: Path) -> None:
    real = sys.executable
    with warm_steps({"later": ["wave", "no_such_module"]}):
        assert sys.executable != real
        first, said = run_step(tmp_path, "first")
        for _ in range(100):
            again, _ = run_step(tmp_path, "again")
            if "preloaded: True" in again.stderr:
                break
        failed, _ = run_step(tmp_path, "fail")
        died, _ = run_step(tmp_path, "die")

    assert sys.executable == real
    assert first.returncode == 0, first.stderr
    assert said == f"first mine {tmp_path} False"
    assert "preloaded: True" in again.stderr
    assert failed.returncode == 1
    assert "ValueError: no rows" in failed.stderr
    assert died.returncode == 137


def test_a_step_finds_what_it_needs_imported(tmp_path: Path) -> None:
    with warm_steps({"work": ["no_such_module", "wave"], "later": ["chunk"]}):
        first, _ = run_step(tmp_path, "first")

    assert "preloaded: True" in first.stderr


def imported(done: subprocess.CompletedProcess[str]) -> str:
    found = [line for line in done.stderr.splitlines() if line.startswith("imported:")]
    return found[0].removeprefix("imported:").strip()


def test_each_step_is_forked_by_the_nursery_that_names_it(tmp_path: Path) -> None:
    with warm_steps({"first": ["wave"], "work": ["chunk"]}, {"last": ["sndhdr"]}):
        work, _ = run_step(tmp_path, "here")
        last, _ = run_step(tmp_path, "there", "last")
        died, _ = run_step(tmp_path, "die", "last")
        again, said = run_step(tmp_path, "again", "last")

    assert imported(work) == "chunk wave"
    # What the first step of all needs is shared, and nothing else.
    assert imported(last) == "sndhdr wave"
    assert died.returncode == 137
    assert said.startswith("again mine")
    assert again.returncode == 0, again.stderr


def test_a_function_that_is_needed_is_called_before_the_steps(tmp_path: Path) -> None:
    # ``xml.sax.make_parser`` imports the parser that it makes.
    with warm_steps({"work": ["xml.sax:make_parser", "xml.sax:no_such_function"]}):
        done, _ = run_step(tmp_path, "parser")

    assert "made: True" in done.stderr


def test_the_cpu_of_the_steps_is_that_of_who_runs_them(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with warm_steps({}):
        run_step(tmp_path, "busy")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)

    assert used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime >= 1.0


def test_anything_but_a_step_runs_in_the_real_interpreter(tmp_path: Path) -> None:
    with warm_steps({}):
        done = subprocess.run(
            [sys.executable, "-c", "import sys; print(sys.prefix); sys.exit(3)"],
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert done.stdout.strip() == sys.prefix
    assert done.returncode == 3
