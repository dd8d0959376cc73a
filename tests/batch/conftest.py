"""A logistic model of four numbers, loaded as a batch loads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noria.tasks.package import package_digest, read_package, write_package
from noria.tasks.tabular.hand_made import package_linear
from serving.batch.job import Progress, Wanted, run
from serving.batch.writing import Stamp
from serving.metrics import ServerMetrics
from serving.runner import Batching
from serving.service import Loaded, load

NAMES = ("a", "b", "c", "d")
WEIGHTS = (0.5, -0.25, 1.0, 0.1)
Load = Callable[[Path], Loaded]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The model; ``key`` names a row, and ``d`` may be missing."""
    bare = tmp_path / "bare"
    package_linear(bare, "m", NAMES, WEIGHTS, 0.1)
    manifest, files = read_package(bare)
    keyed = msgspec.structs.replace(
        manifest, entity_key=("key",), options={**manifest.options, "allowMissing": ["d"]}
    )
    write_package(tmp_path / "package", keyed, files)
    return tmp_path / "package"


@pytest.fixture
def loaded(package: Path) -> Iterator[Loaded]:
    found = loading(package)
    yield found
    found.runner.close()


def loading(package: Path) -> Loaded:
    return load(
        package,
        digest=package_digest(package),
        feature_base=package,
        name="m",
        version="3",
        batching=Batching(),
        metrics=ServerMetrics("m", "3"),
    )


def stamp_of(package: Path) -> Stamp:
    return Stamp("m", "3", package_digest(package))


@pytest.fixture
def batch(loaded: Loaded, package: Path, tmp_path: Path) -> Callable[..., Progress]:
    """Answer ``in`` into ``out``."""

    def start(**wanted: Any) -> Progress:
        log = wanted.pop("log", None)
        asked = Wanted(**{"source": tmp_path / "in", "out": tmp_path / "out", **wanted})
        stamp = msgspec.structs.replace(stamp_of(package), logged=log is not None)
        return run(loaded, stamp, asked, log, lambda _: None)

    return start


def table(rows: int, seed: int = 0) -> pa.Table:
    values = np.random.default_rng(seed).normal(size=(rows, 4))
    columns: dict[str, Sequence[Any]] = {"key": [f"K{seed}-{n}" for n in range(rows)]}
    return pa.table({**columns, **{name: values[:, at] for at, name in enumerate(NAMES)}})


def write(path: Path, rows: pa.Table, row_group_size: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path, row_group_size=row_group_size)


def probability(rows: pa.Table) -> np.ndarray:
    """The model, by hand."""
    scores = sum(
        weight * rows[name].to_numpy() for name, weight in zip(NAMES, WEIGHTS, strict=True)
    )
    return np.asarray(1 / (1 + np.exp(-(scores + 0.1))))
