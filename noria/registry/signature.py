"""MLflow's model signature and input example, from the package's manifest (``noria.json``)."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from noria.tasks.package import Input, Manifest, Output
from noria.values import epoch_ms, number, text

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

    MLflow checks which inputs are there, not their types: its types refuse what the server takes
    (int64 for a double, an integer for a string, datetime64 for a long), and there is none that
    does not. The model itself reads the values; the exact types are in ``noria.json``. A vector
    is an array of doubles, which takes float32 as well; a missing one is NaN as a whole.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType, Array

    required = {item.name: not item.optional for item in manifest.inputs}
    for feature in manifest.features:
        if feature.origin == "lookup":
            required.setdefault(feature.name, False)
    vectors = {item.name for item in manifest.inputs if item.kind in ("vector", "series")}
    inputs = [
        ColSpec(
            Array(DataType.double) if name in vectors else AnyType(),
            name,
            required=needed,
        )
        for name, needed in required.items()
    ]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(list(_outputs(manifest.outputs))))


def _outputs(outputs: tuple[Output, ...]) -> Iterable[Any]:
    """Yield a column per scalar; an output of k values per row becomes k columns."""
    from mlflow.types import ColSpec

    for item in outputs:
        width = item.shape[0] if item.shape else 0
        names = [f"{item.name}_{i}" for i in range(width)] or [item.name]
        for name in names:
            yield ColSpec(_MLFLOW_TYPE[item.datatype], name)


def input_example(manifest: Manifest, example: Mapping[str, Any]) -> Any:
    """Return a one-row frame of the manifest's inputs, or None when ``example`` lacks one."""
    import pandas as pd

    found = [item for item in manifest.inputs if item.name in example]
    required = {item.name for item in manifest.inputs if not item.optional}
    if not found or not required <= {item.name for item in found}:
        return None
    return pd.DataFrame({item.name: [_plain(item, example[item.name])] for item in found})


def _plain(item: Input, value: Any) -> Any:
    """Return a value as JSON has it: text, a float, a bool, milliseconds, or a list of floats.

    The bytes of a file are base64.
    """
    if item.kind in ("vector", "series"):
        return [math.nan] * item.shape[0] if value is None else [float(one) for one in value]
    if item.kind == "image":
        return b64encode(value).decode("ascii")
    written = text(value)
    if item.datatype == "BYTES":
        return written
    if item.kind == "timestamp":
        return epoch_ms(written) if written and isinstance(value, datetime | str) else value
    if item.datatype == "BOOL":
        return None if written is None else bool(value)
    return number(value)
