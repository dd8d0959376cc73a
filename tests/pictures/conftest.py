"""Real digits as PNG files (scikit-learn's, 8 by 8 pixels), a model of them, and its package."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from noria.spec import ModelSpec, parse_model
from noria.tasks.candidate import Made, make_candidate
from noria.tasks.images.family import LEARNER

ROWS = 1200


def png(pixels: np.ndarray, kind: str = "PNG", **saved: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **saved)
    return file.getvalue()


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 8, 8) uint8 digits and what they are, in a drawn order.

    In their own the writers follow one another, so that newer digits differ from older ones.
    """
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    return (found.images * 15.9).astype(np.uint8)[order], found.target.astype(np.int64)[order]


def spec_of(
    options: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
) -> ModelSpec:
    columns = {
        "source": {"parquet": {"paths": ["digits.parquet"]}},
        "target": "digit",
        "eventTime": "at",
        "entityKey": ["key"],
        "validation": {"minRows": 100},
    }
    hyperparameters = {"epochs": 6, "batch": 64, "learning_rate": 0.01}
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "digits"},
            "spec": {
                "task": {
                    "family": "image-classification",
                    "options": {"size": 8, "channels": "grey", **(options or {})},
                },
                "data": {**columns, **(data or {})},
                "train": {"hyperparameters": hyperparameters, **(train or {})},
                "retraining": {"trainOn": {"kind": "all"}},
            },
        }
    ).spec


@dataclass(frozen=True)
class Trained:
    """Digits that were trained once; ``frame`` has them as the steps of a run hand them on."""

    folder: Path

    @cached_property
    def spec(self) -> ModelSpec:
        return spec_of()

    @cached_property
    def frame(self) -> pd.DataFrame:
        rows = LEARNER.ingest(self.spec, self.folder, None)
        return LEARNER.features(self.spec, self.folder, rows)

    @cached_property
    def made(self) -> Made:
        older = self.frame.iloc[:ROWS]
        out, plots = self.folder / "made", self.folder / "plots"
        return make_candidate(LEARNER, self.spec, older, None, out, model="digits", plots=plots)


def write_digits(folder: Path) -> None:
    pixels, codes = digits()
    start = pd.Timestamp("2026-01-01", tz="UTC")
    pd.DataFrame(
        {
            "key": [f"D{number:04}" for number in range(len(codes))],
            "at": [start + pd.Timedelta(minutes=number) for number in range(len(codes))],
            "digit": [f"d{code}" for code in codes],
            "image": [png(one) for one in pixels],
        }
    ).to_parquet(folder / "digits.parquet", index=False)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder)
    return Trained(folder)
