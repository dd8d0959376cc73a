"""The report of a run through history: one HTML file that needs nothing but a browser."""

from __future__ import annotations

from pathlib import Path

from noria.errors import NoriaError
from noria.report.figures import Report
from noria.report.page import page

__all__ = ["Report", "page", "write_report"]


def write_report(report: Report, path: Path) -> Path:
    """Write the report as one self-contained HTML file and return its absolute path.

    The file asks the network for nothing and runs no script. Missing folders are made.

    Raises:
        NoriaError: the file can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(report), encoding="utf-8")
    except OSError as error:
        raise NoriaError(
            f"the report can't be written to {path}: {error.strerror}",
            fix="give another file with --report",
        ) from error
    return path.resolve()
