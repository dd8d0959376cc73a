"""How many threads the numeric libraries may use.

Threads of OpenMP and BLAS wait for each other by spinning. On a machine that
does other work too, as one with a pipeline, a server and a monitor does, two
threads on a small matrix cost tens of times what one does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# Cells of a matrix below which one thread is the fastest in practice.
_SMALL: Final = 10_000_000


def threads_for(cells: int, allowed: int) -> int:
    """Return the threads for a matrix; it depends on nothing but the rows and the spec."""
    return 1 if cells < _SMALL else max(1, allowed)


@contextmanager
def limited_to(threads: int) -> Iterator[None]:
    """Limit BLAS and OpenMP within the block, where threadpoolctl (scikit-learn's) is there."""
    try:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
    except ImportError:
        yield
        return
    with threadpool_limits(threads):
        yield
