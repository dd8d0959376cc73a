"""``python -m serving``: one server process for one model version."""

from __future__ import annotations

import logging
import os
import sys

# Before numpy and OpenMP start: a request is small, and threads that spin for work
# would take the processor from the event loop. An operator's own choice stands.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

from noria.errors import NoriaError  # noqa: E402
from serving.server import serve  # noqa: E402
from serving.settings import parse  # noqa: E402


def main() -> int:
    """Run the server; returns the exit code."""
    logging.basicConfig(
        level=os.environ.get("NORIA_LOG_LEVEL", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        serve(parse())
    except NoriaError as error:
        logging.getLogger("serving").error("%s", error)  # noqa: TRY400 - a sentence, no trace
        return error.exit_code
    except OSError as error:
        logging.getLogger("serving").error("can't listen: %s", error)  # noqa: TRY400
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
