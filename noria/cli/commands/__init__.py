"""One module a command, each with its own Typer app named ``app``."""
