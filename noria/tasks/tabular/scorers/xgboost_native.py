"""XGBoost models (UBJSON), evaluated through XGBoost's C interface (its ``c_api.h``)."""

from __future__ import annotations

import ctypes
import functools
import json
import threading
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError, ServingError
from noria.tasks.tabular.scorers import required
from noria.tasks.tabular.scorers.shared_library import open_library

Array = NDArray[np.float64]
_FILE: Final = "model.ubj"
# type 1: margins. strict_shape: always (n, outputs).
_CONFIG: Final = (
    b'{"type":1,"training":false,"iteration_begin":0,"iteration_end":0,'
    b'"strict_shape":true,"cache_id":0,"missing":NaN}'
)


@functools.cache
def _library() -> ctypes.CDLL:
    library = open_library("xgboost", "libxgboost")
    library.XGBGetLastError.restype = ctypes.c_char_p
    return library


class XgboostScorer:
    """An XGBoost booster held by its C handle, one thread per call.

    In-place prediction is thread-safe, but the first one on a booster sets it
    up; so that happens here.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._lib = _library()
        self._handle = ctypes.c_void_p()
        self._local = threading.local()
        self._check(self._lib.XGBoosterCreate(None, 0, ctypes.byref(self._handle)))
        try:
            self._check(
                self._lib.XGBoosterLoadModelFromBuffer(
                    self._handle, content, ctypes.c_uint64(len(content))
                )
            )
        except ServingError as error:
            raise IntegrityError(f"{_FILE}: {error.message}", fix="train again") from error
        self._check(self._lib.XGBoosterSetParam(self._handle, b"nthread", b"1"))
        features = ctypes.c_uint64()
        self._check(self._lib.XGBoosterGetNumFeature(self._handle, ctypes.byref(features)))
        self.width = int(features.value)
        self.raw(np.zeros((1, self.width)))

    def raw(self, matrix: Array) -> Array:
        """Return (n, k) margins.

        Raises:
            ServingError: The library refused, for example a matrix of another width.
        """
        rows, width = matrix.shape
        if width != self.width:
            raise ServingError(f"the model reads {self.width} features, the matrix has {width}")
        data = np.ascontiguousarray(matrix, dtype=np.float64)
        interface = {
            "data": [data.ctypes.data, True],
            "shape": [rows, width],
            "typestr": "<f8",
            "version": 3,
        }
        shape = ctypes.POINTER(ctypes.c_uint64)()
        dimensions = ctypes.c_uint64()
        result = ctypes.POINTER(ctypes.c_float)()
        self._check(
            self._lib.XGBoosterPredictFromDense(
                self._handle,
                json.dumps(interface).encode(),
                _CONFIG,
                None,
                ctypes.byref(shape),
                ctypes.byref(dimensions),
                ctypes.byref(result),
            )
        )
        extent = tuple(shape[i] for i in range(dimensions.value))
        # The buffer belongs to the library and is reused: astype copies it.
        scores = np.ctypeslib.as_array(result, extent).astype(np.float64)
        return scores.reshape(rows, -1)

    def files(self) -> dict[str, bytes]:
        """Return XGBoost's UBJSON."""
        return {_FILE: self._content}

    def _check(self, code: int) -> None:
        if code:
            said = self._lib.XGBGetLastError().decode("utf-8", "replace")
            raise ServingError(f"XGBoost: {said.strip().splitlines()[0] if said.strip() else code}")

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle:
            self._lib.XGBoosterFree(handle)


def load(files: Mapping[str, bytes], prefix: str = "") -> XgboostScorer:
    """Build the scorer from XGBoost's UBJSON.

    Raises:
        IntegrityError: The file is missing or malformed.
        NotInstalled: XGBoost is not installed.
    """
    return XgboostScorer(required(files, prefix + _FILE))
