"""``python -m tests.bench.one MODULE:FUNCTION FILE``: one part; its rows go to FILE as JSON."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path


def main(target: str, file: str) -> None:
    """Run one part."""
    module, _, function = target.partition(":")
    rows = list(getattr(importlib.import_module(module), function)())
    Path(file).write_text(json.dumps(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
