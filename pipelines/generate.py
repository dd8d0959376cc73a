"""Compiles the training pipeline: ``python -m pipelines.generate [--check]``.

The compiled form in ``pipelines/golden`` is kept in the repository, so that a
change of a component shows in a review as what a cluster will run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from pathlib import Path
from typing import Final

from components import BASE_IMAGE
from noria.errors import NoriaError, PipelineError
from noria.spec import Compute, Model
from pipelines.arguments import model_argument
from pipelines.lean import import_kfp
from pipelines.machine import Machine

_COMPILING: Final = threading.Lock()
"""KFP's compiler keeps the pipeline it is in for the whole process: one at a time."""

GOLDEN: Final = Path(__file__).parent / "golden" / "training.yaml"


def compile_pipeline(model: Model, out: Path, *, image: str = BASE_IMAGE) -> Path:
    """Write the training pipeline of ``model`` as KFP's intermediate representation.

    The resource is the default of the pipeline's ``model`` parameter, and its
    ``spec.train.compute`` is the machine that tasks ask for.

    Raises:
        InvalidInput: The resource is too large for a pipeline parameter.
        PipelineError: KFP can't compile it.
    """
    machine = Machine(model.spec.train.compute)
    image = model.spec.train.compute.image or image
    return compile_machine(machine, out, image=image, model=model_argument(model))


def compile_machine(
    machine: Machine, out: Path, *, image: str = BASE_IMAGE, model: str = ""
) -> Path:
    """Write the training pipeline for a machine; ``model`` is its parameter's default.

    Raises:
        PipelineError: KFP can't compile it.
    """
    import_kfp()
    from kfp.compiler import Compiler

    from pipelines.training import training_pipeline

    out.parent.mkdir(parents=True, exist_ok=True)
    # KFP writes YAML only to a name that ends so; the file then takes the name that was asked for.
    draft = out.with_name(f".{out.name}.new.yaml")
    try:
        with _COMPILING:
            Compiler().compile(training_pipeline(machine, image=image, model=model), str(draft))
        draft.replace(out)
    except NoriaError:
        raise
    except Exception as error:
        raise PipelineError(f"the training pipeline can't be compiled: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return out


def golden(out: Path) -> Path:
    """Write the pipeline with a default machine and no model of its own."""
    return compile_machine(Machine(Compute()), out)


def is_fresh() -> bool:
    """Whether the golden file is what the code compiles to now."""
    with tempfile.TemporaryDirectory() as folder:
        made = golden(Path(folder) / "training.yaml")
        return GOLDEN.is_file() and GOLDEN.read_bytes() == made.read_bytes()


def main(arguments: list[str]) -> int:
    """Write or check the golden file."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.generate")
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    if not parser.parse_args(arguments).check:
        golden(GOLDEN)
        return 0
    if is_fresh():
        return 0
    sys.stderr.write(f"{GOLDEN} is out of date; run: python -m pipelines.generate\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
