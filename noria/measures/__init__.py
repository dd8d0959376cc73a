"""Metrics of predictions: what each is, its value, its interval, and two models compared.

One implementation for training, gates, the monitor, the canary and the demo.
``catalog``, ``independent``, ``measurement`` and ``proportion`` need nothing but
the standard library and msgspec, so that the spec, the loop and the operator may
use them; ``measuring``, ``rankings`` and ``spans`` need numpy and scipy. Nothing here imports
anything of ours but errors.
"""
