"""Ordered classes, with the order and without it: ``make bench-ordered``."""
