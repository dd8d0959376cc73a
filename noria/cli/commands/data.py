"""``noria data``: the labelled rows that a model's monitor keeps to train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from noria.cli.facade import embedded
from noria.cli.options import DEFAULT_HOME, HomeOption, NameArgument, at_home
from noria.cli.output import hint, say, say_json, table

if TYPE_CHECKING:
    from monitoring.exporting import Answered
    from noria.served.summary import Summary
    from noria.spec import Served

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

_DAYS: Final = 14
_UNITS: Final = ((86_400.0, "d"), (3600.0, "h"), (60.0, "m"))
_BYTES: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


@app.callback()
def data(context: typer.Context, name: NameArgument) -> None:
    """Show or write the labelled rows that were served and are kept to train on.

    They are kept when spec.data.served is set. `noria export` writes what the monitor has for an
    analysis instead: rows without labels and windows too, but only for as long as it needs them.
    """
    context.obj = name


@app.command()
def stats(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show how many rows there are: by day and version, how late their labels came, and how large.

    Works while the model is up and when it is down.
    """
    name: str = context.obj
    found, answered, served = embedded().served(home, name)
    if as_json:
        say_json(_plain(found, answered, served))
        return
    for key, text in _facts(found, answered, served):
        say(f"{key:<14}{text}")
    shown = list(found.days.items())[-_DAYS:]
    if shown:
        say()
        table(("day", "rows"), [(day, f"{rows:,}") for day, rows in shown])
        if len(found.days) > len(shown):
            say(f"and {len(found.days) - len(shown)} earlier days, with --json")
        hint("noria", "data", name, "export", "--out", f"{name}.parquet", *at_home(home))


@app.command()
def export(
    context: typer.Context,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where to write: .parquet or .csv.")
    ],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Write the rows to one file: each sample once, with its newest label."""
    rows = embedded().export_served(home, context.obj, out)
    say(f"{out}: {rows:,} rows")


def _facts(found: Summary, answered: Answered, served: Served | None) -> list[tuple[str, str]]:
    from noria.spec import format_duration

    share = f" ({answered.labelled / answered.rows:.1%})" if answered.rows else ""
    facts = [
        ("rows", f"{found.rows:,} kept, {found.corrections:,} labels corrected"),
        ("labelled", f"{answered.labelled:,} of {answered.rows:,} answered rows{share}"),
    ]
    if answered.waiting:
        facts.append(("waiting", f"{answered.waiting:,} are still to be written"))
    if found.versions:
        said = ", ".join(f"v{version} {rows:,}" for version, rows in found.versions.items())
        facts.append(("versions", said))
    if found.delays is not None:
        delays = found.delays
        said = f"median {_span(delays.median)}, 90 % within {_span(delays.p90)}"
        facts.append(("label delay", f"{said}, longest {_span(delays.longest)}"))
        facts.append(("labels", f"{found.first_label} to {found.last_label}"))
    facts.append(("size", f"{_size(found.bytes)} in {found.files:,} files"))
    if served is None:
        facts.append(("setting", "none: spec.data.served is not set, so no more rows are kept"))
    else:
        kept = f"retention {format_duration(served.retention)}, sample {served.sample:g}"
        redacted = f", without {', '.join(served.redact)}" if served.redact else ""
        facts.append(("setting", f"use {served.use}, {kept}{redacted}"))
    if found.set_aside:
        facts.append(("damaged", f"{', '.join(found.set_aside)}: their rows are missing"))
    return facts


def _plain(found: Summary, answered: Answered, served: Served | None) -> dict[str, object]:
    import msgspec

    plain: dict[str, object] = msgspec.to_builtins(found)
    return {
        **plain,
        "answered": answered.rows,
        "labelled": answered.labelled,
        "waiting": answered.waiting,
        "setting": None if served is None else served.model_dump(mode="json", by_alias=True),
    }


def _span(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.1f}{unit}"
    return f"{seconds:.1f}s"


def _size(size: int) -> str:
    for unit, name in _BYTES:
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
