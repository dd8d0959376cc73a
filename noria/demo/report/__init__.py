"""The demo's report: one HTML file that needs nothing but a browser."""

from __future__ import annotations

from pathlib import Path

from noria.demo.figures import Figures
from noria.demo.report.page import page
from noria.errors import NoriaError

__all__ = ["page", "write_report"]


def write_report(figures: Figures, path: Path) -> Path:
    """Write the report as one self-contained HTML file and return its absolute path.

    The file asks the network for nothing and runs no script. Missing folders are made.

    Raises:
        NoriaError: the file can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(figures), encoding="utf-8")
    except OSError as error:
        raise NoriaError(
            f"the report can't be written to {path}: {error.strerror}",
            fix="give another file with --report",
        ) from error
    return path.resolve()
