"""Drift detectors: one protocol, two backends."""

from monitoring.detectors.build import NATIVE_KINDS, build_detector, load_detector
from monitoring.detectors.protocol import (
    Detector,
    DetectorConfig,
    DetectorResult,
    FeatureResult,
    Stateful,
)

__all__ = [
    "NATIVE_KINDS",
    "Detector",
    "DetectorConfig",
    "DetectorResult",
    "FeatureResult",
    "Stateful",
    "build_detector",
    "load_detector",
]
