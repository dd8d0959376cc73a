"""Compiles the pipelines: ``python -m pipelines.generate [--check]``.

The compiled form in ``pipelines/golden`` is kept in the repository, so that a
change of a component shows in a review as what a cluster will run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from components import BASE_IMAGE
from noria.errors import NoriaError, PipelineError
from noria.spec import Compute, Gpu, Model
from pipelines.arguments import model_argument
from pipelines.kubeflow_workflow import STEPS
from pipelines.lean import KFP, import_kfp
from pipelines.machine import Machine

_FOLDER: Final = Path(__file__).parent / "golden"
GOLDEN: Final = _FOLDER / "training.yaml"


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

    def pipeline() -> Any:
        from pipelines.training import training_pipeline

        return training_pipeline(machine, image=image, model=model)

    return _compiled("the training pipeline", pipeline, out)


def compile_batch(
    model: Model,
    out: Path,
    *,
    shards: int,
    claim: str,
    image: str = BASE_IMAGE,
    mlflow_secret: str = "",
) -> Path:
    """Write the pipeline that answers files by a version of ``model`` (``pipelines.batch``).

    Raises:
        PipelineError: KFP can't compile it.
    """
    machine = Machine(model.spec.train.compute, mlflow_secret=mlflow_secret)
    image = model.spec.train.compute.image or image
    return _compile_batch(machine, out, image, model.name, shards, claim)


def _compile_batch(
    machine: Machine, out: Path, image: str, model: str, shards: int, claim: str
) -> Path:
    def pipeline() -> Any:
        from pipelines.batch import batch_pipeline

        return batch_pipeline(machine, image=image, model=model, shards=shards, claim=claim)

    return _compiled("the pipeline of a batch", pipeline, out)


def _compiled(what: str, pipeline: Callable[[], Any], out: Path) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    # KFP writes YAML only to a name that ends so; the file then takes the name that was asked for.
    draft = out.with_name(f".{out.name}.new.yaml")
    try:
        with KFP:
            import_kfp()
            from kfp.compiler import Compiler

            Compiler().compile(pipeline(), str(draft))
        draft.replace(out)
    except NoriaError:
        raise
    except Exception as error:
        raise PipelineError(f"{what} can't be compiled: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return out


def golden(out: Path) -> Path:
    """Write the pipeline with a default machine and no model of its own."""
    return compile_machine(Machine(Compute()), out)


def golden_gpu(out: Path) -> Path:
    """Write the pipeline with everything on that a machine can ask for, cache keys included."""
    return compile_machine(_everything(nodes=1), out, image=_IMAGE)


def golden_nodes(out: Path) -> Path:
    """Write the pipeline of two nodes that train together."""
    return compile_machine(_everything(nodes=2), out, image=_IMAGE)


def golden_batch(out: Path) -> Path:
    """Write the pipeline of a batch in three pods."""
    machine = Machine(Compute(), {}, "mlflow-credentials")
    return _compile_batch(machine, out, BASE_IMAGE, "parcels", 3, "rows")


_GOLDEN: Final = {
    "batch.yaml": golden_batch,
    "training.yaml": golden,
    "training-gpu.yaml": golden_gpu,
    "training-nodes.yaml": golden_nodes,
}
_IMAGE: Final = "registry.example/parcels@sha256:" + "0" * 64


def _everything(*, nodes: int) -> Machine:
    compute = Compute(
        cpu="8",
        memory=32 << 30,
        gpu=Gpu(product="NVIDIA-L4", count=2),
        node_pool="training",
        nodes=nodes,
        shared_memory=8 << 30,
        retries=2,
        timeout=timedelta(hours=6),
        image=_IMAGE,
    )
    # What a run's keys are made of is in `caching`; here each only shows where it goes.
    keys = {step: f"key-of-{step}" for step in STEPS if step != "register"}
    return Machine(
        compute, keys, "mlflow-credentials", ("registry-login",), "noria-training", "Always"
    )


def is_fresh() -> bool:
    """Whether the golden files are what the code compiles to now."""
    with tempfile.TemporaryDirectory() as folder:
        return all(
            (_FOLDER / name).is_file()
            and (_FOLDER / name).read_bytes() == make(Path(folder) / name).read_bytes()
            for name, make in _GOLDEN.items()
        )


def main(arguments: list[str]) -> int:
    """Write or check the golden files."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.generate")
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    if not parser.parse_args(arguments).check:
        for name, make in _GOLDEN.items():
            make(_FOLDER / name)
        return 0
    if is_fresh():
        return 0
    sys.stderr.write(f"{_FOLDER} is out of date; run: python -m pipelines.generate\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
