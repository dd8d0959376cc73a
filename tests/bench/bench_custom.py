"""What the family ``custom`` costs beside the class that it asks: the digits example's, in process.

Noria reads the columns of a request, makes the frame and checks the answer. The baseline is the
class's own ``predict`` on a frame that is there already. CPU of this process, best of several runs.
"""

# ruff: noqa: E402 - one thread has to be asked for before numpy starts

from __future__ import annotations

import os

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from noria.spec import load_model
from noria.tasks.candidate import fit_all
from noria.tasks.families import family
from noria.tasks.package import load_predictor
from noria.tasks.sources.files import load_module
from tests.bench.rows import Row, row

_EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "digits"
_ROWS: Final = (1, 1000)
_TIMES: Final = 50


def run() -> Iterator[Row]:
    """Return the figures of one row and of many."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(shutil.copytree(_EXAMPLE, Path(home) / "digits"))
        load_module(folder / "data.py").prepare(folder)
        spec = load_model(folder / "model.yaml").spec
        own = family(spec.task.family)
        frame = own.features(spec, folder, own.ingest(spec, folder, None))
        package = folder / "package"
        own.save(spec, fit_all(own, spec, frame, {}), package)
        predictor = load_predictor(package)
        bare = load_module(folder / "model.py").Digits.load(package / "model")
        images = np.stack(frame["image"])
    for rows in _ROWS:
        asked = images[:rows]
        ready = pd.DataFrame({"image": list(asked)})
        ours = _cheapest(lambda: predictor.predict({"image": asked}))  # noqa: B023
        theirs = _cheapest(lambda: bare.predict(ready))  # noqa: B023
        yield row(f"custom.{rows}", ours * 1e6, "us", theirs * 1e6)


def _cheapest(work: Callable[[], object]) -> float:
    costs = []
    for _ in range(_TIMES):
        began = time.process_time()
        work()
        costs.append(time.process_time() - began)
    return min(costs)
