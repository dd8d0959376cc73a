"""The code of every registered model, whatever its algorithm: MLflow's "model from code".

MLflow copies this file beside the model's package and runs it on load. The
package holds only native formats, so no pickle is ever read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import mlflow
import numpy as np
import pandas as pd

from noria.tasks.package import load_predictor

Array: TypeAlias = np.ndarray[Any, Any]


class PackagedModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Predicts with the Noria package among its artifacts."""

    def load_context(self, context: Any) -> None:
        """Load the package; MLflow passes ``context`` by keyword."""
        self._predictor = load_predictor(Path(context.artifacts["package"]))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return one row per input row; an output of k columns becomes ``name_0 .. name_{k-1}``."""
        del context, params
        manifest = self._predictor.manifest
        kinds: dict[str, str] = {item.name: item.kind for item in manifest.features}
        kinds |= {item.name: item.kind for item in manifest.inputs}
        columns = {
            str(name): _column(model_input[name], kinds.get(str(name), "text"))
            for name in model_input.columns
        }
        outputs: dict[str, Array] = {}
        for name, values in self._predictor.predict(columns).items():
            if values.ndim == 1:
                outputs[name] = values
            else:
                outputs.update({f"{name}_{i}": values[:, i] for i in range(values.shape[1])})
        return pd.DataFrame(outputs)


def _column(values: pd.Series[Any], kind: str) -> Array:
    if kind == "timestamp":
        return np.asarray(values, dtype=np.int64)
    if kind == "numeric":
        return np.asarray(values, dtype=np.float64)
    found = np.asarray(values.astype(object), dtype=object)
    found[pd.isna(values).to_numpy()] = None
    return found


mlflow.models.set_model(PackagedModel())
