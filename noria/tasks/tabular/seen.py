"""What a package has seen of rows with times, and what it has not."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import LeakageError
from noria.spec import ModelSpec
from noria.tasks.package import Manifest
from noria.tasks.sources.rows import moments


def refuse_seen(
    spec: ModelSpec, manifest: Manifest, block: pd.DataFrame, did: str = "predicted"
) -> None:
    """Refuse to measure a model on rows that it was fitted on.

    Args:
        spec: The model.
        manifest: Of the package.
        block: The rows that it is measured on.
        did: What the right package did with them.

    Raises:
        LeakageError: It has seen events as late as the first of the block.
    """
    until, event_time = manifest.trained_until, spec.data.event_time
    if spec.data.split.kind != "temporal" or until is None or event_time is None:
        return
    if until >= int(moments(block, event_time).min()):
        raise LeakageError(
            "the model was fitted on rows as late as the held-out ones",
            fix=f"evaluate the package that {did} them, before the refit (spec.train.refit)",
        )


def unseen(spec: ModelSpec, manifest: Manifest, rows: pd.DataFrame) -> NDArray[np.int64]:
    """Return the places of rows that are newer than all that a model was fitted on."""
    if manifest.trained_until is None or spec.data.event_time is None:
        return np.arange(len(rows))
    return np.flatnonzero(moments(rows, spec.data.event_time) > manifest.trained_until)


def fitted_on(spec: ModelSpec, manifest: Manifest, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a frame that a model was fitted on: without a refit the older ones."""
    event_time, until = spec.data.event_time, manifest.trained_until
    if event_time is None or until is None or manifest.rows >= len(frame):
        return frame
    return frame.iloc[np.flatnonzero(moments(frame, event_time) <= until)]
