"""LightGBM models, evaluated through LightGBM's C interface.

See ``c_api.h`` of LightGBM 4. Single rows go through the prepared
"single row fast" call, which allocates nothing.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError, ServingError
from noria.tasks.tabular.scorers import required
from noria.tasks.tabular.scorers.shared_library import open_library

Array = NDArray[np.float64]
_FILE: Final = "model.lightgbm.txt"
_FLOAT64: Final = 1
_RAW_SCORE: Final = 1
_ONE_THREAD: Final = b"num_threads=1"
# Below this, waking the threads costs more than they save.
_MANY_ROWS: Final = 10_000


@functools.cache
def _library() -> ctypes.CDLL:
    library = open_library("lightgbm", "lib_lightgbm")
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return library


class LightgbmScorer:
    """A LightGBM booster held by its C handle. Thread-safe: prediction takes a shared lock."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._lib = _library()
        self._handle = ctypes.c_void_p()
        self._local = threading.local()
        iterations = ctypes.c_int()
        # The parser of the library trusts its input; refuse what is no model text at all.
        if not text.startswith(b"tree\n"):
            raise IntegrityError(f"{_FILE}: not a LightGBM model", fix="train again")
        if self._lib.LGBM_BoosterLoadModelFromString(
            ctypes.c_char_p(text), ctypes.byref(iterations), ctypes.byref(self._handle)
        ):
            raise IntegrityError(f"{_FILE}: {self._error()}", fix="train again")
        self.outputs = self._integer("LGBM_BoosterGetNumClasses")
        self.width = self._integer("LGBM_BoosterGetNumFeature")

    def raw(self, matrix: Array) -> Array:
        """Return (n, k) raw scores.

        Raises:
            ServingError: The library refused, for example a matrix of another width.
        """
        rows, width = matrix.shape
        if width != self.width:
            raise ServingError(f"the model reads {self.width} features, the matrix has {width}")
        data = np.ascontiguousarray(matrix, dtype=np.float64)
        if rows == 1:
            return self._single(data)
        scores = np.empty((rows, self.outputs), dtype=np.float64)
        length = ctypes.c_int64()
        parameters = _ONE_THREAD if rows < _MANY_ROWS else b""
        if rows and self._lib.LGBM_BoosterPredictForMat(
            self._handle,
            ctypes.c_void_p(data.ctypes.data),
            _FLOAT64,
            ctypes.c_int32(rows),
            ctypes.c_int32(width),
            1,
            _RAW_SCORE,
            0,
            -1,
            parameters,
            ctypes.byref(length),
            ctypes.c_void_p(scores.ctypes.data),
        ):
            raise ServingError(f"LightGBM: {self._error()}")
        return scores

    def _single(self, data: Array) -> Array:
        prepared = getattr(self._local, "prepared", None)
        if prepared is None:
            prepared = self._local.prepared = _SingleRow(self)
        return prepared.raw(data)

    def files(self) -> dict[str, bytes]:
        """Return LightGBM's model text."""
        return {_FILE: self._text}

    def _integer(self, function: str) -> int:
        out = ctypes.c_int()
        if getattr(self._lib, function)(self._handle, ctypes.byref(out)):
            raise IntegrityError(f"{_FILE}: {self._error()}", fix="train again")
        return out.value

    def _error(self) -> str:
        return str(self._lib.LGBM_GetLastError().decode("utf-8", "replace"))

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle:
            self._lib.LGBM_BoosterFree(handle)


class _SingleRow:
    """The prepared call of one thread: it writes to a buffer of its own, so it is not shared."""

    def __init__(self, scorer: LightgbmScorer) -> None:
        # No reference to the scorer: it owns this, by way of its thread-local.
        self._lib: Any = scorer._lib  # noqa: SLF001 - the two are one
        self._config = ctypes.c_void_p()
        if self._lib.LGBM_BoosterPredictForMatSingleRowFastInit(
            scorer._handle,  # noqa: SLF001
            _RAW_SCORE,
            0,
            -1,
            _FLOAT64,
            ctypes.c_int32(scorer.width),
            _ONE_THREAD,
            ctypes.byref(self._config),
        ):
            raise ServingError(f"LightGBM: {self._lib.LGBM_GetLastError()!r}")
        self._scores = np.empty((1, scorer.outputs), dtype=np.float64)
        self._target = ctypes.c_void_p(self._scores.ctypes.data)
        self._length = ctypes.c_int64()
        self._length_ref = ctypes.byref(self._length)

    def raw(self, data: Array) -> Array:
        if self._lib.LGBM_BoosterPredictForMatSingleRowFast(
            self._config, ctypes.c_void_p(data.ctypes.data), self._length_ref, self._target
        ):
            raise ServingError(f"LightGBM: {self._lib.LGBM_GetLastError()!r}")
        return self._scores.copy()

    def __del__(self) -> None:
        if getattr(self, "_config", None):
            self._lib.LGBM_FastConfigFree(self._config)


def load(files: Mapping[str, bytes], prefix: str = "") -> LightgbmScorer:
    """Build the scorer from LightGBM's model text.

    Raises:
        IntegrityError: The file is missing or malformed.
        NotInstalled: LightGBM is not installed.
    """
    return LightgbmScorer(required(files, prefix + _FILE))
