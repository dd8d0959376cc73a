"""MLflow's model signature and input example, from the package's manifest (``noria.json``)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from noria.tasks.package import Input, Manifest, Output

_MLFLOW_TYPE: Final = {
    "FP64": "double",
    "FP32": "float",
    "INT64": "long",
    "INT32": "integer",
    "INT16": "integer",
    "INT8": "integer",
    "UINT8": "integer",
    "BOOL": "boolean",
    "BYTES": "string",
}


def model_signature(manifest: Manifest) -> Any:
    """Return MLflow's signature: what a client sends and gets, in order.

    Looked-up features are inputs too, optional ones: a server adds them, a
    caller of the bare pyfunc model may.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

    inputs = [_column(item, required=not item.optional) for item in manifest.inputs]
    sent = {item.name for item in manifest.inputs}
    for feature in manifest.features:
        if feature.origin == "lookup" and feature.name not in sent:
            datatype = {"categorical": "BYTES", "boolean": "BOOL"}.get(feature.kind, "FP64")
            extra = Input(feature.name, datatype, feature.kind, optional=True)
            inputs.append(_column(extra, required=False))
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(list(_outputs(manifest.outputs))))


def _outputs(outputs: tuple[Output, ...]) -> Iterable[Any]:
    """Yield a column per scalar; an output of k values per row becomes k columns."""
    for item in outputs:
        width = item.shape[0] if item.shape else 0
        names = [f"{item.name}_{i}" for i in range(width)] or [item.name]
        for name in names:
            yield _column(Output(name, item.datatype), required=True)


def _column(item: Input | Output, *, required: bool) -> Any:
    from mlflow.types import ColSpec

    return ColSpec(_MLFLOW_TYPE[item.datatype], item.name, required=required)


def input_example(manifest: Manifest, example: Mapping[str, Any]) -> Any:
    """Return a one-row frame of the manifest's inputs, or None when ``example`` lacks one."""
    import pandas as pd

    found = [item for item in manifest.inputs if item.name in example]
    required = {item.name for item in manifest.inputs if not item.optional}
    if not found or not required <= {item.name for item in found}:
        return None
    return pd.DataFrame({item.name: [_plain(item, example[item.name])] for item in found})


def _plain(item: Input, value: Any) -> Any:
    """Return a value as the signature has it: text, a float, a bool, or milliseconds."""
    if item.kind == "timestamp":
        moment: Any = datetime.fromisoformat(value) if isinstance(value, str) else value
        return round(moment.timestamp() * 1000) if hasattr(moment, "timestamp") else int(moment)
    missing = value is None or value != value
    if item.datatype == "BYTES":
        return None if missing else str(value)
    if item.datatype == "BOOL":
        return None if missing else bool(value)
    return math.nan if missing else float(value)
