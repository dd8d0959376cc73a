"""``noria predict``."""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from noria.cli.facade import embedded
from noria.cli.options import DEFAULT_HOME, HomeOption, NameArgument
from noria.cli.output import say_json
from noria.errors import InvalidInput, shorten

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def predict(
    name: NameArgument,
    row: Annotated[
        list[str] | None,
        typer.Option("--row", "-r", metavar="KEY=VALUE", help="A column of one row; repeat it."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", metavar="FILE", help="JSON to send; - or nothing reads stdin."
        ),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Ask a served model for predictions.

    Takes one row as --row carrier=UA --row distance=1400 (of an image --row image=@FILE), or JSON
    from a file or stdin: one row, a list of rows, or a whole request of the V1 ("instances") or V2
    ("inputs") protocol.
    """
    if row and file is not None:
        raise InvalidInput("--row and --file: only one of them", fix="leave one out")
    loop = embedded()
    document = (
        _row(row, loop.text_columns(home, name), loop.file_columns(home, name))
        if row
        else _read(file)
    )
    say_json(loop.predict(home, name, request(document)))


def request(document: Any) -> dict[str, Any]:
    """Wrap a row or a list of rows as a V1 request; leave a whole request as it is.

    Raises:
        InvalidInput: It is neither.
    """
    if isinstance(document, dict):
        if "inputs" in document or "instances" in document:
            return document
        if document:
            return {"instances": [document]}
    if isinstance(document, list) and document:
        return {"instances": document}
    raise InvalidInput(
        f"{shorten(document)} holds no row",
        fix='give {"column": value, ...}, a list of such rows, or a V1 or V2 request',
    )


def _row(pairs: list[str], texts: Collection[str], files: Collection[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidInput(f"--row {shorten(pair)} is not KEY=VALUE", fix="write column=value")
        if key in row:
            raise InvalidInput(f"--row {key}: given twice", fix="use --file for several rows")
        if key in files and value.startswith("@"):
            row[key] = _encoded(Path(value[1:]))
            continue
        read = _scalar(value)
        # 10001 is text where the column is: a category or a key.
        row[key] = value if key in texts and isinstance(read, int | float) else read
    return row


def _encoded(path: Path) -> str:
    """Return the bytes of a file as JSON has them."""
    try:
        return b64encode(path.read_bytes()).decode("ascii")
    except OSError as error:
        raise InvalidInput(
            f"--row: {path} can't be read: {error.strerror}", fix="correct the path after the @"
        ) from error


def _scalar(text: str) -> Any:
    """Read a number, true, false, null or a quoted text as JSON does; the rest is text."""
    try:
        value = json.loads(text, parse_constant=_not_json)
    except ValueError:
        return text
    return text if isinstance(value, dict | list) else value


def _read(file: Path | None) -> Any:
    origin = "stdin" if file is None or str(file) == "-" else str(file)
    try:
        text = sys.stdin.read() if origin == "stdin" else Path(origin).read_text("utf-8")
    except OSError as error:
        raise InvalidInput(
            f"{origin}: can't be read: {error.strerror}", fix="check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{origin}: not UTF-8 at byte {error.start}") from error
    try:
        return json.loads(text, parse_constant=_not_json)
    except ValueError as error:
        raise InvalidInput(
            f"{origin}: not JSON: {error}", fix='give {"column": value, ...} or use --row'
        ) from error


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
