"""Maximum mean discrepancy with every permutation in one matrix product.

Sources: Gretton et al., "A Kernel Two-Sample Test", JMLR 13, 2012 (the unbiased
statistic, the median heuristic, the permutation test); Besag and Clifford,
"Sequential Monte Carlo p-values", Biometrika 78, 1991 (stopping early without
losing the level).
"""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitoring.detectors.matrix import MatrixEncoder
from monitoring.detectors.protocol import DetectorConfig, DetectorResult
from monitoring.detectors.storage import save_table
from monitoring.table import FloatArray, Table
from noria.errors import InvalidInput

_BATCH: Final = 250
_EXCEEDANCES: Final = 20
_MIN_ROWS: Final = 2


class MmdDetector:
    """RBF-kernel MMD over all watched columns at once: finds changes of correlation too.

    Options:
        referenceRows (2000): rows of the reference kept (a seeded sample); cost grows with
            (referenceRows + window)^2.
        permutations (None): None is sequential: permutations are drawn until 20 of them reach
            the statistic (then the p-value is 20 / drawn) or there are enough, about 2 / alpha,
            to show a p-value under alpha. Quiet windows stop early, and a small alpha stays
            reachable. A number draws exactly that many.
        sigma (None): kernel width; None is the median heuristic on the reference.
        standardize (True): scale numeric columns by the reference's mean and deviation.
        seed (0): of the sample and the permutations.

    The effect of a result is sqrt(max(MMD^2, 0)), 0 to sqrt(2).
    """

    def __init__(self, config: DetectorConfig, reference: Table) -> None:
        """Encode the reference, set the kernel width and keep the reference's kernel block.

        Raises:
            InvalidInput: the reference has fewer than two rows, or so few permutations are asked
                for that no p-value can be as small as alpha.
        """
        options = config.options
        self._config = config
        self._seed = int(options.get("seed", 0))
        chosen = reference.select(config.columns) if config.columns else reference
        self._reference = sample(
            chosen.whole(), int(options.get("referenceRows", 2000)), self._seed
        )
        if self._reference.rows < _MIN_ROWS:
            raise InvalidInput(f"detector {config.name!r}: MMD needs at least 2 reference rows")
        self._names = tuple(column.name for column in chosen.schema)
        self._fixed = _permutations(config)
        self._encoder = MatrixEncoder(
            self._reference, standardize=bool(options.get("standardize", True))
        )
        self._points = self._encoder.encode(self._reference)
        distances = squared_distances(self._points, self._points)
        sigma = options.get("sigma")
        self._two_sigma2 = 2.0 * float(sigma) ** 2 if sigma else median_distance(distances)
        within = self._kernel(distances)
        np.fill_diagonal(within, 0.0)
        self._within_sum = float(within.sum())
        self._within = within.astype(np.float32)

    @property
    def config(self) -> DetectorConfig:
        """How it was built."""
        return self._config

    def score(self, window: Table) -> DetectorResult:
        """Permutation test of one window (m rows; at least 2, without those that lack a vector)."""
        points = self._encoder.encode(window.select(self._names).whole())
        n, m = self._points.shape[0], points.shape[0]
        if m < _MIN_ROWS:
            return DetectorResult(0.0, 1.0, self._config.alpha, False, 0.0, (), m)  # noqa: FBT003
        across = self._kernel(squared_distances(self._points, points))
        inside = self._kernel(squared_distances(points, points))
        np.fill_diagonal(inside, 0.0)
        statistic = (
            self._within_sum / (n * (n - 1))
            + float(inside.sum()) / (m * (m - 1))
            - 2.0 * float(across.mean())
        )
        joint = np.empty((n + m, n + m), np.float32)
        joint[:n, :n] = self._within
        joint[:n, n:] = across
        joint[n:, :n] = across.T
        joint[n:, n:] = inside
        del across, inside
        p_value = self._p_value(joint, n, statistic)
        return DetectorResult(
            statistic=statistic,
            p_value=p_value,
            threshold=self._config.alpha,
            drift=p_value <= self._config.alpha,
            effect=float(np.sqrt(max(statistic, 0.0))),
            features=(),
            samples=m,
        )

    def save(self, folder: Path) -> None:
        """Write the configuration and the sampled reference."""
        save_table(folder, self._config, self._reference)

    def _kernel(self, distances: FloatArray) -> FloatArray:
        np.divide(distances, -self._two_sigma2, out=distances)
        return np.exp(distances, out=distances)

    def _p_value(self, joint: NDArray[np.float32], n: int, statistic: float) -> float:
        """Return the permutation p-value, (reached + 1) / (drawn + 1) or sequential."""
        random = np.random.default_rng(self._seed)
        total = self._fixed or ceil(2.0 / self._config.alpha)
        drawn = reached = 0
        while drawn < total:
            count = min(_BATCH, total - drawn)
            hits = permuted_mmd2(joint, n, count, random) >= statistic
            enough = np.flatnonzero(reached + np.cumsum(hits) >= _EXCEEDANCES)
            if enough.size and not self._fixed:
                return _EXCEEDANCES / (drawn + int(enough[0]) + 1)
            reached += int(hits.sum())
            drawn += count
        return (reached + 1) / (drawn + 1)


