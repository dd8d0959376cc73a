"""``noria init``."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from string import Template
from typing import Annotated, Final

import typer

from noria.cli.output import hint, say
from noria.errors import InvalidInput, NoriaError
from noria.files import room_problem

_FAMILY: Final = "tabular-classification"

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="NAME", help="The model's name, and the folder to make.")
    ],
    family: Annotated[
        str | None,
        typer.Option(
            metavar="FAMILY",
            help="Task family; `noria families` lists them. By default tabular-classification, or "
            "what --data suggests.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Your rows, CSV or Parquet: the columns and their types are taken from them.",
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column to predict, of --data.")
    ] = None,
) -> None:
    """Start a project: model.yaml, data.py, README.md.

    It runs as it is, on made-up rows. With --data it is a model.yaml of those rows, to be checked.
    A folder that holds anything is left alone.
    """
    from noria.spec import parse_model

    if data is not None:
        from noria.tasks.families import drafted

        files = dict(drafted(family or _FAMILY, folder, data, target, family))
    elif target is not None:
        raise InvalidInput("--target: is of --data, which is not given", fix="give --data FILE")
    else:
        files = _files(folder.name, family or _FAMILY)
    # What was just written must never be refused by the next command.
    parse_model(files["model.yaml"], origin="model.yaml")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput(f"{folder}: already there, and not empty", fix="choose another name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        for name in files:  # half a project would be refused as one that is already there
            with suppress(OSError):
                (folder / name).unlink()
        raise NoriaError(
            f"{folder}: can't be written: {error.strerror}",
            fix=room_problem(folder) or "choose a folder that can be written",
        ) from error
    say(f"made {folder}/ with {', '.join(files)}")
    if "data.py" in files:
        hint("python", folder / "data.py", note="makes the rows")
    hint("noria", "validate", "-f", folder / "model.yaml")
    hint("noria", "train", "-f", folder / "model.yaml")


def _files(name: str, family: str) -> dict[str, str]:
    from noria.tasks.families import template

    texts = template(family)
    return {file: Template(text).safe_substitute(name=name) for file, text in texts.items()}
