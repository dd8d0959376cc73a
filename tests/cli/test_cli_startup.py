"""What `noria --help` must not import: its cost is a figure of the bench."""

from __future__ import annotations

import subprocess
import sys

import pytest

from noria.cli.app import COMMANDS

HEAVY = {"torch", "mlflow", "kfp", "kserve", "feast", "pandas", "numpy", "sklearn", "scipy",
         "alibi_detect", "matplotlib", "httpx"}  # fmt: skip
SLOW = {"pydantic", "rich", "yaml", "msgspec", "noria.spec"}  # Fit for a command, not for a list.
EVERY_HELP = """
import sys
from noria.cli import main
for name in {names!r}:
    try:
        main([*name, "--help"])
    except SystemExit as end:
        assert end.code == 0, name
print("IMPORTED", *sorted({heavy!r} & set(sys.modules)), file=sys.stderr)
"""


def test_the_list_of_commands_imports_nothing_that_it_does_not_show() -> None:
    code = EVERY_HELP.format(names=[[]], heavy=HEAVY | SLOW)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.split() == ["IMPORTED"]


def test_no_commands_help_page_imports_anything_heavy() -> None:
    names = [*([name] for name in COMMANDS), ["rollout", "promote"], ["schema", "crd"]]
    code = EVERY_HELP.format(names=names, heavy=HEAVY)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.split() == ["IMPORTED"]
    for name in COMMANDS:
        assert f"Usage: noria {name}" in ran.stdout


def test_the_list_of_commands_loads_only_the_front_door_of_noria() -> None:
    """The seconds that it costs are a figure of the bench (``cli.help``): a CPU is no constant."""
    code = EVERY_HELP.format(names=[[]], heavy=HEAVY)
    code += 'print("NORIA", *sorted(m for m in sys.modules if m.split(".")[0] == "noria"))\n'
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = ran.stdout.splitlines()[-1].split()[1:]
    assert loaded == ["noria", "noria.cli", "noria.cli.app", "noria.cli.errors", "noria.errors"]


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_line_in_the_list_is_the_first_line_of_the_commands_own_help(name: str) -> None:
    from importlib import import_module

    module = import_module(f"noria.cli.commands.{COMMANDS[name].module}")
    registered = module.app.registered_callback or module.app.registered_commands[0]
    assert (registered.callback.__doc__ or "").splitlines()[0] == COMMANDS[name].line
