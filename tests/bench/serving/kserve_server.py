"""The other baseline: the same prediction in the kserve SDK's own model server, as it comes."""

# ruff: noqa: E402 - the variables have to be set before numpy starts

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer

from noria.tasks.package import load_predictor


class Stock(Model):  # type: ignore[misc]
    def __init__(self, package: Path) -> None:
        super().__init__("m")
        self._predictor = load_predictor(package)
        self._names = [given.name for given in self._predictor.manifest.inputs]
        self.ready = True

    async def predict(self, payload: InferRequest, *_: Any, **__: Any) -> InferResponse:
        rows = payload.inputs[0].as_numpy().astype(np.float64, copy=False)
        results = self._predictor.predict({n: rows[:, at] for at, n in enumerate(self._names)})
        outputs = []
        for name, values in results.items():
            datatype = "FP64" if values.dtype.kind == "f" else "INT64"
            output = InferOutput(name, list(values.shape), datatype)
            output.set_data_from_numpy(values, binary_data=payload.from_grpc)
            outputs.append(output)
        return InferResponse(payload.id or "none", "m", outputs)


if __name__ == "__main__":
    ModelServer(http_port=int(sys.argv[2]), grpc_port=int(sys.argv[3])).start(
        [Stock(Path(sys.argv[1]))]
    )
