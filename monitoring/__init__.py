"""Watches a model: payload log, windows, drift detectors, delayed labels, signals."""
