"""Imports KFP without its REST client."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from typing import Final

KFP: Final = threading.RLock()
"""Held by whoever imports a module of KFP or compiles.

Its modules import each other in circles, so that two threads find half of one
another's; and its compiler keeps the pipeline that it is in for the whole process.
"""

_RUNTIME: Final = "_KFP_RUNTIME"


def import_kfp() -> None:
    """Import the ``kfp`` package as KFP itself does inside a step.

    Its first import otherwise brings the REST client and the whole Kubernetes
    client with it: most of a second of CPU and 80 MB that a local run and the
    compiler have no use for. ``kfp.dsl``, ``kfp.local`` and ``kfp.compiler``
    work the same.
    """
    with KFP:
        if "kfp" not in sys.modules:
            _import_lean()


def _import_lean() -> None:
    before = os.environ.get(_RUNTIME)
    os.environ[_RUNTIME] = "true"
    try:
        importlib.import_module("kfp")
    finally:
        if before is None:
            del os.environ[_RUNTIME]
        else:
            os.environ[_RUNTIME] = before
