"""What is fitted away from the walk, each in a folder of its own that is whole or not there."""

from __future__ import annotations

import functools
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import msgspec

from noria.backtest.history import known_at, times_of
from noria.errors import NoriaError, StoreError
from noria.spec import parse_model
from noria.tasks.families import family
from noria.tasks.package import read_manifest
from noria.tasks.protocol import Evaluation, TuneResult

if TYPE_CHECKING:
    import pandas as pd

    from noria.spec import Model

T = TypeVar("T")

PACKAGE: Final = "package"
REFERENCE: Final = "reference"
_EVALUATION: Final = "evaluation.json"
_PARAMS: Final = "params.json"
_DONE: Final = "done.json"


class Job(msgspec.Struct, frozen=True):
    """A fit on the rows that were known at ``until`` (epoch ms).

    ``candidate`` is what a run of the pipeline makes, judged against the package ``champion``;
    ``fit`` is a package alone, with the hyperparameters of the file ``params``. ``model`` is the
    resource as JSON, ``frame`` the Parquet file of all rows, ``folder`` where the result goes.
    """

    kind: Literal["candidate", "fit"]
    model: str
    frame: str
    until: int
    folder: str
    champion: str = ""
    params: str = ""


class Done(msgspec.Struct, frozen=True):
    """How a job ended: the rows it was fitted on and its seconds, or why it failed."""

    rows: int = 0
    seconds: float = 0.0
    problem: str = ""


class Made(msgspec.Struct, frozen=True):
    """A job's result, read from its folder."""

    folder: Path
    done: Done

    @property
    def package(self) -> Path:
        """The model package."""
        return self.folder / PACKAGE

    @property
    def reference(self) -> Path:
        """The monitoring reference (candidates only)."""
        return self.folder / REFERENCE

    @property
    def params(self) -> Path:
        """The file of hyperparameters (candidates only)."""
        return self.folder / _PARAMS

    def evaluation(self) -> Evaluation:
        """Return what the judge said (candidates only)."""
        return _read(self.folder / _EVALUATION, Evaluation)


def read_made(folder: Path) -> Made | None:
    """Return what a job left in its folder; None when it has not ended there."""
    path = folder / _DONE
    return Made(folder, _read(path, Done)) if path.is_file() else None


def perform(job: Job) -> Done:
    """Do a job; its folder appears at the end, whole. A refusal of the data is a result too.

    Raises:
        StoreError: The folder can't be written.
    """
    began = time.monotonic()
    model = parse_model(json.loads(job.model))
    folder = Path(job.folder)
    draft = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            frame = _rows(model, job)
            if job.kind == "candidate":
                _candidate(model, frame, Path(job.champion) if job.champion else None, draft)
            else:
                _fit(model, frame, _read(Path(job.params), TuneResult).params, draft)
            done = Done(read_manifest(draft / PACKAGE).rows, time.monotonic() - began)
        except NoriaError as error:
            done = Done(0, time.monotonic() - began, str(error))
        _write(done, draft / _DONE)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    except OSError as error:
        raise StoreError(f"{folder} can't be written: {error}", fix="free disk space") from error
    return done


def _rows(model: Model, job: Job) -> pd.DataFrame:
    frame = _frame(job.frame)
    event, label = times_of(model.spec, frame)
    keep = known_at(event, label, job.until)
    window = model.spec.retraining.train_on.window
    if window is not None and job.kind == "candidate":
        keep &= event > job.until - window.total_seconds() * 1000
    return frame[keep].reset_index(drop=True)


@functools.lru_cache(maxsize=1)
def _frame(path: str) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(path)


def _candidate(model: Model, frame: pd.DataFrame, champion: Path | None, folder: Path) -> None:
    """Make what a run of the pipeline makes of rows with their features."""
    from noria.tasks.candidate import make_candidate

    tasks = family(model.spec.task.family)
    tasks.validate(model.spec, frame)
    made = make_candidate(tasks, model.spec, frame, champion, folder, model=model.name)
    _write(made.evaluation, folder / _EVALUATION)
    _write(TuneResult(made.params), folder / _PARAMS)
    shutil.rmtree(folder / "candidate")
    shutil.rmtree(folder / "search", ignore_errors=True)


def _fit(model: Model, frame: pd.DataFrame, params: dict[str, Any], folder: Path) -> None:
    """Fit the model's algorithm on rows that all count the same."""
    import numpy as np

    tasks = family(model.spec.task.family)
    everything = np.arange(len(frame))
    fitted = tasks.fit(model.spec, tasks.prepare(model.spec, frame), everything, params, None)
    tasks.save(model.spec, fitted, folder / PACKAGE, model=model.name)


def _read(path: Path, kind: type[T]) -> T:
    return msgspec.json.decode(path.read_bytes(), type=kind)


def _write(value: object, path: Path) -> None:
    path.write_bytes(msgspec.json.encode(value))
