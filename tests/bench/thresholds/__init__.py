"""Thresholds chosen on held-out rows, on tables with a rare class: ``make bench-thresholds``."""
