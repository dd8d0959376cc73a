"""Clusters of a package: the space, the clustering in it, and what is known of each cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError
from noria.tasks.arrays import pack, unpack
from noria.tasks.clustering import CLUSTER, DISTANCE, name_of
from noria.tasks.clustering.assign import Assigned, Clustering, Density, clustering_of
from noria.tasks.clustering.space import Space, space_of
from noria.tasks.encoding import Columns, Encoder
from noria.tasks.package import Manifest

Array = NDArray[np.float64]

FILE: Final = "clusters.json"
ARRAYS: Final = "clusters.npz"
_SPACE: Final = "space."


class Trait(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What sets a cluster apart from the other rows in one column.

    Of a number ``value`` is the cluster's mean and ``usual`` that of all rows, ``effect`` their
    difference in standard deviations of all rows. Of a ``category`` they are its shares, and the
    effect how many times as frequent it is.
    """

    column: str
    value: float
    usual: float
    effect: float
    category: str = ""


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One cluster: its number, share of the rows, stability (None: not known) and traits.

    ``reach`` is the distance within which 99 % of its rows lie.
    ``was`` is the champion's cluster whose number it has, and ``overlap`` their Jaccard similarity;
    0 where it is a new one.
    """

    number: int
    share: float
    stability: float | None
    traits: tuple[Trait, ...] = ()
    reach: float = 0.0
    was: int = 0
    overlap: float = 0.0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``clusters.json`` says; profiles are in the order of the arrays.

    ``used`` is the greatest number that a version had: no number comes again with another meaning.
    ``why`` says what the number of clusters goes by, ``matched`` how the numbers were matched.
    """

    profiles: tuple[Profile, ...]
    used: int
    why: str = ""
    matched: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Answers requests; see ``noria.tasks.package.Predictor`` and ``Describing``."""

    manifest: Manifest
    space: Space
    clustering: Clustering
    settings: Settings
    _encoder: Encoder = field(init=False, repr=False)
    _numbers: NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        encoder = Encoder(self.manifest.features, self.manifest.event_time)
        object.__setattr__(self, "_encoder", encoder)
        # Noise, -1, is the last: its number is 0.
        numbers = [profile.number for profile in self.settings.profiles]
        object.__setattr__(self, "_numbers", np.array([*numbers, 0], np.int64))

    def predict(self, columns: Columns) -> dict[str, np.ndarray]:
        """Return ``prediction`` (n,), a number from 1 (0: noise), ``cluster`` and ``distance``.

        A mixture has ``membership`` (n,), the probability of the cluster, too.
        """
        return self.predict_matrix(self._encoder.encode(columns))

    def predict_matrix(self, matrix: Array) -> dict[str, np.ndarray]:
        """Return the outputs for an encoded (n, d) matrix."""
        return self.answers(self.assigned(matrix))

    def describe(self, columns: Columns) -> dict[str, np.ndarray]:
        """Return what is watched of rows: their clusters and distances."""
        return self.describe_answers(columns, self.predict(columns))

    def describe_answers(self, columns: Columns, answers: Columns) -> dict[str, np.ndarray]:  # noqa: ARG002 - the answers say it all
        """See ``noria.tasks.package.DescribingAnswers``."""
        return {CLUSTER: answers[CLUSTER], DISTANCE: answers["distance"]}

    def assigned(self, matrix: Array, *, among: bool = False) -> Assigned:
        """Return the clusters of encoded rows (n, d), in the order of the profiles.

        ``among``: They may be rows that the clusters were found among. What is near itself alone
        is near nothing: a distance is to another row.
        """
        points = self.space.points(matrix)
        if among and isinstance(self.clustering, Density):
            return self.clustering.assign_members(points)
        return self.clustering.assign(points)

    def answers(self, found: Assigned) -> dict[str, np.ndarray]:
        """Return the outputs of rows whose clusters are known."""
        numbers = self._numbers[found.cluster]
        answers: dict[str, np.ndarray] = {
            "prediction": numbers,
            CLUSTER: np.array([name_of(number) for number in numbers.tolist()], object),
            "distance": found.distance,
        }
        if found.membership is not None:
            answers["membership"] = found.membership
        return answers

    def encode(self, columns: Columns) -> Array:
        """Return the matrix of n rows; see ``Encoder.encode``."""
        return self._encoder.encode(columns)

    def stability(self, found: Assigned) -> Array:
        """Return the stability of each row's cluster, (n,); of noise and unknown ones the mean."""
        known = np.array(
            [np.nan if one.stability is None else one.stability for one in self.settings.profiles]
        )
        mean = float(np.nanmean(known)) if np.isfinite(known).any() else 0.0
        return np.append(np.nan_to_num(known, nan=mean), mean)[found.cluster]

    def within_reach(self, found: Assigned) -> NDArray[np.int64]:
        """Return the clusters of rows that lie no farther than those of training, (n,); else -1."""
        reach = np.array([*(one.reach for one in self.settings.profiles), 0.0])
        return np.where(found.distance <= reach[found.cluster], found.cluster, -1)

    def files(self) -> dict[str, bytes]:
        """Return the files of the package."""
        space = {_SPACE + name: array for name, array in self.space.arrays().items()}
        return {
            FILE: msgspec.json.format(msgspec.json.encode(self.settings), indent=2),
            ARRAYS: pack({**space, **self.clustering.arrays()}),
        }


def load(manifest: Manifest, files: Mapping[str, bytes]) -> Clusters:
    """Build the predictor from a package's checked files.

    Raises:
        IntegrityError: A file is missing or does not fit the others.
    """
    try:
        settings = msgspec.json.decode(files[FILE], type=Settings)
        arrays = unpack(files[ARRAYS], ARRAYS)
        space = {
            name.removeprefix(_SPACE): array
            for name, array in arrays.items()
            if name.startswith(_SPACE)
        }
        found = Clusters(
            manifest, space_of(manifest.features_read, space), clustering_of(arrays), settings
        )
    except (KeyError, msgspec.DecodeError) as error:
        raise IntegrityError(f"{FILE} or {ARRAYS}: {error}", fix="train again") from error
    if found.clustering.clusters != len(settings.profiles):
        raise IntegrityError(f"{ARRAYS}: does not fit {FILE}", fix="train again")
    return found
