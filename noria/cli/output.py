"""How commands speak: plain lines, JSON, a next step. Rich only where there is a table."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


def say(text: str = "") -> None:
    """Print a line to stdout."""
    typer.echo(text)


def hint(*words: object, note: str = "") -> None:
    """Print a command to go on with, quoted so that it can be pasted; below it, what it does."""
    typer.echo(f"next: {shlex.join(map(str, words))}")
    if note:
        typer.echo(f"      ({note})")


def say_json(value: Any) -> None:
    """Print a value as indented JSON, and nothing else, so that it can be piped."""
    typer.echo(json.dumps(value, indent=2, default=plain, ensure_ascii=False, allow_nan=False))


def plain(value: Any) -> Any:
    """Turn what ``json`` doesn't know into what it does."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "__struct_fields__"):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence | set | frozenset):
        return list(value)
    return str(value)


def console() -> Console:
    """Return a console on stdout."""
    from rich.console import Console

    return Console(highlight=False)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table without frames; the first column is bold in a terminal."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
    for index, name in enumerate(head):
        drawn.add_column(name, style="bold" if index == 0 else "", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    console().print(drawn)
