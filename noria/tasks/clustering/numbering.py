"""Numbers that clusters keep from version to version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.tasks.clustering import name_of
from noria.tasks.clustering.predictor import Profile, Settings
from noria.tasks.clustering.stability import jaccard

Places = NDArray[np.int64]

LEAST_OVERLAP: Final = 0.5
"""Jaccard similarity under which a cluster is another one: it has dissolved (Hennig 2008)."""


def matched(settings: Settings, before: Settings, ours: Places, theirs: Places) -> Settings:
    """Return settings whose clusters have the numbers of those before that they overlap.

    Pairs are those of the greatest overlap in all (Kuhn, Naval Research Logistics Quarterly 2,
    1955). Where two overlap too little, the cluster gets a number that none had yet.

    Args:
        settings: The new clusters.
        before: The clusters of the version before.
        ours: (n,) places of rows among the new ones, -1 for noise.
        theirs: (n,) places of the same rows among those before.
    """
    from scipy.optimize import linear_sum_assignment

    overlap = jaccard(ours, theirs, len(settings.profiles), len(before.profiles))
    pairs = dict(zip(*map(np.ndarray.tolist, linear_sum_assignment(-overlap)), strict=True))
    used, found = before.used, []
    for place, profile in enumerate(settings.profiles):
        pair = pairs.get(place)
        alike = 0.0 if pair is None else float(overlap[place, pair])
        if pair is not None and alike >= LEAST_OVERLAP:
            number = before.profiles[pair].number
            found.append(msgspec.structs.replace(profile, number=number, was=number, overlap=alike))
        else:
            used += 1
            found.append(msgspec.structs.replace(profile, number=used, was=0, overlap=0.0))
    kept = {profile.number for profile in found}
    gone = tuple(one.number for one in before.profiles if one.number not in kept)
    said = _said(found, gone)
    return msgspec.structs.replace(settings, profiles=tuple(found), used=used, matched=said)


def unmatched(settings: Settings, why: str) -> Settings:
    """Return settings whose clusters can't be held against those before, and say so."""
    said = f"The clusters can't be matched with those of the version before: {why}."
    return msgspec.structs.replace(settings, matched=said)


def _said(profiles: Sequence[Profile], gone: Sequence[int]) -> str:
    ordered = sorted(profiles, key=lambda one: one.number)
    kept = [f"{name_of(o.number)} (overlap {o.overlap:.0%})" for o in ordered if o.was]
    new = [name_of(one.number) for one in ordered if not one.was]
    parts = [f"as before {', '.join(kept)}"] if kept else []
    parts += [f"new {', '.join(new)}"] if new else []
    parts += [f"gone {', '.join(map(name_of, gone))}"] if gone else []
    return f"Against the version before: {'; '.join(parts)}."
