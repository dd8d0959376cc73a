"""``python -m noria.backtest.worker``: does jobs, one JSON line in, one out, until its input ends.

A process of its own, and no pool of the standard library: it ends with whoever started it,
however that ended, and nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import os
import sys

import msgspec

from noria.backtest.jobs import Done, Job, perform
from noria.errors import NoriaError


def main() -> int:
    """Do jobs until standard input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    # What libraries print must not be taken for an answer.
    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin.buffer:
            try:
                done = perform(msgspec.json.decode(line, type=Job))
            except NoriaError as error:
                done = Done(problem=str(error))
            try:
                answers.write(msgspec.json.encode(done) + b"\n")
            except BrokenPipeError:  # whoever asked has ended
                return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
