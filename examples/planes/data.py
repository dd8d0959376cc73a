"""Planes that flew out of New York in 2013, as the register of aircraft describes them."""

from pathlib import Path

from feature_repo import nycflights


def prepare(base: Path, fraction: float = 1.0, seed: int = 0) -> None:
    """Write ``base / "data" / "planes.parquet"``, a row for each plane.

    Does nothing when the file is there already, made with the same arguments.

    Args:
        base: Folder of ``model.yaml``.
        fraction: Share of the planes to keep, in (0, 1].
        seed: Chooses which planes.
    """
    folder = base / "data"
    recipe = {"example": "planes", "format": 1, "fraction": fraction, "seed": seed}
    if nycflights.prepared(folder, recipe):
        return
    planes = nycflights.sample(nycflights.planes(), fraction, seed)
    nycflights.write(folder, {"planes": planes}, recipe)


if __name__ == "__main__":
    prepare(Path(__file__).resolve().parent)
