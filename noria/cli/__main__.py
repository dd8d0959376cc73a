"""``python -m noria.cli``: the same as ``noria``."""

from noria.cli import main

main()
