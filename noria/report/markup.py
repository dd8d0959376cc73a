"""HTML and SVG as strings: every text and attribute value is escaped here, once."""

from __future__ import annotations

from html import escape
from typing import Final, NewType

Html = NewType("Html", str)

_VOID: Final = frozenset({"br", "hr", "img", "link", "meta"})


def text(value: object) -> Html:
    """Escape ``value`` as text."""
    return Html(escape(str(value)))


def join(*parts: Html) -> Html:
    """Put pieces of markup one after the other."""
    return Html("".join(parts))


def tag(name: str, /, *children: Html | str, **attributes: object) -> Html:
    """Build one element; a child that is a plain str must already be markup.

    Attribute names have ``_`` for ``-`` and a trailing ``_`` for Python's keywords
    (``class_``); an attribute of None is left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{''.join(children)}</{name}>")


def _short(value: object) -> str:
    """Coordinates need no more than a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
