"""``noria init``."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from noria.cli.output import hint, say
from noria.errors import InvalidInput, NoriaError, NotInstalled

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="NAME", help="The model's name, and the folder to make.")
    ],
    family: Annotated[
        str, typer.Option(metavar="FAMILY", help="tabular-classification or tabular-regression.")
    ] = "tabular-classification",
) -> None:
    """Start a project: model.yaml, data.py, README.md.

    It runs as it is, on made-up rows. A folder that holds anything is left alone.
    """
    from noria.spec import parse_model

    files = _files(folder.name, family)
    # What was just written must never be refused by the next command.
    parse_model(files["model.yaml"], origin="model.yaml")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput(f"{folder}: already there, and not empty", fix="choose another name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise NoriaError(f"{folder}: can't be written: {error.strerror}") from error
    say(f"made {folder}/ with {', '.join(files)}")
    hint(
        f"python {folder}/data.py    (makes the rows)",
        f"noria validate -f {folder}/model.yaml",
        f"noria train -f {folder}/model.yaml",
    )


def _files(name: str, family: str) -> dict[str, str]:
    templates = resources.files("noria.cli").joinpath("templates")
    model = templates.joinpath(f"model-{family}.yaml")
    if family.strip(".") != family or "/" in family or not model.is_file():
        from noria.tasks.families import installed

        raise NotInstalled(
            f"--family {family}: there is no scaffold for it",
            fix=f"choose one of {', '.join(installed())}",
        )
    return {
        "model.yaml": _fill(model.read_text("utf-8"), name),
        "data.py": templates.joinpath("data.py").read_text("utf-8"),
        "README.md": _fill(templates.joinpath("README.md").read_text("utf-8"), name),
    }


def _fill(text: str, name: str) -> str:
    return Template(text).safe_substitute(name=name)
