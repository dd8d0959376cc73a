"""Asks a model of word votes."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from noria.tasks.package import Manifest

FILE = "votes.json"


@dataclass(frozen=True)
class Votes:
    """The log-odds of each word."""

    manifest: Manifest
    votes: Mapping[str, float]

    def predict(self, columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return the probability of ``good`` for each text."""
        lower = self.manifest.options["lowerCase"]
        odds = [
            sum(self.votes.get(word, 0.0) for word in (text.lower() if lower else text).split())
            for text in columns["text"]
        ]
        return {"probability": np.array([1 / (1 + math.exp(-value)) for value in odds])}


def load(manifest: Manifest, files: Mapping[str, bytes]) -> Votes:
    """Build the predictor from a package's checked files."""
    return Votes(manifest, json.loads(files[FILE]))
