"""What each node of a distributed training runs: ``torchrun -m components.node ...``.

Every process trains with the same rows and recipe; the family divides the work
among them. The process of rank 0 writes the package. ``python`` starts those of families that
need no ``torch.distributed``: then there is one on each node.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from components.steps import fit_package
from noria.errors import NoriaError


def main(arguments: list[str]) -> int:
    """Train as one process of several; 0 when this process did its part."""
    parser = argparse.ArgumentParser(prog="python -m components.node")
    parser.add_argument("--model", type=Path, required=True, help="the resource")
    parser.add_argument("--rows", type=Path, required=True, help="Parquet file")
    parser.add_argument("--params", type=Path, required=True, help="what the search found")
    parser.add_argument("--out", type=Path, required=True, help="the package's folder")
    given = parser.parse_args(arguments)
    leads = os.environ.get("RANK", os.environ.get("PET_NODE_RANK", "0")) == "0"
    try:
        fit_package(
            model=f"@{given.model}",
            rows=given.rows,
            params=given.params,
            package=given.out if leads else None,
        )
    except NoriaError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
