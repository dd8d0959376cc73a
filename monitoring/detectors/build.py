"""From a configuration to a fitted detector, and back from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from monitoring.config import WatchedDetector
from monitoring.detectors.classifier import ClassifierDetector
from monitoring.detectors.mmd import MmdDetector
from monitoring.detectors.protocol import Detector, DetectorConfig
from monitoring.detectors.storage import read_table
from monitoring.detectors.univariate import UnivariateDetector
from monitoring.table import Table
from noria.errors import InvalidInput

NATIVE_KINDS: Final = ("ks", "chi-square", "fisher", "tabular", "mmd", "classifier")
TAKES_VECTORS: Final = ("mmd", "classifier", "lsdd", "learned-kernel", "online-mmd")
_OF_COUNTS: Final = ("ks", "chi-square", "fisher", "tabular")
_ONLINE: Final = ("online-mmd", "online-cvm")


def build_detector(config: DetectorConfig, reference: Table) -> Detector:
    """Fit the detector that ``config`` asks for on the reference's rows.

    Raises:
        InvalidInput: the kind is unknown to the backend, or its columns or options don't fit.
        NotInstalled: the backend's library is not installed.
    """
    if config.backend == "native":
        if config.kind == "mmd":
            return MmdDetector(config, reference)
        if config.kind == "classifier":
            return ClassifierDetector(config, reference)
        if config.kind in NATIVE_KINDS:
            return UnivariateDetector(config, reference)
        raise InvalidInput(
            f"detector {config.name!r}: the native backend has no kind {config.kind!r}",
            fix=f"use one of {', '.join(NATIVE_KINDS)}, or backend: alibi",
        )
    if config.backend != "alibi":
        raise InvalidInput(
            f"detector {config.name!r}: backend {config.backend!r} is unknown",
            fix="use native or alibi",
        )
    return _alibi_detector(config, reference, None)


def takes_counts(watched: WatchedDetector) -> bool:
    """Whether a detector needs only counts of a window, not its rows."""
    return watched.backend == "native" and watched.kind in _OF_COUNTS


def load_detector(folder: Path) -> Detector:
    """Read back what a detector's ``save`` wrote.

    Raises:
        MonitoringError: the folder does not hold a readable detector.
        NotInstalled: the backend's library is not installed.
    """
    header, reference = read_table(folder)
    if header.config.backend != "alibi":
        return build_detector(header.config, reference)
    from monitoring.detectors.alibi import load_fitted

    return _alibi_detector(header.config, reference, load_fitted(header.config, folder))


def _alibi_detector(config: DetectorConfig, reference: Table, fitted: Any | None) -> Detector:
    from monitoring.detectors.alibi import KINDS, AlibiDetector, AlibiOnlineDetector

    if config.kind not in KINDS:
        raise InvalidInput(
            f"detector {config.name!r}: backend alibi has no kind {config.kind!r} here",
            fix=f"use one of {', '.join(KINDS)}, or backend: native",
        )
    if config.kind in _ONLINE:
        return AlibiOnlineDetector(config, reference, fitted)
    return AlibiDetector(config, reference, fitted)
