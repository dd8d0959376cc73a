"""Asks a model of votes: of a word for each item, or of a word for each tag."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from noria.tasks.package import Manifest

FILE = "votes.json"
ITEMS = 20
TOKENS = 12
TAGS = ("O", "B-PERSON", "I-PERSON", "B-PLACE", "I-PLACE")


@dataclass(frozen=True)
class Search:
    """How much each word of a query speaks for each item, and what an unknown word says."""

    manifest: Manifest
    votes: Mapping[str, list[float]]

    def predict(self, columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return the score of each item for n queries, (n, 20)."""
        found = np.zeros((len(columns["text"]), ITEMS))
        for row, text in enumerate(columns["text"]):
            for word in text.split():
                found[row] += self.votes.get(word, [0.0] * ITEMS)
        return {"prediction": found}


@dataclass(frozen=True)
class Names:
    """The votes of each word for the tags; an unknown word is no name."""

    manifest: Manifest
    votes: Mapping[str, list[float]]

    def predict(self, columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return of n texts the place in TAGS of each word's tag, (n, 12); 0 after the last."""
        found = np.zeros((len(columns["text"]), TOKENS))
        for row, text in enumerate(columns["text"]):
            for place, word in enumerate(text.split()[:TOKENS]):
                found[row, place] = np.argmax(self.votes.get(word, [1.0]))
        return {"prediction": found}


def load_search(manifest: Manifest, files: Mapping[str, bytes]) -> Search:
    """Build the predictor from a package's checked files."""
    return Search(manifest, json.loads(files[FILE]))


def load_names(manifest: Manifest, files: Mapping[str, bytes]) -> Names:
    """Build the predictor from a package's checked files."""
    return Names(manifest, json.loads(files[FILE]))
