"""``python -m noria.registry TRACKING_URI ARTIFACTS``: make the registry's tables, once."""

from __future__ import annotations

import sys
from pathlib import Path

from noria.errors import NoriaError
from noria.registry.registry import MlflowRegistry


def main(arguments: list[str]) -> int:
    """Initialise a registry; 0 when it is ready."""
    try:
        tracking_uri, artifacts = arguments
        MlflowRegistry(tracking_uri, Path(artifacts)).initialise()
    except ValueError:
        sys.stderr.write("usage: python -m noria.registry TRACKING_URI ARTIFACTS\n")
        return 2
    except NoriaError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
