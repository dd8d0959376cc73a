"""Classifier two-sample test: can rows of the window be told from rows of the reference?

Each half of the rows is scored by a classifier that was fitted on the other half, and a rank test
says whether the window's rows score higher. Under no change a half's rows are exchangeable
whatever the classifier learnt, so its p-value is valid; of the two the smaller counts, twice.

Sources: Lopez-Paz and Oquab, "Revisiting Classifier Two-Sample Tests", ICLR 2017; Rahimi and
Recht, "Random Features for Large-Scale Kernel Machines", NIPS 2007; Mann and Whitney, "On a Test
of Whether One of Two Random Variables is Stochastically Larger than the Other", Annals of
Mathematical Statistics 18, 1947.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from monitoring.detectors.matrix import MatrixEncoder
from monitoring.detectors.mmd import median_distance, sample, squared_distances
from monitoring.detectors.protocol import DetectorConfig, DetectorResult
from monitoring.detectors.storage import save_table
from monitoring.table import FloatArray, Table
from noria.errors import InvalidInput

_MIN_ROWS: Final = 20
"""Of each side: in a half of it there are ten, from which on the rank test's normal law holds."""
_PENALTY: Final = 0.1
"""Of the ridge, as a share of the mean variance of its columns."""
_MEDIAN_ROWS: Final = 500


class ClassifierDetector:
    """Ridge regression of the side on the points and on random Fourier features of them.

    Options:
        referenceRows (2000): rows of the reference kept (a seeded sample).
        randomFeatures (256): cosines beside the points themselves; 0: a linear classifier.
        standardize (True): scale numeric columns by the reference's mean and deviation.
        seed (0): of the sample, the cosines and the halves.

    The effect of a result is 2 AUC - 1 of the two halves, their mean: 0 where rows can't be told
    apart, 1 where each can.
    """

    def __init__(self, config: DetectorConfig, reference: Table) -> None:
        """Encode the reference and draw the cosines.

        Raises:
            InvalidInput: the reference has too few rows.
        """
        options = config.options
        self._config = config
        self._seed = int(options.get("seed", 0))
        chosen = reference.select(config.columns) if config.columns else reference
        self._names = tuple(column.name for column in chosen.schema)
        self._reference = sample(
            chosen.whole(), int(options.get("referenceRows", 2000)), self._seed
        )
        if self._reference.rows < _MIN_ROWS:
            raise InvalidInput(
                f"detector {config.name!r}: a classifier needs at least {_MIN_ROWS} reference rows"
            )
        self._encoder = MatrixEncoder(
            self._reference, standardize=bool(options.get("standardize", True))
        )
        points = self._encoder.encode(self._reference)
        some = points[:_MEDIAN_ROWS]
        sigma2 = median_distance(squared_distances(some, some)) / 2.0
        random = np.random.default_rng(self._seed)
        count = int(options.get("randomFeatures", 256))
        self._waves = random.normal(0.0, sigma2**-0.5, (points.shape[1], count))
        self._phases = random.uniform(0.0, 2.0 * np.pi, count)
        self._points = self._features(points)

    @property
    def config(self) -> DetectorConfig:
        """How it was built."""
        return self._config

    def score(self, window: Table) -> DetectorResult:
        """Test one window (m rows; at least 20, without those that lack a vector)."""
        points = self._features(self._encoder.encode(window.select(self._names).whole()))
        n, m = self._points.shape[0], points.shape[0]
        alpha = self._config.alpha
        if m < _MIN_ROWS:
            return DetectorResult(
                statistic=0.0,
                p_value=1.0,
                threshold=alpha,
                drift=False,
                effect=0.0,
                features=(),
                samples=m,
            )
        both = np.concatenate([self._points, points])
        is_new = np.arange(n + m) >= n
        random = np.random.default_rng(self._seed)
        # As many of each side in each half.
        first = np.concatenate(
            [random.permutation(n)[: n // 2], n + random.permutation(m)[: m // 2]]
        )
        half = np.isin(np.arange(n + m), first)
        areas, p_values = zip(
            *(_told_apart(both[~part], is_new[~part], both[part], is_new[part])
              for part in (half, ~half)),
            strict=True,
        )  # fmt: skip
        statistic = float(np.mean(areas))
        p_value = min(1.0, 2.0 * min(p_values))
        return DetectorResult(
            statistic=statistic,
            p_value=p_value,
            threshold=alpha,
            drift=p_value <= alpha,
            effect=max(0.0, 2.0 * statistic - 1.0),
            features=(),
            samples=m,
        )

    def save(self, folder: Path) -> None:
        """Write the configuration and the sampled reference."""
        save_table(folder, self._config, self._reference)

    def _features(self, points: FloatArray) -> FloatArray:
        waves = np.cos(points @ self._waves + self._phases)
        return np.concatenate([points, waves * (2.0 / max(1, waves.shape[1])) ** 0.5], axis=1)


def _told_apart(
    points: FloatArray,
    is_new: NDArray[np.bool_],
    asked: FloatArray,
    truth: NDArray[np.bool_],
) -> tuple[float, float]:
    """Fit on rows of which it is known, and return AUC and one-sided p-value on others."""
    # Each side weighs a half, however many rows it has.
    weights = np.where(is_new, 0.5 / is_new.sum(), 0.5 / (~is_new).sum())
    centred = points - weights @ points
    target = np.where(is_new, 1.0, -1.0)
    gram = (centred * weights[:, None]).T @ centred
    penalty = _PENALTY * float(np.trace(gram)) / gram.shape[0] or 1.0
    gram[np.diag_indices_from(gram)] += penalty
    direction = np.linalg.solve(gram, centred.T @ (weights * target))
    return rank_test(asked @ direction, truth)


def rank_test(scores: FloatArray, is_new: NDArray[np.bool_]) -> tuple[float, float]:
    """Return AUC and the p-value of "new ones score no higher", by the normal law, with ties."""
    _, place, ties = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2.0)[place]  # of equal ones the mean, each
    m, size = int(is_new.sum()), scores.size
    n = size - m
    above = float(ranks[is_new].sum()) - m * (m + 1) / 2.0
    tied = float((ties.astype(np.float64) ** 3 - ties).sum()) / (size * (size - 1))
    deviation = np.sqrt(n * m / 12.0 * (size + 1 - tied))
    if not deviation:
        return 0.5, 1.0
    return above / (n * m), float(ndtr(-(above - n * m / 2.0 - 0.5) / deviation))
