"""Several scorers, averaged with weights: probabilities of classes, or values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError
from noria.tasks.tabular.links import logit, sigmoid, softmax
from noria.tasks.tabular.scorers import Scorer, load_scorer, required

Array = NDArray[np.float64]
_FILE = "weighted.json"
_LEAST = 1e-15


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the averaged: its algorithm and weight.

    ``factor`` over 0: it was fitted on the target's logarithm, and its value is the exponential
    times the factor, which makes up for the mean of a logarithm (Duan, 1983). 0: it was not.
    """

    algorithm: str
    weight: float
    factor: float = 0.0


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    classes: int
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True, eq=False)
class WeightedScorer:
    """Members with their scorers; ``classes`` is 0 for values. Weights add up to 1."""

    classes: int
    members: tuple[Member, ...]
    scorers: tuple[Scorer, ...]

    def raw(self, matrix: Array) -> Array:
        """Return (n, k) scores: log-odds or logarithms of probabilities, or values."""
        total = np.zeros(())
        for member, scorer in zip(self.members, self.scorers, strict=True):
            total = total + member.weight * said(self.classes, member.factor, scorer.raw(matrix))
        if not self.classes:
            return total
        if self.classes == 2:  # one column says both
            return logit(total, _LEAST)
        return np.asarray(np.log(np.maximum(total, _LEAST)))

    def files(self) -> dict[str, bytes]:
        """Return the members' files in folders of their own, and what they count."""
        files = {_FILE: msgspec.json.encode(_Said(self.classes, self.members))}
        for place, scorer in enumerate(self.scorers):
            files.update({f"{_folder(place)}{p}": c for p, c in scorer.files().items()})
        return files


def said(classes: int, factor: float, raw: Array) -> Array:
    """Return what is averaged of raw scores (n, k): probabilities (n, k), or values (n, 1)."""
    if classes:
        return sigmoid(raw) if raw.shape[1] == 1 else softmax(raw)
    return np.exp(np.minimum(raw, 700.0)) * factor if factor else raw


def load(files: Mapping[str, bytes], prefix: str = "") -> WeightedScorer:
    """Build the scorer; only the members' libraries are loaded.

    Raises:
        IntegrityError: A file is missing or malformed.
    """
    try:
        found = msgspec.json.decode(required(files, prefix + _FILE), type=_Said)
    except msgspec.DecodeError as error:
        raise IntegrityError(f"{prefix + _FILE}: {error}", fix="train again") from error
    return WeightedScorer(
        found.classes,
        found.members,
        tuple(
            load_scorer(member.algorithm, files, prefix + _folder(place))
            for place, member in enumerate(found.members)
        ),
    )


def _folder(place: int) -> str:
    return f"member-{place}/"
