"""Forecasts of series whose later values are published: M1, Tourism and M3."""
