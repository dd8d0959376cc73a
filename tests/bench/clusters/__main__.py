"""Group labelled rows with default settings, and rows without clusters; a table, and a file.

``python -m tests.bench.clusters FOLDER`` writes ``bench-clusters.json``. FOLDER has Debian's
dataset-fashion-mnist, unpacked; without it those rows are left out. Labels are never fitted on.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.preprocessing import StandardScaler

from noria.spec import ModelSpec, parse_model
from noria.tasks.clustering.family import LEARNER

Array = NDArray[np.float64]

CHOSEN_ON: Final = ("wine", "breast cancer")
"""Looked at to choose the settings; the others only report."""

_IMAGES: Final = "usr/share/datasets/fashion-mnist/t10k-{}-ubyte.gz"
_NOTHING: Final = "nothing"
_SHOWN: Final = 4_000
_MOST: Final = 10
_TIMES: Final = 10
_WITHOUT: Final = ("uniform", "normal", "exponential")
_SIZES: Final = ((300, 3), (300, 15), (1000, 4))
"""Rows and columns; the settings were chosen on 2, 5 and 10 columns, with other seeds."""


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """Rows (n, d) with the groups (n,) that they are known to be of."""

    name: str
    rows: Array
    known: NDArray[np.int64]
    image: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.clusters", description=__doc__)
    parser.add_argument("folder", type=Path, help="where dataset-fashion-mnist is unpacked")
    only = f"only the data of this name; {_NOTHING}: rows without clusters"
    parser.add_argument("--only", default="", metavar="NAME", help=only)
    given = parser.parse_args(arguments)
    rows = [
        row
        for data in _data(given.folder)
        if given.only in ("", data.name)
        for row in _grouped(data)
    ]
    without = list(_without()) if given.only in ("", _NOTHING) else []
    Path("bench-clusters.json").write_text(json.dumps([rows, without], indent=1) + "\n")
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(table("Rows of known groups", rows))
    console.print(table("Rows without clusters: in how many of the sets none were found", without))
    return 0


def _data(folder: Path) -> Iterator[Data]:
    for name, load in (
        ("wine", load_wine),
        ("breast cancer", load_breast_cancer),
        ("iris", load_iris),
    ):
        yield Data(name, *load(return_X_y=True))
    yield Data("digits", *load_digits(return_X_y=True), image=True)
    if (folder / _IMAGES.format("images-idx3")).is_file():
        images = _bytes(folder, "images-idx3", 16).reshape(-1, 784)[:_SHOWN] / 255.0
        known = _bytes(folder, "labels-idx1", 8)[:_SHOWN].astype(np.int64)
        yield Data("Fashion-MNIST", images, known, image=True)


def _bytes(folder: Path, name: str, after: int) -> NDArray[np.uint8]:
    with gzip.open(folder / _IMAGES.format(name)) as file:
        return np.frombuffer(file.read(), np.uint8, offset=after)


def _grouped(data: Data) -> Iterator[dict[str, Any]]:
    groups = np.unique(data.known).size
    points = PCA(32, random_state=0).fit_transform(data.rows) if data.image else None
    if points is None:
        points = StandardScaler().fit_transform(data.rows)
    ways: dict[str, Callable[[], NDArray[np.int64]]] = {
        "k-means, right k": lambda: _plain(points, groups),
        "k-means, best silhouette": lambda: _by_silhouette(points),
        "noria": lambda: _noria(data, "kmeans", {}),
        "noria, right k": lambda: _noria(data, "kmeans", {"clusters": groups}),
    }
    # Distributions and densities of hundreds of columns are of the rows and not of the groups.
    reduced = {"reduce": "pca"} if data.image else {}
    reducing = "noria, reduce: pca" if data.image else "noria"
    if data.image:
        ways[reducing] = lambda: _noria(data, "kmeans", reduced)
    for algorithm in ("gaussian-mixture", "hdbscan"):
        ways[f"{reducing}, {algorithm}"] = partial(_noria, data, algorithm, reduced)
    for way, group in ways.items():
        began = time.process_time()
        found = group()
        spent = time.process_time() - began
        row = {
            "data": data.name,
            "rows": len(data.rows),
            "groups": groups,
            "by": way,
            "found": np.unique(found[found > 0]).size,
            "ARI": float(adjusted_rand_score(data.known, found)),
            "noise": float((found == 0).mean()),
            "CPU s": spent,
        }
        print(row, file=sys.stderr, flush=True)
        yield row


def _plain(points: Array, clusters: int) -> NDArray[np.int64]:
    found = KMeans(clusters, n_init=10, random_state=0).fit_predict(points)
    return np.asarray(found + 1, np.int64)


def _by_silhouette(points: Array) -> NDArray[np.int64]:
    tried = [_plain(points, number) for number in range(2, _MOST + 1)]
    return max(tried, key=lambda found: float(silhouette_score(points, found)))


def _noria(data: Data, algorithm: str, options: Mapping[str, Any]) -> NDArray[np.int64]:
    """Return the clusters of all rows, 0 for noise: chosen and fitted as a run does."""
    frame, spec = _model(data, algorithm, options)
    params = LEARNER.tune(spec, frame, Path()).params
    prepared = LEARNER.prepare(spec, frame)
    fitted = LEARNER.fit(spec, prepared, np.arange(len(frame)), params, None)
    said = LEARNER.predict(spec, fitted, prepared, np.arange(len(frame)))
    return said["prediction"].to_numpy(np.int64)


def _model(
    data: Data, algorithm: str, options: Mapping[str, Any]
) -> tuple[pd.DataFrame, ModelSpec]:
    names = [f"c{number}" for number in range(data.rows.shape[1])]
    features = [{"name": name, "type": "numeric"} for name in names]
    frame = pd.DataFrame(data.rows, columns=names)
    if data.image:
        features = [{"name": "image", "type": "vector"}]
        frame = pd.DataFrame({"image": list(np.asarray(data.rows, np.float64))})
    resource = {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "groups"},
        "spec": {
            "task": {"family": "clustering", "options": dict(options)},
            "data": {"source": {"parquet": {"paths": ["rows.parquet"]}}, "features": features},
            "train": {"algorithm": algorithm},
        },
    }
    return frame, parse_model(resource).spec


def _without() -> Iterator[dict[str, Any]]:
    """Count the sets of which k-means is said to find nothing."""
    for kind in _WITHOUT:
        for rows, columns in _SIZES:
            began, none = time.process_time(), 0
            for number in range(_TIMES):
                draw = getattr(np.random.default_rng([7, number]), kind)
                points = draw(size=(rows, columns))
                data = Data(kind, points, np.zeros(rows, np.int64))
                none += np.unique(_noria(data, "kmeans", {})).size == 1
            spent = (time.process_time() - began) / _TIMES
            row = {
                "columns are": kind,
                "rows": rows,
                "columns": columns,
                "sets": _TIMES,
                "none found": none,
                "CPU s each": spent,
            }
            print(row, file=sys.stderr, flush=True)
            yield row


def table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the figures; a section for each of the first column."""
    made = Table(title=title)
    for name in rows[0] if rows else ():
        made.add_column(name, justify="left" if name in ("data", "by", "columns are") else "right")
    last = ""
    for row in rows:
        first = str(next(iter(row.values())))
        if last not in ("", first):
            made.add_section()
        last = first
        made.add_row(
            *(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values())
        )
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
