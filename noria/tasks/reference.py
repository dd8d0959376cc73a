"""The monitoring reference: what training rows and held-out predictions looked like.

``reference.json`` names the features, their categories and ranges, and the
held-out performance; ``rows.npz`` holds, for feature i, ``f{i}``: float64
numbers (booleans are 0 and 1), or int32 places in the categories, -1 for a
missing value or a rare category that the model does not know. ``missing`` is the
share of training rows that lack the value, ``others`` how many rare categories
there were, and ``s{i}`` their hashes (int64, sorted, a bounded number of them).
A text that the model reads is a feature of numbers, which describe it (``noria.exchange.texts``).
A vector is float32, (rows, width). The vectors of a reference hold at most
``MOST_VECTOR_BYTES``: one that has any may have fewer rows.
``prediction`` holds predictions on held-out rows: the probability of the positive class, of
the likeliest one when there are more than two, or the value, (rows,); of several targets the
value of each, (rows, targets), of as many rows as ``MOST_VECTOR_BYTES`` hold. ``targets`` names
the numbers of a row's prediction, where the model does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.errors import TrainingError
from noria.exchange.texts import describing, lengths
from noria.measures.measurement import Measurement
from noria.seen import hashes_of
from noria.tasks.arrays import pack
from noria.tasks.encoding import Columns, Encoder
from noria.tasks.package import Manifest

MOST_VECTOR_BYTES: Final = 8 << 20
"""Of all vectors of a reference, as float32: 2,730 rows of 768 numbers."""
_FLOAT32_BYTES: Final = 4


def write_reference(
    out_dir: Path,
    manifest: Manifest,
    columns: Columns,
    prediction: NDArray[np.float64],
    performance: Mapping[str, Measurement],
    most_rows: int,
) -> None:
    """Write the reference.

    Args:
        out_dir: A directory; made if missing.
        manifest: Of the package that predicted.
        columns: Of the training rows, for each feature that is no time, as a predictor takes them;
            and for each input that is a text, without which the monitor does not watch it.
        prediction: (n,) or (n, k) on held-out rows.
        performance: Metrics on them.
        most_rows: Greatest number of training rows to keep, a seeded sample of them.

    Raises:
        TrainingError: The directory can't be written, or the names are not of these predictions.
    """
    names = manifest.target_names
    width = 1 if prediction.ndim == 1 else prediction.shape[1]
    if names and len(names) != width:
        raise TrainingError(
            f"the manifest names {len(names)} targets, and a row's prediction has {width} numbers",
            fix="name each of them, or none",
        )
    # Time features change by themselves, and are no part of a request; so does a moment, of which
    # a descriptor is watched, as of an image. What a text is watched by is below.
    features = tuple(
        msgspec.structs.replace(feature, origin="input")
        for feature in manifest.features
        if feature.origin != "time" and feature.kind not in ("text", "timestamp", "image")
    )
    described_by = {
        describing(given.name): np.array(lengths(columns[given.name]), np.float64)
        for given in manifest.inputs
        if given.kind == "text" and given.name in columns
    }
    own = (columns[one.name] for one in features if one.name in columns)
    rows = max(map(len, (*own, *described_by.values())), default=0)
    vectors = sum(feature.size for feature in features if feature.kind == "vector")
    if vectors:
        most_rows = min(most_rows, MOST_VECTOR_BYTES // (_FLOAT32_BYTES * vectors))
    kept = np.arange(rows)
    if rows > most_rows:
        rng = np.random.default_rng(manifest.seed)
        kept = np.sort(rng.choice(rows, most_rows, replace=False))
    arrays: dict[str, NDArray[Any]] = {}
    described: list[dict[str, Any]] = []
    for place, feature in enumerate(features):
        # One after another: all at once would take as much again as the columns.
        part = Encoder((feature,), None).encode(columns)
        column = part[:, 0]
        known = column[~np.isnan(column)]
        if feature.kind == "vector":
            arrays[f"f{place}"] = part[kept].astype(np.float32)
            described.append(
                {
                    "name": feature.name,
                    "kind": "vector",
                    "width": feature.size,
                    "missing": 1.0 - known.size / rows if rows else 0.0,
                }
            )
        elif feature.kind == "categorical":
            arrays[f"f{place}"] = np.nan_to_num(column[kept], nan=-1.0).astype(np.int32)
            texts = [text for text in columns[feature.name].tolist() if text is not None]
            others = set(texts).difference(feature.categories)
            arrays[f"s{place}"] = np.array(hashes_of(others), np.int64)
            described.append(
                {
                    "name": feature.name,
                    "kind": "categorical",
                    "categories": feature.categories,
                    "missing": 1.0 - len(texts) / rows if rows else 0.0,
                    "others": len(others),
                }
            )
        else:
            arrays[f"f{place}"] = column[kept]
            described.append(_of_numbers(feature.name, column))
    for place, (name, column) in enumerate(described_by.items(), len(features)):
        arrays[f"f{place}"] = column[kept]
        described.append(_of_numbers(name, column))
    arrays["prediction"] = _kept(prediction, manifest)
    said = {
        "format": 1,
        "model": manifest.model,
        "rows": len(kept),
        "features": described,
        "prediction": {
            "kind": "probability" if manifest.classes else "value",
            "classes": manifest.classes,
            # A reference without names is as it ever was.
            **({"targets": names} if names else {}),
            **({"thresholds": manifest.limits} if manifest.limits else {}),
        },
        "performance": {
            name: {
                "value": value.value,
                "low": value.low,
                "high": value.high,
                "samples": value.samples,
            }
            for name, value in performance.items()
        },
    }
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        (out_dir / "rows.npz").write_bytes(pack(arrays))
        text = msgspec.json.format(msgspec.json.encode(said), indent=2) + b"\n"
        (out_dir / "reference.json").write_bytes(text)
    except OSError as error:
        raise TrainingError(f"{out_dir}: the reference can't be written: {error}") from error


def _of_numbers(name: str, column: NDArray[np.float64]) -> dict[str, Any]:
    known = column[~np.isnan(column)]
    return {
        "name": name,
        "kind": "numeric",
        "categories": [],
        "min": float(known.min()) if known.size else None,
        "max": float(known.max()) if known.size else None,
        "missing": 1.0 - known.size / column.size if column.size else 0.0,
    }


def _kept(prediction: NDArray[np.float64], manifest: Manifest) -> NDArray[np.float64]:
    if prediction.ndim == 1:
        return prediction
    if manifest.classes or prediction.shape[1] == 1:
        greatest: NDArray[np.float64] = prediction.max(axis=1)
        return greatest
    rows, width = prediction.shape
    most = MOST_VECTOR_BYTES // (prediction.itemsize * max(width, 1))
    if rows <= most:
        return prediction
    rng = np.random.default_rng(manifest.seed)
    sample: NDArray[np.float64] = prediction[np.sort(rng.choice(rows, most, replace=False))]
    return sample
