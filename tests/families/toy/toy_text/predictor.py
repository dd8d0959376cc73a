"""Asks a model of word votes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from noria.tasks.package import Manifest

FILE = "votes.json"


@dataclass(frozen=True)
class Votes:
    """What each word adds to each of the two targets, from where a text without words starts."""

    manifest: Manifest
    start: list[float]
    votes: Mapping[str, list[float]]

    def predict(self, columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return how pleasant and how lively each text is, (n, 2)."""
        lower = self.manifest.options["lowerCase"]
        found = np.tile(np.array(self.start, np.float64), (len(columns["text"]), 1))
        for row, text in enumerate(columns["text"]):
            for word in (text.lower() if lower else text).split():
                found[row] += self.votes.get(word, (0.0, 0.0))
        return {"prediction": found}


def load(manifest: Manifest, files: Mapping[str, bytes]) -> Votes:
    """Build the predictor from a package's checked files."""
    said = json.loads(files[FILE])
    return Votes(manifest, said["start"], said["votes"])
