"""The traffic split as one bar."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from noria.ui.plots.canvas import Canvas
from noria.view import ordered

_FULL = 100.0
_HEIGHT = 10.0


def traffic_bar(
    weights: Mapping[str, int], champion: str | None, candidate: str | None, title: str
) -> Markup:
    """Draw the shares side by side; the words beside the bar say them too."""
    canvas = Canvas(_FULL, _HEIGHT, title, kind="bar")
    canvas.rect((0, 0, _FULL, _HEIGHT), "none")
    at = 0.0
    for version, share in ordered(weights, champion, candidate):
        canvas.rect(
            (at, 0, share, _HEIGHT), role(version, champion, candidate), f"v{version} {share} %"
        )
        at += share
    return canvas.markup()


def role(version: str, champion: str | None, candidate: str | None) -> str:
    """Return the class of a version's colour."""
    if version == champion:
        return "champion"
    return "candidate" if version == candidate else "other"
