"""``noria schema``."""

from __future__ import annotations

import typer

from noria.cli.output import say, say_json

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)


@app.callback()
def schema() -> None:
    """Print the JSON Schema or the CRD of the Model resource."""


@app.command(name="json")
def json_() -> None:
    """Print the JSON Schema, for editors and checks."""
    from noria.spec.schema import json_schema

    say_json(json_schema())


@app.command()
def crd() -> None:
    """Print the CustomResourceDefinition, for `kubectl apply -f -`."""
    import yaml

    from noria.spec.schema import crd as definition

    say(yaml.safe_dump(definition(), sort_keys=False, width=100, allow_unicode=True).rstrip("\n"))
