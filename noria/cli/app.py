"""The table of commands, and the group that imports a command only when it runs.

Help is plain text: drawing it with Rich costs four times as much as all the rest
of ``noria --help``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from noria.cli import errors
from noria.errors import NoriaError


@dataclass(frozen=True, slots=True)
class Entry:
    """A command: its module in ``noria.cli.commands``, its help line, its section of the help."""

    module: str
    line: str
    section: str


_FILE, _LOOP, _DEMO = "Write and check a model", "Run the loop", "See it work"
_KUBERNETES: Final = "Kubernetes"
COMMANDS: Final = {
    "demo": Entry("demo", "Run a year of real flights through the whole loop.", _DEMO),
    "init": Entry("init", "Start a project: model.yaml, data.py, README.md.", _FILE),
    "validate": Entry("validate", "Check a model.yaml and list every problem in it.", _FILE),
    "schema": Entry("schema", "Print the JSON Schema or the CRD of the Model resource.", _FILE),
    "families": Entry(
        "families", "List the task families that are installed, and what each needs.", _FILE
    ),
    "family": Entry("family", "Check a task family against what Noria asks of one.", _FILE),
    "compile": Entry("compile", "Compile the training pipeline for Kubeflow Pipelines.", _FILE),
    "train": Entry("train", "Run the training pipeline once, on this machine.", _FILE),
    "up": Entry("up", "Serve, watch and retrain models until stopped.", _LOOP),
    "down": Entry("down", "Stop everything that `up` started here.", _LOOP),
    "status": Entry("status", "Show what each model is doing.", _LOOP),
    "predict": Entry("predict", "Ask a served model for predictions.", _LOOP),
    "predict-batch": Entry(
        "predict_batch", "Answer all rows of files with a registered version.", _LOOP
    ),
    "replay": Entry("replay", "Send a model's rows to it as requests, in time order.", _LOOP),
    "label": Entry(
        "label", "Send the labels that a model's source has by now to its monitor.", _LOOP
    ),
    "export": Entry("export", "Write what a model's monitor keeps as Parquet files.", _LOOP),
    "data": Entry(
        "data", "Show or write the labelled rows that were served and are kept to train on.", _LOOP
    ),
    "backtest": Entry("backtest", "Run a model's history through the loop.", _LOOP),
    "rollout": Entry("rollout", "Promote, abort, pause or resume by hand.", _LOOP),
    "register": Entry(
        "register", "Let a model that was trained elsewhere become a version.", _LOOP
    ),
    "why": Entry("why", "Tell why a model is as it is: its ledger in sentences.", _LOOP),
    "ui": Entry("ui", "Show every model on a web page, with buttons.", _LOOP),
    "webhook": Entry("webhook", "Receive the alerts of Alertmanager and Grafana.", _LOOP),
    "ledger": Entry(
        "ledger", "Verify that no decision was changed afterwards, or export all.", _LOOP
    ),
    "submit": Entry("submit", "Run the training pipeline on Kubeflow Pipelines.", _KUBERNETES),
    "compile-batch": Entry(
        "compile_batch",
        "Compile the pipeline that answers files on Kubeflow Pipelines.",
        _KUBERNETES,
    ),
    "doctor": Entry("doctor", "Check a cluster for what Noria needs.", _KUBERNETES),
    "operator": Entry("operator", "Keep the Models of a cluster's namespaces.", _KUBERNETES),
}


class NoriaGroup(TyperGroup):
    """Commands by name from ``COMMANDS``; errors as one line and an exit code."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # noqa: ARG002
        """Return the commands' names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]  # noqa: ARG002
        """Import and build one command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        app: typer.Typer = import_module(f"noria.cli.commands.{entry.module}").app
        built: Any = typer.main.get_command(app)
        built.name = cmd_name
        return built

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]  # noqa: ARG002
        """Write the help lines without importing the commands."""
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            with formatter.section(section):
                formatter.write_dl(
                    [(name, e.line) for name, e in COMMANDS.items() if e.section == section]
                )

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        """Find the command; a name that is nearly right is suggested."""
        # Typer suggests from this mapping only, and reads nothing but its keys.
        self.commands = dict.fromkeys(COMMANDS)  # type: ignore[assignment]
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run; whatever goes wrong becomes one message and an exit code, never a traceback."""
        try:
            return super().main(*args, **kwargs)
        except NoriaError as error:
            errors.refuse(error)
        except ModuleNotFoundError as error:
            errors.not_installed(error)
        except OSError as error:
            errors.system(error)
        except Exception as error:  # noqa: BLE001 - the last door: a bug is told, not dumped
            errors.bug(error)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"noria {version('noria')}")
        raise typer.Exit


def application() -> typer.Typer:
    """Return the whole command line, as Typer's test runner takes it."""
    app = typer.Typer(
        cls=NoriaGroup,
        rich_markup_mode=None,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def noria(
        version: Annotated[
            bool,
            typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
        ] = False,
    ) -> None:
        """Keep a model good after it ships: train, serve, canary, watch, retrain.

        One file describes a model; Noria does the rest, on this machine or on Kubernetes.
        New here? `noria demo --quick`, then `noria init my-model`.
        """

    return app


def command() -> NoriaGroup:
    """Return the whole command line, ready to run."""
    built: Any = typer.main.get_command(application())
    return built  # type: ignore[no-any-return]
