"""``noria families``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from noria.cli.output import say, say_json, table

if TYPE_CHECKING:
    from noria.spec.families import Plugin
    from noria.spec.family import Family

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_GPU: Final = {"none": "no", "optional": "helps", "required": "yes"}


@app.command()
def families(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the task families that are installed, and what each needs.

    A family is a Python package with an entry point in the group noria.families. One that
    can't be used is named with the reason; the others work.
    """
    from noria.spec.families import installed

    found = installed()
    if as_json:
        say_json({"families": [_facts(one) for one in found.plugins], "broken": found.broken})
        return
    table(
        ("family", "what it is", "from", "GPU", "state"),
        [
            (
                one.family.name,
                one.family.about,
                f"{one.distribution} {one.version}".strip(),
                _GPU[one.family.needs.gpu],
                _state(one.family),
            )
            for one in found.plugins
        ],
    )
    for broken in found.broken:
        say(f"broken: {broken}")


def _facts(plugin: Plugin) -> dict[str, Any]:
    family = plugin.family
    return {
        "name": family.name,
        "about": family.about,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "algorithms": {
            algorithm.name: {"missing": family.missing((algorithm.name,))}
            for algorithm in family.algorithms
        },
        "metrics": family.metrics,
        "sources": family.source_kinds,
        "needs": {"libraries": family.needs.libraries, "install": family.needs.install},
        "gpu": family.needs.gpu,
        "missing": family.missing(()),
    }


def _state(family: Family) -> str:
    missing = family.missing(())
    without = [name for name in family.algorithm_names if family.missing((name,))]
    said = family.install(() if missing else without)
    install = f"; install {said}" if said else ""
    if missing:
        return f"needs {', '.join(missing)}{install}"
    return f"ready, without {', '.join(without)}{install}" if without else "ready"
