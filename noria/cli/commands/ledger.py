"""``noria ledger``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from noria.cli.options import DEFAULT_HOME, HomeOption, NameArgument, NamespaceOption
from noria.cli.output import hint, say
from noria.cli.places import place_of
from noria.errors import InvalidInput

if TYPE_CHECKING:
    from noria.loop.anchor import Check, Evidence

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

_SHOWN: Final = 12
TrackingOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        envvar="MLFLOW_TRACKING_URI",
        help="With --namespace: the MLflow server whose tags the ledger is compared with.",
    ),
]
KeyOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--public-key", metavar="FILE", help="Also check who signed: an Ed25519 public key in PEM."
    ),
]


@app.callback()
def ledger() -> None:
    """Verify that no decision was changed afterwards, or export all."""


@app.command()
def verify(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The model; without it, all of them.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="An export to check by itself, and no store."),
    ] = None,
    public_key: KeyOption = None,
    home: HomeOption = DEFAULT_HOME,
    namespace: NamespaceOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Check the chain of hashes from the first decision to the last, and against the registry.

    Exit code 1 and the number of the first entry that does not hold, if one does not.
    """
    from noria.signing import checker

    check = None if public_key is None else checker(public_key)
    if file is not None:
        _verify_file(file, check)
        return
    place = place_of(home, namespace, tracking_uri)
    names = [name] if name is not None else [model.name for model in place.overview()]
    for model in names:
        found = place.evidence(model)
        head = found.verify(check, model=model)
        say(f"{model}: {head.sequence} decisions, unbroken (head {head.hash[:_SHOWN]})")
        say(f"{model}: {_anchored(found)}")
    if not names:
        say(f"no model in {home if namespace is None else namespace}")


@app.command()
def export(
    name: NameArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write it (JSON lines).")
    ],
    home: HomeOption = DEFAULT_HOME,
    namespace: NamespaceOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Write the whole ledger to a file that can be checked without this store.

    The head is signed when NORIA_LEDGER_KEY names an Ed25519 private key.
    """
    from noria.loop.archive import write
    from noria.signing import signer_of_environment

    sign = signer_of_environment()
    found = place_of(home, namespace, tracking_uri).evidence(name)
    lines = write(name, found.head, found.entries, found.anchors or (), sign)
    try:
        with output.open("wb") as file:
            file.writelines(lines)
    except OSError as error:
        raise InvalidInput(f"--output: {output} can't be written: {error.strerror}") from error
    signed = "signed" if sign is not None else "not signed: NORIA_LEDGER_KEY names no key"
    say(f"{name}: {found.head.sequence} decisions written to {output} ({signed})")
    hint("noria", "ledger", "verify", "--file", output)


def _anchored(found: Evidence) -> str:
    if found.anchors is None:
        return "not compared with the registry; give --tracking-uri"
    if not found.anchors:
        return "not anchored: no version in the registry carries its head yet"
    newest = found.anchors[-1]
    how = "signed" if newest.signature else "unsigned"
    return f"anchored in the registry on {newest.place} at {newest.head.sequence}, {how}"


def _verify_file(file: Path, check: Check | None) -> None:
    from noria.loop.archive import check as check_archive

    try:
        with file.open("rb") as lines:
            heading = check_archive(lines, check)
    except OSError as error:
        raise InvalidInput(f"--file: {file} can't be read: {error.strerror}") from error
    head = heading.head
    say(f"{heading.model}: {head.sequence} decisions, unbroken (head {head.hash[:_SHOWN]})")
