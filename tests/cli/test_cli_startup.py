"""What `noria --help` costs, and what it must not import."""

from __future__ import annotations

import os
import subprocess
import sys
import time

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


def test_help_is_there_in_under_three_tenths_of_a_second() -> None:
    command = [sys.executable, "-m", "noria.cli", "--help"]
    walls, cpus = [], []
    for _ in range(5):  # The fastest run is the one that the machine disturbed least.
        before, start = os.times(), time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        walls.append(time.perf_counter() - start)
        after = os.times()
        cpus.append(
            after.children_user + after.children_system
            - before.children_user - before.children_system
        )  # fmt: skip
    assert min(walls) < 0.3
    assert min(cpus) < 0.2


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_line_in_the_list_is_the_first_line_of_the_commands_own_help(name: str) -> None:
    from importlib import import_module

    module = import_module(f"noria.cli.commands.{COMMANDS[name].module}")
    registered = module.app.registered_callback or module.app.registered_commands[0]
    assert (registered.callback.__doc__ or "").splitlines()[0] == COMMANDS[name].line
