"""The baseline: the least that a FastAPI + orjson server has to do for the same prediction."""

# ruff: noqa: E402 - the variables have to be set before numpy starts

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

from noria.tasks.package import Predictor, load_predictor


def app_of(predictor: Predictor) -> FastAPI:
    app = FastAPI()
    names = [given.name for given in predictor.manifest.inputs]

    @app.post("/v2/models/{model}/infer")
    async def infer(model: str, request: Request) -> Response:
        document = orjson.loads(await request.body())
        tensor = document["inputs"][0]
        rows = np.array(tensor["data"], dtype=np.float64).reshape(tensor["shape"])
        results = predictor.predict({name: rows[:, at] for at, name in enumerate(names)})
        outputs: list[dict[str, Any]] = [
            {
                "name": name,
                "datatype": "FP64" if values.dtype.kind == "f" else "INT64",
                "shape": values.shape,
                "data": values,
            }
            for name, values in results.items()
        ]
        answer = {"id": document.get("id"), "model_name": model, "outputs": outputs}
        return Response(
            orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json"
        )

    return app


if __name__ == "__main__":
    uvicorn.run(
        app_of(load_predictor(Path(sys.argv[1]))),
        port=int(sys.argv[2]),
        log_level="warning",
        access_log=False,
    )