def permuted_mmd2(
    joint: NDArray[np.float32], n: int, count: int, random: np.random.Generator
) -> FloatArray:
    """Return the unbiased MMD^2 of ``count`` random splits of N points into n and N - n.

    With Z the N x count matrix of 0 and 1 that picks the first part of each
    split, the sums within the first part are the column sums of Z * (K Z); the
    sums across and within the second part follow from the row sums of K. One
    matrix product answers all the splits.

    Args:
        joint: (N, N) kernel matrix with a zero diagonal.
        n: size of the first part.
        count: number of splits.
        random: source of the splits.
    """
    size = joint.shape[0]
    m = size - n
    order = np.argpartition(random.random((count, size), dtype=np.float32), n, axis=1)[:, :n]
    picks = np.zeros((count, size), np.float32)
    np.put_along_axis(picks, order, np.float32(1.0), axis=1)
    row_sums = joint.sum(axis=1, dtype=np.float64)
    first = np.einsum("ij,ij->i", picks @ joint, picks, dtype=np.float64)
    touching = picks @ row_sums
    across = touching - first
    second = row_sums.sum() - first - 2.0 * across
    found: FloatArray = first / (n * (n - 1)) + second / (m * (m - 1)) - 2.0 * across / (n * m)
    return found


def squared_distances(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return the (n, m) squared Euclidean distances between the rows of two matrices."""
    found = left @ right.T
    found *= -2.0
    found += np.einsum("ij,ij->i", left, left)[:, None]
    found += np.einsum("ij,ij->i", right, right)[None, :]
    return np.maximum(found, 0.0, out=found)


def median_distance(distances: FloatArray) -> float:
    """Return the lower median of the squared distances between different points (not 0)."""
    n = distances.shape[0]
    upper = distances[np.triu_indices(n, 1)]
    middle = (upper.size - 1) // 2
    median = float(np.partition(upper, middle)[middle])
    return median or float(upper.mean()) or 1.0


def sample(table: Table, rows: int, seed: int) -> Table:
    """Return so many rows of a table, chosen by the seed, in their order."""
    if table.rows <= rows:
        return table
    chosen = np.random.default_rng(seed).choice(table.rows, rows, replace=False)
    return table.take(np.sort(chosen))


def _permutations(config: DetectorConfig) -> int | None:
    asked = config.options.get("permutations")
    if asked is None:
        return None
    if 1.0 / (int(asked) + 1) > config.alpha:
        raise InvalidInput(
            f"detector {config.name!r}: options.permutations: {asked} permutations can't show a "
            f"p-value as small as {config.alpha:.2g}",
            fix=f"leave it out, or use at least {ceil(1.0 / config.alpha)}",
        )
    return int(asked)
