"""Keys of KFP's cache: one per step, of what determines the step's result and nothing else.

KFP's own key holds every parameter, so a change of the monitoring section would
train again; and it holds the identity of input artifacts, so that nothing behind
a step that ran is ever answered from the cache. A key given here replaces it.

Rows are those known at ``as_of``: two runs with one ``as_of``, one source, one
project and one image read the same rows, and a second one reads none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from noria.loop.values import RunRequest
from noria.spec import Model


def cache_keys(
    model: Model, request: RunRequest, *, image: str, base: str, tracking_uri: str = ""
) -> Mapping[str, str]:
    """Return the key of each step. ``register`` has none: it is done anew in every run."""
    spec = model.spec.model_dump(mode="json", by_alias=True)
    data, train, task = spec["data"], spec["train"], spec["task"]
    rules = {name: data.pop(name) for name in ("split", "validation")}
    recipe = {
        name: value for name, value in train.items() if name not in ("compute", "search", "refit")
    }
    moment = request.as_of.isoformat()
    age = spec["retraining"]["trainOn"]
    rows = _key(version("noria"), image, base, task, data, age, moment)
    frame = _key(rows, "frame")
    # The rows that judge are those that the champion has not seen.
    rival = request.champion and (request.champion, tracking_uri, spec["gates"]["minRows"])
    parts = _key(frame, rules["split"], rival)
    tuned = _key(parts, recipe, train["search"])
    trained = _key(tuned, model.name, train["refit"])
    return {
        "ingest": rows,
        "validate": _key(rows, rules["validation"]),
        # Behind validation: rows that fail their rules must not be answered from a cache.
        "features": _key(frame, rules["validation"]),
        "split": _key(parts, rules["validation"]),
        "tune": tuned,
        "train": trained,
        "evaluate": _key(trained, spec["gates"]),
        "reference": _key(trained, "reference", spec["monitoring"]),
    }


def _key(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
